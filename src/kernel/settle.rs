//! Between two rounds of a grouped aggregation: drops what is relative to a risen leading word.

use std::sync::Arc;

use super::{Kernel, Linker};
use crate::fragment::fold;
use crate::fragment::spec::Aggregation;
use crate::record::{Access, Bound, Program};

pub const KERNEL: Kernel = Kernel {
    name: "settle",
    wgsl: include_str!("../../shaders/settle.wgsl"),
    parts: &["lib/grid", "lib/slot", "lib/acc_wide", "lib/acc"],
    faults: &[("settle(entry + LIMBS);", ""), ("i < entries;", "i + 1u < entries;")],
};

/// Settles entries of `limbs` key words and `entry` words in all, after `round`; `None` where
/// nothing is relative. Bindings: slot, status, table. The twins of the group kernels keep states
/// settled at all times, so this one has nothing to do.
pub fn program(
    linker: &Linker,
    aggregation: &Aggregation,
    limbs: usize,
    entry: usize,
    round: u32,
) -> Option<Arc<Program>> {
    let settle = fold::settle(aggregation, round)?;
    let generated = format!(
        "const LOOKUPS: u32 = 0u;\nconst LIMBS: u32 = {limbs}u;\n\
         const ENTRY: u32 = {entry}u;\n{settle}"
    );
    let bindings = vec![Access::Read, Access::ReadWrite, Access::ReadWrite];
    let twin = Arc::new(|_: &mut Bound<'_>| Ok(()));
    let label = format!("settle<round {round}>");
    Some(linker.link(&KERNEL, label, &generated, (false, false), bindings, twin))
}
