//! The index of a join's build side: how keys become places, as data, as WGSL and as twins.
//!
//! Integers are packed by the ranges that the build side's values have: a probe whose key is
//! outside of them has no match. Where the packed keys have hardly more values than there are
//! rows, they are their own places (`DIRECT`; a bit each where only existence is asked for,
//! `BITMAP`), else they are hashed; keys that do not fit 64 bits are hashed by all their words
//! and compared by their columns (`WIDE`). One text does it all, led by the arena's header: other
//! rows, or other constants, need no other program.

mod index;
mod payload;
mod text;
mod twin;

pub use index::{BITMAP, DIRECT, INDEX_HEADER, Index, Lookup, Range, WIDE};
pub use payload::place_payloads;
pub use text::{build_part, find_functions, marked, visit};
pub use twin::{build, find};
