//! Exclusive prefix sum of a slot's tile counts.

use std::sync::Arc;

use super::link::{Kernel, Linker};
use crate::record::{Access, Bound, Program};

pub const KERNEL: Kernel = Kernel {
    name: "scan",
    wgsl: include_str!("../../shaders/scan.wgsl"),
    parts: &["lib/grid", "lib/scan"],
    faults: &[
        ("carry += sum.y", "carry += sum.x"),
        ("start < n", "start + WORKGROUP < n"),
        ("carry + sum.x", "sum.x"),
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
    linker.link(&KERNEL, "scan".into(), "", (false, false), vec![Access::ReadWrite], twin)
}
