//! Floats: arithmetic, rounding to whole numbers, conversions. The twins are the host's own
//! operations; the WGSL computes by integers, or natively where `lower` was told that is exact.

use super::bits::*;
use crate::expr::ir::{Fault, Prim, Rep};

fn f32_of(bits: u128) -> f32 {
    f32::from_bits(u32_of(bits))
}

fn f64_of(bits: u128) -> f64 {
    f64::from_bits(u64_of(bits))
}

fn of32(value: f32) -> u128 {
    u128::from(value.to_bits())
}

fn of64(value: f64) -> u128 {
    u128::from(value.to_bits())
}

/// A NaN as arithmetic hands it on.
fn quiet(value: f64) -> f64 {
    if value.is_nan() { f64::from_bits(value.to_bits() | 1 << 51) } else { value }
}

fn quiet32(value: f32) -> f32 {
    if value.is_nan() { f32::from_bits(value.to_bits() | 1 << 22) } else { value }
}

fn signum(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

/// 2^127: what an `i128` just does not hold.
const TWO_127: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;
const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

prims! { FLOAT_PRIMS:
    NEG_F32 = "neg_f32"(F32) -> F32: |a| a[0] ^ 1 << 31;
    NEG_F64 = "neg_f64"(F64) -> F64: |a| a[0] ^ 1 << 63;
    ABS_F32 = "abs_f32"(F32) -> F32: |a| a[0] & !(1 << 31);
    ABS_F64 = "abs_f64"(F64) -> F64: |a| a[0] & !(1 << 63);

    ADD_F32 = "add_f32"(F32, F32) -> F32: |a| of32(f32_of(a[0]) + f32_of(a[1]));
    SUB_F32 = "sub_f32"(F32, F32) -> F32: |a| of32(f32_of(a[0]) - f32_of(a[1]));
    MUL_F32 = "mul_f32"(F32, F32) -> F32: |a| of32(f32_of(a[0]) * f32_of(a[1]));
    DIV_F32 = "div_f32"(F32, F32) -> F32: |a| of32(f32_of(a[0]) / f32_of(a[1]));
    /// DataFusion raises for a negative number (not for -0.0).
    SQRT_F32 = "sqrt_f32"(F32) -> F32: |a| of32(f32_of(a[0]).sqrt()),
        ArithmeticOverflow if "is_negative_f32": |a| f32_of(a[0]) < 0.0;
    ADD_F64 = "add_f64"(F64, F64) -> F64: |a| of64(f64_of(a[0]) + f64_of(a[1]));
    SUB_F64 = "sub_f64"(F64, F64) -> F64: |a| of64(f64_of(a[0]) - f64_of(a[1]));
    MUL_F64 = "mul_f64"(F64, F64) -> F64: |a| of64(f64_of(a[0]) * f64_of(a[1]));
    DIV_F64 = "div_f64"(F64, F64) -> F64: |a| of64(f64_of(a[0]) / f64_of(a[1]));
    SQRT_F64 = "sqrt_f64"(F64) -> F64: |a| of64(f64_of(a[0]).sqrt()),
        ArithmeticOverflow if "is_negative_f64": |a| f64_of(a[0]) < 0.0;

    /// The adapter's own operations: only where it computes them exactly.
    NATIVE_ADD_F32 = "native_add_f32"(F32, F32) -> F32: |a| (ADD_F32.eval)(a);
    NATIVE_SUB_F32 = "native_sub_f32"(F32, F32) -> F32: |a| (SUB_F32.eval)(a);
    NATIVE_MUL_F32 = "native_mul_f32"(F32, F32) -> F32: |a| (MUL_F32.eval)(a);
    NATIVE_DIV_F32 = "native_div_f32"(F32, F32) -> F32: |a| (DIV_F32.eval)(a);

    TRUNC_F32 = "trunc_f32"(F32) -> F32: |a| of32(f32_of(a[0]).trunc());
    ROUND_F32 = "round_f32"(F32) -> F32: |a| of32(f32_of(a[0]).round());
    FLOOR_F32 = "floor_f32"(F32) -> F32: |a| of32(f32_of(a[0]).floor());
    CEIL_F32 = "ceil_f32"(F32) -> F32: |a| of32(f32_of(a[0]).ceil());
    TRUNC_F64 = "trunc_f64"(F64) -> F64: |a| of64(f64_of(a[0]).trunc());
    /// Half away from zero.
    ROUND_F64 = "round_f64"(F64) -> F64: |a| of64(f64_of(a[0]).round());
    FLOOR_F64 = "floor_f64"(F64) -> F64: |a| of64(f64_of(a[0]).floor());
    CEIL_F64 = "ceil_f64"(F64) -> F64: |a| of64(f64_of(a[0]).ceil());
    /// 0.0 for both zeros.
    SIGNUM_F32 = "signum_f32"(F32) -> F32: |a| {
        of32(signum(f64::from(f32_of(a[0]))) as f32)
    };
    SIGNUM_F64 = "signum_f64"(F64) -> F64: |a| of64(signum(f64_of(a[0])));

    F64_FROM_F32 = "f64_from_f32"(F32) -> F64: |a| of64(quiet(f64::from(f32_of(a[0]))));
    F32_FROM_F64 = "f32_from_f64"(F64) -> F32: |a| of32(quiet32(f64_of(a[0]) as f32));
    F64_FROM_I64 = "f64_from_i64"(I64) -> F64: |a| of64(s64(a[0]) as f64);
    F64_FROM_U64 = "f64_from_u64"(U64) -> F64: |a| of64(u64_of(a[0]) as f64);
    F64_FROM_I128 = "f64_from_i128"(I128) -> F64: |a| of64(s128(a[0]) as f64);
    F32_FROM_I64 = "f32_from_i64"(I64) -> F32: |a| of32(s64(a[0]) as f32);
    F32_FROM_U64 = "f32_from_u64"(U64) -> F32: |a| of32(u64_of(a[0]) as f32);
    /// Truncates toward zero; raises where the result does not fit, and for NaN.
    I64_FROM_F64 = "i64_from_f64"(F64) -> I64: |a| {
        let value = f64_of(a[0]);
        if (-TWO_127..TWO_127).contains(&value) { b64(value as i128 as i64) } else { 0 }
    },
        CastOverflow if "i64_from_f64_fails": |a| !(-TWO_63..TWO_63).contains(&f64_of(a[0]));
    U64_FROM_F64 = "i64_from_f64"(F64) -> U64: |a| (I64_FROM_F64.eval)(a),
        CastOverflow if "u64_from_f64_fails": |a| {
            let value = f64_of(a[0]);
            !(value > -1.0 && value < TWO_64)
        };
    I128_FROM_F64 = "i128_from_f64"(F64) -> I128: |a| {
        let value = f64_of(a[0]);
        if (-TWO_127..TWO_127).contains(&value) { value as i128 as u128 } else { 0 }
    },
        CastOverflow if "i128_from_f64_fails": |a| !(-TWO_127..TWO_127).contains(&f64_of(a[0]));
}

/// Needs the part for native binary64.
pub mod native {
    use crate::expr::prim::float::*;

    prims! { NATIVE_PRIMS:
        NATIVE_ADD_F64 = "native_add_f64"(F64, F64) -> F64: |a| (ADD_F64.eval)(a);
        NATIVE_SUB_F64 = "native_sub_f64"(F64, F64) -> F64: |a| (SUB_F64.eval)(a);
        NATIVE_MUL_F64 = "native_mul_f64"(F64, F64) -> F64: |a| (MUL_F64.eval)(a);
        NATIVE_DIV_F64 = "native_div_f64"(F64, F64) -> F64: |a| (DIV_F64.eval)(a);
    }
}
