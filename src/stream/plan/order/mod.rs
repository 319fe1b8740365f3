//! The order of rows where a query's answer depends on it and the query does not tell it: rows of
//! equal keys come in the order of the log, those of files by file and row.
//!
//! DataFusion leaves such ties to chance: its sorts are not stable, and batches are dealt out to
//! several threads. Here what goes by an order (ROW_NUMBER, LAG, frames of rows, first_value,
//! array_agg, ORDER BY .. LIMIT) gets the columns of that order behind its own, so that any plan
//! gives the same rows. Keys that are equal are one key here, too: -0.0 is 0.0.

mod functions;
pub mod number;
mod place;
pub mod sorted;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::logical_expr::expr::Sort as SortKey;
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, Limit, LogicalPlan, Projection, Sort, Window,
};
use datafusion::optimizer::AnalyzerRule;

use crate::plan::ExtensionNode;
use crate::stream::equal::one_of_equals;
use functions::Need;
use place::{Names, PREFIX, Placed, by_content, placed};
use sorted::SortedNode;

/// Tells the order of rows wherever an answer depends on it.
#[derive(Debug)]
pub struct LogOrder;

impl LogOrder {
    pub const NAME: &str = "log_order";
}

impl AnalyzerRule for LogOrder {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        in_log_order(plan)
    }

    fn name(&self) -> &str {
        Self::NAME
    }
}

/// The plan with the order of rows told. Done twice, it is the same.
pub fn in_log_order(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut names = free_names(&plan)?;
    let done = plan.transform_up_with_subqueries(|node| match &node {
        LogicalPlan::Window(window) => over(window, &mut names),
        LogicalPlan::Aggregate(aggregate) => aggregated(aggregate, &mut names),
        LogicalPlan::Distinct(Distinct::On(distinct)) => distinct_on(distinct, &mut names),
        LogicalPlan::Limit(limit) => limited(limit, &mut names),
        LogicalPlan::Sort(sort) if sort.expr.len() > 1 || sort.fetch.is_some() => {
            let keys = one_of_each(&sort.expr, &sort.input)?;
            match sort.fetch.is_some() {
                true => Ok(sorted(&Sort { expr: keys, ..sort.clone() }, &mut names)?
                    .map_or_else(|| Transformed::no(node.clone()), Transformed::yes)),
                false if keys == sort.expr => Ok(Transformed::no(node)),
                false => {
                    let sort = Sort { expr: keys, ..sort.clone() };
                    Ok(Transformed::yes(LogicalPlan::Sort(sort)))
                }
            }
        }
        _ => Ok(Transformed::no(node)),
    })?;
    Ok(done.data)
}

/// The rows of a query in their order, as a table keeps them that is made of it.
pub fn rows_in_order(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let mut names = free_names(plan)?;
    if is_ordered(plan) {
        return Ok(first_rows(plan, &mut names)?.unwrap_or_else(|| plan.clone()));
    }
    let below = placed(plan, &mut names)?;
    let keys = behind(&[], &below);
    if keys.is_empty() {
        return Ok(plan.clone());
    }
    let input = Arc::new(below.plan);
    shown_as(LogicalPlan::Sort(Sort { expr: keys, input, fetch: None }), plan)
}

/// Whether a query tells the order of its rows.
fn is_ordered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Limit(_) => {
            plan.inputs().into_iter().all(is_ordered)
        }
        _ => false,
    }
}

/// Names that the plan has not.
fn free_names(plan: &LogicalPlan) -> Result<Names> {
    let mut next = 0;
    plan.apply_with_subqueries(|node| {
        for field in node.schema().fields() {
            let number = field.name().strip_prefix(PREFIX).and_then(|text| text.parse().ok());
            next = number.map_or(next, |number: usize| next.max(number + 1));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(Names(next))
}

/// The columns of an order that are not among the keys, as keys.
fn behind(keys: &[SortKey], placed: &Placed) -> Vec<SortKey> {
    let order = placed.order.iter().map(|column| Expr::Column(column.clone()));
    let order = order.filter(|column| !keys.iter().any(|key| key.expr == *column));
    order.map(|column| column.sort(true, false)).collect()
}

/// Keys of which equal ones are one.
fn one_of_each(keys: &[SortKey], input: &LogicalPlan) -> Result<Vec<SortKey>> {
    let one = |key: &SortKey| {
        let expr = one_of_equals(key.expr.clone(), input.schema())?;
        Ok(SortKey { expr, ..key.clone() })
    };
    keys.iter().map(one).collect()
}

/// Only the columns of another plan.
fn shown_as(plan: LogicalPlan, other: &LogicalPlan) -> Result<LogicalPlan> {
    let columns = other.schema().columns().into_iter().map(Expr::Column).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

/// OVER: functions that go by single rows get the order into their ORDER BY; for those that go by
/// rows of equal keys, and by the order among them, the rows are sorted before.
fn over(node: &Window, names: &mut Names) -> Result<Transformed<LogicalPlan>> {
    let whole = LogicalPlan::Window(node.clone());
    let mut exprs = Vec::new();
    for expr in &node.window_expr {
        exprs.push((functions::need(expr), functions::with_one_of_equals(expr, &node.input)?));
    }
    let first = exprs.iter().find(|(need, _)| *need == Need::Sort);
    let is_told = match first {
        Some((_, expr)) => is_sorted(&node.input, &functions::keys(expr), names)?,
        None => true,
    };
    if is_told && exprs.iter().all(|(need, _)| *need != Need::Keys) {
        let exprs: Vec<Expr> = exprs.into_iter().map(|(_, expr)| expr).collect();
        return match exprs == node.window_expr {
            true => Ok(Transformed::no(whole)),
            false => {
                let window = Window::try_new(exprs, node.input.clone())?;
                Ok(Transformed::yes(LogicalPlan::Window(window)))
            }
        };
    }
    let below = placed(&node.input, names)?;
    let with_order = |expr: &Expr| functions::ordered(expr, &|keys| behind(keys, &below));
    let (mut by_row, mut free, mut by_peers) = (Vec::new(), Vec::new(), Vec::new());
    for (need, expr) in &exprs {
        match need {
            Need::Keys => by_row.push(with_order(expr)?),
            Need::Nothing => free.push(expr.clone()),
            Need::Sort => by_peers.push(expr.clone()),
        }
    }
    let adds = by_row.iter().any(|expr| !node.window_expr.contains(expr));
    if !adds && is_told {
        return Ok(Transformed::no(whole));
    }
    let mut plan = below.plan.clone();
    for exprs in [by_row, free].into_iter().filter(|exprs| !exprs.is_empty()) {
        plan = LogicalPlan::Window(Window::try_new(exprs, Arc::new(plan))?);
    }
    if let Some(first) = by_peers.first() {
        let mut keys = functions::keys(first);
        keys.extend(behind(&keys, &below));
        plan = SortedNode::new(plan, functions::partitions(first), keys).plan();
        plan = LogicalPlan::Window(Window::try_new(by_peers, Arc::new(plan))?);
    }
    Ok(Transformed::yes(shown_as(plan, &whole)?))
}

/// Whether rows come by these keys, and behind them in their order.
fn is_sorted(plan: &LogicalPlan, keys: &[SortKey], names: &mut Names) -> Result<bool> {
    let Some(sorted) = SortedNode::of(plan) else { return Ok(false) };
    let is_told = behind(sorted.keys(), &placed(sorted.input(), names)?).is_empty();
    Ok(is_told && sorted.keys().starts_with(keys))
}

/// Aggregates that go by the order of rows.
fn aggregated(node: &Aggregate, names: &mut Names) -> Result<Transformed<LogicalPlan>> {
    let whole = LogicalPlan::Aggregate(node.clone());
    if !node.aggr_expr.iter().any(functions::goes_by_order) {
        return Ok(Transformed::no(whole));
    }
    let below = match node.aggr_expr.iter().any(functions::goes_by_row) {
        true => placed(&node.input, names)?,
        false => Placed { plan: node.input.as_ref().clone(), order: Vec::new() },
    };
    let mut exprs = Vec::new();
    for expr in &node.aggr_expr {
        let of_keys = |keys: &[SortKey]| -> Result<Vec<SortKey>> {
            let keys = one_of_each(keys, &node.input)?;
            let more = behind(&keys, &below);
            Ok(keys.into_iter().chain(more).collect())
        };
        exprs.push(functions::aggregate_in_order(expr, &of_keys)?);
    }
    if exprs == node.aggr_expr {
        return Ok(Transformed::no(whole));
    }
    let groups = node.group_expr.clone();
    let plan = Aggregate::try_new(Arc::new(below.plan), groups, exprs)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(plan)))
}

/// DISTINCT ON: the first row of each key.
fn distinct_on(node: &DistinctOn, names: &mut Names) -> Result<Transformed<LogicalPlan>> {
    let whole = LogicalPlan::Distinct(Distinct::On(node.clone()));
    let below = placed(&node.input, names)?;
    let mut keys = match &node.sort_expr {
        Some(keys) => keys.clone(),
        None => node.on_expr.iter().map(|key| key.clone().sort(true, false)).collect(),
    };
    let more = behind(&keys, &below);
    if more.is_empty() {
        return Ok(Transformed::no(whole));
    }
    keys.extend(more);
    let (on, select) = (node.on_expr.clone(), node.select_expr.clone());
    let node = DistinctOn::try_new(on, select, Some(keys), Arc::new(below.plan))?;
    Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::On(node))))
}

/// ORDER BY .. LIMIT: the first rows.
fn limited(node: &Limit, names: &mut Names) -> Result<Transformed<LogicalPlan>> {
    let whole = LogicalPlan::Limit(node.clone());
    match first_rows(&node.input, names)? {
        Some(input) => {
            let limit = Limit { input: Arc::new(input), ..node.clone() };
            Ok(Transformed::yes(LogicalPlan::Limit(limit)))
        }
        None => Ok(Transformed::no(whole)),
    }
}

/// The same plan, sorted to the last row where it is sorted.
fn first_rows(plan: &LogicalPlan, names: &mut Names) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Sort(sort) => sorted(sort, names),
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            let Some(input) = first_rows(plan.inputs()[0], names)? else { return Ok(None) };
            Ok(Some(plan.with_new_exprs(plan.expressions(), vec![input])?))
        }
        _ => Ok(None),
    }
}

fn sorted(sort: &Sort, names: &mut Names) -> Result<Option<LogicalPlan>> {
    // Where rows are joined, what they are tells them apart, and their tables are left alone.
    let below = match reads_one_table(&sort.input) {
        true => placed(&sort.input, names)?,
        false => by_content(&sort.input),
    };
    let mut keys = one_of_each(&sort.expr, &sort.input)?;
    keys.extend(behind(&keys, &below));
    if keys == sort.expr {
        return Ok(None);
    }
    let adds = below.plan.schema() != sort.input.schema();
    let input = Arc::new(below.plan);
    let plan = LogicalPlan::Sort(Sort { expr: keys, input, fetch: sort.fetch });
    Ok(Some(if adds { shown_as(plan, &sort.input)? } else { plan }))
}

fn reads_one_table(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Join(_) | LogicalPlan::Union(_) => false,
        LogicalPlan::Aggregate(_) => true,
        _ => plan.inputs().into_iter().all(reads_one_table),
    }
}
