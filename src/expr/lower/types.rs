//! Integers and decimals by their types, and that a value keeps to the bounds of one.

use super::*;

use arrow::datatypes::DECIMAL128_MAX_SCALE;

use crate::expr::prim;

/// Bits of an integer type and whether it is signed.
pub(super) fn integer(data_type: &DataType) -> Option<(u32, bool)> {
    Some(match data_type {
        DataType::Int8 => (8, true),
        DataType::Int16 => (16, true),
        DataType::Int32 => (32, true),
        DataType::Int64 => (64, true),
        DataType::UInt8 => (8, false),
        DataType::UInt16 => (16, false),
        DataType::UInt32 => (32, false),
        DataType::UInt64 => (64, false),
        _ => return None,
    })
}

/// A decimal type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    /// Of its integer: 32, 64 or 128.
    pub bits: u32,
    pub precision: u8,
    pub scale: i8,
}

pub(super) fn decimal(data_type: &DataType) -> Option<Decimal> {
    Some(match *data_type {
        DataType::Decimal32(precision, scale) => Decimal { bits: 32, precision, scale },
        DataType::Decimal64(precision, scale) => Decimal { bits: 64, precision, scale },
        DataType::Decimal128(precision, scale) => Decimal { bits: 128, precision, scale },
        _ => return None,
    })
}

impl Decimal {
    /// Digits that the integer holds.
    pub fn max_precision(self) -> u8 {
        match self.bits {
            32 => 9,
            64 => 18,
            _ => 38,
        }
    }

    /// Extends a value to 128 bits.
    pub fn wide(self, value: Expr) -> Expr {
        match self.bits {
            32 => call1(&prim::I128_FROM_I64, call1(&prim::I64_FROM_I32, value)),
            64 => call1(&prim::I128_FROM_I64, value),
            _ => value,
        }
    }

    /// Takes a value of 128 bits that fits back to its width.
    pub fn narrow(self, value: Expr) -> Expr {
        match self.bits {
            32 => call1(&prim::I32_FROM_I64, call1(&prim::I64_FROM_I128, value)),
            64 => call1(&prim::I64_FROM_I128, value),
            _ => value,
        }
    }

    /// The result of one checked step, which overflows where the type's integer does.
    pub fn checked(self, value: Expr) -> Expr {
        match self.bits {
            128 => value,
            bits => {
                let limit = 1_i128 << (bits - 1);
                let bounds = vec![value, int(-limit, Rep::I128), int(limit - 1, Rep::I128)];
                Expr::call(&prim::BOUND_I128, bounds)
            }
        }
    }

    /// `value` times ten to the `power`, checked.
    pub fn scaled(self, value: Expr, power: u32) -> Expr {
        if power == 0 {
            return value;
        }
        let factor = int(10_i128.pow(power), Rep::I128);
        self.checked(call2(&prim::MUL_I128, value, factor))
    }

    /// Digits behind the point at most.
    pub fn max_scale(self) -> i8 {
        match self.bits {
            128 => DECIMAL128_MAX_SCALE,
            _ => self.max_precision() as i8,
        }
    }
}

/// `value` (signed 64 or 128 bits) if it lies between the bounds, else an overflow of the cast, or
/// NULL if the cast is safe.
pub(super) fn within(value: Expr, low: i128, high: i128, safe: bool) -> Expr {
    let rep = value.rep;
    let (low, high) = (int(low, rep), int(high, rep));
    if safe {
        let le = prim::le(rep);
        let inside = call2(le, low, value.clone()).and(call2(le, value.clone(), high));
        return only_if(inside, value);
    }
    let prim = match rep {
        Rep::I32 => &prim::RANGE_I32,
        Rep::U32 => &prim::RANGE_U32,
        Rep::I64 => &prim::RANGE_I64,
        Rep::U64 => &prim::RANGE_U64,
        _ => &prim::RANGE_I128,
    };
    Expr::call(prim, vec![value, low, high])
}
