//! Grouped aggregation through one open-addressing table.

use std::sync::Arc;

use super::{Kernel, Shape, with_arenas};
use crate::error::DeviceError;
use crate::fragment::fold;
use crate::fragment::spec::{Aggregation, Key};
use crate::fragment::twin::{hash_end, hash_word};
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
    ],
    faults: &[
        ("row < rows; row += stride", "row + 1u < rows; row += stride"),
        ("if (install(entry + i, k[i]) != k[i])", "if (install(entry, k[0]) != k[0])"),
        ("return entry + LIMBS;", "return TAB + LIMBS;"),
    ],
};

/// Words before the first entry of a group table: full flag, three spare.
pub const TABLE_HEADER: usize = 4;

/// Sizes of a hash table's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub limbs: usize,
    pub words: usize,
}

impl Entry {
    pub fn of(keys: &[Key], aggregation: &Aggregation) -> Self {
        let limbs = fold::limbs(keys);
        Self { limbs, words: limbs + aggregation.words() + fold::shadows(aggregation) }
    }
}

/// Rounds 0 (install keys) and 1.. (add values). Bindings: slot, status, table; then the joins'.
pub fn program(
    shape: &Shape,
    keys: &Arc<Vec<Key>>,
    aggregation: &Arc<Aggregation>,
    round: u32,
) -> Arc<Program> {
    let entry = Entry::of(keys, aggregation);
    let generator = shape.generator();
    let process = generator.function("process", &|emitter| {
        fold::emit_limbs(keys, emitter);
        emitter.text.push_str("    let s = find(key);\n    let g = s;\n");
        if round > 0 {
            emitter.text.push_str("    if (s != NIL) {\n");
            fold::round_update(aggregation, round, "tab", emitter);
            emitter.text.push_str("    }\n");
        }
    });
    let generated = format!(
        "const LIMBS: u32 = {}u;\nconst ENTRY: u32 = {}u;\n{}{}{process}",
        entry.limbs,
        entry.words,
        shape.declarations(3),
        generator.prelude(),
    );
    let (job, keys, folded) = (shape.twin(), keys.clone(), aggregation.clone());
    let twin = Arc::new(move |bound: &mut Bound<'_>| -> Result<(), DeviceError> {
        with_arenas(&job, bound, 1, |arenas, mut own| {
            let table = &mut *own[0];
            for row in 0..job.row_count(arenas) {
                if table[0] != 0 {
                    return;
                }
                let mask = arenas.slot[2];
                job.process(arenas, row, &mut |found| {
                    let limbs = found.limbs(&keys);
                    let Some(at) = find(table, mask, entry, &limbs) else { return };
                    let state = &mut table[at..at + folded.words()];
                    if round == 1 {
                        found.update(&folded, state);
                    }
                });
            }
        });
        Ok(())
    });
    let label = shape.label(KERNEL.name, &format!("round {round}"));
    shape.linker.link(&KERNEL, label, &generated, shape.floats(), shape.bindings(1), twin)
}

/// The twin of `find`: the entry's states, or the table is marked full.
fn find(table: &mut [u32], mask: u32, entry: Entry, limbs: &[u32]) -> Option<usize> {
    let hash = hash_end(limbs.iter().fold(0, |hash, limb| hash_word(hash, *limb)));
    let mut at = hash & mask;
    for _ in 0..128 {
        let start = TABLE_HEADER + at as usize * entry.words;
        if table[start] == 0 {
            table[start..start + entry.limbs].copy_from_slice(limbs);
        }
        if table[start..start + entry.limbs] == *limbs {
            return Some(start + entry.limbs);
        }
        at = (at + 1) & mask;
    }
    table[0] = 1;
    None
}
