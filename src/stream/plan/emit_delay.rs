//! `EMIT AFTER WINDOW CLOSE WITH DELAY`: a query that takes the watermarks of its streams as later
//! than they are, so that rows which are late by no more than the delay count, and results come so
//! much later.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, when};

use crate::stream::log::partition::WATERMARK;
use crate::stream::log::table::StreamTable;
use crate::stream::plan::window::columns::duration;
use crate::stream::time::emit::Emit;
use crate::stream::time::watermark::BEFORE_ALL;

/// The plan with the watermark before each row moved back by the delay of `emit`; all rules for
/// late rows go by it.
pub fn delayed(plan: LogicalPlan, emit: Option<Emit>) -> Result<LogicalPlan> {
    let delay_us = emit.map_or(0, Emit::delay_us);
    if delay_us == 0 {
        return Ok(plan);
    }
    let delayed = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
        let of_log = StreamTable::of(&scan.source).is_some_and(StreamTable::tells_watermark);
        if !of_log {
            return Ok(Transformed::no(node));
        }
        let columns = node.schema().iter().map(|(table, field)| {
            let column = Expr::from((table, field));
            match field.name() == WATERMARK {
                true => {
                    let earlier = earlier(column, field.data_type(), delay_us)?;
                    Ok(earlier.alias_qualified(table.cloned(), WATERMARK))
                }
                false => Ok(column),
            }
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(Transformed::yes(LogicalPlanBuilder::from(node).project(columns)?.build()?))
    })?;
    Ok(delayed.data)
}

/// A watermark moved back; the one before the first row is before all times already.
fn earlier(watermark: Expr, of: &DataType, by_us: i64) -> Result<Expr> {
    let zone = match of {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let at = |us| Expr::Literal(ScalarValue::TimestampMicrosecond(Some(us), zone.clone()), None);
    let first = watermark.clone().lt(at(BEFORE_ALL.saturating_add(by_us)));
    when(first, at(BEFORE_ALL)).otherwise(watermark - duration(by_us.saturating_mul(1_000), of))
}
