//! The rule: maximal subtrees that the device can run become one `DeviceExec` each.
//!
//! It stands before the last `FilterPushdown` and the sanity check: join sides, modes and
//! projections are final then, and no dynamic filter hangs in the plan yet. What is left to the
//! CPU is wrapped in a `CpuExec` that says why.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::UnKnownColumn;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};

use super::exec::{CpuExec, DeviceExec, decisions};
use super::known_rows;
use super::lower::{self, Lowered};
use super::measured::{Choosing, Measured};
use super::place::{self, Decision, Facts, Side};
use crate::config::DeviceChoice;
use crate::device::{self, AdapterKind, FloatExactness, Player};
use crate::error::{Declined, Error};
use crate::fragment::spec::{Pipeline, Sink};
use crate::plan::options::SqlOptions;
use crate::run::row_bytes;

/// Cuts fragments out of a physical plan.
#[derive(Debug)]
pub struct Offload;

impl PhysicalOptimizerRule for Offload {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = SqlOptions::of(config);
        let choice = options.device().map_err(DataFusionError::Configuration)?;
        if options.strict && choice != DeviceChoice::Gpu {
            let text = "thalweg.strict needs thalweg.device = 'gpu'".to_string();
            return Err(DataFusionError::Configuration(text));
        }
        if choice == DeviceChoice::Cpu {
            return Ok(plan);
        }
        let threads = config.execution.target_partitions;
        let mut pass = Pass { options, choice, threads, player: None };
        let plan = pass.place(plan, None)?;
        if pass.options.strict {
            refuse_cpu_work(&plan)?;
        }
        Ok(plan)
    }

    fn name(&self) -> &str {
        "offload"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// With `auto`, for a plan that runs again and again: the plan with all that the device can run on
/// it, and what is to choose between the two. `None` where there is no device, or nothing for it.
pub fn for_each_side(
    plan: &Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
) -> Result<Option<(Arc<dyn ExecutionPlan>, Measured)>> {
    let options = SqlOptions::of(config);
    let choosing = options.choosing().map_err(DataFusionError::Configuration)?;
    let choice = options.device().map_err(DataFusionError::Configuration)?;
    if choice != DeviceChoice::Auto || !plan.exists(|node| Ok(is_candidate(node)))? {
        return Ok(None);
    }
    let Ok(player) = device::open(&options.player_options()) else { return Ok(None) };
    let software = player.capabilities().kind == AdapterKind::Software;
    if software && choosing != Choosing::Alternating {
        return Ok(None);
    }
    let threads = config.execution.target_partitions;
    let mut pass = Pass { options, choice: DeviceChoice::Gpu, threads, player: Some(Ok(player)) };
    let plan = pass.place(plan.clone(), None)?;
    let on_device = decisions(&plan).iter().any(|decision| decision.side == Side::Gpu);
    Ok(on_device.then(|| (plan, Measured::new(choosing))))
}

struct Pass {
    options: SqlOptions,
    choice: DeviceChoice,
    threads: usize,
    /// Opened when the first fragment asks for it.
    player: Option<Result<Arc<dyn Player>, String>>,
}

impl Pass {
    /// Places a subtree. `above` is why the parent stays on the CPU, so that a reason is told once.
    fn place(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        above: Option<&str>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !is_candidate(&plan) {
            return self.place_children(plan, None);
        }
        let reason = match self.try_fragment(&plan) {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => return self.place_children(plan, above),
            Err(Refused::Declined(Declined(reason))) => reason,
            Err(Refused::Error(error)) => return Err(error),
        };
        let named = !plan.is::<ProjectionExec>() && above != Some(reason.as_str());
        // A projection says nothing of itself: the reason is still to be told below it.
        let told = if named { Some(reason.as_str()) } else { above };
        let placed = self.place_children(plan, told)?;
        if !named {
            return Ok(placed);
        }
        let node = placed.name().to_string();
        Ok(Arc::new(CpuExec::new(placed, Decision { node, side: Side::Cpu, reason })))
    }

    fn place_children(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        above: Option<&str>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let children: Vec<_> = plan.children().into_iter().cloned().collect();
        if children.is_empty() {
            return Ok(plan);
        }
        let mut placed = Vec::new();
        let mut changed = false;
        for child in children {
            let new = self.place(child.clone(), above)?;
            changed |= !Arc::ptr_eq(&new, &child);
            placed.push(new);
        }
        if !changed {
            return Ok(plan);
        }
        datafusion::physical_plan::replace_children_if_necessary(plan, placed)
    }

    /// The subtree as one fragment; `None` where there is nothing of ours in it.
    fn try_fragment(
        &mut self,
        plan: &Arc<dyn ExecutionPlan>,
    ) -> std::result::Result<Option<Arc<dyn ExecutionPlan>>, Refused> {
        if plan.is::<ProjectionExec>() && !leads_to_work(plan) {
            return Ok(None);
        }
        let ordered = plan.output_ordering().is_some() && !plan.is::<AggregateExec>();
        if ordered {
            let text = "the plan relies on the order of these rows";
            return Err(Declined::new(text).into());
        }
        if plan.boundedness().is_unbounded() {
            return Err(Declined::new("an input without end runs in epochs").into());
        }
        let partitioning = plan.output_partitioning();
        if matches!(partitioning, Partitioning::Range(ranges) if ranges.partition_count() > 1) {
            return Err(Declined::new("the plan counts on the ranges of its partitions").into());
        }
        let floats = match self.player()? {
            Ok(player) => player.capabilities().floats,
            Err(_) => FloatExactness::default(),
        };
        let lowered = lower::fragment::fragment(plan, floats)?;
        let player = self.player()?;
        if let Ok(player) = &player {
            bindings_fit(&lowered, player.as_ref())?;
        }
        let facts = facts(&lowered);
        let capabilities = player.as_ref().map(|p| p.capabilities()).map_err(String::as_str);
        let link = player.as_ref().ok().and_then(|player| {
            let calibration = device::rates::load(player.capabilities())?;
            Some(calibration.rates.upload_gb_s * 1e9)
        });
        let (side, reason) = place::decide(self.choice, capabilities, &facts, link, self.threads);
        let node = plan.name().to_string();
        let decision = Decision { node, side, reason };
        match (side, player) {
            (Side::Gpu, Ok(player)) => Ok(Some(self.device(plan, lowered, player, decision)?)),
            _ => {
                let wrapped = CpuExec::new(plan.clone(), decision);
                Ok(Some(Arc::new(wrapped)))
            }
        }
    }

    fn device(
        &mut self,
        plan: &Arc<dyn ExecutionPlan>,
        lowered: Lowered,
        player: Arc<dyn Player>,
        decision: Decision,
    ) -> std::result::Result<Arc<dyn ExecutionPlan>, Refused> {
        let mut sources = Vec::new();
        for source in lowered.sources {
            sources.push(self.place(source, None).map_err(Refused::Error)?);
        }
        let limits = self.options.limits();
        let exec: Arc<dyn ExecutionPlan> = Arc::new(DeviceExec::new(
            Arc::new(lowered.fragment),
            sources,
            plan.clone(),
            player,
            decision,
            limits,
            self.options.strict,
        ));
        // A parent that joins or merges by hash counts on the partitions of the node we replace.
        match plan.output_partitioning() {
            Partitioning::Hash(keys, count) if *count > 1 && keys.iter().all(is_known) => {
                let partitioning = plan.output_partitioning().clone();
                let spread = RepartitionExec::try_new(exec, partitioning);
                Ok(Arc::new(spread.map_err(Refused::Error)?))
            }
            // No parent counts on any of these; ranges were declined.
            Partitioning::Hash(..)
            | Partitioning::RoundRobinBatch(_)
            | Partitioning::UnknownPartitioning(_)
            | Partitioning::Range(_) => Ok(exec),
        }
    }

    /// The player, opened once. With `gpu`, no adapter is an error; with `auto`, a reason.
    fn player(&mut self) -> std::result::Result<Result<Arc<dyn Player>, String>, Refused> {
        if self.player.is_none() {
            let opened = device::open(&self.options.player_options());
            self.player = Some(match opened {
                Ok(player) => Ok(player),
                Err(error) if self.choice == DeviceChoice::Gpu => {
                    return Err(Refused::Error(Error::from(error).into()));
                }
                Err(error) => Err(error.to_string()),
            });
        }
        match &self.player {
            Some(Ok(player)) => Ok(Ok(player.clone())),
            Some(Err(reason)) => Ok(Err(reason.clone())),
            None => Ok(Err("no adapter was opened".into())),
        }
    }
}

/// Why no fragment came of a subtree.
enum Refused {
    Declined(Declined),
    Error(DataFusionError),
}

impl From<Declined> for Refused {
    fn from(declined: Declined) -> Self {
        Self::Declined(declined)
    }
}

/// False for a key that the node above does not see, which no parent can count on.
fn is_known(key: &Arc<dyn PhysicalExpr>) -> bool {
    let mut known = true;
    let _ = key.apply(|node| {
        known &= !node.is::<UnKnownColumn>();
        Ok(TreeNodeRecursion::Continue)
    });
    known
}

fn is_candidate(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<FilterExec>()
        || plan.is::<HashJoinExec>()
        || plan.is::<AggregateExec>()
        || plan.is::<ProjectionExec>()
}

/// True if a filter or join stands right below a chain of projections.
fn leads_to_work(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut plan = plan;
    while let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        plan = lower::strip(projection.input());
    }
    plan.is::<FilterExec>() || plan.is::<HashJoinExec>()
}

fn bindings_fit(lowered: &Lowered, player: &dyn Player) -> std::result::Result<(), Refused> {
    let fragment = &lowered.fragment;
    let pipelines = fragment.tables.iter().map(|table| &table.pipeline).chain([&fragment.main]);
    // The slot, its status, a group table, rows put down, rows played again; the joins' tables and
    // marks.
    let bound = |pipeline: &Pipeline| {
        let marks = pipeline.probes().any(|probe| probe.kind.marks());
        5 + pipeline.probes().count() + usize::from(marks)
    };
    let most = pipelines.map(bound).max().unwrap_or(0);
    let limit = player.capabilities().max_bindings as usize;
    if most > limit {
        let text = format!("a kernel with {most} buffers, the adapter binds {limit}");
        return Err(Declined(text).into());
    }
    Ok(())
}

fn facts(lowered: &Lowered) -> Facts {
    let mut rows = Some(0u64);
    for source in &lowered.sources {
        rows = rows.zip(known_rows(source.as_ref())).map(|(all, rows)| all + rows);
    }
    let main = &lowered.fragment.main;
    Facts {
        rows,
        row_bytes: row_bytes(&main.columns),
        joins: lowered.fragment.tables.len(),
        aggregates: !matches!(main.sink, Sink::Select { .. }),
    }
}

/// With `strict`: every filter, aggregate and join must have found its way into a fragment.
fn refuse_cpu_work(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    if let Some(cpu) = plan.downcast_ref::<CpuExec>() {
        let Decision { node, reason, .. } = cpu.decision();
        return Err(strict_error(node, reason));
    }
    let counted = plan.is::<FilterExec>()
        || plan.is::<AggregateExec>()
        || plan.is::<HashJoinExec>()
        || plan.is::<NestedLoopJoinExec>()
        || plan.is::<SortMergeJoinExec>()
        || plan.is::<CrossJoinExec>();
    if counted {
        return Err(strict_error(plan.name(), "it has no kernel"));
    }
    plan.children().into_iter().try_for_each(refuse_cpu_work)
}

fn strict_error(node: &str, reason: &str) -> DataFusionError {
    let text = format!(
        "--strict: {node} does not run on the device: {reason}; leave out --strict to run it on \
         the CPU"
    );
    Error::user(text).into()
}
