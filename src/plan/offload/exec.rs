//! The nodes that a placed plan is made of: `DeviceExec` runs a fragment on the device, `CpuExec`
//! says why a subtree does not.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{
    Boundedness, CardinalityEffect, EmissionType, SchedulingType, reset_plan_states,
};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, execute_stream,
};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::describe;
use super::place::Decision;
use super::scans;
use crate::device::Player;
use crate::error::Error;
use crate::fragment::spec::Fragment;
use crate::kernel::link::programs::Programs;
use crate::run::memory::HostMemory;
use crate::run::{Runner, SlotLimits, Stats};
use crate::task::{Feed, Feeder};

type Expressions<'a> = &'a mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>;

/// Runs a fragment on the device. Its children are the sources; the CPU subtree that it stands for
/// is kept inside.
pub struct DeviceExec {
    fragment: Arc<Fragment>,
    sources: Vec<Arc<dyn ExecutionPlan>>,
    cpu: Arc<dyn ExecutionPlan>,
    player: Arc<dyn Player>,
    decision: Decision,
    limits: SlotLimits,
    strict: bool,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    /// Groups that the last run found, also where the plan was made anew for the next: rows of a
    /// stream come in batches that are much alike.
    groups: Arc<AtomicU64>,
    /// Programs linked by runs before, likewise.
    programs: Arc<Programs>,
}

impl fmt::Debug for DeviceExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceExec").field("decision", &self.decision).finish_non_exhaustive()
    }
}

impl DeviceExec {
    pub fn new(
        fragment: Arc<Fragment>,
        sources: Vec<Arc<dyn ExecutionPlan>>,
        cpu: Arc<dyn ExecutionPlan>,
        player: Arc<dyn Player>,
        decision: Decision,
        limits: SlotLimits,
        strict: bool,
    ) -> Self {
        // Constants and equal columns hold as before; an order does not.
        let mut equivalences = cpu.properties().eq_properties.clone();
        equivalences.clear_orderings();
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self {
            fragment,
            sources,
            cpu,
            player,
            decision,
            limits,
            strict,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
            groups: Arc::default(),
            programs: Arc::default(),
        }
    }

    pub fn fragment(&self) -> &Fragment {
        &self.fragment
    }

    /// The name of the adapter it runs on.
    pub fn adapter(&self) -> &str {
        &self.player.capabilities().name
    }

    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The same node over these sources, on this player.
    fn anew(&self, sources: Vec<Arc<dyn ExecutionPlan>>, player: Arc<dyn Player>) -> Self {
        let mut new = Self::new(
            self.fragment.clone(),
            sources,
            self.cpu.clone(),
            player,
            self.decision.clone(),
            self.limits,
            self.strict,
        );
        new.groups = self.groups.clone();
        new.programs = self.programs.clone();
        new
    }

    /// Runs the fragment; if the device gives up before a row has left, the CPU subtree instead.
    fn start(&self, context: Arc<TaskContext>) -> Result<Feed<RecordBatch>> {
        let limits = self.limits.with_room_for(self.groups.load(Ordering::Relaxed));
        let mut runner = Runner::new(self.player.clone(), self.fragment.clone(), limits);
        runner.programs = self.programs.clone();
        runner.memory = HostMemory::of(context.memory_pool());
        let groups = self.groups.clone();
        let mut streams = Vec::new();
        for source in &self.sources {
            streams.push(execute_stream(source.clone(), scans::context_for(source, &context))?);
        }
        let (cpu, strict, metrics) = (self.cpu.clone(), self.strict, self.metrics.clone());
        let node = self.decision.node.clone();
        Ok(Feed::spawn("a fragment on the device", 2, move |send| async move {
            let (inner, mut rows) = mpsc::channel(2);
            let forward = async {
                let mut sent = false;
                while let Some(batch) = rows.recv().await {
                    sent = true;
                    if send.send(batch).await.is_err() {
                        rows.close(); // the fragment ends early, without an error
                        break;
                    }
                }
                sent
            };
            let run = async {
                let inner = inner;
                runner.run(streams, &inner).await
            };
            let (ran, sent) = futures::join!(Box::pin(run), forward);
            publish(&metrics, &runner.stats);
            let Err(error) = ran else {
                groups.store(runner.stats.groups.load(Ordering::Relaxed), Ordering::Relaxed);
                return Ok(());
            };
            let again = matches!(&error, Error::Device(e) if e.may_rerun_on_cpu());
            if !again || sent || strict {
                return Err(error);
            }
            tracing::warn!(%error, node, "the device gave up, the fragment runs again on the CPU");
            MetricBuilder::new(&metrics).global_counter("reran_on_cpu").add(1);
            drop(runner); // with the memory that it holds
            run_on_cpu(cpu, context, &send).await?;
            Ok(())
        }))
    }
}

/// The plan with its fragments on another player of the same capabilities, such as one that looks
/// at what is played. One slot at a time: what is played does not depend on when answers come.
pub fn played_by(
    plan: Arc<dyn ExecutionPlan>,
    player: &Arc<dyn Player>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let replaced = plan.transform_up(|node| match node.downcast_ref::<DeviceExec>() {
        Some(device) => {
            let mut new = device.anew(device.sources.clone(), player.clone());
            new.limits.in_flight = 1;
            Ok(Transformed::yes(Arc::new(new) as Arc<dyn ExecutionPlan>))
        }
        None => Ok(Transformed::no(node)),
    });
    Ok(replaced?.data)
}

async fn run_on_cpu(
    cpu: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    send: &Feeder<RecordBatch>,
) -> Result<()> {
    // A plan that has run keeps the state of its scans: without this it would find no rows left.
    let cpu = reset_plan_states(cpu)?;
    let mut rows = execute_stream(cpu, context)?;
    while let Some(batch) = rows.next().await {
        if send.send(batch.map_err(Error::from)).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn publish(metrics: &ExecutionPlanMetricsSet, stats: &Stats) {
    for (name, value) in stats.all() {
        match name.strip_suffix("_ns") {
            Some(name) => {
                let time = MetricBuilder::new(metrics).subset_time(format!("{name}_time"), 0);
                time.add_duration(Duration::from_nanos(value));
            }
            None => MetricBuilder::new(metrics).global_counter(name).add(value as usize),
        }
    }
}

impl DisplayAs for DeviceExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let adapter = self.player.capabilities();
        let Decision { side, reason, .. } = &self.decision;
        write!(f, "DeviceExec: side={side}, reason={reason}, ")?;
        write!(f, "adapter={}, tier={:?}, ", adapter.name, adapter.tier)?;
        write!(f, "{}", describe::summary(&self.fragment))?;
        if matches!(format, DisplayFormatType::Verbose) {
            write!(f, "\n{}", describe::wgsl(&self.fragment, adapter))?;
        }
        Ok(())
    }
}

impl ExecutionPlan for DeviceExec {
    fn name(&self) -> &str {
        "DeviceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.sources.iter().collect()
    }

    fn apply_expressions(&self, _: Expressions<'_>) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(self.anew(children, self.player.clone())))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            let text = format!("DeviceExec has one partition, asked for {partition}");
            return Err(DataFusionError::Internal(text));
        }
        let rows = self.start(context)?.map_err(DataFusionError::from);
        let counted = MetricBuilder::new(&self.metrics).output_rows(0);
        let rows = rows.inspect(move |batch| {
            if let Ok(batch) = batch {
                counted.add(batch.num_rows());
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// A subtree that stays on the CPU, with the reason. Passes everything through.
#[derive(Debug)]
pub struct CpuExec {
    input: Arc<dyn ExecutionPlan>,
    decision: Decision,
}

impl CpuExec {
    pub fn new(input: Arc<dyn ExecutionPlan>, decision: Decision) -> Self {
        Self { input, decision }
    }

    pub fn decision(&self) -> &Decision {
        &self.decision
    }
}

impl DisplayAs for CpuExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CpuExec: side=cpu, reason={}", self.decision.reason)
    }
}

impl ExecutionPlan for CpuExec {
    fn name(&self) -> &str {
        "CpuExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(&self, _: Expressions<'_>) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else {
            return Err(DataFusionError::Internal("CpuExec needs its input".into()));
        };
        Ok(Arc::new(Self { input, decision: self.decision.clone() }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(inputs[0].clone())
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        child: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(child))
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// What was decided about the parts of a plan.
pub fn decisions(plan: &Arc<dyn ExecutionPlan>) -> Vec<Decision> {
    let own = plan.downcast_ref::<DeviceExec>().map(DeviceExec::decision);
    let own = own.or_else(|| plan.downcast_ref::<CpuExec>().map(CpuExec::decision));
    let below = plan.children().into_iter().flat_map(decisions);
    own.cloned().into_iter().chain(below).collect()
}
