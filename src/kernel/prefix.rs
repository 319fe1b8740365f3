//! Exclusive prefix sum of the tile counts of a group table that has few.

use std::sync::Arc;

use super::link::{Kernel, Linker};
use crate::record::{Access, Bound, Program};

pub const KERNEL: Kernel = Kernel {
    name: "prefix",
    wgsl: include_str!("../../shaders/prefix.wgsl"),
    parts: &["lib/grid", "lib/scan"],
    faults: &[
        ("counts[HEADER + lane] = sum.x", "counts[HEADER + lane] = 0u"),
        ("counts[1] = sum.y", "counts[1] = sum.x"),
    ],
};

/// Bindings: the counts.
pub fn program(linker: &Linker) -> Arc<Program> {
    let twin = Arc::new(|bound: &mut Bound<'_>| {
        let counts = &mut *bound.buffers[0];
        let mut sum = 0u32;
        for at in 0..counts[0] as usize {
            let count = counts[super::select::COUNTS_HEADER + at];
            counts[super::select::COUNTS_HEADER + at] = sum;
            sum = sum.wrapping_add(count);
        }
        counts[1] = sum;
        Ok(())
    });
    linker.link(&KERNEL, "prefix".into(), "", (false, false), vec![Access::ReadWrite], twin)
}
