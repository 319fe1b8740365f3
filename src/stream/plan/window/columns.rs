//! The columns that a window function adds, and the intervals that windows are made of.

use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, lit};
use datafusion::sql::sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments};

/// Names of the columns that a window function adds, in order.
pub const COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// `window_time` lies this far before `window_end`.
pub const MILLISECOND_NS: i64 = 1_000_000;

/// The column in `DESCRIPTOR(column)`; a bare column is taken as well.
pub fn descriptor(expr: ast::Expr) -> Result<ast::Expr> {
    let ast::Expr::Function(function) = &expr else { return Ok(expr) };
    let FunctionArguments::List(list) = &function.args else { return Ok(expr) };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(column))]
            if function.name.to_string().eq_ignore_ascii_case("descriptor") =>
        {
            Ok(column.clone())
        }
        _ => plan_err!("the time column is written DESCRIPTOR(column), not {expr}"),
    }
}

/// A constant interval of days or less.
pub fn nanoseconds(what: &str, expr: &Expr) -> Result<i64> {
    if let Some(nanoseconds) = duration_ns(expr) {
        return Ok(nanoseconds);
    }
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) = expr else {
        return plan_err!("the {what} is a constant INTERVAL, and {expr} is none");
    };
    let days = i64::from(value.days).checked_mul(86_400_000_000_000);
    match days.and_then(|days| days.checked_add(value.nanoseconds)) {
        Some(nanoseconds) if value.months == 0 => Ok(nanoseconds),
        Some(_) => plan_err!("the {what} is in days or less: months differ in length"),
        None => plan_err!("the {what} is out of range"),
    }
}

/// True for an interval given in days.
pub fn is_days(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _)
        if value.days != 0 && value.nanoseconds == 0)
}

pub fn interval(nanoseconds: i64) -> Expr {
    lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, nanoseconds))))
}

/// A whole number of a time's units: added without a calendar, which takes a tenth of the time
/// that an interval does.
pub fn duration(nanoseconds: i64, of: &DataType) -> Expr {
    match of {
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            lit(ScalarValue::DurationMillisecond(Some(nanoseconds / MILLISECOND_NS)))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            lit(ScalarValue::DurationMicrosecond(Some(nanoseconds / 1_000)))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            lit(ScalarValue::DurationNanosecond(Some(nanoseconds)))
        }
        _ => interval(nanoseconds),
    }
}

/// The nanoseconds of a duration that is a literal.
fn duration_ns(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::DurationMillisecond(value) => {
            value.and_then(|v| v.checked_mul(MILLISECOND_NS))
        }
        ScalarValue::DurationMicrosecond(value) => value.and_then(|v| v.checked_mul(1_000)),
        ScalarValue::DurationNanosecond(value) => *value,
        _ => None,
    }
}

/// What a window's column tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    Start,
    End,
    /// A millisecond before the end.
    Time,
}
