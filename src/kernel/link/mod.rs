//! How kernels become programs: parts are joined into one text, by tier, and what was linked is
//! kept for the shape of a query.

mod linker;
pub mod programs;
mod shape;

pub use linker::{GENERATED, Kernel, Linker, link, part};
pub use shape::Shape;
pub(super) use shape::{Views, with_arenas};
