//! What cannot run continuously, and what to write instead.

use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;

use super::display::shown;
use super::streams::streams;
use super::subquery;
use crate::error::{Error, Result};
use crate::stream::plan::window::edges::edge;
use crate::stream::time::emit::Emit;

/// The error of what a continuous query cannot do, and what does it.
pub fn missing(what: impl std::fmt::Display, instead: &str) -> Error {
    Error::user(format!("{what} cannot run continuously: {instead}"))
}

/// Only aggregates give results that change.
pub fn final_only(emit: Option<Emit>, what: &str) -> Result<()> {
    match emit {
        Some(Emit::Update | Emit::Periodic { .. }) => Err(missing(
            format_args!("{what} with EMIT ON UPDATE or EMIT PERIODIC"),
            "its changes would need retractions; aggregates are given out again",
        )),
        _ => Ok(()),
    }
}

/// Subqueries that read streams are joins in disguise.
pub fn check(plan: &LogicalPlan) -> Result<()> {
    let mut reads = false;
    plan.apply_expressions(|expr| {
        expr.apply(|expr| {
            if let Some(subquery) = subquery::of(expr) {
                reads |= subquery::reads_stream(&subquery.subquery)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    match reads {
        true => Err(missing(
            "a subquery over a stream within an expression",
            "EXISTS and IN can, beside a stream and in WHERE; else join with the subquery, on \
             window_start and window_end or by an interval of times (l.ts BETWEEN r.ts AND r.ts + \
             INTERVAL '10' MINUTE)",
        )),
        false => Ok(()),
    }
}

/// Why the groups of an aggregate are never final.
pub fn never_final(plan: &LogicalPlan, input: &LogicalPlan) -> Error {
    let without = streams(input)
        .ok()
        .and_then(|streams| streams.into_iter().find(|stream| stream.watermark.is_none()));
    let by_window = |column: Column| edge(plan, &column).is_some();
    match without {
        Some(stream) => Error::user(format!(
            "stream {} has no watermark, so no window ever closes: CREATE STREAM {} (.., \
             WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)",
            stream.name, stream.name
        )),
        None if plan.schema().columns().into_iter().any(by_window) => missing(
            format_args!("windows of rows that no watermark follows ({})", shown(plan)),
            "they are never final: of a stream's __late rows, and of times that differ in their \
             clocks, windows are left to a batch query",
        ),
        None => missing(
            format_args!("an aggregate that groups by no window ({})", shown(plan)),
            "its groups are never final: group by window_start and window_end of TUMBLE, HOP, \
             CUMULATE or SESSION, or let changes out with EMIT ON UPDATE",
        ),
    }
}
