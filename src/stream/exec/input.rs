//! A leaf of a plan whose rows are put there from outside, any number of times: the rows of an
//! epoch, or the states of open windows.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchemaRef, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
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
