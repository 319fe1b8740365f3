//! The primitives of the expression language: for each the name of its WGSL function and its twin.
//!
//! The WGSL functions lie in `shaders/lib/`; which file holds which is told in `parts`. A primitive
//! never names a data type: `lower` chooses the one that does what DataFusion does for a type.
//! Widths below 32 bits are held in 32, sign or zero extended, and wrapped again where needed.

use crate::expr::ir::{Fault, Prim, Rep};

/// Declares primitives: the static, its WGSL function, its twin, and what makes a row fail.
macro_rules! prims {
    ($all:ident: $($(#[$doc:meta])*
        $name:ident = $wgsl:literal ($($arg:ident),*) -> $result:ident: $eval:expr
        $(, $fault:ident if $test:literal: $fails:expr)?;)*) => {
        $(
            $(#[$doc])*
            pub static $name: Prim = Prim {
                name: $wgsl,
                args: &[$(Rep::$arg),*],
                result: Rep::$result,
                eval: $eval,
                fails: prims!(@fails $($fault, $test, $fails)?),
            };
        )*
        /// All primitives of this family, for the tests that compare WGSL with its twins.
        pub static $all: &[&Prim] = &[$(&$name),*];
    };
    (@fails) => { None };
    (@fails $fault:ident, $test:literal, $fails:expr) => {
        Some(($test, $fails, Fault::$fault))
    };
}

pub mod compare;
pub mod date;
pub mod decimal;
pub mod float;
pub mod int;
#[cfg(test)]
mod tests;

pub use compare::*;
pub use date::*;
pub use decimal::*;
pub use float::*;
pub use int::*;

/// Every primitive that every tier has; those of `float::native` only tier T4 has.
pub fn all() -> Vec<&'static Prim> {
    [COMPARE_PRIMS, INT_PRIMS, DECIMAL_PRIMS, DATE_PRIMS, FLOAT_PRIMS].concat()
}

/// The signed number that the low 32 bits hold.
pub(crate) fn s32(bits: u128) -> i32 {
    bits as i32
}

/// The signed number that the low 64 bits hold.
pub(crate) fn s64(bits: u128) -> i64 {
    bits as i64
}

/// The signed number that all 128 bits hold.
pub(crate) fn s128(bits: u128) -> i128 {
    bits as i128
}

pub(crate) fn u32_of(bits: u128) -> u32 {
    bits as u32
}

pub(crate) fn u64_of(bits: u128) -> u64 {
    bits as u64
}

/// The bits of a signed 32-bit number.
pub(crate) fn b32(value: i32) -> u128 {
    u128::from(value as u32)
}

/// The bits of a signed 64-bit number.
pub(crate) fn b64(value: i64) -> u128 {
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
