//! Predicates, projections, keys and arguments, lowered once from DataFusion's physical
//! expressions and fused into the kernel that consumes them.

pub mod ir;
