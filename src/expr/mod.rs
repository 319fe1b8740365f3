//! Predicates, projections, keys and arguments, lowered once from DataFusion's physical
//! expressions and fused into the kernel that consumes them.
//!
//! ```text
//!  PhysicalExpr ── lower ──► ir ──► wgsl   statements in the consuming kernel
//!                             │            calling shaders/lib, listed by `parts`
//!                             └──► eval    the same value on the host, by the twins of `prim`
//! ```
//!
//! What cannot be lowered exactly is declined with a reason; nothing here ever approximates.

pub mod eval;
pub mod ir;
pub mod lower;
pub mod parameters;
pub mod parts;
pub mod prim;
#[cfg(test)]
mod tests;
pub mod wgsl;
