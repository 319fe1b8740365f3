//! Which queries can run continuously, seen in the logical plan: one stream, filters and
//! projections, and aggregates that group by a window. What cannot is named.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};

use super::definition::Stream;
use super::table::StreamTable;
use super::window::{self, Bound};
use crate::error::{Error, Result};

/// A continuous query's shape.
#[derive(Debug, Clone)]
pub struct Shape {
    pub stream: Arc<Stream>,
    /// The lowest aggregate's window; `None` where rows go through one by one.
    pub window: Option<WindowKey>,
}

/// The group column that tells when a group is final.
#[derive(Debug, Clone)]
pub struct WindowKey {
    /// Its index among the group columns.
    pub column: usize,
    /// From the column's value to the window's end, in microseconds.
    pub to_end_us: i64,
}

/// The shape of a query that can run continuously; `None` where it names no stream.
///
/// Errors: a stream in a query that cannot, naming the first node that is in the way.
pub fn shape(plan: &LogicalPlan) -> Result<Option<Shape>> {
    let mut streams: Vec<Arc<Stream>> = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = StreamTable::of(&scan.source)
        {
            streams.push(table.stream.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let Some(stream) = streams.first().cloned() else { return Ok(None) };
    if streams.len() > 1 {
        let names: Vec<_> = streams.iter().map(|stream| stream.name.as_str()).collect();
        return Err(missing(&format!("a query that reads several streams ({})", names.join(", "))));
    }
    let window = windows(plan)?;
    Ok(Some(Shape { stream, window }))
}

fn missing(what: &str) -> Error {
    Error::User(format!(
        "{what} does not run continuously yet: a continuous query filters and projects one \
         stream, and groups by the window of TUMBLE, HOP or CUMULATE"
    ))
}

/// Checks the nodes from the top down; answers the lowest aggregate's window.
fn windows(plan: &LogicalPlan) -> Result<Option<WindowKey>> {
    let mut foreign = None;
    plan.apply_expressions(|expr| {
        expr.apply(|expr| {
            foreign = match expr {
                Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) => {
                    Some("a subquery in an expression")
                }
                Expr::WindowFunction(_) => Some("an OVER window"),
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            Ok(TreeNodeRecursion::Stop)
        })
    })?;
    if let Some(what) = foreign {
        return Err(missing(what));
    }
    match plan {
        LogicalPlan::TableScan(_) => Ok(None),
        LogicalPlan::Projection(node) => windows(&node.input),
        LogicalPlan::Filter(node) => windows(&node.input),
        LogicalPlan::SubqueryAlias(node) => windows(&node.input),
        LogicalPlan::Unnest(node) => windows(&node.input),
        LogicalPlan::Aggregate(node) => {
            let groups: Vec<_> = node.group_expr.iter().map(column).collect();
            grouped(plan, &node.input, &groups)
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let groups: Vec<_> = input.schema().columns().into_iter().map(Some).collect();
            grouped(plan, input, &groups)
        }
        LogicalPlan::Sort(_) => Err(missing("ORDER BY")),
        LogicalPlan::Limit(_) => Err(missing("LIMIT")),
        LogicalPlan::Join(_) => Err(missing("a join")),
        LogicalPlan::Union(_) => Err(missing("UNION")),
        LogicalPlan::Window(_) => Err(missing("an OVER window")),
        LogicalPlan::Distinct(_) => Err(missing("DISTINCT ON")),
        other => Err(missing(&other.display().to_string())),
    }
}

fn column(expr: &Expr) -> Option<Column> {
    match expr.clone().unalias() {
        Expr::Column(column) => Some(column),
        _ => None,
    }
}

fn grouped(
    plan: &LogicalPlan,
    input: &LogicalPlan,
    groups: &[Option<Column>],
) -> Result<Option<WindowKey>> {
    // The end first: it needs nothing else. A start is as good where the size is fixed.
    let traced: Vec<Option<(Bound, Option<i64>)>> =
        groups.iter().map(|group| group.as_ref().and_then(|column| trace(input, column))).collect();
    let end = |bound: &Option<(Bound, Option<i64>)>| match bound {
        Some((Bound::End, _)) => Some(0),
        Some((Bound::Time, _)) => Some(1_000),
        Some((Bound::Start, size_us)) => *size_us,
        None => None,
    };
    let key = (0..groups.len())
        .find_map(|column| Some(WindowKey { column, to_end_us: end(&traced[column])? }));
    let Some(key) = key else {
        return Err(match stream_below(input) {
            Some(stream) if stream.watermark.is_none() => Error::User(format!(
                "stream {} has no watermark, so no window ever closes: CREATE STREAM {} (.., \
                 WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)",
                stream.name, stream.name
            )),
            _ => missing(&format!("an aggregate that groups by no window ({})", plan.display())),
        });
    };
    Ok(Some(windows(input)?.unwrap_or(key)))
}

/// The stream that is read.
fn stream_below(plan: &LogicalPlan) -> Option<Arc<Stream>> {
    if let LogicalPlan::TableScan(scan) = plan {
        return StreamTable::of(&scan.source).map(|table| table.stream.clone());
    }
    plan.inputs().into_iter().find_map(stream_below)
}

/// Which bound of a window a column is, through everything that only passes it on; and the
/// windows' size in microseconds, where it is fixed.
fn trace(plan: &LogicalPlan, column: &Column) -> Option<(Bound, Option<i64>)> {
    match plan {
        LogicalPlan::Projection(node) => {
            let at = node.schema.maybe_index_of_column(column)?;
            if let Some((bound, size_ns)) = window::bound(node, at) {
                return over_log(&node.input).then_some((bound, size_ns.map(|ns| ns / 1_000)));
            }
            trace(&node.input, &self::column(&node.expr[at])?)
        }
        LogicalPlan::Filter(node) => trace(&node.input, column),
        LogicalPlan::SubqueryAlias(node) => {
            let at = node.schema.maybe_index_of_column(column)?;
            trace(&node.input, node.input.schema().columns().get(at)?)
        }
        LogicalPlan::Aggregate(node) => {
            let at = node.schema.maybe_index_of_column(column)?;
            trace(&node.input, &self::column(node.group_expr.get(at)?)?)
        }
        LogicalPlan::Distinct(Distinct::All(input)) => trace(input, column),
        _ => None,
    }
}

/// Whether the rows below carry their watermark, so that the late rule is in the plan.
fn over_log(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => {
            StreamTable::of(&scan.source).is_some_and(StreamTable::is_log)
        }
        _ => plan.inputs().into_iter().any(over_log),
    }
}
