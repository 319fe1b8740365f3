//! Numbers from the bits of a value and back.

use crate::expr::ir::Rep;

/// The signed number that the low 32 bits hold.
pub fn s32(bits: u128) -> i32 {
    bits as i32
}

/// The signed number that the low 64 bits hold.
pub fn s64(bits: u128) -> i64 {
    bits as i64
}

/// The signed number that all 128 bits hold.
pub fn s128(bits: u128) -> i128 {
    bits as i128
}

pub fn u32_of(bits: u128) -> u32 {
    bits as u32
}

pub fn u64_of(bits: u128) -> u64 {
    bits as u64
}

/// The bits of a signed 32-bit number.
pub fn b32(value: i32) -> u128 {
    u128::from(value as u32)
}

/// The bits of a signed 64-bit number.
pub fn b64(value: i64) -> u128 {
    u128::from(value as u64)
}

/// The bits of an expression's value for rep `rep`, which must hold it.
pub fn bits_of(value: i128, rep: Rep) -> u128 {
    match rep.words() {
        1 => u128::from(value as u32),
        2 => u128::from(value as u64),
        _ => value as u128,
    }
}
