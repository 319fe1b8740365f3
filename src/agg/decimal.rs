//! Decimals as integers of 256 bits: what is summed, averaged or divided in them has room, and is
//! held against the digits of its type at the end.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, i256,
};
use datafusion::common::{DataFusionError, Result, exec_err};

/// An integer of a decimal, as 256 bits and back.
pub trait Wide: Copy + Send + Sync + std::fmt::Debug + 'static {
    /// The same integer.
    fn wide(self) -> i256;
    /// The same integer, where it fits.
    fn narrow(value: i256) -> Option<Self>;
}

macro_rules! wide {
    ($($type:ty),*) => { $(
        impl Wide for $type {
            fn wide(self) -> i256 {
                i256::from_i128(self.into())
            }

            fn narrow(value: i256) -> Option<Self> {
                value.to_i128()?.try_into().ok()
            }
        }
    )* };
}
wide!(i32, i64, i128);

impl Wide for i256 {
    fn wide(self) -> i256 {
        self
    }

    fn narrow(value: i256) -> Option<Self> {
        Some(value)
    }
}

/// Precision and scale of a decimal type.
pub fn digits(data_type: &DataType) -> Option<(u8, i8)> {
    use DataType::{Decimal32, Decimal64, Decimal128, Decimal256};
    match *data_type {
        Decimal32(precision, scale) | Decimal64(precision, scale) => Some((precision, scale)),
        Decimal128(precision, scale) | Decimal256(precision, scale) => Some((precision, scale)),
        _ => None,
    }
}

/// Ten to a power.
pub fn power(exponent: u8) -> i256 {
    (0..exponent).fold(i256::ONE, |power, _| power.wrapping_mul(i256::from_i128(10)))
}

/// The largest integer of so many digits.
pub fn most(precision: u8) -> i256 {
    power(precision).wrapping_sub(i256::ONE)
}

/// `above / below`, rounded half away from zero, or cut; `None` for zero below.
pub fn divided(above: i256, below: i256, rounds: bool) -> Option<i256> {
    let whole = above.checked_div(below)?;
    if !rounds {
        return Some(whole);
    }
    let (size, rest) = (below.wrapping_abs(), above.checked_rem(below)?.wrapping_abs());
    if rest < size.wrapping_sub(rest) {
        return Some(whole);
    }
    let same = above.is_negative() == below.is_negative();
    let step = if same { i256::ONE } else { i256::MINUS_ONE };
    Some(whole.wrapping_add(step))
}

/// The error of an integer with more digits than its type has.
pub fn too_long(value: i256, data_type: &DataType) -> DataFusionError {
    let scale = digits(data_type).map_or(0, |(_, scale)| scale);
    let value = Decimal256Type::format_decimal(value, 76, scale);
    DataFusionError::Execution(format!(
        "decimal overflow: {value} has more digits than {data_type} holds"
    ))
}

/// A column of decimals out of their integers; its type may be one of sums on the way.
///
/// Errors: an integer of more digits than the type has.
pub fn column(
    data_type: &DataType,
    values: impl Iterator<Item = Result<Option<i256>>>,
) -> Result<ArrayRef> {
    match data_type {
        DataType::Decimal32(..) => narrowed::<Decimal32Type>(data_type, values),
        DataType::Decimal64(..) => narrowed::<Decimal64Type>(data_type, values),
        DataType::Decimal128(..) => narrowed::<Decimal128Type>(data_type, values),
        DataType::Decimal256(..) => narrowed::<Decimal256Type>(data_type, values),
        other => exec_err!("{other} is no decimal"),
    }
}

fn narrowed<T: DecimalType + ArrowPrimitiveType<Native: Wide>>(
    data_type: &DataType,
    values: impl Iterator<Item = Result<Option<i256>>>,
) -> Result<ArrayRef> {
    let Some((precision, scale)) = digits(data_type) else { return exec_err!("no decimal") };
    let narrow = |value: i256| match T::Native::narrow(value) {
        Some(value) if T::is_valid_decimal_precision(value, precision) => Ok(value),
        _ => Err(too_long(value, data_type)),
    };
    let values = values.map(|value| value?.map(narrow).transpose());
    let values: PrimitiveArray<T> = values.collect::<Result<_>>()?;
    Ok(Arc::new(values.with_precision_and_scale(precision, scale)?))
}

/// How averages of decimals come of their sums.
#[derive(Debug, Clone, Copy)]
pub struct Averager {
    /// By which a sum is multiplied, for the digits that an average has more.
    factor: i256,
    rounds: bool,
}

impl Averager {
    /// For sums of one type and averages of another.
    pub fn new(sum: &DataType, average: &DataType, rounds: bool) -> Result<Self> {
        let scales = digits(sum).zip(digits(average));
        let more = scales.and_then(|((_, from), (_, to))| u8::try_from(to - from).ok());
        match more {
            Some(more) => Ok(Self { factor: power(more), rounds }),
            None => exec_err!("no average of {sum} is {average}"),
        }
    }

    /// The average of `count` values.
    pub fn average(&self, sum: i256, count: u64) -> Result<Option<i256>> {
        let Some(above) = sum.checked_mul(self.factor) else {
            return exec_err!("decimal overflow: the sum of an average has more than 76 digits");
        };
        Ok(divided(above, i256::from_i128(count.into()), self.rounds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: i128) -> i256 {
        i256::from_i128(value)
    }

    #[test]
    fn quotients_round_half_away_from_zero() {
        for (above, below, rounded, cut) in [
            (1, 2, 1, 0),
            (-1, 2, -1, 0),
            (1, -2, -1, 0),
            (1, 3, 0, 0),
            (2, 3, 1, 0),
            (-2, 3, -1, 0),
            (5, 1, 5, 5),
            (7, 2, 4, 3),
        ] {
            assert_eq!(divided(of(above), of(below), true), Some(of(rounded)), "{above}/{below}");
            assert_eq!(divided(of(above), of(below), false), Some(of(cut)), "{above}/{below}");
        }
        assert_eq!(divided(of(1), of(0), true), None);
    }
}
