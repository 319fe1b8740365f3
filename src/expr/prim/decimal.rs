//! Decimals: 128-bit integers with the overflow rules of Arrow's decimal kernels.

use super::bits::*;
use crate::expr::ir::{Fault, Prim, Rep};

/// Divides and rounds half away from zero; by zero: zero.
fn div_half(value: i128, by: i128) -> i128 {
    if by == 0 {
        return 0;
    }
    let (whole, rest) = (value.wrapping_div(by), value.wrapping_rem(by).unsigned_abs());
    match rest >= by.unsigned_abs() - rest {
        true if (value < 0) == (by < 0) => whole.wrapping_add(1),
        true => whole.wrapping_sub(1),
        false => whole,
    }
}

/// Divides and rounds half away from zero; `by` is a power of ten of at least ten.
fn div_round(value: i128, by: i128) -> i128 {
    if by == 0 {
        return 0;
    }
    let (quotient, rest) = (value.wrapping_div(by), value.wrapping_rem(by));
    let half = by / 2;
    if value >= 0 && rest >= half {
        quotient + 1
    } else if value < 0 && rest <= -half {
        quotient - 1
    } else {
        quotient
    }
}

prims! { DECIMAL_PRIMS:
    ADD_I128 = "add_i128"(I128, I128) -> I128: |a| a[0].wrapping_add(a[1]),
        ArithmeticOverflow if "add_i128_fails": |a| s128(a[0]).checked_add(s128(a[1])).is_none();
    SUB_I128 = "sub_i128"(I128, I128) -> I128: |a| a[0].wrapping_sub(a[1]),
        ArithmeticOverflow if "sub_i128_fails": |a| s128(a[0]).checked_sub(s128(a[1])).is_none();
    MUL_I128 = "mul_i128"(I128, I128) -> I128: |a| a[0].wrapping_mul(a[1]),
        ArithmeticOverflow if "mul_i128_fails": |a| s128(a[0]).checked_mul(s128(a[1])).is_none();
    /// A cast to a larger scale, whose result is known to fit.
    SCALE_I128 = "mul_i128"(I128, I128) -> I128: |a| a[0].wrapping_mul(a[1]);
    NEG_I128 = "neg_i128"(I128) -> I128: |a| a[0].wrapping_neg(),
        ArithmeticOverflow if "is_min_i128": |a| s128(a[0]) == i128::MIN;
    /// The minimum stays as it is.
    ABS_I128 = "abs_i128"(I128) -> I128: |a| s128(a[0]).unsigned_abs();
    /// As `DIVISOR_I64`.
    DIVISOR_I128 = "divisor_128"(I128, I128) -> I128: |a| a[1],
        DivideByZero if "divisor_128_fails": |a| a[1] == 0;
    /// Truncates toward zero; MIN / -1 raises. By zero: zero.
    DIV_I128 = "div_i128"(I128, I128) -> I128: |a| {
        (if a[1] == 0 { 0 } else { s128(a[0]).wrapping_div(s128(a[1])) }) as u128
    },
        ArithmeticOverflow if "div_i128_fails": |a| {
            s128(a[0]) == i128::MIN && s128(a[1]) == -1
        };
    /// Truncates toward zero; the divisor is known to be neither 0 nor -1.
    QUOT_I128 = "div_i128"(I128, I128) -> I128: |a| {
        (if a[1] == 0 { 0 } else { s128(a[0]).wrapping_div(s128(a[1])) }) as u128
    };
    /// The sign is the dividend's; MIN % -1 raises, as Arrow's checked remainder does.
    REM_I128 = "rem_i128"(I128, I128) -> I128: |a| {
        (if a[1] == 0 { s128(a[0]) } else { s128(a[0]).wrapping_rem(s128(a[1])) }) as u128
    },
        ArithmeticOverflow if "div_i128_fails": |a| {
            s128(a[0]) == i128::MIN && s128(a[1]) == -1
        };
    /// A cast to a smaller scale: divides by a power of ten (at least ten), rounding half away
    /// from zero.
    DIV_ROUND_I128 = "div_round_i128"(I128, I128) -> I128: |a| {
        div_round(s128(a[0]), s128(a[1])) as u128
    };
    /// Rounds half away from zero; the divisor is known not to be zero, the dividend to be above
    /// the minimum.
    DIV_HALF_I128 = "div_half_i128"(I128, I128) -> I128: |a| {
        div_half(s128(a[0]), s128(a[1])) as u128
    };
    RANGE_I128 = "range_i128"(I128, I128, I128) -> I128: |a| a[0],
        CastOverflow if "range_i128_fails": |a| {
            !(s128(a[1])..=s128(a[2])).contains(&s128(a[0]))
        };
    /// As `RANGE_I128`, for the result of checked arithmetic in a narrow decimal.
    BOUND_I128 = "bound_i128"(I128, I128, I128) -> I128: |a| a[0],
        ArithmeticOverflow if "range_i128_fails": |a| {
            !(s128(a[1])..=s128(a[2])).contains(&s128(a[0]))
        };
    I128_FROM_I64 = "i128_from_i64"(I64) -> I128: |a| i128::from(s64(a[0])) as u128;
    I128_FROM_U64 = "i128_from_u64"(U64) -> I128: |a| a[0];
    I64_FROM_I128 = "low_64"(I128) -> I64: |a| u128::from(u64_of(a[0]));
    U64_FROM_I128 = "low_64"(I128) -> U64: |a| u128::from(u64_of(a[0]));
}
