//! Sums and differences of dates and timestamps.
//!
//! A date moved by a part of a day is a timestamp: Arrow drops the part. Whether a literal interval
//! has hours or less is seen; any other interval may have, so that the type never depends on rows.
//! Between a zone and none, or a zone and another, instants are subtracted.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator, binary_expr};

use super::operand::{Operand, cast, constant, finer};

/// The mended sum or difference; `None` where there is nothing to mend.
pub(super) fn arithmetic(left: Operand, op: Operator, right: Operand) -> Option<Expr> {
    use DataType::{Date32, Date64, Duration, Interval, Timestamp};
    let (l, r) = (left.data_type.clone(), right.data_type.clone());
    let plus = op == Operator::Plus;
    if !plus && op != Operator::Minus {
        return None;
    }
    let (left, right) = match (&l, &r) {
        (Date32 | Date64, Interval(_)) if may_have_hours(&right) => {
            (cast(left.expr, &Timestamp(TimeUnit::Nanosecond, None)), right.expr)
        }
        (Interval(_), Date32 | Date64) if plus && may_have_hours(&left) => {
            (left.expr, cast(right.expr, &Timestamp(TimeUnit::Nanosecond, None)))
        }
        (Date32 | Date64, Duration(unit)) => (cast(left.expr, &Timestamp(*unit, None)), right.expr),
        (Duration(unit), Date32 | Date64) if plus => {
            (left.expr, cast(right.expr, &Timestamp(*unit, None)))
        }
        (Date32 | Date64, Timestamp(unit, Some(zone))) if !plus => {
            (cast(left.expr, &Timestamp(*unit, Some(zone.clone()))), right.expr)
        }
        (Timestamp(unit, Some(zone)), Date32 | Date64) if !plus => {
            (left.expr, cast(right.expr, &Timestamp(*unit, Some(zone.clone()))))
        }
        (Timestamp(left_unit, left_zone), Timestamp(right_unit, right_zone))
            if !plus && left_zone != right_zone =>
        {
            let zone = left_zone.clone().or_else(|| right_zone.clone());
            let common = Timestamp(finer(*left_unit, *right_unit), zone);
            (cast(left.expr, &common), cast(right.expr, &common))
        }
        _ => return None,
    };
    Some(binary_expr(left, op, right))
}

/// False for literals, and sums of literals, that have no hours or less.
fn may_have_hours(interval: &Operand) -> bool {
    if interval.data_type == DataType::Interval(IntervalUnit::YearMonth) {
        return false;
    }
    has_hours(&interval.expr).unwrap_or(true)
}

/// Whether this is a duration in seconds of a number times a day's.
fn is_whole_days(expr: &Expr) -> bool {
    let Expr::Cast(cast) = expr else { return false };
    let Expr::BinaryExpr(BinaryExpr { op: Operator::Multiply, right, .. }) = cast.expr.as_ref()
    else {
        return false;
    };
    matches!(right.as_ref(), Expr::Literal(ScalarValue::Int64(Some(86_400)), _))
}

/// `None` for what is no literal.
fn has_hours(expr: &Expr) -> Option<bool> {
    match expr {
        // What DataFusion makes of a number of days: plans may come here again.
        Expr::Cast(cast) if is_whole_days(&cast.expr) => Some(false),
        Expr::Alias(alias) => has_hours(&alias.expr),
        Expr::Negative(inner) => has_hours(inner),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus | Operator::Minus, right }) => {
            Some(has_hours(left)? || has_hours(right)?)
        }
        Expr::Literal(..) | Expr::Cast(Cast { .. }) => Some(match constant(expr)? {
            ScalarValue::IntervalYearMonth(_) => false,
            ScalarValue::IntervalDayTime(value) => value.is_some_and(|v| v.milliseconds != 0),
            ScalarValue::IntervalMonthDayNano(value) => value.is_some_and(|v| v.nanoseconds != 0),
            _ => return None,
        }),
        _ => None,
    }
}
