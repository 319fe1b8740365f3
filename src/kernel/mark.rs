//! Filters and semi joins alone: a bit for each row of the slot.

use std::sync::Arc;

use super::link::{Kernel, Shape, with_arenas};
use crate::config::WORKGROUP;
use crate::record::{Bound, Program};

pub const KERNEL: Kernel = Kernel {
    name: "mark",
    wgsl: include_str!("../../shaders/mark.wgsl"),
    parts: &["lib/grid", "lib/hash", "lib/join", "lib/slot", "lib/acc_wide"],
    faults: &[
        ("if (row < rows)", "if (row + 1u < rows)"),
        ("passed = false;", ""),
        ("at >> 5u", "lane >> 5u"),
        ("tile * WORDS + lane", "tile * ITEMS + lane"),
    ],
};

/// Rows of one tile.
pub const TILE: u32 = 8 * WORKGROUP;

/// Bindings: slot, status, bits; then the joins'.
pub fn program(shape: &Shape) -> Arc<Program> {
    let generator = shape.generator();
    let process = generator.function("process", &|emitter| {
        emitter.text.push_str("    passed = true;\n");
    });
    let generated = format!("{}{}{process}", shape.declarations(3), generator.prelude());
    let job = shape.twin();
    let twin = Arc::new(move |bound: &mut Bound<'_>| {
        with_arenas(&job, bound, 1, |arenas, mut own| {
            let Some(bits) = own.pop() else { return };
            let rows = job.row_count(arenas);
            bits[..rows.div_ceil(32) as usize].fill(0);
            for row in 0..rows {
                job.process(arenas, row, &mut |_| bits[row as usize / 32] |= 1 << (row % 32));
            }
        });
        Ok(())
    });
    let label = shape.label(KERNEL.name, "");
    shape.linker.link(&KERNEL, label, &generated, shape.floats(), shape.bindings(1), twin)
}
