//! Windows that overlap, as `window` plans them, read again: their slides, of which each row is in
//! one.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, Projection};

use super::columns::{Bound as Edge, COLUMNS, MILLISECOND_NS, duration, nanoseconds};
use super::panes;
use crate::error::Result;
use crate::stream::plan::late::late_rule;

/// The lengths of windows, in ticks of their times' type; the size is a multiple of the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    pub size: i64,
    pub step: i64,
    pub unit: TimeUnit,
}

impl Hop {
    /// An edge of the window, or pane, of this size that starts at a tick.
    pub fn edge(&self, edge: Edge, start: i64, size: i64) -> i64 {
        match edge {
            Edge::Start => start,
            Edge::End => start.saturating_add(size),
            Edge::Time => {
                start.saturating_add(size).saturating_sub(MILLISECOND_NS / nanos(self.unit))
            }
        }
    }

    /// A length in microseconds.
    pub fn us(&self, ticks: i64) -> i64 {
        ticks.saturating_mul(nanos(self.unit)) / 1_000
    }
}

fn nanos(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// Which edge of its window a column is, by its name.
pub fn edge(name: &str) -> Option<Edge> {
    let at = COLUMNS.iter().position(|column| *column == name)?;
    Some([Edge::Start, Edge::End, Edge::Time][at])
}

/// The plan with the slides of its overlapping windows in their place, in the same columns; `None`
/// where there are none, or the plan does more with the windows' columns than to pass them on.
pub fn slides(plan: &LogicalPlan) -> Result<Option<(LogicalPlan, Hop)>> {
    match plan {
        LogicalPlan::Projection(node) => {
            if let Some(found) = windows(node)? {
                return Ok(Some(found));
            }
            let passes = |expr: &Expr| matches!(expr, Expr::Column(_));
            if !node.expr.iter().all(passes) {
                return Ok(None);
            }
        }
        LogicalPlan::Filter(node) => {
            let is_own = |name: &str| edge(name).is_some();
            let asks = node.predicate.column_refs().iter().any(|column| is_own(&column.name));
            if asks && late_rule(&node.predicate).is_none() {
                return Ok(None);
            }
        }
        LogicalPlan::SubqueryAlias(_) => {}
        _ => return Ok(None),
    }
    let Some((input, hop)) = slides(plan.inputs()[0])? else { return Ok(None) };
    Ok(Some((plan.with_new_exprs(plan.expressions(), vec![input])?, hop)))
}

/// The same of the projection that makes the windows' columns.
fn windows(node: &Projection) -> Result<Option<(LogicalPlan, Hop)>> {
    let Some((list, close)) = parts(node) else { return Ok(None) };
    let Some((Expr::Alias(starts), columns)) = list.expr.split_last() else { return Ok(None) };
    let Expr::ScalarFunction(ScalarFunction { func, args }) = starts.expr.as_ref() else {
        return Ok(None);
    };
    let [first, Expr::BinaryExpr(second), ..] = args.as_slice() else { return Ok(None) };
    if func.name() != "make_array" || second.op != Operator::Minus || *second.left != *first {
        return Ok(None);
    }
    let (Ok(step), Ok(size)) = (nanoseconds("slide", &second.right), nanoseconds("size", &close))
    else {
        return Ok(None);
    };
    let time = node.schema.field(node.expr.len() - COLUMNS.len());
    let data_type = time.data_type().clone();
    let DataType::Timestamp(unit, _) = &data_type else { return Ok(None) };
    if step <= 0 || size != step.saturating_mul(args.len() as i64) {
        return Ok(None);
    }
    let (unit, [start, end, last]) = (*unit, COLUMNS);
    let over = first.clone() + duration(step, &data_type);
    let instant = over.clone() - duration(MILLISECOND_NS, &data_type);
    let made = [first.clone().alias(start), over.alias(end), instant.alias(last)];
    let columns = columns.iter().cloned().chain(made);
    let plan = LogicalPlanBuilder::from(list.input.as_ref().clone()).project(columns)?.build()?;
    let hop = Hop { size: size / nanos(unit), step: step / nanos(unit), unit };
    Ok(Some((plan, hop)))
}

/// The projection of the list of starts, and the size that is added to each.
fn parts(node: &Projection) -> Option<(&Projection, Expr)> {
    let first = node.expr.len().checked_sub(COLUMNS.len())?;
    let named = |(expr, name): (&Expr, &&str)| expr.schema_name().to_string() == **name;
    if !node.expr[first..].iter().zip(&COLUMNS).all(named) {
        return None;
    }
    let Expr::Alias(end) = &node.expr[first + 1] else { return None };
    let Expr::BinaryExpr(end) = end.expr.as_ref() else { return None };
    let LogicalPlan::Filter(filter) = node.input.as_ref() else { return None };
    let LogicalPlan::Unnest(unnest) = filter.input.as_ref() else { return None };
    let LogicalPlan::Projection(list) = unnest.input.as_ref() else { return None };
    (end.op == Operator::Plus).then(|| (list, end.right.as_ref().clone()))
}

/// Aggregates whose states are the same in any order of merging.
const MERGED: [&str; 10] =
    ["count", "sum", "avg", "min", "max", "bool_and", "bool_or", "bit_and", "bit_or", "bit_xor"];

/// Whether an aggregate has the times of its windows as groups, and computes nothing of them.
pub fn passes_windows_on(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Aggregate(node) = plan else { return false };
    let of_windows =
        |expr: &Expr| expr.column_refs().iter().any(|column| panes::edge(&column.name).is_some());
    let merges = |expr: &Expr| match expr.clone().unalias() {
        Expr::AggregateFunction(function) => {
            MERGED.contains(&function.func.name()) && function.params.order_by.is_empty()
        }
        _ => false,
    };
    node.group_expr.iter().all(|group| matches!(group, Expr::Column(_)) || !of_windows(group))
        && node.aggr_expr.iter().all(|expr| merges(expr) && !of_windows(expr))
}
