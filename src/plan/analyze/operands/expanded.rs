//! Calls of functions that are short for other expressions, written out, so that both sides have
//! them: `mod(a, b)` is `a % b`, `sign(x)` a CASE, a difference in days one of integers.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, binary_expr, lit, when};

use super::binary::binary;
use super::operand::{Operand, cast};
use crate::plan::functions::dates::{DATE_DIFF, Unit};
use crate::plan::functions::numbers::{MOD, SIGN};

/// A call written out; `None` for those of other functions, and where it is left to the function.
pub(super) fn expanded(function: &ScalarFunction, schema: &DFSchema) -> Option<Expr> {
    let of = |expr: &Expr| Some(Operand::new(expr.clone(), expr.get_type(schema).ok()?));
    match (function.name(), function.args.as_slice()) {
        (MOD, [left, right]) => Some(remainder(of(left)?, of(right)?)),
        (SIGN, [number]) => sign(of(number)?),
        (DATE_DIFF, [end, start]) => days(of(start)?, of(end)?),
        (DATE_DIFF, [Expr::Literal(unit, _), start, end]) => {
            let is_day = Unit::of_literal(unit).is_ok_and(|unit| unit == Unit::Day);
            if is_day { days(of(start)?, of(end)?) } else { None }
        }
        _ => None,
    }
}

fn remainder(left: Operand, right: Operand) -> Expr {
    let plain = binary_expr(left.expr.clone(), Operator::Modulo, right.expr.clone());
    binary(left, Operator::Modulo, right).unwrap_or(plain)
}

/// Left to the function where the number must be computed once.
fn sign(number: Operand) -> Option<Expr> {
    let Operand { expr, data_type } = number;
    if expr.is_volatile() || !data_type.is_numeric() {
        return None;
    }
    let zero = lit(ScalarValue::new_zero(&data_type).ok()?);
    let mut above = expr.clone().gt(zero.clone());
    if data_type.is_floating() {
        let nan = ScalarValue::from(f64::NAN).cast_to(&data_type).ok()?;
        above = above.and(expr.clone().not_eq(lit(nan)));
    }
    let known = expr.clone().is_not_null();
    when(expr.lt(zero), lit(-1_i32)).when(above, lit(1_i32)).when(known, lit(0_i32)).end().ok()
}

/// Days from the date of one time to that of another.
fn days(start: Operand, end: Operand) -> Option<Expr> {
    let (start, end) = (day(start)?, day(end)?);
    Some(binary_expr(end, Operator::Minus, start))
}

/// The number of a date.
fn day(time: Operand) -> Option<Expr> {
    let local = DataType::Timestamp(TimeUnit::Microsecond, None);
    let date = match &time.data_type {
        DataType::Date32 => time.expr,
        DataType::Date64 | DataType::Null | DataType::Timestamp(_, None) => {
            cast(time.expr, &DataType::Date32)
        }
        // A rule behind this one sees to the zone.
        DataType::Timestamp(unit, Some(_)) => {
            cast(cast(time.expr, &DataType::Timestamp(*unit, None)), &DataType::Date32)
        }
        text if text.is_string() => cast(cast(time.expr, &local), &DataType::Date32),
        _ => return None,
    };
    Some(cast(cast(date, &DataType::Int32), &DataType::Int64))
}
