//! A leaf of a plan whose rows are put there from outside, any number of times: the rows of an
//! epoch, or the states of open windows.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, SchedulingType, reset_plan_states,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use parking_lot::Mutex;

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

/// A plan over one slot, run again for every filling.
#[derive(Debug, Clone)]
pub struct SlotPlan {
    pub slot: Slot,
    pub plan: Arc<dyn ExecutionPlan>,
}

impl SlotPlan {
    /// All rows of the plan over these.
    pub async fn run(
        &self,
        batches: Vec<RecordBatch>,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        self.slot.put(batches);
        // What a plan has computed stays in its nodes: a second run starts from a reset plan.
        let plan = reset_plan_states(self.plan.clone())?;
        let rows = datafusion::physical_plan::collect(plan, task.clone()).await;
        self.slot.put(Vec::new());
        Ok(rows?.into_iter().filter(|batch| batch.num_rows() > 0).collect())
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
