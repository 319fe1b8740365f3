//! Comparisons, and maps to words whose unsigned order is the value's order.
//!
//! Floats are compared in IEEE 754's total order, as Arrow does: -NaN < -inf < ... < -0.0 < +0.0
//! < ... < inf < NaN; they are equal where all bits are. DataFusion's comparison operators, keys of
//! joins and groups take -0.0 for 0.0 first (`PLUS_ZERO`); its greatest, min and sort do not.

use super::bits::*;
use crate::expr::ir::{Prim, Rep};

/// A float's bits, moved so that their unsigned order is the total order.
fn order32(bits: u128) -> u32 {
    let bits = u32_of(bits);
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn order64(bits: u128) -> u64 {
    let bits = u64_of(bits);
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn unorder32(bits: u128) -> u32 {
    let bits = u32_of(bits);
    if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits }
}

fn unorder64(bits: u128) -> u64 {
    let bits = u64_of(bits);
    if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits }
}

prims! { COMPARE_PRIMS:
    EQ_B1 = "eq_b1"(B1, B1) -> B1: |a| u128::from(a[0] == a[1]);
    EQ_I32 = "eq_32"(I32, I32) -> B1: |a| u128::from(a[0] == a[1]);
    EQ_U32 = "eq_32"(U32, U32) -> B1: |a| u128::from(a[0] == a[1]);
    EQ_F32 = "eq_32"(F32, F32) -> B1: |a| u128::from(a[0] == a[1]);
    EQ_I64 = "eq_64"(I64, I64) -> B1: |a| u128::from(a[0] == a[1]);
    EQ_U64 = "eq_64"(U64, U64) -> B1: |a| u128::from(a[0] == a[1]);
    EQ_F64 = "eq_64"(F64, F64) -> B1: |a| u128::from(a[0] == a[1]);
    EQ_I128 = "eq_128"(I128, I128) -> B1: |a| u128::from(a[0] == a[1]);
    LT_B1 = "lt_b1"(B1, B1) -> B1: |a| u128::from(a[0] < a[1]);
    LT_I32 = "lt_i32"(I32, I32) -> B1: |a| u128::from(s32(a[0]) < s32(a[1]));
    LT_U32 = "lt_u32"(U32, U32) -> B1: |a| u128::from(a[0] < a[1]);
    LT_F32 = "lt_f32"(F32, F32) -> B1: |a| u128::from(order32(a[0]) < order32(a[1]));
    LT_I64 = "lt_i64"(I64, I64) -> B1: |a| u128::from(s64(a[0]) < s64(a[1]));
    LT_U64 = "lt_u64"(U64, U64) -> B1: |a| u128::from(a[0] < a[1]);
    LT_F64 = "lt_f64"(F64, F64) -> B1: |a| u128::from(order64(a[0]) < order64(a[1]));
    LT_I128 = "lt_i128"(I128, I128) -> B1: |a| u128::from(s128(a[0]) < s128(a[1]));
    LE_B1 = "le_b1"(B1, B1) -> B1: |a| u128::from(a[0] <= a[1]);
    LE_I32 = "le_i32"(I32, I32) -> B1: |a| u128::from(s32(a[0]) <= s32(a[1]));
    LE_U32 = "le_u32"(U32, U32) -> B1: |a| u128::from(a[0] <= a[1]);
    LE_F32 = "le_f32"(F32, F32) -> B1: |a| u128::from(order32(a[0]) <= order32(a[1]));
    LE_I64 = "le_i64"(I64, I64) -> B1: |a| u128::from(s64(a[0]) <= s64(a[1]));
    LE_U64 = "le_u64"(U64, U64) -> B1: |a| u128::from(a[0] <= a[1]);
    LE_F64 = "le_f64"(F64, F64) -> B1: |a| u128::from(order64(a[0]) <= order64(a[1]));
    LE_I128 = "le_i128"(I128, I128) -> B1: |a| u128::from(s128(a[0]) <= s128(a[1]));

    /// -0.0 becomes 0.0: for comparisons and for keys of joins and groups.
    PLUS_ZERO_F32 = "plus_zero_f32"(F32) -> F32: |a| if a[0] == 1 << 31 { 0 } else { a[0] };
    PLUS_ZERO_F64 = "plus_zero_f64"(F64) -> F64: |a| if a[0] == 1 << 63 { 0 } else { a[0] };

    /// Every NaN becomes the same one.
    ONE_NAN_F32 = "one_nan_f32"(F32) -> F32: |a| {
        if f32::from_bits(a[0] as u32).is_nan() { u128::from(f32::NAN.to_bits()) } else { a[0] }
    };
    ONE_NAN_F64 = "one_nan_f64"(F64) -> F64: |a| {
        if f64::from_bits(a[0] as u64).is_nan() { u128::from(f64::NAN.to_bits()) } else { a[0] }
    };

    ORDER_B1 = "u32_from_b1"(B1) -> U32: |a| a[0];
    ORDER_I32 = "order_i32"(I32) -> U32: |a| a[0] ^ 1 << 31;
    ORDER_U32 = "same_32"(U32) -> U32: |a| a[0];
    ORDER_F32 = "order_f32"(F32) -> U32: |a| u128::from(order32(a[0]));
    ORDER_I64 = "order_i64"(I64) -> U64: |a| a[0] ^ 1 << 63;
    ORDER_U64 = "same_64"(U64) -> U64: |a| a[0];
    ORDER_F64 = "order_f64"(F64) -> U64: |a| u128::from(order64(a[0]));
    /// The result is to be compared as four unsigned words, the highest first.
    ORDER_I128 = "order_i128"(I128) -> I128: |a| a[0] ^ 1 << 127;
    UNORDER_B1 = "b1_from_u32"(U32) -> B1: |a| u128::from(a[0] != 0);
    UNORDER_I32 = "order_i32"(U32) -> I32: |a| a[0] ^ 1 << 31;
    UNORDER_U32 = "same_32"(U32) -> U32: |a| a[0];
    UNORDER_F32 = "unorder_f32"(U32) -> F32: |a| u128::from(unorder32(a[0]));
    UNORDER_I64 = "order_i64"(U64) -> I64: |a| a[0] ^ 1 << 63;
    UNORDER_U64 = "same_64"(U64) -> U64: |a| a[0];
    UNORDER_F64 = "unorder_f64"(U64) -> F64: |a| u128::from(unorder64(a[0]));
    UNORDER_I128 = "order_i128"(I128) -> I128: |a| a[0] ^ 1 << 127;
}

/// Equality of two values of one rep; NULL if either is.
pub fn eq(rep: Rep) -> &'static Prim {
    match rep {
        Rep::B1 => &EQ_B1,
        Rep::I32 => &EQ_I32,
        Rep::U32 => &EQ_U32,
        Rep::F32 => &EQ_F32,
        Rep::I64 => &EQ_I64,
        Rep::U64 => &EQ_U64,
        Rep::F64 => &EQ_F64,
        Rep::I128 => &EQ_I128,
    }
}

/// Strictly less.
pub fn lt(rep: Rep) -> &'static Prim {
    match rep {
        Rep::B1 => &LT_B1,
        Rep::I32 => &LT_I32,
        Rep::U32 => &LT_U32,
        Rep::F32 => &LT_F32,
        Rep::I64 => &LT_I64,
        Rep::U64 => &LT_U64,
        Rep::F64 => &LT_F64,
        Rep::I128 => &LT_I128,
    }
}

/// Less or equal.
pub fn le(rep: Rep) -> &'static Prim {
    match rep {
        Rep::B1 => &LE_B1,
        Rep::I32 => &LE_I32,
        Rep::U32 => &LE_U32,
        Rep::F32 => &LE_F32,
        Rep::I64 => &LE_I64,
        Rep::U64 => &LE_U64,
        Rep::F64 => &LE_F64,
        Rep::I128 => &LE_I128,
    }
}

/// The map to words whose unsigned order, highest word first, is the order of the values.
pub fn ordered(rep: Rep) -> &'static Prim {
    match rep {
        Rep::B1 => &ORDER_B1,
        Rep::I32 => &ORDER_I32,
        Rep::U32 => &ORDER_U32,
        Rep::F32 => &ORDER_F32,
        Rep::I64 => &ORDER_I64,
        Rep::U64 => &ORDER_U64,
        Rep::F64 => &ORDER_F64,
        Rep::I128 => &ORDER_I128,
    }
}

/// The inverse of `ordered`.
pub fn unordered(rep: Rep) -> &'static Prim {
    match rep {
        Rep::B1 => &UNORDER_B1,
        Rep::I32 => &UNORDER_I32,
        Rep::U32 => &UNORDER_U32,
        Rep::F32 => &UNORDER_F32,
        Rep::I64 => &UNORDER_I64,
        Rep::U64 => &UNORDER_U64,
        Rep::F64 => &UNORDER_F64,
        Rep::I128 => &UNORDER_I128,
    }
}
