//! The columns of a plan that are edges of windows.

use datafusion::common::Column;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};

use super::columns::Edge;
use super::node::WindowNode;
use crate::plan::ExtensionNode;
use crate::stream::plan::session::node::SessionNode;

/// The edge that a column is of a node which adds those of its windows to the columns of its
/// input.
fn added(input: &LogicalPlan, column: usize) -> Option<Edge> {
    let nth = column.checked_sub(input.schema().fields().len())?;
    [Edge::Start, Edge::End, Edge::Time].get(nth).copied()
}

/// The edge that a column is of a node's own windows.
pub fn own_edge(plan: &LogicalPlan, column: &Column) -> Option<Edge> {
    let at = plan.schema().maybe_index_of_column(column)?;
    match (WindowNode::of(plan), SessionNode::of(plan)) {
        (Some(node), _) => added(&node.input, at),
        (_, Some(node)) => added(&node.input, at),
        _ => None,
    }
}

/// The edge of a window that a column of a plan passes on.
pub fn edge(plan: &LogicalPlan, column: &Column) -> Option<Edge> {
    let at = plan.schema().maybe_index_of_column(column)?;
    let same = |input: &LogicalPlan| edge(input, input.schema().columns().get(at)?);
    let passed = |input: &LogicalPlan, expr: &Expr| match expr.clone().unalias() {
        Expr::Column(below) => edge(input, &below),
        _ => None,
    };
    match plan {
        LogicalPlan::Projection(node) => passed(&node.input, node.expr.get(at)?),
        LogicalPlan::Aggregate(node) => passed(&node.input, node.group_expr.get(at)?),
        LogicalPlan::SubqueryAlias(node) => same(&node.input),
        LogicalPlan::Distinct(Distinct::All(input)) => same(input),
        LogicalPlan::Union(node) => {
            let mut edges = node.inputs.iter().map(|input| same(input));
            let first = edges.next()??;
            edges.all(|edge| edge == Some(first)).then_some(first)
        }
        _ => own_edge(plan, column)
            .or_else(|| plan.inputs().into_iter().find_map(|input| edge(input, column))),
    }
}
