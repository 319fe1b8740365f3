//! Streams under a UNION: each row goes by the watermark of its own stream and partition. Rows that
//! are in no log, those of tables and those that were joined or counted before, are never late.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Union, cast, lit,
};

use super::late::{self, contains_stream};
use super::watermark_bound;
use super::watermark_filter::log_column;
use crate::stream::log::partition::{HIDDEN, OFFSET, PARTITION, PROCESSED, WATERMARK};
use crate::stream::log::table::StreamTable;
use crate::stream::time::watermark::BEFORE_ALL;

/// Partitions of a stream are told apart from those of others by a multiple of this.
const PARTITIONS: i64 = 1 << 16;

/// The union with the logs of its streams, the log's columns carried to the top; `None` where no
/// row can be late.
pub fn log(union: &Union, time: &Column) -> Result<Option<LogicalPlan>> {
    let at = union.schema.index_of_column(time)?;
    let mut branches = Vec::with_capacity(union.inputs.len());
    for input in &union.inputs {
        let below = input.schema().columns().swap_remove(at);
        branches.push((late::log(input, &below)?, input));
    }
    let of_logs = branches.iter().filter_map(|(log, input)| {
        log.as_ref().map(|_| input.schema().field(at).data_type().clone())
    });
    let of_logs: Vec<DataType> = of_logs.collect();
    let Some(of_time) = of_logs.first() else { return Ok(None) };
    if let Some(other) = of_logs.iter().find(|other| *other != of_time) {
        return plan_err!(
            "windows over a UNION of streams go by times of one type, and {} is {of_time} and \
             {other}: declare the streams' times alike",
            time.name
        );
    }
    let (mut inputs, mut first) = (Vec::with_capacity(branches.len()), 0_i64);
    for (log, input) in &branches {
        let Ok(number) = i32::try_from(first) else {
            return plan_err!("a UNION has {} streams at most", i64::from(i32::MAX) / PARTITIONS);
        };
        let columns = input.schema().columns().into_iter().map(Expr::Column);
        let mut columns: Vec<Expr> = columns.collect();
        let hidden = match log {
            Some(log) => of_log(log, number)?,
            None => {
                columns[at] = as_time(&columns[at], input, of_time)?;
                of_no_log(of_time, number)
            }
        };
        let rows = LogicalPlanBuilder::from(log.as_ref().unwrap_or(input).clone());
        inputs.push(Arc::new(rows.project(columns.into_iter().chain(hidden))?.build()?));
        first += streams(input) * PARTITIONS;
    }
    Ok(Some(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
}

/// A time of a table in the type of the streams' times.
fn as_time(column: &Expr, input: &LogicalPlan, of_time: &DataType) -> Result<Expr> {
    let own = column.get_type(input.schema())?;
    let fits = match (&own, of_time) {
        (DataType::Timestamp(_, own), DataType::Timestamp(_, zone)) => own == zone,
        (own, _) => matches!(own, DataType::Null | DataType::Date32 | DataType::Date64),
    };
    match fits {
        _ if own == *of_time => Ok(column.clone()),
        true => Ok(cast(column.clone(), of_time.clone()).alias(column.schema_name().to_string())),
        false => plan_err!(
            "windows over a UNION go by times of one type, and {column} is {own} beside the \
             {of_time} of a stream: cast it"
        ),
    }
}

/// The log's columns of a branch that has one. Partitions are numbered through the whole union.
fn of_log(log: &LogicalPlan, first: i32) -> Result<Vec<Expr>> {
    let columns = [PARTITION, OFFSET, WATERMARK, PROCESSED].map(|name| {
        let column = Expr::Column(log_column(log.schema(), name)?);
        let number = name == PARTITION && first > 0;
        let column = if number { column + lit(first) } else { column };
        Ok(column.alias(name))
    });
    columns.into_iter().collect()
}

/// The same of a branch without a log.
fn of_no_log(of_time: &DataType, number: i32) -> Vec<Expr> {
    let zone = match of_time {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let before_all = Expr::Literal(ScalarValue::TimestampMicrosecond(Some(BEFORE_ALL), zone), None);
    let processed = ScalarValue::TimestampMicrosecond(None, None);
    vec![
        lit(number).alias(PARTITION),
        lit(0_i64).alias(OFFSET),
        before_all.alias(WATERMARK),
        Expr::Literal(processed, None).alias(PROCESSED),
    ]
}

/// How many scans of streams there are in a plan, one at least.
fn streams(plan: &LogicalPlan) -> i64 {
    fn count(plan: &LogicalPlan) -> i64 {
        let own = match plan {
            LogicalPlan::TableScan(scan) => i64::from(StreamTable::of(&scan.source).is_some()),
            _ => 0,
        };
        own + plan.inputs().into_iter().map(count).sum::<i64>()
    }
    count(plan).max(1)
}

/// The union with the times at which rows were processed; `None` where a row has none.
pub fn processed(
    union: &Union,
    log: impl Fn(&LogicalPlan) -> Result<Option<LogicalPlan>>,
) -> Result<Option<LogicalPlan>> {
    let mut inputs = Vec::with_capacity(union.inputs.len());
    for input in &union.inputs {
        let Some(rows) = log(input)? else { return Ok(None) };
        let shown = |column: &Column| !HIDDEN.contains(&column.name.as_str());
        let columns = input.schema().columns().into_iter().filter(shown).map(Expr::Column);
        let processed = Expr::Column(log_column(rows.schema(), PROCESSED)?).alias(PROCESSED);
        let columns = columns.chain([processed]).collect::<Vec<_>>();
        inputs.push(Arc::new(LogicalPlanBuilder::from(rows).project(columns)?.build()?));
    }
    Ok(Some(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
}

/// Whether a column is the event time of the streams in a union; times of derived streams and of
/// tables may stand among them.
pub fn is_event_time(union: &Union, time: &Column) -> bool {
    let Some(at) = union.schema.maybe_index_of_column(time) else { return false };
    let mut any = false;
    let all = union.inputs.iter().filter(|input| contains_stream(input)).all(|input| {
        let below = &input.schema().columns()[at];
        let own = late::is_event_time(input, below);
        any |= own;
        own || watermark_bound::column(input, below).is_some()
    });
    all && any
}
