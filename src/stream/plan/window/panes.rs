//! The slides of windows that overlap: each row is in one.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::columns::{Edge, MILLISECOND_NS};
use super::edges::edge;
use super::lower;
use super::node::WindowNode;
use super::spec::{Function, Windows};
use crate::agg::udaf::merges_in_any_order;
use crate::error::Result;
use crate::plan::ExtensionNode;
use crate::stream::plan::watermark_filter::WatermarkFilterNode;

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

/// The plan with the slides of its overlapping windows in their place, in the same columns; `None`
/// where there are none, or the plan does more with the windows' columns than to pass them on.
pub fn slides(plan: &LogicalPlan) -> Result<Option<(LogicalPlan, Hop)>> {
    if let Some(node) = WindowNode::of(plan) {
        return of_windows(node);
    }
    match plan {
        LogicalPlan::Projection(node) => {
            let passes = |expr: &Expr| matches!(expr, Expr::Column(_));
            if !node.expr.iter().all(passes) {
                return Ok(None);
            }
        }
        LogicalPlan::Filter(node) => {
            let of_windows = |column: &&Column| edge(&node.input, column).is_some();
            if node.predicate.column_refs().iter().any(of_windows) {
                return Ok(None);
            }
        }
        LogicalPlan::SubqueryAlias(_) => {}
        _ if WatermarkFilterNode::of(plan).is_some() => {}
        _ => return Ok(None),
    }
    let Some((input, hop)) = slides(plan.inputs()[0])? else { return Ok(None) };
    Ok(Some((plan.with_new_exprs(plan.expressions(), vec![input])?, hop)))
}

fn of_windows(node: &WindowNode) -> Result<Option<(LogicalPlan, Hop)>> {
    let Windows { function, size_ns, step_ns, .. } = node.windows;
    let whole = size_ns > step_ns && size_ns % step_ns == 0;
    if function != Function::Hop || !whole || node.are_local() {
        return Ok(None);
    }
    let DataType::Timestamp(unit, _) = lower::window_type(node.input.schema(), &node.time)? else {
        return Ok(None);
    };
    let plan = lower::slides(&node.input, &node.time, &node.windows)?;
    Ok(Some((plan, Hop { size: size_ns / nanos(unit), step: step_ns / nanos(unit), unit })))
}

/// Whether an aggregate has the times of its windows as groups, and computes nothing of them.
pub fn passes_windows_on(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Aggregate(node) = plan else { return false };
    let of_windows =
        |expr: &Expr| expr.column_refs().iter().any(|column| edge(&node.input, column).is_some());
    let merges = |expr: &Expr| match expr.clone().unalias() {
        Expr::AggregateFunction(function) => {
            merges_in_any_order(&function.func) && function.params.order_by.is_empty()
        }
        _ => false,
    };
    node.group_expr.iter().all(|group| matches!(group, Expr::Column(_)) || !of_windows(group))
        && node.aggr_expr.iter().all(|expr| merges(expr) && !of_windows(expr))
}

/// The groups of an aggregate that are edges of windows, by name.
pub fn group_edges(aggregate: &LogicalPlan) -> Vec<(String, Edge)> {
    let columns = aggregate.schema().columns().into_iter();
    columns
        .filter_map(|column| Some((edge(aggregate, &column)?, column.name)))
        .map(|(edge, name)| (name, edge))
        .collect()
}
