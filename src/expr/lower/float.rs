//! Floats: the adapter's own operations where it computes them exactly, integers else.

use super::types::{Decimal, integer, within};
use super::*;

use datafusion::logical_expr::Operator;

use crate::expr::prim::{self, native};

/// Chooses between an adapter's own operations and those by integers.
pub(super) struct Floats {
    pub exact: FloatExactness,
}

/// The constant `value` as a float of `rep`.
pub(super) fn float(value: f64, rep: Rep) -> Expr {
    let bits = match rep {
        Rep::F32 => u128::from((value as f32).to_bits()),
        _ => u128::from(value.to_bits()),
    };
    Expr::literal(Some(bits), rep)
}

impl Floats {
    /// `left op right`; `None` for an operation that there is not.
    pub fn arithmetic(&self, op: Operator, left: Expr, right: Expr) -> Option<Expr> {
        let (narrow, exact) = (left.rep == Rep::F32, self.exact);
        let prim = match (op, narrow) {
            (Operator::Plus, true) if exact.f32_add_mul => &prim::NATIVE_ADD_F32,
            (Operator::Minus, true) if exact.f32_add_mul => &prim::NATIVE_SUB_F32,
            (Operator::Multiply, true) if exact.f32_add_mul => &prim::NATIVE_MUL_F32,
            (Operator::Divide, true) if exact.f32_div => &prim::NATIVE_DIV_F32,
            (Operator::Plus, false) if exact.f64_add_mul => &native::NATIVE_ADD_F64,
            (Operator::Minus, false) if exact.f64_add_mul => &native::NATIVE_SUB_F64,
            (Operator::Multiply, false) if exact.f64_add_mul => &native::NATIVE_MUL_F64,
            (Operator::Divide, false) if exact.f64_div => &native::NATIVE_DIV_F64,
            (Operator::Plus, true) => &prim::ADD_F32,
            (Operator::Minus, true) => &prim::SUB_F32,
            (Operator::Multiply, true) => &prim::MUL_F32,
            (Operator::Divide, true) => &prim::DIV_F32,
            (Operator::Plus, false) => &prim::ADD_F64,
            (Operator::Minus, false) => &prim::SUB_F64,
            (Operator::Multiply, false) => &prim::MUL_F64,
            (Operator::Divide, false) => &prim::DIV_F64,
            _ => return None,
        };
        Some(call2(prim, left, right))
    }

    pub fn multiply(&self, left: Expr, right: Expr) -> Option<Expr> {
        self.arithmetic(Operator::Multiply, left, right)
    }

    pub fn divide(&self, left: Expr, right: Expr) -> Option<Expr> {
        self.arithmetic(Operator::Divide, left, right)
    }

    /// `round(value, places)`: half away from zero of the product with a power of ten, which
    /// need not be exact.
    pub fn round(&self, value: Expr, places: i32) -> Option<Expr> {
        let round = if value.rep == Rep::F32 { &prim::ROUND_F32 } else { &prim::ROUND_F64 };
        if places == 0 {
            return Some(call1(round, value));
        }
        let factor = float(10_f64.powi(places), value.rep);
        let whole = call1(round, self.multiply(value, factor.clone())?);
        self.divide(whole, factor)
    }

    /// A decimal as a float: its integer, divided by the power of ten in binary64.
    pub fn of_decimal(&self, value: Expr, from: Decimal, narrow: bool) -> Option<Expr> {
        let whole = call1(&prim::F64_FROM_I128, from.wide(value));
        let power = float(10_f64.powi(i32::from(from.scale)), Rep::F64);
        let value = self.divide(whole, power)?;
        Some(if narrow { call1(&prim::F32_FROM_F64, value) } else { value })
    }

    /// A float as a decimal: multiplied by the power of ten in binary64, then rounded.
    pub fn to_decimal(&self, value: Expr, to: Decimal, safe: bool) -> Option<Expr> {
        // A cast that is safe would need the conversion's own test as a value.
        if safe || to.bits != 128 {
            return None;
        }
        let power = float(10_f64.powi(i32::from(to.scale)), Rep::F64);
        let whole = call1(&prim::ROUND_F64, self.multiply(power, binary64(value))?);
        let most = 10_i128.pow(u32::from(to.precision)) - 1;
        Some(within(call1(&prim::I128_FROM_F64, whole), -most, most, false))
    }
}

fn binary64(value: Expr) -> Expr {
    if value.rep == Rep::F32 { call1(&prim::F64_FROM_F32, value) } else { value }
}

/// A float, or an integer of any type, as a float of type `to`.
pub(super) fn to_float(value: Expr, from: &DataType, to: &DataType) -> Option<Expr> {
    let narrow = *to == DataType::Float32;
    Some(match (from, narrow) {
        (DataType::Float32, true) | (DataType::Float64, false) => value,
        (DataType::Float32, false) => call1(&prim::F64_FROM_F32, value),
        (DataType::Float64, true) => call1(&prim::F32_FROM_F64, value),
        _ => {
            let value = match (integer(from)?, value.rep) {
                (_, Rep::I32) => call1(&prim::I64_FROM_I32, value),
                (_, Rep::U32) => call1(&prim::I64_FROM_U32, value),
                _ => value,
            };
            let prim = match (value.rep, narrow) {
                (Rep::U64, true) => &prim::F32_FROM_U64,
                (Rep::U64, false) => &prim::F64_FROM_U64,
                (_, true) => &prim::F32_FROM_I64,
                (_, false) => &prim::F64_FROM_I64,
            };
            call1(prim, value)
        }
    })
}

/// A float truncated to an integer type, as a 64-bit integer that is yet to be narrowed.
pub(super) fn whole(value: Expr, unsigned: bool, safe: bool) -> Expr {
    let value = binary64(value);
    let prim = if unsigned { &prim::U64_FROM_F64 } else { &prim::I64_FROM_F64 };
    let whole = call1(prim, value.clone());
    if !safe {
        return whole;
    }
    // Strictly between these, by the total order, every number truncates into the type.
    let (low, high) = if unsigned {
        (float(-1.0, Rep::F64), float(18_446_744_073_709_551_616.0, Rep::F64))
    } else {
        // The next number below -2^63, for -2^63 itself fits.
        let below = f64::from_bits((-9_223_372_036_854_775_808.0_f64).to_bits() + 1);
        (float(below, Rep::F64), float(9_223_372_036_854_775_808.0, Rep::F64))
    };
    let inside = call2(&prim::LT_F64, low, value.clone()).and(call2(&prim::LT_F64, value, high));
    only_if(inside, whole)
}
