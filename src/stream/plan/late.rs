//! Which rows are late: a row counts in a window iff `window_end` is after the watermark before the
//! row, which the stream's log table has as a column.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, Result, plan_err};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias, lit,
};

use super::watermark_filter::{WatermarkFilterNode, log_column};
use super::window::node::WindowNode;
use super::{proctime, union};
use crate::plan::ExtensionNode;
use crate::stream::log::partition::HIDDEN;
use crate::stream::log::table::{StreamTable, View};
use crate::stream::plan::asof::node::AsOfNode;

/// The rows that watermark filters leave out, counted; on each way down by the first filter.
pub fn late_rows(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let mut all = Vec::new();
    left_out(plan, &mut all)?;
    let several = all.len() > 1;
    let mut rows = all.into_iter().map(|rows| match several {
        true => rows.project(vec![lit(1_i64).alias("late")]),
        false => Ok(rows),
    });
    let Some(first) = rows.next() else { return Ok(None) };
    let late = rows.try_fold(first?, |all, rows| all.union(rows?.build()?))?;
    Ok(Some(late.aggregate(Vec::<Expr>::new(), vec![count(lit(1_i64))])?.build()?))
}

fn left_out(plan: &LogicalPlan, all: &mut Vec<LogicalPlanBuilder>) -> Result<()> {
    if let Some(node) = WatermarkFilterNode::of(plan) {
        let input = LogicalPlanBuilder::from(node.input.clone());
        all.push(input.filter(Expr::Not(Box::new(node.predicate())))?);
        return Ok(());
    }
    plan.inputs().into_iter().try_for_each(|input| left_out(input, all))
}

/// The plan for rows of which none is late: without watermark filters, which would keep them all.
pub fn without_watermark_filter(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let without = plan.clone().transform_up(|node| match WatermarkFilterNode::of(&node) {
        Some(filter) => Ok(Transformed::yes(filter.input.clone())),
        None => Ok(Transformed::no(node)),
    })?;
    Ok(without.data)
}

/// The plan with the log table of its stream instead of the stream, the log's columns carried
/// to the top; `None` where no row can be late: no stream, one without a watermark, or one whose
/// rows an aggregate or a join has already joined to others (those of tables make no difference).
pub fn log(plan: &LogicalPlan, time: &Column) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let Some(table) = StreamTable::of(&scan.source) else { return Ok(None) };
            if table.view() == View::Late {
                return Ok(None); // what is asked for is what was late
            }
            let Some(watermark) = &table.stream.watermark else { return Ok(None) };
            let event_time = table.stream.schema.field(watermark.column).name();
            if *event_time != time.name {
                return plan_err!(
                    "windows over the stream {} go by its watermark column: DESCRIPTOR({}), \
                     not {}",
                    table.stream.name,
                    event_time,
                    time.name
                );
            }
            let source = table.log_source();
            let scan = LogicalPlanBuilder::scan(scan.table_name.clone(), source, None)?;
            Ok(Some(scan.build()?))
        }
        LogicalPlan::Projection(projection) => {
            let at = projection.schema.index_of_column(time)?;
            let below = projection.expr[at].clone().unalias();
            if proctime::is_call(&below) {
                return Ok(None); // by the time of processing nothing is late
            }
            let Expr::Column(below) = below else { return computed(plan, time) };
            let Some(input) = log(&projection.input, &below)? else { return Ok(None) };
            let columns = with_hidden(projection, &input)?;
            Ok(Some(LogicalPlanBuilder::from(input).project(columns)?.build()?))
        }
        LogicalPlan::Filter(filter) => {
            let Some(input) = log(&filter.input, time)? else { return Ok(None) };
            let input = LogicalPlanBuilder::from(input);
            Ok(Some(input.filter(filter.predicate.clone())?.build()?))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let at = alias.schema.index_of_column(time)?;
            let below = alias.input.schema().columns().swap_remove(at);
            let Some(input) = log(&alias.input, &below)? else { return Ok(None) };
            let alias = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
            Ok(Some(LogicalPlan::SubqueryAlias(alias)))
        }
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => {
            let Some(input) = log(plan.inputs()[0], time)? else { return Ok(None) };
            Ok(Some(plan.with_new_exprs(plan.expressions(), vec![input])?))
        }
        LogicalPlan::Join(_) => log_beside_tables(plan, time),
        LogicalPlan::Extension(_) => match row_by_row(plan) {
            Some(input) if input.schema().has_column(time) => {
                let Some(input) = log(input, time)? else { return Ok(None) };
                Ok(Some(plan.with_new_exprs(plan.expressions(), vec![input])?))
            }
            Some(input) => computed(input, time),
            None => log_beside_tables(plan, time),
        },
        LogicalPlan::Union(union) => union::log(union, time),
        _ => Ok(None),
    }
}

/// The columns of a projection over the log of a stream, and the log's own that tell which rows are
/// late.
fn with_hidden(projection: &Projection, input: &LogicalPlan) -> Result<Vec<Expr>> {
    let mut columns = projection.expr.clone();
    for name in HIDDEN {
        if !input.schema().has_column_with_unqualified_name(name) {
            continue;
        }
        let own = Expr::Column(log_column(input.schema(), name)?);
        match projection.schema.index_of_column_by_name(None, name) {
            None => columns.push(own),
            Some(at) if projection.expr[at].clone().unalias() == own => {}
            Some(_) => {
                return plan_err!(
                    "a column of a stream's rows is called {name}, as one of its log that tells \
                     which rows are late: give it another name"
                );
            }
        }
    }
    Ok(columns)
}

/// No log, as the time of rows is computed.
///
/// Errors: these are rows of a stream.
fn computed(plan: &LogicalPlan, time: &Column) -> Result<Option<LogicalPlan>> {
    match contains_stream(plan) {
        true => plan_err!(
            "windows over a stream go by its watermark column, and {} is computed",
            time.name
        ),
        false => Ok(None),
    }
}

/// The input of windows or a watermark filter, whose columns such a node passes on.
pub fn row_by_row(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    let windows = WindowNode::of(plan).map(|node| &node.input);
    windows.or_else(|| Some(&WatermarkFilterNode::of(plan)?.input))
}

/// The log of a stream whose rows stand beside those of tables.
fn log_beside_tables(plan: &LogicalPlan, time: &Column) -> Result<Option<LogicalPlan>> {
    let side = stream_side(plan).filter(|(_, side)| is_event_time(side, time));
    let Some((at, side)) = side else { return Ok(None) };
    let Some(input) = log(side, time)? else { return Ok(None) };
    let mut inputs: Vec<_> = plan.inputs().into_iter().cloned().collect();
    inputs[at] = input;
    Ok(Some(plan.with_new_exprs(plan.expressions(), inputs)?))
}

/// A plan over a stream without the rows that came when the watermark had passed their `time`,
/// the stream's event time.
pub fn with_watermark_filter(plan: &LogicalPlan, time: &Column) -> Result<LogicalPlan> {
    Ok(with_places(plan, time, true, &[])?.0)
}

/// The same with columns of the log, and what they are called; without the filter where it is not
/// asked for. The plan itself and no columns where no row can be late.
pub fn with_places(
    plan: &LogicalPlan,
    time: &Column,
    is_filtered: bool,
    places: &[&str],
) -> Result<(LogicalPlan, Vec<Column>)> {
    let Some(over_log) = log(plan, time)? else { return Ok((plan.clone(), Vec::new())) };
    let places = places
        .iter()
        .map(|name| log_column(over_log.schema(), name))
        .collect::<Result<Vec<_>>>()?;
    let shown = plan.schema().columns().into_iter().chain(places.clone()).map(Expr::Column);
    let shown: Vec<Expr> = shown.collect();
    let rows = match is_filtered {
        true => WatermarkFilterNode::new(over_log, time.clone())?.plan(),
        false => over_log,
    };
    Ok((LogicalPlanBuilder::from(rows).project(shown)?.build()?, places))
}

/// The side of a stream, and its place, where a node puts rows of tables beside each of its rows.
pub fn stream_side(plan: &LogicalPlan) -> Option<(usize, &LogicalPlan)> {
    use JoinType::{Inner, Left, LeftAnti, LeftSemi, Right, RightAnti, RightSemi};
    let (left, right, keeps) = match plan {
        LogicalPlan::Join(join) => {
            let left = matches!(join.join_type, Inner | Left | LeftSemi | LeftAnti);
            let right = matches!(join.join_type, Inner | Right | RightSemi | RightAnti);
            (join.left.as_ref(), join.right.as_ref(), [left, right])
        }
        _ => {
            let node = AsOfNode::of(plan)?;
            (&node.left, &node.right, [true, false])
        }
    };
    match (contains_stream(left), contains_stream(right)) {
        (true, false) if keeps[0] => Some((0, left)),
        (false, true) if keeps[1] => Some((1, right)),
        _ => None,
    }
}

pub fn contains_stream(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => StreamTable::of(&scan.source).is_some(),
        _ => plan.inputs().into_iter().any(contains_stream),
    }
}

/// Whether a column is a stream's event time, passed on as it is by nodes of single rows.
pub fn is_event_time(plan: &LogicalPlan, time: &Column) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => StreamTable::of(&scan.source).is_some_and(|table| {
            let rule = table.stream.watermark.as_ref();
            rule.is_some_and(|rule| *table.stream.schema.field(rule.column).name() == time.name)
        }),
        LogicalPlan::Filter(node) => is_event_time(&node.input, time),
        LogicalPlan::SubqueryAlias(node) => node
            .schema
            .maybe_index_of_column(time)
            .is_some_and(|at| is_event_time(&node.input, &node.input.schema().columns()[at])),
        LogicalPlan::Projection(node) => {
            let below = node.schema.maybe_index_of_column(time).map(|at| node.expr[at].clone());
            match below.map(Expr::unalias) {
                Some(Expr::Column(below)) => is_event_time(&node.input, &below),
                _ => false,
            }
        }
        LogicalPlan::Extension(_) if let Some(input) = row_by_row(plan) => {
            input.schema().has_column(time) && is_event_time(input, time)
        }
        LogicalPlan::Join(_) | LogicalPlan::Extension(_) => stream_side(plan)
            .filter(|(_, side)| side.schema().has_column(time))
            .is_some_and(|(_, side)| is_event_time(side, time)),
        LogicalPlan::Union(node) => union::is_event_time(node, time),
        _ => false,
    }
}
