//! The build side of a hash join: rows chained by the hash of their key.

use std::sync::Arc;

use super::{Kernel, Linker};
use crate::fragment::spec::Table;
use crate::fragment::text::Generator;
use crate::fragment::twin;
use crate::record::{Access, Bound, Program};

pub const KERNEL: Kernel = Kernel {
    name: "build",
    wgsl: include_str!("../../shaders/build.wgsl"),
    parts: &["lib/grid", "lib/hash", "lib/acc_wide"],
    faults: &[
        ("row < rows; row += stride", "row + 1u < rows; row += stride"),
        ("atomicStore(&table[next + row], before)", "atomicStore(&table[next + row], 0u)"),
        ("key_hash(row) & mask", "row & mask"),
    ],
};

/// Bindings: the table's arena, of which the heads are zero.
pub fn program(linker: &Linker, table: &Table, null_equals_null: bool) -> Arc<Program> {
    let generated = Generator::build_part(table, null_equals_null);
    let table = table.clone();
    let twin = Arc::new(move |bound: &mut Bound<'_>| {
        twin::build(&table, null_equals_null, bound.buffers[0])
    });
    linker.link(&KERNEL, "build".into(), &generated, (false, false), vec![Access::ReadWrite], twin)
}
