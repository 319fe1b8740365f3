//! Physical plans of a graph's parts: planned over slots by the stock rules, placed by ours.

use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::{QueryPlanner, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};

use crate::error::Result;
use crate::plan::{CpuExec, for_each_side, guard};
use crate::stream::exec::adaptive::{DevicePlan, SlotPlan};
use crate::stream::exec::in_order::{InOrderExec, OnePartition};
use crate::stream::exec::input::SlotPlanner;
use crate::stream::operator::steps::{Rows, Steps, filled};
use crate::stream::plan::asof::exec::AsOfPlanner;
use crate::stream::plan::display::shown;
use crate::stream::plan::order::LogOrder;
use crate::stream::plan::order::number::NumberPlanner;
use crate::stream::plan::order::sorted::SortedPlanner;
use crate::stream::plan::refuse::missing;

/// Plans the parts of one query.
pub struct Planner {
    session: SessionState,
    /// For plans that can be cut: one partition, aggregates in one step, without our own rule,
    /// which places the parts afterwards.
    stock: SessionState,
}

impl Planner {
    pub fn new(session: SessionState) -> Self {
        let rules = session.physical_optimizers().iter();
        let names = stock_rules();
        let rules = rules.filter(|rule| names.iter().any(|name| name == rule.name()));
        let first: Arc<dyn PhysicalOptimizerRule + Send + Sync> = Arc::new(OnePartition);
        let rules = std::iter::once(first).chain(rules.cloned());
        // One DISTINCT aggregate would become two, of which only the upper has the groups.
        let logical = session.optimizers().iter();
        let logical =
            logical.filter(|rule| rule.name() != "single_distinct_aggregation_to_group_by");
        // The whole query was told the order of its rows; a part does not see where they are from.
        let told = session.analyzer().rules.iter().filter(|rule| rule.name() != LogOrder::NAME);
        let mut config = session.config().clone();
        config.options_mut().execution.target_partitions = 1;
        let stock = SessionStateBuilder::new_from_existing(session.clone())
            .with_config(config)
            .with_analyzer_rules(told.cloned().collect())
            .with_optimizer_rules(logical.cloned().collect())
            .with_physical_optimizer_rules(rules.collect())
            .with_query_planner(Arc::new(Slots))
            .build();
        Self { session, stock }
    }

    /// A plan without state.
    pub async fn region(&self, plan: &LogicalPlan) -> Result<SlotPlan> {
        Ok(SlotPlan::new(self.place(self.physical(plan).await?)?))
    }

    /// The same where each run chooses its side.
    pub async fn region_of_sides(&self, plan: &LogicalPlan) -> Result<SlotPlan> {
        let physical = self.physical(plan).await?;
        let device = self.on_device(&physical)?;
        Ok(SlotPlan::new(self.place(physical)?).with(device))
    }

    /// An aggregate in steps; results come by the group column `first`, then by the others.
    pub async fn aggregate(&self, plan: &LogicalPlan, first: Option<&str>) -> Result<Steps> {
        let physical = self.physical(plan).await?;
        let refused = |why: &str| {
            let what = format!("an aggregate that {why} ({})", shown(plan));
            missing(what, "leave it to a batch query over the stream")
        };
        let of_rows =
            topmost_aggregate(&physical).and_then(|whole| Some((over_rows(&whole)?, whole)));
        let Some((aggregate, whole)) = of_rows else {
            return Err(refused("is planned in several steps"));
        };
        let partial =
            Arc::new(step(&aggregate, AggregateMode::Partial, aggregate.input().clone())?);
        let states = partial.schema();
        let (slot, input) = filled(&states, "open groups")?;
        let reduce = Arc::new(step(&aggregate, AggregateMode::PartialReduce, input)?);
        if reduce.schema() != states {
            return Err(refused("has partial states that do not merge"));
        }
        let reduce = (slot, SlotPlan::new(reduce));
        let (slot, input) = filled(&states, "final groups")?;
        let last = Arc::new(step(&aggregate, AggregateMode::Final, input)?);
        if last.schema() != whole.schema() {
            return Err(refused("has partial states that do not finish"));
        }
        let groups = aggregate.group_expr().expr().len();
        let last = sorted(last, first)?;
        let finish = (slot, SlotPlan::new(replace(&physical, &whole, last)?));
        let partial: Arc<dyn ExecutionPlan> = partial;
        let device = self.on_device(&partial)?;
        let placed = SlotPlan::new(self.place(partial.clone())?);
        let rows = match rows_of(&placed.plan) {
            Some(plan) => {
                // Where the device does not aggregate, it gives rows as the host does.
                let device = device.clone().map(|device| match rows_of(device.plan()) {
                    Some(rows) => device.running(rows),
                    None => device.giving(&states),
                });
                let plan = SlotPlan::new(plan).with(device);
                Some(Rows::new(plan, aggregate, &whole, &physical)?)
            }
            None => None,
        };
        let partial = placed.with(device);
        Ok(Steps { partial, reduce, finish, states, groups, rows })
    }

    /// Lets the rules that are ours place a plan.
    fn place(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let names = stock_rules();
        let rules = self.session.physical_optimizers().iter();
        let mut ours = rules.filter(|rule| !names.iter().any(|name| name == rule.name()));
        let config = self.session.config_options();
        Ok(ours.try_fold(plan, |plan, rule| rule.optimize(plan, config))?)
    }

    /// The plan for the device, where each run is to choose.
    fn on_device(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Option<DevicePlan>> {
        let sides = for_each_side(plan, self.session.config_options())?;
        Ok(sides.map(|(plan, measured)| DevicePlan::new(plan, measured)))
    }

    async fn physical(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let physical = self.stock.create_physical_plan(plan).await?;
        Ok(match physical.output_partitioning().partition_count() {
            1 => physical,
            _ => Arc::new(InOrderExec::new(physical)),
        })
    }
}

impl Rows {
    /// Of an aggregate over rows that a plan computes; it is all of the node `of` in the plan
    /// `whole`.
    fn new(
        plan: SlotPlan,
        aggregate: AggregateExec,
        of: &Arc<dyn ExecutionPlan>,
        whole: &Arc<dyn ExecutionPlan>,
    ) -> Result<Self> {
        let (slot, input) = filled(&plan.plan.schema(), "rows")?;
        let states = step(&aggregate, AggregateMode::Partial, input)?;
        let partial = (slot, SlotPlan::new(Arc::new(states)));
        let (slot, input) = filled(&of.schema(), "groups")?;
        let above = (slot, SlotPlan::new(replace(whole, of, input)?));
        Ok(Self { plan, partial, above, aggregate: Arc::new(aggregate) })
    }
}

/// The rows of an aggregate that was placed on the CPU.
fn rows_of(placed: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    if let Some(aggregate) = placed.downcast_ref::<AggregateExec>() {
        return Some(aggregate.input().clone());
    }
    let cpu = placed.downcast_ref::<CpuExec>()?;
    rows_of(cpu.children().first()?)
}

fn stock_rules() -> Vec<String> {
    PhysicalOptimizer::new().rules.iter().map(|rule| rule.name().to_string()).collect()
}

/// The stock planner, which knows slots too.
#[derive(Debug)]
struct Slots;

#[async_trait::async_trait]
impl QueryPlanner for Slots {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        state: &dyn Session,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![
            Arc::new(SlotPlanner),
            Arc::new(AsOfPlanner),
            Arc::new(NumberPlanner),
            Arc::new(SortedPlanner),
        ]);
        let plan = guard::in_force(plan.clone())?;
        planner.create_physical_plan(&plan, state).await
    }
}

/// The aggregate nearest to the result: those of subqueries over tables are below it.
fn topmost_aggregate(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    match plan.children().as_slice() {
        _ if plan.is::<AggregateExec>() => Some(plan.clone()),
        [below] => topmost_aggregate(below),
        _ => None,
    }
}

/// An aggregate in one step over rows, of a node that is one, or the last step of one.
fn over_rows(whole: &Arc<dyn ExecutionPlan>) -> Option<AggregateExec> {
    let own = whole.downcast_ref::<AggregateExec>()?;
    let of_rows = match own.mode() {
        AggregateMode::Single | AggregateMode::SinglePartitioned => own,
        AggregateMode::Final | AggregateMode::FinalPartitioned => {
            let mut below = own.input();
            while !below.is::<AggregateExec>() {
                let mut children = below.children();
                below = children.pop().filter(|_| children.is_empty())?;
            }
            let below = below.downcast_ref::<AggregateExec>()?;
            (*below.mode() == AggregateMode::Partial).then_some(below)?
        }
        AggregateMode::Partial | AggregateMode::PartialReduce => return None,
    };
    if of_rows.group_expr().has_grouping_set() {
        return None;
    }
    step(of_rows, AggregateMode::Single, of_rows.input().clone()).ok()
}

/// One step of an aggregate over another input.
fn step(
    whole: &AggregateExec,
    mode: AggregateMode,
    input: Arc<dyn ExecutionPlan>,
) -> Result<AggregateExec> {
    let over_rows = matches!(mode, AggregateMode::Partial | AggregateMode::Single);
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

/// By the group column `first`, then by the others as they stand.
fn sorted(last: Arc<AggregateExec>, first: Option<&str>) -> Result<Arc<dyn ExecutionPlan>> {
    let groups = last.group_expr().output_exprs();
    let schema = last.schema();
    let first = (0..groups.len()).find(|at| first == Some(schema.field(*at).name().as_str()));
    let others = (0..groups.len()).filter(|column| Some(*column) != first);
    let order = first.into_iter().chain(others).map(|column| PhysicalSortExpr {
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
        true => Ok(Transformed::new(to.clone(), true, TreeNodeRecursion::Jump)),
        false => Ok(Transformed::no(node)),
    })?;
    Ok(replaced.data)
}
