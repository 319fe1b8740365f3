//! Grouped aggregation where the key is the index: few groups, folded in workgroup memory.

use std::sync::Arc;

use super::Kernel;
use super::group_hash::{Rounds, TABLE_HEADER, entry_words};
use crate::fragment::fold;
use crate::record::Program;

pub const KERNEL: Kernel = Kernel {
    name: "group_dense",
    wgsl: include_str!("../../shaders/group_dense.wgsl"),
    parts: &[
        "lib/grid",
        "lib/hash",
        "lib/join",
        "lib/slot",
        "lib/acc_wide",
        "lib/acc",
        "lib/float_sum",
        "lib/float_bins",
        "lib/spill",
    ],
    faults: &[
        ("row < rows; row += stride", "row + 1u < rows; row += stride"),
        ("merge(group * ENTRY + 1u, TAB", "merge(1u, TAB"),
        ("group < GROUPS", "group + 1u < GROUPS"),
    ],
};

/// One round, as of `group_hash`; the table has `1 << packing.bits()` entries. Bindings: slot,
/// status, table, rows put down, and those to be played again; then the joins'.
pub fn program(rounds: &Rounds<'_>, round: u32) -> Arc<Program> {
    let Rounds { shape, aggregation, packing, .. } = rounds;
    let entry = entry_words(1, aggregation);
    let groups = 1usize << packing.bits();
    let process = rounds.process(round, &|emitter| {
        emitter.text.push_str(
            "    let s = (key[0] & 0x7fffffffu) * ENTRY + 1u;\n    let g = TAB + s;\n    \
             loc_or(s - 1u, 1u);\n",
        );
        fold::round_update(aggregation, round, "loc", emitter);
    });
    let own = rounds.own();
    let generated = format!(
        "const GROUPS: u32 = {groups}u;\nconst ENTRY: u32 = {entry}u;\n\
         const LOCAL_WORDS: u32 = {}u;\n{}{}{}{}{process}",
        groups * entry,
        shape.declarations(2 + own),
        rounds.driving(),
        shape.generator().prelude(),
        fold::round_merge(aggregation, round),
    );
    let twin = rounds.twin(round, move |table, _, limbs| {
        let at = TABLE_HEADER + (limbs[0] & 0x7fff_ffff) as usize * entry;
        table[at] = 1;
        Some(at + 1)
    });
    let played = if rounds.replay { ", replay" } else { "" };
    let label = shape.label(KERNEL.name, &format!("{groups} groups, round {round}{played}"));
    shape.linker.link(&KERNEL, label, &generated, shape.floats(), shape.bindings(own), twin)
}
