//! As-of joins over all rows of a batch query: the right side is read whole, the left side passes
//! by, in as many partitions as it has.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use super::node::AsOfNode;
use crate::stream::operator::versioned_table::{Spec, Versions};

/// Plans as-of joins.
#[derive(Debug)]
pub struct AsOfPlanner;

#[async_trait]
impl ExtensionPlanner for AsOfPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<AsOfNode>() else { return Ok(None) };
        let [left, right] = inputs else { return internal_err!("an as-of join has two inputs") };
        Ok(Some(Arc::new(AsOfExec::new(left.clone(), right.clone(), node.spec()?))))
    }
}

/// The right side, read, and the memory that it takes.
#[derive(Debug)]
struct Read {
    versions: Versions,
    _memory: MemoryReservation,
}

/// Looks each left row up among the right rows.
#[derive(Debug)]
struct AsOfExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    spec: Spec,
    /// Read by whichever partition asks first.
    read: Arc<OnceCell<Arc<Read>>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl AsOfExec {
    fn new(left: Arc<dyn ExecutionPlan>, right: Arc<dyn ExecutionPlan>, spec: Spec) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(spec.output.clone()),
            left.output_partitioning().clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let (read, metrics) = (Arc::default(), ExecutionPlanMetricsSet::new());
        Self { left, right, spec, read, properties: Arc::new(properties), metrics }
    }
}

impl DisplayAs for AsOfExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (left, right) = (self.left.schema(), self.right.schema());
        let pair = |(one, other): (usize, usize), compare: &str| {
            format!("{} {compare} {}", left.field(one).name(), right.field(other).name())
        };
        let kind = if self.spec.outer { "left" } else { "inner" };
        let time = pair(self.spec.times, if self.spec.before { ">" } else { ">=" });
        let keys: Vec<_> = self.spec.keys.iter().map(|key| pair(*key, "=")).collect();
        write!(f, "AsOfExec: {kind}, {time}, keys=[{}]", keys.join(", "))
    }
}

impl ExecutionPlan for AsOfExec {
    fn name(&self) -> &str {
        "AsOfExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::UnspecifiedDistribution, Distribution::SinglePartition]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    /// What was read is not of the new children.
    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([left, right]) = <[_; 2]>::try_from(children) else {
            return internal_err!("an as-of join has two inputs");
        };
        Ok(Arc::new(Self::new(left, right, self.spec.clone())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.left.execute(partition, task.clone())?;
        let output = MetricBuilder::new(&self.metrics).output_rows(partition);
        let (right, spec, cell) = (self.right.clone(), self.spec.clone(), self.read.clone());
        let joined = async move {
            let read = cell.get_or_try_init(|| read(right, spec, task)).await?.clone();
            Ok::<_, datafusion::common::DataFusionError>(rows.map(move |batch| {
                let joined = read.versions.join(&batch?)?;
                output.add(joined.num_rows());
                Ok(joined)
            }))
        };
        let joined = futures::stream::once(joined).try_flatten().boxed();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.spec.output.clone(), joined)))
    }
}

async fn read(
    right: Arc<dyn ExecutionPlan>,
    spec: Spec,
    task: Arc<TaskContext>,
) -> Result<Arc<Read>> {
    let memory = MemoryConsumer::new("AsOfExec").register(task.memory_pool());
    let mut versions = Versions::new(spec)?;
    let mut rows = right.execute(0, task)?;
    while let Some(batch) = rows.try_next().await? {
        // Once to keep, and once for what rows are found by.
        memory.try_grow(2 * batch.get_array_memory_size())?;
        versions.push(batch)?;
    }
    memory.try_resize(versions.bytes())?;
    Ok(Arc::new(Read { versions, _memory: memory }))
}
