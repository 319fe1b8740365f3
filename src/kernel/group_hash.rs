//! Grouped aggregation through one open-addressing table.

use std::sync::Arc;

use super::link::{Kernel, Shape, with_arenas};
use crate::expr::wgsl::Emitter;
use crate::fragment::arena::{H_BASES, H_TABLE_MASK, HEADER};
use crate::fragment::cells::Cells;
use crate::fragment::key::Packing;
use crate::fragment::spec::{Aggregation, Key};
use crate::fragment::values::{hash_end, hash_word};
use crate::fragment::{key, rounds as text};
use crate::record::{Bound, Program, Twin};

pub const KERNEL: Kernel = Kernel {
    name: "group_hash",
    wgsl: include_str!("../../shaders/group_hash.wgsl"),
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
        "lib/place",
        "lib/spill",
    ],
    faults: &[
        ("row < rows; row += stride", "row + 1u < rows; row += stride"),
        ("process(driven_row(row));", "process(row);"),
        ("ordinal = 0u;", "ordinal = select(0u, 1u, row > 0u);"),
    ],
};

/// A hash table's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Limbs of its keys.
    pub limbs: usize,
    /// Words of a cell; cells of the keys, and of the entry in all.
    pub cell_words: usize,
    pub head: usize,
    pub cells: usize,
    /// The keys are their own place.
    pub identity: bool,
}

impl Entry {
    pub fn of(packing: &Packing, cells: &Cells) -> Self {
        let (limbs, cell_words) = (packing.limbs(), cells.words);
        let head = limbs.div_ceil(cell_words);
        // A small entry lies within a sector of memory, of eight words; a larger one starts at one.
        let words = match (head + cells.count) * cell_words {
            words @ 0..=4 => words.next_power_of_two(),
            words => words.next_multiple_of(8),
        };
        Self { limbs, cell_words, head, cells: words / cell_words, identity: false }
    }

    /// Words in all.
    pub fn words(&self) -> usize {
        self.cells * self.cell_words
    }

    /// `LIMBS`, `HEAD`, `ENTRY`, `IDENTITY`, and `key_cells(limbs)`.
    pub(super) fn declarations(&self) -> String {
        let Self { limbs, head, cells, identity, .. } = self;
        let cell = |of: &[usize]| match of {
            [low, high] => format!("cell_of(vec2<u32>(key[{low}u], key[{high}u]))"),
            [one, ..] => format!("Cell(key[{one}u])"),
            [] => String::new(),
        };
        let numbers: Vec<usize> = (0..*limbs).collect();
        let keys: Vec<String> = numbers.chunks(self.cell_words).map(cell).collect();
        format!(
            "const LIMBS: u32 = {limbs}u;\nconst HEAD: u32 = {head}u;\n\
             const ENTRY: u32 = {cells}u;\nconst IDENTITY: bool = {identity};\n\
             fn key_cells(key: array<u32, LIMBS>) -> array<Cell, HEAD> {{\n    \
             return array<Cell, HEAD>({});\n}}\n",
            keys.join(", ")
        )
    }
}

/// What the rounds of a grouped aggregation have in common.
pub struct Rounds<'a> {
    pub shape: &'a Shape,
    pub keys: &'a Arc<Vec<Key>>,
    pub aggregation: &'a Arc<Aggregation>,
    pub packing: &'a Arc<Packing>,
    /// Plays the rows that were put down.
    pub replay: bool,
}

impl Rounds<'_> {
    /// The cells of a group's states.
    pub fn cells(&self) -> Cells {
        Cells::of(self.aggregation, self.shape.linker.tier)
    }

    /// The entry of a hash table, keys being hashed.
    pub fn entry(&self) -> Entry {
        Entry::of(self.packing, &self.cells())
    }

    /// All that the text of a round depends on.
    pub fn variant(&self, round: u32) -> Vec<u32> {
        let mut variant = self.packing.variant();
        variant.extend([round, u32::from(self.replay)]);
        variant
    }

    /// Bindings of the kernels' own: the table, the rows put down, those to be played again.
    pub(super) fn own(&self) -> usize {
        if self.replay { 3 } else { 2 }
    }

    /// `driving_rows()` and `driven_row(i)`.
    pub(super) fn driving(&self) -> &'static str {
        match self.replay {
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
        }
    }

    /// `process(row)`: `sink` for the packed keys of each tuple that is played and fits; it leaves
    /// the row by `return` where it has no room.
    pub(super) fn process(&self, round: u32, sink: &dyn Fn(&mut Emitter<'_>)) -> String {
        self.shape.generator().function("process", &|emitter| {
            let played = if self.replay { "number >= wanted" } else { "true" };
            emitter.text.push_str(&format!(
                "    let number = ordinal;\n    ordinal += 1u;\n    if ({played}) {{\n"
            ));
            let base = |word: usize| format!("slot[{}u]", H_BASES + word);
            key::emit(self.keys, self.packing, &base, emitter);
            if self.packing.is_narrow() {
                let put = if round == 1 { "put_down_misfit(row, number); " } else { "" };
                emitter.text.push_str(&format!("    if (!fits) {{ {put}return; }}\n"));
            }
            sink(emitter);
            emitter.text.push_str("    }\n");
        })
    }

    /// The twin of one dispatch: `place` finds the states of some limbs in the table, if there is
    /// room. States are complete after round 1.
    pub(super) fn twin(
        &self,
        round: u32,
        place: impl Fn(&mut [u32], u32, &[u32]) -> Option<usize> + Send + Sync + 'static,
    ) -> Twin {
        let (job, own, replay) = (self.shape.twin(), self.own(), self.replay);
        let (keys, packing) = (self.keys.clone(), self.packing.clone());
        let (folded, cells) = (self.aggregation.clone(), self.cells());
        Arc::new(move |bound: &mut Bound<'_>| {
            with_arenas(&job, bound, own, |arenas, mut own| {
                if round > 1 {
                    return;
                }
                let again = replay.then(|| own.pop()).flatten();
                let (Some(spill), Some(table)) = (own.pop(), own.pop()) else { return };
                let mask = arenas.slot[H_TABLE_MASK];
                // Programs are kept for other rows, whose keys have other bases.
                let packing = packing.with_bases(&arenas.slot[H_BASES..HEADER]);
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
                            let limbs = found.limbs(&keys, &packing);
                            let at = limbs.as_ref().and_then(|limbs| place(table, mask, limbs));
                            if let Some(at) = at {
                                let mut states = cells.read(&folded, &table[at..]);
                                found.update(&folded, &mut states);
                                cells.write(&folded, &states, &mut table[at..]);
                            } else {
                                put_down(spill, row, number, limbs.is_none());
                                left = true;
                            }
                        }
                        number += 1;
                    });
                }
            });
            Ok(())
        })
    }
}

/// Words of a list of rows put down: their number, that of the misfits, two spare, then two words
/// each.
pub fn spill_words(rows: u32) -> u64 {
    SPILL_HEADER as u64 + 2 * rows as u64
}

pub const SPILL_HEADER: usize = 4;

/// Probes before a key is found to have no room: `PROBES_MAX` of `lib/place`.
pub const PROBES_MAX: u32 = 64;

/// One round: 1 adds keys and values, later ones what some accumulators need more. Bindings: slot,
/// status, table, rows put down, and those to be played again; then the joins'.
pub fn program(rounds: &Rounds<'_>, entry: Entry, round: u32) -> Arc<Program> {
    let Rounds { shape, aggregation, .. } = rounds;
    let cells = rounds.cells();
    let process = rounds.process(round, &|emitter| {
        let put = if round == 1 { "put_down(row, number); " } else { "" };
        emitter.text.push_str(&format!(
            "    let s = place(key, slot[2], {});\n    let g = s;\n    \
             if (s == NIL) {{ {put}return; }}\n",
            round == 1
        ));
        text::update(aggregation, &cells, round, "tab", emitter);
    });
    let own = rounds.own();
    let generated = format!(
        "{}{}{}{}{}",
        entry.declarations(),
        shape.declarations(2 + own),
        rounds.driving(),
        shape.generator().prelude(),
        process,
    );
    let twin = rounds.twin(round, move |table, mask, limbs| place(table, mask, entry, limbs));
    let played = if rounds.replay { ", replay" } else { "" };
    let label = shape.label(KERNEL.name, &format!("round {round}{played}"));
    shape.linker.link(&KERNEL, label, &generated, shape.floats(), shape.bindings(own), twin)
}

fn put_down(spill: &mut [u32], row: u32, number: u32, misfit: bool) {
    let at = SPILL_HEADER + 2 * spill[0] as usize;
    spill[at..at + 2].copy_from_slice(&[row, number]);
    spill[0] += 1;
    spill[1] += u32::from(misfit);
}

/// The twin of `place`: the first word of the entry's states, or `None` where there is no room.
pub(super) fn place(table: &mut [u32], mask: u32, entry: Entry, limbs: &[u32]) -> Option<usize> {
    let hash = match entry.identity {
        true => limbs[0],
        false => hash_end(limbs.iter().fold(0, |hash, limb| hash_word(hash, *limb))),
    };
    let mut at = hash & mask;
    for _ in 0..PROBES_MAX {
        let start = at as usize * entry.words();
        if table[start] == 0 {
            table[start..start + entry.limbs].copy_from_slice(limbs);
        }
        if table[start..start + entry.limbs] == *limbs {
            return Some(start + entry.head * entry.cell_words);
        }
        at = (at + 1) & mask;
    }
    None
}
