//! A continuous query's plan, cut at its lowest aggregate.
//!
//! ```text
//!  batch                     here
//!  Filter, Projection        finish:  Filter, Projection          closed windows only,
//!  Aggregate (single)                 Sort by window and keys     in their order
//!                                     Aggregate (final)
//!                            reduce:  Aggregate (partial reduce)  states grow no further
//!  Projection, Filter        epoch:   Aggregate (partial)         our rule places it
//!  Scan                               Projection, Filter, Slot    one epoch's rows
//! ```
//!
//! States are the batches of DataFusion's partial aggregates, so any aggregate it can split works,
//! and the result is that of one aggregate over all rows.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::context::SessionState;
use datafusion::execution::{SessionStateBuilder, TaskContext};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionContext;

use super::epoch::counted;
use super::shape::{Shape, WindowKey};
use super::slot::{Slot, SlotExec, SlotPlan};
use super::table::{StreamTable, WATERMARK};
use crate::error::{Error, Result};

/// A query's plan for continuous running.
#[derive(Debug)]
pub struct Continuous {
    /// Rows to result rows, or to states where there is a window.
    epoch: SlotPlan,
    windowed: Option<Windowed>,
    /// Counts the rows that are late.
    late: Option<SlotPlan>,
    task: Arc<TaskContext>,
    /// Of the result.
    pub schema: SchemaRef,
}

#[derive(Debug)]
struct Windowed {
    key: WindowKey,
    reduce: SlotPlan,
    finish: SlotPlan,
}

impl Continuous {
    /// Plans a query of this shape.
    pub async fn plan(context: &SessionContext, plan: &LogicalPlan, shape: &Shape) -> Result<Self> {
        let session = context.state();
        let state = planning(&session)?;
        let rows = Slot::default();
        let physical = physical(&state, &over_slot(plan, &rows)?).await?;
        let (schema, task) = (physical.schema(), context.task_ctx());
        let late = match late_rows(plan)? {
            Some(plan) => {
                let slot = Slot::default();
                let plan = self::physical(&state, &over_slot(&plan, &slot)?).await?;
                Some(SlotPlan { slot, plan })
            }
            None => None,
        };
        let Some(key) = shape.window.clone() else {
            let plan = place(&session, physical)?;
            let epoch = SlotPlan { slot: rows, plan };
            return Ok(Self { epoch, windowed: None, late, task, schema });
        };
        let lowest = lowest_aggregate(&physical).ok_or_else(|| bug("no aggregate", &physical))?;
        let aggregate = lowest.downcast_ref::<AggregateExec>();
        let aggregate = aggregate.ok_or_else(|| bug("no aggregate", &physical))?;
        let single = [AggregateMode::Single, AggregateMode::SinglePartitioned];
        if !single.contains(aggregate.mode()) || aggregate.group_expr().has_grouping_set() {
            return Err(bug("an aggregate of several steps", &physical));
        }
        let partial = Arc::new(step(aggregate, AggregateMode::Partial, aggregate.input().clone())?);
        let states = partial.schema();
        let held = |what: &str| -> Result<(Slot, Arc<dyn ExecutionPlan>)> {
            let slot = Slot::default();
            let exec = SlotExec::new(slot.clone(), states.clone(), None, what.to_string())?;
            Ok((slot, Arc::new(exec)))
        };
        let (slot, input) = held("open windows")?;
        let reduce = Arc::new(step(aggregate, AggregateMode::PartialReduce, input)?);
        let reduce = SlotPlan { slot, plan: reduce };
        let (slot, input) = held("closed windows")?;
        let last = Arc::new(step(aggregate, AggregateMode::Final, input)?);
        if last.schema() != lowest.schema() || reduce.plan.schema() != states {
            return Err(bug("states that do not merge", &physical));
        }
        let last = sorted(last, key.column)?;
        let finish = SlotPlan { slot, plan: replace(&physical, &lowest, last)? };
        let epoch = SlotPlan { slot: rows, plan: place(&session, partial)? };
        let windowed = Some(Windowed { key, reduce, finish });
        Ok(Self { epoch, windowed, late, task, schema })
    }

    /// The group column that tells when a group is final.
    pub fn window(&self) -> Option<&WindowKey> {
        self.windowed.as_ref().map(|windowed| &windowed.key)
    }

    /// How many of these rows come after a window of theirs is over (in several windows, each
    /// counts).
    pub async fn late(&self, rows: &[RecordBatch]) -> Result<u64> {
        let Some(late) = &self.late else { return Ok(0) };
        Ok(counted(&late.run(rows.to_vec(), &self.task).await?))
    }

    /// Rows of the log to states, or to result rows where there is no window.
    pub async fn epoch(&self, rows: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        Ok(self.epoch.run(rows, &self.task).await?)
    }

    /// States to fewer states: one row per group.
    pub async fn reduce(&self, states: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        match &self.windowed {
            Some(windowed) => Ok(windowed.reduce.run(states, &self.task).await?),
            None => Ok(states),
        }
    }

    /// States of closed windows to result rows, by window and then by the other keys.
    pub async fn finish(&self, states: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        match &self.windowed {
            Some(windowed) => Ok(windowed.finish.run(states, &self.task).await?),
            None => Ok(states),
        }
    }
}

fn bug(what: &str, plan: &Arc<dyn ExecutionPlan>) -> Error {
    let plan = datafusion::physical_plan::displayable(plan.as_ref()).indent(false);
    Error::Bug(format!("a continuous query was planned with {what}:\n{plan}"))
}

/// The session's state for plans that can be cut: one partition, aggregates in one step, without
/// our own rule, which places the parts afterwards.
fn planning(session: &SessionState) -> Result<SessionState> {
    let stock = PhysicalOptimizer::new().rules;
    let stock: Vec<&str> = stock.iter().map(|rule| rule.name()).collect();
    let rules = session.physical_optimizers().iter();
    let rules = rules.filter(|rule| stock.contains(&rule.name())).cloned().collect();
    // One DISTINCT aggregate would become two aggregates, of which only the upper has the groups.
    let logical = session.optimizers().iter();
    let logical = logical.filter(|rule| rule.name() != "single_distinct_aggregation_to_group_by");
    let mut config = session.config().clone();
    config.options_mut().execution.target_partitions = 1;
    let state = SessionStateBuilder::new_from_existing(session.clone())
        .with_config(config)
        .with_optimizer_rules(logical.cloned().collect())
        .with_physical_optimizer_rules(rules);
    Ok(state.build())
}

/// Lets the rules that are ours place a part of the plan.
fn place(session: &SessionState, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let stock = PhysicalOptimizer::new().rules;
    let stock: Vec<&str> = stock.iter().map(|rule| rule.name()).collect();
    let rules = session.physical_optimizers().iter();
    let mut ours = rules.filter(|rule| !stock.contains(&rule.name()));
    Ok(ours.try_fold(plan, |plan, rule| rule.optimize(plan, session.config_options()))?)
}

/// Scans of the stream read the slot instead.
fn over_slot(plan: &LogicalPlan, slot: &Slot) -> Result<LogicalPlan> {
    let plan = plan.clone().transform_up(|node| {
        let LogicalPlan::TableScan(mut scan) = node else { return Ok(Transformed::no(node)) };
        let Some(source) = StreamTable::of(&scan.source).map(|t| t.slot_source(slot.clone()))
        else {
            return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
        };
        scan.source = source;
        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
    })?;
    Ok(plan.data)
}

/// The rows that a window function's late rule leaves out, counted.
fn late_rows(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    if let LogicalPlan::Filter(filter) = plan
        && let Expr::BinaryExpr(rule) = &filter.predicate
        && matches!(rule.right.as_ref(), Expr::Column(column) if column.name == WATERMARK)
    {
        let input = LogicalPlanBuilder::from(filter.input.as_ref().clone());
        let late = input.filter(Expr::Not(Box::new(filter.predicate.clone())))?;
        return Ok(Some(late.aggregate(Vec::<Expr>::new(), vec![count(lit(1_i64))])?.build()?));
    }
    for input in plan.inputs() {
        if let Some(late) = late_rows(input)? {
            return Ok(Some(late));
        }
    }
    Ok(None)
}

async fn physical(state: &SessionState, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let optimized = state.optimize(plan)?;
    let physical = state.query_planner().create_physical_plan(&optimized, state).await?;
    Ok(one_partition(physical))
}

fn one_partition(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
    match plan.output_partitioning().partition_count() {
        1 => plan,
        _ => Arc::new(CoalescePartitionsExec::new(plan)),
    }
}

/// The aggregate nearest to the rows. The plan is a chain: a query of several inputs has no shape.
fn lowest_aggregate(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let below = plan.children().into_iter().find_map(lowest_aggregate);
    below.or_else(|| plan.downcast_ref::<AggregateExec>().map(|_| plan.clone()))
}

/// One step of an aggregate over another input.
fn step(
    whole: &AggregateExec,
    mode: AggregateMode,
    input: Arc<dyn ExecutionPlan>,
) -> Result<AggregateExec> {
    let over_rows = mode == AggregateMode::Partial;
    let groups = match over_rows {
        true => whole.group_expr().clone(),
        false => whole.group_expr().as_final(),
    };
    let filters = match over_rows {
        true => whole.filter_expr().to_vec(),
        false => vec![None; whole.aggr_expr().len()],
    };
    let aggregates = whole.aggr_expr().to_vec();
    let schema = whole.input_schema();
    Ok(AggregateExec::try_new(mode, groups, aggregates, filters, input, schema)?)
}

/// By window, then by the other group columns as they stand.
fn sorted(last: Arc<AggregateExec>, window: usize) -> Result<Arc<dyn ExecutionPlan>> {
    let groups = last.group_expr().output_exprs();
    let others = (0..groups.len()).filter(|column| *column != window);
    let order = [window].into_iter().chain(others).map(|column| PhysicalSortExpr {
        expr: groups[column].clone(),
        options: SortOptions::default(),
    });
    match LexOrdering::new(order) {
        Some(order) => Ok(Arc::new(SortExec::new(order, last))),
        None => Ok(last),
    }
}

/// The plan with another node in the place of one.
fn replace(
    plan: &Arc<dyn ExecutionPlan>,
    from: &Arc<dyn ExecutionPlan>,
    to: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let replaced = plan.clone().transform_down(|node| match Arc::ptr_eq(&node, from) {
        true => Ok(Transformed::new(
            to.clone(),
            true,
            datafusion::common::tree_node::TreeNodeRecursion::Jump,
        )),
        false => Ok(Transformed::no(node)),
    })?;
    Ok(replaced.data)
}
