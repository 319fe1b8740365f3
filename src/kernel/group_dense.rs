//! Grouped aggregation where the key is the index: few groups, folded in workgroup memory.

use std::sync::Arc;

use super::group_hash::Rounds;
use super::link::Kernel;
use crate::fragment::rounds as text;
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
        "lib/cell_t0",
        "lib/cells_t0",
        "lib/float_sum",
        "lib/float_bins",
        "lib/spill",
    ],
    faults: &[
        ("row < rows; row += stride", "row + 1u < rows; row += stride"),
        ("merge(first + 1u, group", "merge(1u, group"),
        ("merge_copies(entry * ENTRY + 1u", "merge_copies(first * ENTRY + 1u"),
        ("entry < GROUPS * COPIES", "entry < GROUPS"),
        ("group < GROUPS", "group + 1u < GROUPS"),
    ],
};

/// Bytes of workgroup memory that copies of a table may take.
const COPIED_BYTES: usize = 16 << 10;

/// Copies at most: more than lanes that run in step would not help.
const MOST_COPIES: usize = 32;

/// How often a workgroup has a table of so many words: a power of two.
fn copies(words: usize) -> usize {
    1 << (COPIED_BYTES / 4 / words.max(1)).clamp(1, MOST_COPIES).ilog2()
}

/// One round, as of `group_hash`; the table has `1 << packing.bits()` entries. Bindings: slot,
/// status, table, rows put down, and those to be played again; then the joins'.
pub fn program(rounds: &Rounds<'_>, round: u32) -> Arc<Program> {
    let Rounds { shape, aggregation, packing, .. } = rounds;
    let cells = rounds.cells();
    let entry = 1 + cells.count;
    let groups = 1usize << packing.bits();
    let process = rounds.process(round, &|emitter| {
        emitter.text.push_str(
            "    let place = key[0] & 0x7fffffffu;\n    \
             let s = (place * COPIES + own_copy) * ENTRY + 1u;\n    \
             let g = place * ENTRY + 1u;\n    loc_or(s - 1u, 1u);\n",
        );
        text::update(aggregation, &cells, round, "loc", emitter);
    });
    let own = rounds.own();
    let copies = copies(groups * entry * cells.words);
    let merge = text::merge(aggregation, &cells, round);
    let merge_copies = merge.replace("fn merge(", "fn merge_copies(").replace("tab_", "loc_");
    let generated = format!(
        "const GROUPS: u32 = {groups}u;\nconst ENTRY: u32 = {entry}u;\n\
         const COPIES: u32 = {copies}u;\nconst LOCAL_CELLS: u32 = {}u;\n\
         {}{}{}{merge}{merge_copies}{process}",
        groups * entry * copies,
        shape.declarations(2 + own),
        rounds.driving(),
        shape.generator().prelude(),
    );
    let cell_words = cells.words;
    let twin = rounds.twin(round, move |table, _, limbs| {
        let at = (limbs[0] & 0x7fff_ffff) as usize * entry * cell_words;
        table[at] = 1;
        Some(at + cell_words)
    });
    let played = if rounds.replay { ", replay" } else { "" };
    let label = shape.label(KERNEL.name, &format!("{groups} groups, round {round}{played}"));
    shape.linker.link(&KERNEL, label, &generated, shape.floats(), shape.bindings(own), twin)
}
