//! A leaf of a plan whose rows are put there from outside, any number of times: the rows of an
//! epoch, or the states of open windows.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchemaRef, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, SchedulingType, reset_plan_states,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, execute_stream,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::StreamExt;
use parking_lot::Mutex;

use crate::plan::memory::EPOCH_OUTPUT;
use crate::plan::{Decision, Measured, Side, decisions};

/// Where rows are put. Clones are the same slot.
#[derive(Debug, Clone, Default)]
pub struct Slot(Arc<Mutex<Vec<RecordBatch>>>);

impl Slot {
    pub fn put(&self, batches: Vec<RecordBatch>) {
        *self.0.lock() = batches;
    }

    fn get(&self) -> Vec<RecordBatch> {
        self.0.lock().clone()
    }
}

/// A plan over slots, run again for every filling.
#[derive(Debug, Clone)]
pub struct SlotPlan {
    pub plan: Arc<dyn ExecutionPlan>,
    /// The plan for the device, where each run chooses its side.
    device: Option<DevicePlan>,
}

/// What the device can do of a plan.
#[derive(Debug, Clone)]
pub struct DevicePlan {
    plan: Arc<dyn ExecutionPlan>,
    /// Of what it gives, where that is the partial states of the plan's rows.
    states: Option<SchemaRef>,
    measured: Arc<Mutex<Measured>>,
}

impl DevicePlan {
    pub fn new(plan: Arc<dyn ExecutionPlan>, measured: Measured) -> Self {
        Self { plan, states: None, measured: Arc::new(Mutex::new(measured)) }
    }

    /// What it runs.
    pub fn plan(&self) -> &Arc<dyn ExecutionPlan> {
        &self.plan
    }

    /// With less to run.
    pub fn running(self, plan: Arc<dyn ExecutionPlan>) -> Self {
        Self { plan, ..self }
    }

    /// Beside a plan for the rows of an aggregate: it gives their states.
    pub fn giving(self, states: &SchemaRef) -> Self {
        Self { states: Some(states.clone()), ..self }
    }
}

/// What a run has given.
#[derive(Default)]
pub struct Given {
    pub batches: Vec<RecordBatch>,
    /// They are partial states of the plan's rows.
    pub states: bool,
    /// Where the run has chosen its side.
    pub cost: Option<Cost>,
}

/// What a run has taken so far.
pub struct Cost {
    measured: Arc<Mutex<Measured>>,
    side: Side,
    rows: usize,
    took: Duration,
}

impl Cost {
    /// Tells it to those who choose, with what it took until the rows were of use.
    pub fn ends(self, more: Duration) {
        self.measured.lock().ran(self.side, self.rows, self.took + more);
    }
}

impl SlotPlan {
    pub fn new(plan: Arc<dyn ExecutionPlan>) -> Self {
        Self { plan, device: None }
    }

    /// With a plan for the device, where there is one.
    pub fn with(self, device: Option<DevicePlan>) -> Self {
        Self { device, ..self }
    }

    /// Whether each run chooses its side.
    pub fn has_sides(&self) -> bool {
        self.device.is_some()
    }

    /// Whether the plan and another give the same columns, on each side.
    pub fn gives_as(&self, other: &Self) -> bool {
        let states = |plan: &Self| plan.device.as_ref().and_then(|device| device.states.clone());
        let both = states(self).zip(states(other));
        self.plan.schema() == other.plan.schema() && both.is_none_or(|(one, two)| one == two)
    }

    /// Where its fragments run; where each run chooses, as the last one did.
    pub fn decisions(&self) -> Vec<Decision> {
        let Some(device) = &self.device else { return decisions(&self.plan) };
        let (side, reason) = device.measured.lock().last();
        let mut all = decisions(&device.plan);
        for decision in all.iter_mut().filter(|decision| decision.side == Side::Gpu) {
            (decision.side, decision.reason) = (side, reason.clone());
        }
        all
    }

    /// All rows of the plan over what its slots hold. Their columns are named as `schema` says.
    pub async fn run(
        &self,
        schema: &SchemaRef,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        collect(&self.plan, schema, task).await
    }

    /// The same on the side that runs before speak for; `rows` are those in the slots.
    pub async fn run_on_a_side(
        &self,
        rows: usize,
        schema: &SchemaRef,
        task: &Arc<TaskContext>,
    ) -> Result<Given> {
        let Some(device) = &self.device else {
            let batches = self.run(schema, task).await?;
            return Ok(Given { batches, ..Given::default() });
        };
        let measured = device.measured.clone();
        let side = measured.lock().choose(rows);
        let (plan, states) = match side {
            Side::Cpu => (&self.plan, None),
            Side::Gpu => (&device.plan, device.states.as_ref()),
        };
        let begun = Instant::now();
        let batches = match collect(plan, states.unwrap_or(schema), task).await {
            Ok(batches) => batches,
            Err(error) if side == Side::Gpu => {
                // Nothing of it was given out, and the rows still lie in the slots.
                tracing::warn!(%error, "a fragment failed on the device, the host does it now");
                measured.lock().give_up();
                let batches = self.run(schema, task).await?;
                return Ok(Given { batches, ..Given::default() });
            }
            Err(error) => return Err(error),
        };
        let cost = Some(Cost { measured, side, rows, took: begun.elapsed() });
        Ok(Given { batches, states: states.is_some(), cost })
    }
}

/// All rows of a plan that may have run before, as far as the memory that queries have reaches.
async fn collect(
    plan: &Arc<dyn ExecutionPlan>,
    schema: &SchemaRef,
    task: &Arc<TaskContext>,
) -> Result<Vec<RecordBatch>> {
    // What a plan has computed stays in its nodes: a second run starts from a reset plan.
    let plan = reset_plan_states(plan.clone())?;
    let memory = MemoryConsumer::new(EPOCH_OUTPUT).register(task.memory_pool());
    let mut rows = execute_stream(plan, task.clone())?;
    let mut all = Vec::new();
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            memory.try_grow(bytes(&batch)?)?;
            all.push(named(batch, schema)?);
        }
    }
    Ok(all)
}

/// Bytes of a batch's own rows; what it is a slice of is not its own.
fn bytes(batch: &RecordBatch) -> Result<usize> {
    batch.columns().iter().try_fold(0, |sum: usize, column| {
        Ok(sum.saturating_add(column.to_data().get_slice_memory_size()?))
    })
}

/// All rows of a plan over these; of none there are none.
pub async fn run(
    (slot, plan): &(Slot, SlotPlan),
    rows: Vec<RecordBatch>,
    schema: &SchemaRef,
    task: &Arc<TaskContext>,
) -> crate::error::Result<Vec<RecordBatch>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    slot.put(rows);
    let out = plan.run(schema, task).await;
    slot.put(Vec::new());
    Ok(out?)
}

/// The same rows under another schema of the same types.
fn named(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let counted = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().to_vec();
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &counted)?)
}

/// A leaf of a logical plan that stands for rows computed elsewhere.
#[derive(Debug, Clone)]
pub struct SlotNode {
    slot: Slot,
    what: String,
    schema: DFSchemaRef,
}

impl SlotNode {
    /// A leaf with the columns of a plan, qualifiers included.
    pub fn leaf(slot: &Slot, what: &str, schema: &DFSchemaRef) -> LogicalPlan {
        let node = Self { slot: slot.clone(), what: what.to_string(), schema: schema.clone() };
        LogicalPlan::Extension(Extension { node: Arc::new(node) })
    }
}

impl PartialEq for SlotNode {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slot.0, &other.slot.0)
    }
}

impl Eq for SlotNode {}

impl PartialOrd for SlotNode {
    fn partial_cmp(&self, _: &Self) -> Option<std::cmp::Ordering> {
        None
    }
}

impl Hash for SlotNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.slot.0).hash(state);
    }
}

impl UserDefinedLogicalNodeCore for SlotNode {
    fn name(&self) -> &str {
        "Slot"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot: {}", self.what)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, _: Vec<LogicalPlan>) -> Result<Self> {
        Ok(self.clone())
    }
}

/// Plans slots.
#[derive(Debug)]
pub struct SlotPlanner;

#[async_trait]
impl ExtensionPlanner for SlotPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        _: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<SlotNode>() else { return Ok(None) };
        let schema = Arc::new(node.schema.as_arrow().clone());
        Ok(Some(Arc::new(SlotExec::new(node.slot.clone(), schema, None, node.what.clone())?)))
    }
}

/// Answers the rows of a slot.
#[derive(Debug)]
pub struct SlotExec {
    slot: Slot,
    what: String,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl SlotExec {
    /// `schema` is that of the rows before the projection; `what` shows in plans.
    pub fn new(
        slot: Slot,
        schema: SchemaRef,
        projection: Option<Vec<usize>>,
        what: String,
    ) -> Result<Self> {
        let schema = match &projection {
            Some(columns) => Arc::new(schema.project(columns)?),
            None => schema,
        };
        Ok(Self { slot, what, projection, properties: leaf(schema) })
    }
}

/// Properties of a leaf that yields to others: one partition, bounded.
pub fn leaf(schema: SchemaRef) -> Arc<PlanProperties> {
    let properties = PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(1),
        EmissionType::Incremental,
        Boundedness::Bounded,
    );
    Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative))
}

impl DisplayAs for SlotExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let schema = self.properties.equivalence_properties().schema();
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "SlotExec: {}, columns=[{}]", self.what, names.join(", "))
    }
}

impl ExecutionPlan for SlotExec {
    fn name(&self) -> &str {
        "SlotExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.properties.equivalence_properties().schema().clone();
        let projection = self.projection.clone();
        let rows = self.slot.get().into_iter().map(move |batch| match &projection {
            Some(columns) => Ok(batch.project(columns)?),
            None => Ok(batch),
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(rows))))
    }
}
