//! The host side of each shader, by the same stem, and the list of them all.
//!
//! A kernel is a value: its text, the parts it is linked with, and the faults that the parity tests
//! plant in it. `Linker` joins it with the generated part of a pipeline; the twin that does the
//! same on the CPU stands in the kernel's own file.

pub mod link;

pub mod reduce;
pub mod group_dense;
pub mod group_hash;
pub mod settle;
pub mod rehash;
pub mod compact;
pub mod mark;
pub mod select;
pub mod scan;
pub mod append;
pub mod build;

pub use link::{GENERATED, Kernel, Linker, Shape};

/// All kernels.
pub const KERNELS: &[&Kernel] = &[
    &reduce::KERNEL,
    &group_dense::KERNEL,
    &group_hash::KERNEL,
    &settle::KERNEL,
    &rehash::KERNEL,
    &compact::KERNEL,
    &mark::KERNEL,
    &select::KERNEL,
    &scan::KERNEL,
    &append::KERNEL,
    &build::KERNEL,
];

/// Faults of parts, as those of kernels: part, the kernel they are noticed in, text, replacement.
pub const PART_FAULTS: &[(&str, &str, &str, &str)] = &[
    ("lib/place", "group_hash", "if (cell != k[i])", "if (i == 0u && cell != k[i])"),
    ("lib/place", "group_hash", "return entry + HEAD;", "return HEAD;"),
    ("lib/place", "rehash", "return entry + HEAD;", "return HEAD;"),
    ("lib/cells_t3", "group_hash", "atomicMax(&tab[at], cell)", "atomicMax(&tab[at], u64(1u))"),
    ("lib/cells_t3", "group_hash", "at + 1u, vec2<u32>(value.y", "at, vec2<u32>(value.y"),
    ("lib/cells_t3", "group_dense", "atomicAdd(&tab[at], cell", "atomicMax(&tab[at], cell"),
];
