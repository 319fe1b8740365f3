//! Between two rounds of a grouped aggregation: drops what is relative to a risen leading word.

use std::sync::Arc;

use super::link::{Kernel, Linker};
use crate::fragment::cells::Cells;
use crate::fragment::rounds;
use crate::fragment::spec::Aggregation;
use crate::record::{Access, Bound, Program};

pub const KERNEL: Kernel = Kernel {
    name: "settle",
    wgsl: include_str!("../../shaders/settle.wgsl"),
    parts: &["lib/grid", "lib/slot", "lib/acc_wide", "lib/cell_t0", "lib/cells_t0"],
    faults: &[("settle(entry + HEAD);", ""), ("i < entries;", "i + 1u < entries;")],
};

/// Settles entries of `head` cells before the states and `entry` cells in all, after `round`;
/// `None` where nothing is relative. Bindings: slot, status, table. The twins of the group kernels
/// keep states settled at all times, so this one has nothing to do.
pub fn program(
    linker: &Linker,
    aggregation: &Aggregation,
    cells: &Cells,
    (head, entry): (usize, usize),
    round: u32,
) -> Option<Arc<Program>> {
    let settle = rounds::settle(aggregation, cells, round)?;
    let generated = format!(
        "const LOOKUPS: u32 = 0u;\nconst HEAD: u32 = {head}u;\n\
         const ENTRY: u32 = {entry}u;\n{settle}"
    );
    let bindings = vec![Access::Read, Access::ReadWrite, Access::ReadWrite];
    let twin = Arc::new(|_: &mut Bound<'_>| Ok(()));
    let label = format!("settle<round {round}>");
    Some(linker.link(&KERNEL, label, &generated, (false, false), bindings, twin))
}
