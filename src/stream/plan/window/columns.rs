//! The columns that a window function adds, and the intervals that windows are made of.

use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, Operator, Projection, lit};
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

/// What a window function's column tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Start,
    End,
    /// A millisecond before the end.
    Time,
}

/// Which bound of its windows a column of a projection is, and the windows' size in nanoseconds
/// where all have the same; `None` for other columns and projections.
///
/// Reads what `Windows::project` writes; a projection that only passes the columns on is none.
pub fn bound(projection: &Projection, column: usize) -> Option<(Bound, Option<i64>)> {
    let first = projection.expr.len().checked_sub(COLUMNS.len())?;
    let nth = column.checked_sub(first)?;
    let named = |(expr, name): (&Expr, &&str)| expr.schema_name().to_string() == **name;
    if !projection.expr[first..].iter().zip(&COLUMNS).all(named) {
        return None;
    }
    // The last instant is always computed there, and from the end.
    let Expr::BinaryExpr(last) = projection.expr[first + 2].clone().unalias() else { return None };
    let made = last.op == Operator::Minus && duration_ns(&last.right) == Some(MILLISECOND_NS);
    let size = match *last.left {
        Expr::BinaryExpr(end) if end.op == Operator::Plus => nanoseconds("size", &end.right).ok(),
        _ => None,
    };
    let bound = [Bound::Start, Bound::End, Bound::Time][nth];
    made.then_some((bound, size))
}
