//! Session windows over all rows of a batch query.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Distribution, EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::{StreamExt, TryStreamExt};

use super::node::SessionNode;
use crate::stream::equal::has_floats;
use crate::stream::operator::session::{Sessions, Spec};

/// Plans session windows as batches.
#[derive(Debug)]
pub struct SessionPlanner;

#[async_trait]
impl ExtensionPlanner for SessionPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<SessionNode>() else { return Ok(None) };
        let [input] = inputs else { return internal_err!("sessions have one input") };
        Ok(Some(Arc::new(SessionExec::new(input.clone(), node.spec()?))))
    }
}

/// Reads all rows, then gives them out by session.
#[derive(Debug)]
pub struct SessionExec {
    input: Arc<dyn ExecutionPlan>,
    spec: Spec,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SessionExec {
    pub fn new(input: Arc<dyn ExecutionPlan>, spec: Spec) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(spec.output().clone()),
            input.output_partitioning().clone(),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { input, spec, properties: Arc::new(properties), metrics }
    }

    fn keys(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        let name = |at: usize| self.spec.schema.field(at).name();
        let key = |at: &usize| Arc::new(Column::new(name(*at), *at)) as Arc<dyn PhysicalExpr>;
        self.spec.keys.iter().map(key).collect()
    }
}

impl DisplayAs for SessionExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |at: &usize| self.spec.schema.field(*at).name().as_str();
        let keys: Vec<_> = self.spec.keys.iter().map(name).collect();
        let time = name(&self.spec.time);
        let us = self.spec.micros(self.spec.gap).unsigned_abs();
        let gap = std::time::Duration::from_micros(us);
        write!(f, "SessionExec: time={time}, keys=[{}], gap={gap:?}", keys.join(", "))
    }
}

impl ExecutionPlan for SessionExec {
    fn name(&self) -> &str {
        "SessionExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        // Equal floats may have other bits, and another hash.
        let is_hashed = |at: &usize| !has_floats(self.spec.schema.field(*at).data_type());
        match !self.spec.keys.is_empty() && self.spec.keys.iter().all(is_hashed) {
            true => vec![Distribution::KeyPartitioned(self.keys())],
            false => vec![Distribution::SinglePartition],
        }
    }

    /// Not where the order of the rows matters and nothing but their place tells it.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![self.spec.offset.is_some() || self.spec.watermark.is_none()]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for key in self.keys() {
            if f(&key)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children.swap_remove(0), self.spec.clone())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, task.clone())?;
        let consumer = MemoryConsumer::new(format!("SessionExec[{partition}]"));
        let memory = consumer.register(task.memory_pool());
        let late = MetricBuilder::new(&self.metrics).counter("late_rows", partition);
        let output = MetricBuilder::new(&self.metrics).output_rows(partition);
        let (spec, schema) = (self.spec.clone(), self.spec.output().clone());
        let all = async move {
            let (sessions, memory) = sessions(spec, rows, memory).await?;
            late.add(sessions.1 as usize);
            output.add(sessions.0.iter().map(|batch| batch.num_rows()).sum());
            // What is given out is accounted for until the last of it has left.
            let rows = sessions.0.into_iter().map(move |batch| {
                let _ = &memory;
                Ok(batch)
            });
            Ok::<_, DataFusionError>(futures::stream::iter(rows))
        };
        let rows = futures::stream::once(all).try_flatten().boxed();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

type Output = (Vec<arrow::record_batch::RecordBatch>, u64);

/// All rows by session, and how many were late.
async fn sessions(
    spec: Spec,
    mut rows: SendableRecordBatchStream,
    memory: MemoryReservation,
) -> Result<(Output, MemoryReservation)> {
    let mut batches = Vec::new();
    while let Some(batch) = rows.try_next().await? {
        // Once to keep, and once to give out.
        memory.try_grow(2 * batch.get_array_memory_size())?;
        batches.push(batch);
    }
    let mut sessions = Sessions::new(spec)?;
    sessions.push(batches)?;
    let late = sessions.late;
    Ok(((sessions.close(i64::MAX)?, late), memory))
}
