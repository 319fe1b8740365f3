//! Decimals that stay within the digits of their type, and a division that rounds.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, i256,
};
use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::{call, over_arrays};
use crate::agg::decimal::{Wide, column, digits, divided, power, too_long};

/// `value`, which must have no more digits than its type says.
pub fn within(value: Expr) -> Expr {
    call(Within { signature: Signature::any(1, Volatility::Immutable) }, vec![value])
}

/// `left / right` as `result`, rounded half away from zero.
pub fn quotient(left: Expr, right: Expr, result: DataType) -> Expr {
    let signature = Signature::any(2, Volatility::Immutable);
    call(Quotient { signature, result }, vec![left, right])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Within {
    signature: Signature,
}

impl ScalarUDFImpl for Within {
    fn name(&self) -> &str {
        "decimal_within"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(args[0].clone())
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_arrays(&args, |arrays| {
            let values = &arrays[0];
            match values.data_type() {
                DataType::Decimal32(..) => check::<Decimal32Type>(values)?,
                DataType::Decimal64(..) => check::<Decimal64Type>(values)?,
                DataType::Decimal128(..) => check::<Decimal128Type>(values)?,
                DataType::Decimal256(..) => check::<Decimal256Type>(values)?,
                other => return exec_err!("decimal_within of {other}"),
            }
            Ok(Arc::clone(values))
        })
    }
}

fn check<T: DecimalType + ArrowPrimitiveType<Native: Wide>>(values: &ArrayRef) -> Result<()> {
    let values = values.as_primitive::<T>();
    let precision = values.precision();
    let valid = |value: T::Native| T::is_valid_decimal_precision(value, precision);
    // What lies under a NULL may be anything: it is looked at only where something is too long.
    if values.values().iter().all(|&value| valid(value)) {
        return Ok(());
    }
    match values.iter().flatten().find(|&value| !valid(value)) {
        Some(value) => Err(too_long(value.wide(), values.data_type())),
        None => Ok(()),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Quotient {
    signature: Signature,
    result: DataType,
}

impl ScalarUDFImpl for Quotient {
    fn name(&self) -> &str {
        "decimal_quotient"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(self.result.clone())
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_arrays(&args, |arrays| {
            let [left, right] = arrays else { return exec_err!("decimal_quotient of two") };
            match self.result {
                DataType::Decimal32(..) => divide::<Decimal32Type>(left, right, &self.result),
                DataType::Decimal64(..) => divide::<Decimal64Type>(left, right, &self.result),
                DataType::Decimal128(..) => divide::<Decimal128Type>(left, right, &self.result),
                DataType::Decimal256(..) => divide::<Decimal256Type>(left, right, &self.result),
                ref other => exec_err!("decimal_quotient as {other}"),
            }
        })
    }
}

fn divide<T: DecimalType<Native: Wide>>(
    left: &ArrayRef,
    right: &ArrayRef,
    result: &DataType,
) -> Result<ArrayRef> {
    let (left, right) = (left.as_primitive::<T>(), right.as_primitive::<T>());
    let scale = digits(result).map_or(0, |(_, scale)| scale);
    let power_of = i32::from(scale) - i32::from(left.scale()) + i32::from(right.scale());
    let by = |exponent: i32| power(u8::try_from(exponent).unwrap_or(0));
    let (up, down) = (by(power_of), by(-power_of));
    let quotients = left.iter().zip(right.iter()).map(|pair| match pair {
        (Some(left), Some(right)) => rounded(left.wide(), right.wide(), up, down).map(Some),
        _ => Ok(None),
    });
    column(result, quotients)
}

/// `left * up / (right * down)`, rounded half away from zero.
fn rounded(left: i256, right: i256, up: i256, down: i256) -> Result<i256> {
    let zero = || DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None);
    // Most quotients need no more than 128 bits.
    let short = |value: i256, by: i256| value.to_i128()?.checked_mul(by.to_i128()?);
    if let (Some(above), Some(below)) = (short(left, up), short(right, down))
        && above != i128::MIN
        && below != i128::MIN
    {
        let (Some(whole), Some(rest)) = (above.checked_div(below), above.checked_rem(below)) else {
            return Err(zero());
        };
        let far = rest.abs() >= below.abs() - rest.abs();
        let step = if (above < 0) == (below < 0) { 1 } else { -1 };
        return Ok(i256::from_i128(if far { whole + step } else { whole }));
    }
    let overflow = || {
        let text = "decimal overflow: a quotient has more than 76 digits on the way";
        DataFusionError::Execution(text.to_string())
    };
    let above = left.checked_mul(up).ok_or_else(overflow)?;
    let below = right.checked_mul(down).ok_or_else(overflow)?;
    divided(above, below, true).ok_or_else(zero)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_and_wide_quotients_are_the_same() {
        let of = i256::from_i128;
        let one = i256::ONE;
        for (left, right) in [(1, 2), (-1, 2), (1, 3), (2, 3), (-2, 3), (5, 1), (0, 7)] {
            let narrow = rounded(of(left), of(right), one, one).unwrap();
            assert_eq!(Some(narrow), divided(of(left), of(right), true), "{left} / {right}");
        }
        assert!(rounded(one, of(0), one, one).is_err());
        let large = of(10_i128.pow(37));
        let third = rounded(large, large.wrapping_mul(of(3)), power(20), one).unwrap();
        assert_eq!(third, of(33_333_333_333_333_333_333));
    }
}
