//! Grouped aggregation through one open-addressing table.

use std::sync::Arc;

use super::{Kernel, Shape, with_arenas};
use crate::error::DeviceError;
use crate::fragment::arena::H_TABLE_MASK;
use crate::fragment::spec::{Aggregation, Key};
use crate::fragment::twin::{hash_end, hash_word};
use crate::fragment::{fold, key};
use crate::record::{Bound, Program};

pub const KERNEL: Kernel = Kernel {
    name: "group_hash",
    wgsl: include_str!("../../shaders/group_hash.wgsl"),
    parts: &[
        "lib/grid",
        "lib/hash",
        "lib/slot",
        "lib/acc_wide",
        "lib/acc",
        "lib/float_sum",
        "lib/float_bins",
        "lib/place",
    ],
    faults: &[
        ("row < rows; row += stride", "row + 1u < rows; row += stride"),
        ("atomicStore(&spill[SPILL + 2u * at], row);", "atomicStore(&spill[SPILL + 2u * at], 0u);"),
        ("2u * at + 1u], number);", "2u * at + 1u], 0u);"),
    ],
};

/// Words before the first entry of a group table, all spare.
pub const TABLE_HEADER: usize = 4;

/// Sizes of a hash table's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub limbs: usize,
    pub words: usize,
}

impl Entry {
    pub fn of(keys: &[Key], aggregation: &Aggregation) -> Self {
        let limbs = key::limbs(keys);
        Self { limbs, words: limbs + aggregation.words() + fold::shadows(aggregation) }
    }
}

/// Words of a list of spilled rows: their number, three spare, then two words each.
pub fn spill_words(rows: u32) -> u64 {
    SPILL_HEADER as u64 + 2 * rows as u64
}

pub const SPILL_HEADER: usize = 4;

/// Probes before a key is found to have no room: `PROBES_MAX` of `lib/place`.
pub const PROBES_MAX: u32 = 64;

/// One round: 1 adds keys and values, later ones what some accumulators need more. `replay` plays
/// the rows that a table had no room for. Bindings: slot, status, table, spilled rows, and those to
/// be played again; then the joins'.
pub fn program(
    shape: &Shape,
    keys: &Arc<Vec<Key>>,
    aggregation: &Arc<Aggregation>,
    round: u32,
    replay: bool,
) -> Arc<Program> {
    let entry = Entry::of(keys, aggregation);
    let generator = shape.generator();
    let process = process(shape, keys, aggregation, round, replay);
    let own = if replay { 3 } else { 2 };
    let driven = match replay {
        false => {
            "fn driving_rows() -> u32 {\n    return row_count();\n}\n\
             fn driven_row(i: u32) -> u32 {\n    return i;\n}\n"
        }
        true => {
            "@group(0) @binding(4) var<storage, read_write> again: array<u32>;\n\
             fn driving_rows() -> u32 {\n    return again[0];\n}\n\
             fn driven_row(i: u32) -> u32 {\n    wanted = again[SPILL + 2u * i + 1u];\n    \
             return again[SPILL + 2u * i];\n}\n"
        }
    };
    let generated = format!(
        "const LIMBS: u32 = {}u;\nconst ENTRY: u32 = {}u;\n{}{driven}{}{process}",
        entry.limbs,
        entry.words,
        shape.declarations(2 + own),
        generator.prelude(),
    );
    let (job, keys, folded) = (shape.twin(), keys.clone(), aggregation.clone());
    let twin = Arc::new(move |bound: &mut Bound<'_>| -> Result<(), DeviceError> {
        with_arenas(&job, bound, own, |arenas, mut own| {
            if round > 1 {
                return;
            }
            let again = replay.then(|| own.pop()).flatten();
            let (Some(spill), Some(table)) = (own.pop(), own.pop()) else { return };
            let mask = arenas.slot[H_TABLE_MASK];
            let rows = again.as_ref().map_or_else(|| job.row_count(arenas), |again| again[0]);
            for driven in 0..rows {
                let at = SPILL_HEADER + 2 * driven as usize;
                let (row, wanted) = match &again {
                    Some(again) => (again[at], again[at + 1]),
                    None => (driven, 0),
                };
                let (mut number, mut left) = (0, false);
                job.process(arenas, row, &mut |found| {
                    if !left && number >= wanted {
                        let limbs = found.limbs(&keys);
                        match place(table, mask, entry, &limbs) {
                            Some(at) => {
                                found.update(&folded, &mut table[at..at + folded.words()]);
                            }
                            None => {
                                put_down(spill, row, number);
                                left = true;
                            }
                        }
                    }
                    number += 1;
                });
            }
        });
        Ok(())
    });
    let played = if replay { ", replay" } else { "" };
    let label = shape.label(KERNEL.name, &format!("round {round}{played}"));
    shape.linker.link(&KERNEL, label, &generated, shape.floats(), shape.bindings(own), twin)
}

/// `process(row)` of one round.
fn process(
    shape: &Shape,
    keys: &[Key],
    aggregation: &Aggregation,
    round: u32,
    replay: bool,
) -> String {
    shape.generator().function("process", &|emitter| {
        let played = if replay { "number >= wanted" } else { "true" };
        emitter.text.push_str(&format!(
            "    let number = ordinal;\n    ordinal += 1u;\n    if ({played}) {{\n"
        ));
        key::emit_limbs(keys, emitter);
        let place = if round == 1 { "place" } else { "find" };
        let spilled = if round == 1 { "put_down(row, number);" } else { "" };
        emitter.text.push_str(&format!(
            "    let s = {place}(key, slot[2]);\n    let g = s;\n    if (s == NIL) {{\n        \
             {spilled}\n        return;\n    }}\n"
        ));
        fold::round_update(aggregation, round, "tab", emitter);
        emitter.text.push_str("    }\n");
    })
}

fn put_down(spill: &mut [u32], row: u32, number: u32) {
    let at = SPILL_HEADER + 2 * spill[0] as usize;
    spill[at..at + 2].copy_from_slice(&[row, number]);
    spill[0] += 1;
}

/// The twin of `place`: the entry's states, or `None` where there is no room.
pub(super) fn place(table: &mut [u32], mask: u32, entry: Entry, limbs: &[u32]) -> Option<usize> {
    let hash = hash_end(limbs.iter().fold(0, |hash, limb| hash_word(hash, *limb)));
    let mut at = hash & mask;
    for _ in 0..PROBES_MAX {
        let start = TABLE_HEADER + at as usize * entry.words;
        if table[start] == 0 {
            table[start..start + entry.limbs].copy_from_slice(limbs);
        }
        if table[start..start + entry.limbs] == *limbs {
            return Some(start + entry.limbs);
        }
        at = (at + 1) & mask;
    }
    None
}
