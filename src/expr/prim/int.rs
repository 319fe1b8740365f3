//! Integers: wrapping and checked arithmetic, division, bits, changes of width.

use super::bits::*;
use crate::expr::ir::{Fault, Prim, Rep};

prims! { INT_PRIMS:
    ADD_I32 = "add_32"(I32, I32) -> I32: |a| b32(s32(a[0]).wrapping_add(s32(a[1])));
    ADD_U32 = "add_32"(U32, U32) -> U32: |a| b32(s32(a[0]).wrapping_add(s32(a[1])));
    ADD_I64 = "add_64"(I64, I64) -> I64: |a| b64(s64(a[0]).wrapping_add(s64(a[1])));
    ADD_U64 = "add_64"(U64, U64) -> U64: |a| b64(s64(a[0]).wrapping_add(s64(a[1])));
    SUB_I32 = "sub_32"(I32, I32) -> I32: |a| b32(s32(a[0]).wrapping_sub(s32(a[1])));
    SUB_U32 = "sub_32"(U32, U32) -> U32: |a| b32(s32(a[0]).wrapping_sub(s32(a[1])));
    SUB_I64 = "sub_64"(I64, I64) -> I64: |a| b64(s64(a[0]).wrapping_sub(s64(a[1])));
    SUB_U64 = "sub_64"(U64, U64) -> U64: |a| b64(s64(a[0]).wrapping_sub(s64(a[1])));
    MUL_I32 = "mul_32"(I32, I32) -> I32: |a| b32(s32(a[0]).wrapping_mul(s32(a[1])));
    MUL_U32 = "mul_32"(U32, U32) -> U32: |a| b32(s32(a[0]).wrapping_mul(s32(a[1])));
    MUL_I64 = "mul_64"(I64, I64) -> I64: |a| b64(s64(a[0]).wrapping_mul(s64(a[1])));
    MUL_U64 = "mul_64"(U64, U64) -> U64: |a| b64(s64(a[0]).wrapping_mul(s64(a[1])));
    NEG_I32 = "neg_32"(I32) -> I32: |a| b32(s32(a[0]).wrapping_neg());
    NEG_I64 = "neg_64"(I64) -> I64: |a| b64(s64(a[0]).wrapping_neg());

    /// Times and durations overflow as errors.
    ADD_CHECKED_I64 = "add_checked_i64"(I64, I64) -> I64: |a| {
        b64(s64(a[0]).wrapping_add(s64(a[1])))
    },
        ArithmeticOverflow if "add_i64_fails": |a| s64(a[0]).checked_add(s64(a[1])).is_none();
    SUB_CHECKED_I64 = "sub_checked_i64"(I64, I64) -> I64: |a| {
        b64(s64(a[0]).wrapping_sub(s64(a[1])))
    },
        ArithmeticOverflow if "sub_i64_fails": |a| s64(a[0]).checked_sub(s64(a[1])).is_none();
    /// A change to a finer unit of time.
    MUL_CHECKED_I64 = "mul_checked_i64"(I64, I64) -> I64: |a| {
        b64(s64(a[0]).wrapping_mul(s64(a[1])))
    },
        CastOverflow if "mul_i64_fails": |a| s64(a[0]).checked_mul(s64(a[1])).is_none();
    NEG_CHECKED_I64 = "neg_checked_i64"(I64) -> I64: |a| b64(s64(a[0]).wrapping_neg()),
        ArithmeticOverflow if "is_min_i64": |a| s64(a[0]) == i64::MIN;
    ABS_I32 = "abs_i32"(I32) -> I32: |a| b32(s32(a[0]).wrapping_abs()),
        ArithmeticOverflow if "is_min_i32": |a| s32(a[0]) == i32::MIN;
    ABS_I64 = "abs_i64"(I64) -> I64: |a| b64(s64(a[0]).wrapping_abs()),
        ArithmeticOverflow if "is_min_i64": |a| s64(a[0]) == i64::MIN;

    /// The second argument, which is to divide the first: zero raises, but only where both are
    /// present.
    DIVISOR_I32 = "divisor_32"(I32, I32) -> I32: |a| a[1],
        DivideByZero if "divisor_32_fails": |a| a[1] == 0;
    DIVISOR_U32 = "divisor_32"(U32, U32) -> U32: |a| a[1],
        DivideByZero if "divisor_32_fails": |a| a[1] == 0;
    DIVISOR_I64 = "divisor_64"(I64, I64) -> I64: |a| a[1],
        DivideByZero if "divisor_64_fails": |a| a[1] == 0;
    DIVISOR_U64 = "divisor_64"(U64, U64) -> U64: |a| a[1],
        DivideByZero if "divisor_64_fails": |a| a[1] == 0;
    /// Truncates toward zero; MIN / -1 raises. By zero: zero, which `DIVISOR` has raised for.
    DIV_I32 = "div_i32"(I32, I32) -> I32: |a| {
        b32(if a[1] == 0 { 0 } else { s32(a[0]).wrapping_div(s32(a[1])) })
    },
        ArithmeticOverflow if "div_i32_fails": |a| s32(a[0]) == i32::MIN && s32(a[1]) == -1;
    DIV_U32 = "div_u32"(U32, U32) -> U32: |a| a[0].checked_div(a[1]).unwrap_or(0);
    DIV_I64 = "div_i64"(I64, I64) -> I64: |a| {
        b64(if a[1] == 0 { 0 } else { s64(a[0]).wrapping_div(s64(a[1])) })
    },
        ArithmeticOverflow if "div_i64_fails": |a| s64(a[0]) == i64::MIN && s64(a[1]) == -1;
    DIV_U64 = "div_u64"(U64, U64) -> U64: |a| a[0].checked_div(a[1]).unwrap_or(0);
    /// Truncates toward zero; the divisor is known to be neither 0 nor -1.
    QUOT_I32 = "div_i32"(I32, I32) -> I32: |a| {
        b32(if a[1] == 0 { 0 } else { s32(a[0]).wrapping_div(s32(a[1])) })
    };
    QUOT_I64 = "div_i64"(I64, I64) -> I64: |a| {
        b64(if a[1] == 0 { 0 } else { s64(a[0]).wrapping_div(s64(a[1])) })
    };
    /// The sign is the dividend's; MIN % -1 is 0. By zero: the dividend.
    REM_I32 = "rem_i32"(I32, I32) -> I32: |a| {
        b32(if a[1] == 0 { s32(a[0]) } else { s32(a[0]).wrapping_rem(s32(a[1])) })
    };
    REM_U32 = "rem_u32"(U32, U32) -> U32: |a| a[0].checked_rem(a[1]).unwrap_or(a[0]);
    REM_I64 = "rem_i64"(I64, I64) -> I64: |a| {
        b64(if a[1] == 0 { s64(a[0]) } else { s64(a[0]).wrapping_rem(s64(a[1])) })
    };
    REM_U64 = "rem_u64"(U64, U64) -> U64: |a| a[0].checked_rem(a[1]).unwrap_or(a[0]);
    /// Rounds toward minus infinity; the second argument is positive.
    FLOOR_DIV_I64 = "floor_div_i64"(I64, I64) -> I64: |a| {
        b64(s64(a[0]).checked_div_euclid(s64(a[1])).unwrap_or(0))
    };
    /// From 0 to below the second argument, which is positive.
    FLOOR_MOD_I64 = "floor_mod_i64"(I64, I64) -> I64: |a| {
        b64(s64(a[0]).checked_rem_euclid(s64(a[1])).unwrap_or(s64(a[0])))
    };

    AND_I32 = "and_32"(I32, I32) -> I32: |a| a[0] & a[1];
    AND_U32 = "and_32"(U32, U32) -> U32: |a| a[0] & a[1];
    AND_I64 = "and_64"(I64, I64) -> I64: |a| a[0] & a[1];
    AND_U64 = "and_64"(U64, U64) -> U64: |a| a[0] & a[1];
    OR_I32 = "or_32"(I32, I32) -> I32: |a| a[0] | a[1];
    OR_U32 = "or_32"(U32, U32) -> U32: |a| a[0] | a[1];
    OR_I64 = "or_64"(I64, I64) -> I64: |a| a[0] | a[1];
    OR_U64 = "or_64"(U64, U64) -> U64: |a| a[0] | a[1];
    XOR_I32 = "xor_32"(I32, I32) -> I32: |a| a[0] ^ a[1];
    XOR_U32 = "xor_32"(U32, U32) -> U32: |a| a[0] ^ a[1];
    XOR_I64 = "xor_64"(I64, I64) -> I64: |a| a[0] ^ a[1];
    XOR_U64 = "xor_64"(U64, U64) -> U64: |a| a[0] ^ a[1];
    /// Shifts by the low bits of the second argument, as hardware does.
    SHL_I32 = "shl_32"(I32, I32) -> I32: |a| b32(s32(a[0]).wrapping_shl(u32_of(a[1])));
    SHL_U32 = "shl_32"(U32, U32) -> U32: |a| b32(s32(a[0]).wrapping_shl(u32_of(a[1])));
    SHL_I64 = "shl_by_64"(I64, I64) -> I64: |a| b64(s64(a[0]).wrapping_shl(u32_of(a[1])));
    SHL_U64 = "shl_by_64"(U64, U64) -> U64: |a| b64(s64(a[0]).wrapping_shl(u32_of(a[1])));
    SHR_I32 = "shr_i32"(I32, I32) -> I32: |a| b32(s32(a[0]).wrapping_shr(u32_of(a[1])));
    SHR_U32 = "shr_u32"(U32, U32) -> U32: |a| a[0] >> (a[1] & 31);
    SHR_I64 = "shr_by_i64"(I64, I64) -> I64: |a| b64(s64(a[0]).wrapping_shr(u32_of(a[1])));
    SHR_U64 = "shr_by_u64"(U64, U64) -> U64: |a| a[0] >> (a[1] & 63);

    /// The low 8 bits, sign extended: what is left of 32-bit arithmetic in an Int8.
    WRAP_I8 = "wrap_i8"(I32) -> I32: |a| b32(i32::from(a[0] as i8));
    WRAP_I16 = "wrap_i16"(I32) -> I32: |a| b32(i32::from(a[0] as i16));
    WRAP_U8 = "wrap_u8"(U32) -> U32: |a| a[0] & 0xff;
    WRAP_U16 = "wrap_u16"(U32) -> U32: |a| a[0] & 0xffff;

    /// The same bits, read as another type.
    U32_FROM_I32 = "same_32"(I32) -> U32: |a| a[0];
    I32_FROM_U32 = "same_32"(U32) -> I32: |a| a[0];
    U64_FROM_I64 = "same_64"(I64) -> U64: |a| a[0];
    I64_FROM_U64 = "same_64"(U64) -> I64: |a| a[0];
    I32_FROM_B1 = "u32_from_b1"(B1) -> I32: |a| a[0];
    U32_FROM_B1 = "u32_from_b1"(B1) -> U32: |a| a[0];
    I64_FROM_I32 = "i64_from_i32"(I32) -> I64: |a| b64(i64::from(s32(a[0])));
    I64_FROM_U32 = "i64_from_u32"(U32) -> I64: |a| a[0];
    U64_FROM_U32 = "i64_from_u32"(U32) -> U64: |a| a[0];
    /// The low 32 bits.
    I32_FROM_I64 = "low_32"(I64) -> I32: |a| u128::from(u32_of(a[0]));
    U32_FROM_I64 = "low_32"(I64) -> U32: |a| u128::from(u32_of(a[0]));
    U32_FROM_U64 = "low_32"(U64) -> U32: |a| u128::from(u32_of(a[0]));

    /// The first argument, which must lie between the others: else the cast overflows.
    RANGE_I32 = "range_i32"(I32, I32, I32) -> I32: |a| a[0],
        CastOverflow if "range_i32_fails": |a| {
            !(s32(a[1])..=s32(a[2])).contains(&s32(a[0]))
        };
    RANGE_U32 = "range_u32"(U32, U32, U32) -> U32: |a| a[0],
        CastOverflow if "range_u32_fails": |a| !(a[1]..=a[2]).contains(&a[0]);
    RANGE_I64 = "range_i64"(I64, I64, I64) -> I64: |a| a[0],
        CastOverflow if "range_i64_fails": |a| {
            !(s64(a[1])..=s64(a[2])).contains(&s64(a[0]))
        };
    RANGE_U64 = "range_u64"(U64, U64, U64) -> U64: |a| a[0],
        CastOverflow if "range_u64_fails": |a| !(a[1]..=a[2]).contains(&a[0]);
    /// As `RANGE`, for the result of checked arithmetic in a narrow type.
    BOUND_I32 = "bound_i32"(I32, I32, I32) -> I32: |a| a[0],
        ArithmeticOverflow if "range_i32_fails": |a| {
            !(s32(a[1])..=s32(a[2])).contains(&s32(a[0]))
        };
    BOUND_I64 = "bound_i64"(I64, I64, I64) -> I64: |a| a[0],
        ArithmeticOverflow if "range_i64_fails": |a| {
            !(s64(a[1])..=s64(a[2])).contains(&s64(a[0]))
        };
}
