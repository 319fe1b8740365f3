//! Calls of functions that are short for other expressions, written out, so that both sides have
//! them: `mod(a, b)` is `a % b`, `sign(x)` a CASE, a difference in days one of integers.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, binary_expr, lit, when};
use datafusion::prelude::col;

use super::comparable::{Operand, cast};
use super::operands::binary;
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

/// The type of `left % right`.
///
/// Errors: there is no remainder of such.
pub fn remainder_type(left: &DataType, right: &DataType) -> Result<DataType> {
    use arrow::datatypes::{Field, Schema};
    let types = [("l", left), ("r", right)];
    let fields = types.map(|(name, of)| Field::new(name, of.clone(), true));
    let schema = DFSchema::try_from(Schema::new(fields.to_vec()))?;
    let operand = |(name, of): (&str, &DataType)| Operand::new(col(name), of.clone());
    match binary(operand(types[0]), Operator::Modulo, operand(types[1])) {
        Some(mended) => mended.get_type(&schema),
        None => BinaryTypeCoercer::new(left, &Operator::Modulo, right).get_result_type(),
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
