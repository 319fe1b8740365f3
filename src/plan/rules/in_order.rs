//! Files below a LIMIT are read in their order: by name, then by row. The rows that come first are
//! those that stand first.
//!
//! DataFusion takes what any thread finds first. Here the parts of the files are taken one after
//! another; where rows are filtered, later parts are looked through meanwhile.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties, replace_children_if_necessary,
};
use futures::stream;
use futures::{StreamExt, TryStreamExt};

use crate::plan::beside::beside;

/// Batches of a part that wait until the parts before it have been taken.
const AHEAD: usize = 2;

/// Has files below a limit read in their order.
#[derive(Debug)]
pub struct FirstRows;

impl PhysicalOptimizerRule for FirstRows {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let is_whole = reads_files(&plan) && is_limited(&plan);
        let done = plan.transform_down(|node| {
            if !reads_files(&node) || !is_limited(&node) {
                return Ok(Transformed::no(node));
            }
            let done = in_order(node)?;
            Ok(Transformed::new(done, true, TreeNodeRecursion::Jump))
        })?;
        Ok(match is_whole && done.data.output_partitioning().partition_count() > 1 {
            true => Arc::new(InOrderExec::new(done.data)),
            false => done.data,
        })
    }

    fn name(&self) -> &str {
        "first_rows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether rows of a plan end early.
fn is_limited(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let limits = plan.is::<GlobalLimitExec>() || plan.is::<LocalLimitExec>();
    limits || plan.fetch().is_some() || plan.children().into_iter().any(is_limited)
}

/// Whether the rows are those of files, one by one.
fn reads_files(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(source) = plan.downcast_ref::<DataSourceExec>() {
        return source.data_source().downcast_ref::<FileScanConfig>().is_some();
    }
    let passes = plan.is::<GlobalLimitExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<FilterExec>()
        || plan.is::<ProjectionExec>()
        || plan.is::<UnionExec>()
        || is_dealt_out(plan);
    passes && plan.children().into_iter().all(reads_files)
}

/// Whether a node only spreads rows over threads.
fn is_dealt_out(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let spread = plan.downcast_ref::<RepartitionExec>();
    spread.is_some_and(|spread| matches!(spread.partitioning(), Partitioning::RoundRobinBatch(_)))
}

/// The same plan over files that are read in their order.
fn in_order(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(source) = plan.downcast_ref::<DataSourceExec>() {
        let source = source.data_source().downcast_ref::<FileScanConfig>().map(by_name);
        let scan: Arc<dyn ExecutionPlan> = match source {
            Some(source) => DataSourceExec::from_data_source(source),
            None => plan,
        };
        return Ok(scan.with_preserve_order(true).unwrap_or(scan));
    }
    let children = plan.children().into_iter().cloned().map(in_order);
    let mut children = children.collect::<Result<Vec<_>>>()?;
    if is_dealt_out(&plan)
        && let Some(input) = children.pop()
    {
        return Ok(input);
    }
    if plan.is::<CoalescePartitionsExec>()
        && let Some(input) = children.pop()
    {
        let fetch = plan.fetch();
        let gathered: Arc<dyn ExecutionPlan> = Arc::new(InOrderExec::new(input));
        return Ok(match fetch {
            Some(rows) => Arc::new(GlobalLimitExec::new(gathered, 0, Some(rows))),
            None => gathered,
        });
    }
    replace_children_if_necessary(plan, children)
}

/// The parts of the files by the names of the files, each from its beginning on. Where rows of a
/// file are known to be sorted, its parts stand between those of others.
fn by_name(scan: &FileScanConfig) -> FileScanConfig {
    let mut scan = scan.clone();
    // Partitions that others are matched with stay where they are.
    if scan.output_partitioning.is_none() {
        scan.file_groups.sort_by_cached_key(|group| {
            let first = group.files().first();
            first.map(|file| {
                let start = file.range.as_ref().map_or(0, |range| range.start);
                (file.object_meta.location.clone(), start)
            })
        });
    }
    scan
}

/// Gives the partitions of its input one after another.
#[derive(Debug)]
pub struct InOrderExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl InOrderExec {
    /// Over these partitions.
    pub fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let mut equivalences = input.equivalence_properties().clone();
        if input.output_partitioning().partition_count() > 1 {
            // Each partition has an order of its own.
            equivalences.clear_orderings();
            equivalences.clear_per_partition_constants();
        }
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(1),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { input, properties: Arc::new(properties), metrics }
    }
}

impl DisplayAs for InOrderExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InOrderExec: partitions={}", self.input.output_partitioning().partition_count())
    }
}

impl ExecutionPlan for InOrderExec {
    fn name(&self) -> &str {
        "InOrderExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else {
            return internal_err!("InOrderExec needs its input");
        };
        Ok(Arc::new(Self::new(input)))
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("InOrderExec has one partition, asked for {partition}");
        }
        let input = Arc::clone(&self.input);
        let parts = input.output_partitioning().partition_count();
        let filters = input.exists(|node| Ok(node.is::<FilterExec>()))?;
        // Where rows are filtered, many are read for one: all threads do.
        let read = |part| match filters && parts > 1 {
            true => Ok(beside("a part of a file", AHEAD, input.execute(part, Arc::clone(&task))?)),
            false => Ok(read_in_turn(&input, part, &task)),
        };
        let parts = (0..parts).map(read).collect::<Result<Vec<_>>>()?;
        let output = MetricBuilder::new(&self.metrics).output_rows(0);
        let rows = stream::iter(parts).flatten().inspect_ok(move |batch| {
            output.add(batch.num_rows());
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// A part that is read when it is asked for.
fn read_in_turn(
    input: &Arc<dyn ExecutionPlan>,
    part: usize,
    task: &Arc<TaskContext>,
) -> SendableRecordBatchStream {
    let (input, task, schema) = (Arc::clone(input), Arc::clone(task), input.schema());
    let rows = stream::once(async move { input.execute(part, task) }).try_flatten();
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}
