//! The primitives of the expression language: for each the name of its WGSL function and its twin.
//!
//! The WGSL functions lie in `shaders/lib/`; which file holds which is told in `parts`. A primitive
//! never names a data type: `lower` chooses the one that does what DataFusion does for a type.
//! Widths below 32 bits are held in 32, sign or zero extended, and wrapped again where needed.

use crate::expr::ir::Prim;

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

mod bits;
pub mod compare;
pub mod date;
pub mod decimal;
pub mod float;
pub mod int;
#[cfg(test)]
mod tests;

pub use bits::bits_of;
pub use compare::*;
pub use date::*;
pub use decimal::*;
pub use float::*;
pub use int::*;

/// Every primitive that every tier has; those of `float::native` only tier T4 has.
pub fn all() -> Vec<&'static Prim> {
    [COMPARE_PRIMS, INT_PRIMS, DECIMAL_PRIMS, DATE_PRIMS, FLOAT_PRIMS].concat()
}
