//! Watermark filters of joins by an interval: rows that came late meet nothing.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, Result as DfResult};
use datafusion::logical_expr::{Join, LogicalPlan};

use super::interval::{conditions, filtered, limits};
use super::late::{self, is_event_time};
use super::watermark_bound;

/// The plan with a watermark filter on both sides of every join by an interval: a row of a stream
/// whose time the watermark before it has passed meets nothing, in a batch as in a stream.
pub fn with_watermark_filter(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Join(join) = &node else {
            // `FROM a, b WHERE ..`: the condition stands above the join.
            if let LogicalPlan::Filter(filter) = &node
                && let LogicalPlan::Join(join) = filter.input.as_ref()
                && join.join_type == JoinType::Inner
                && let Some((left, right)) = filtered_sides(&filtered(join, filter))?
            {
                let inner = LogicalPlan::Join(join.clone());
                let inner = inner.with_new_exprs(inner.expressions(), vec![left, right])?;
                let node = node.with_new_exprs(node.expressions(), vec![inner])?;
                return Ok(Transformed::yes(node));
            }
            return Ok(Transformed::no(node));
        };
        match filtered_sides(join)? {
            Some((left, right)) => {
                let node = node.with_new_exprs(node.expressions(), vec![left, right])?;
                Ok(Transformed::yes(node))
            }
            None => Ok(Transformed::no(node)),
        }
    })?;
    Ok(done.data)
}

/// The sides of a join by an interval with watermark filters, where one of them lacks its own.
fn filtered_sides(join: &Join) -> DfResult<Option<(LogicalPlan, LogicalPlan)>> {
    let times = conditions(join).into_iter().find_map(|expr| {
        let (left, right, _) = limits(join, &expr)?;
        let known = |side: &LogicalPlan, time: &Column| {
            watermark_bound::column(side, time).is_some() || is_event_time(side, time)
        };
        (known(&join.left, &left) && known(&join.right, &right)).then_some((left, right))
    });
    let Some((left, right)) = times else { return Ok(None) };
    let with = |side: &LogicalPlan, time: &Column| -> DfResult<Option<LogicalPlan>> {
        match watermark_bound::column(side, time) {
            Some(_) => Ok(None),
            None => late::with_watermark_filter(side, time).map(Some),
        }
    };
    match (with(&join.left, &left)?, with(&join.right, &right)?) {
        (None, None) => Ok(None),
        (one, other) => Ok(Some((
            one.unwrap_or_else(|| join.left.as_ref().clone()),
            other.unwrap_or_else(|| join.right.as_ref().clone()),
        ))),
    }
}
