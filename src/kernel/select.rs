//! Selection and compaction: the tuples that pass, in order, with what is computed of them.

use std::fmt::Write;
use std::sync::Arc;

use super::link::{Kernel, Shape, with_arenas};
use crate::config::WORKGROUP;
use crate::expr::ir::Expr;
use crate::fragment::arena::H_CAPACITY;
use crate::fragment::load::words;
use crate::fragment::twin::{Arenas, Found, TwinPipeline};
use crate::record::{Bound, Program};

pub const KERNEL: Kernel = Kernel {
    name: "select",
    wgsl: include_str!("../../shaders/select.wgsl"),
    parts: &["lib/grid", "lib/hash", "lib/join", "lib/slot", "lib/scan", "lib/acc_wide"],
    faults: &[
        ("if (first + i < rows)", "if (first + i + 1u < rows)"),
        ("counts[COUNTS + tile] + sum.x", "counts[COUNTS + tile] + sum.x + 1u"),
        ("counts[COUNTS + tile] = sum.y", "counts[COUNTS + tile] = sum.x"),
        ("tile_start + sum.x", "tile_start"),
        ("COUNTS + 2u * tile", "COUNTS + 2u * (tiles - 1u - tile)"),
    ],
};

/// Rows of one tile.
pub const TILE: u32 = 4 * WORKGROUP;
/// Words before the tile counts: tiles, total, two spare.
pub const COUNTS_HEADER: usize = 4;

/// What is written of each tuple.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Rows: of the slot (`None`) or of a table.
    pub rows: Vec<Option<usize>>,
    pub computed: Vec<Expr>,
}

/// Where one column of tuples lies: with room for `capacity` tuples, word `word` of a tuple is at
/// `first * capacity + tuple * words + word`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Words of a tuple in the columns before.
    pub first: usize,
    /// Words of a tuple in this one.
    pub words: usize,
}

impl Place {
    /// The word of a tuple.
    pub fn word(self, capacity: usize, tuple: usize, word: usize) -> usize {
        self.first * capacity + tuple * self.words + word
    }
}

/// The places of a computed column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Computed {
    /// Values as Arrow has them, but for booleans, which are words.
    pub values: Place,
    /// Words that say which of them are not NULL; none where none may be.
    pub valid: Option<Place>,
}

impl Columns {
    /// No rows, but values.
    pub fn computed(columns: &[Expr]) -> Self {
        Self { rows: Vec::new(), computed: columns.to_vec() }
    }

    /// Words of one tuple.
    pub fn words(&self) -> usize {
        let of = |expr: &Expr| expr.rep.words() + usize::from(expr.nullable);
        self.rows.len() + self.computed.iter().map(of).sum::<usize>()
    }

    /// Where the columns of rows lie.
    pub fn row_places(&self) -> impl Iterator<Item = Place> + use<> {
        (0..self.rows.len()).map(|first| Place { first, words: 1 })
    }

    /// Where the computed columns lie, behind the rows.
    pub fn computed_places(&self) -> Vec<Computed> {
        let mut first = self.rows.len();
        let mut take = |words: usize| {
            first += words;
            Place { first: first - words, words }
        };
        let computed = self.computed.iter().map(|expr| Computed {
            values: take(expr.rep.words()),
            valid: expr.nullable.then(|| take(1)),
        });
        computed.collect()
    }

    /// All places, in order.
    pub fn places(&self) -> Vec<Place> {
        let computed = self.computed_places().into_iter();
        let computed = computed.flat_map(|column| [Some(column.values), column.valid]);
        self.row_places().chain(computed.flatten()).collect()
    }
}

/// What a program of this kernel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Count,
    Write,
    OnePass,
}

impl Phase {
    fn label(self) -> &'static str {
        match self {
            Phase::Count => "count",
            Phase::Write => "write",
            Phase::OnePass => "one pass",
        }
    }
}

/// Bindings: slot, status, counts, out; then the joins'.
pub fn program(shape: &Shape, columns: &Arc<Columns>, phase: Phase) -> Arc<Program> {
    let generator = shape.generator();
    let count = generator.function("count", &|emitter| {
        emitter.text.push_str("    cursor += 1u;\n");
    });
    let process = if phase == Phase::Count {
        "fn process(row: u32) {\n}\n".to_string()
    } else {
        generator.function("process", &|emitter| {
            emitter.text.push_str("    if (cursor < slot[3]) {\n");
            let put = |out: &mut String, place: Place, number: usize, word: &str| {
                let Place { first, words } = place;
                let at = format!("{first}u * slot[3] + cursor * {words}u + {number}u");
                let _ = writeln!(out, "        out[{at}] = {word};");
            };
            for (table, place) in columns.rows.iter().zip(columns.row_places()) {
                put(&mut emitter.text, place, 0, &generator.tuple_row(*table));
            }
            for (expr, column) in columns.computed.iter().zip(columns.computed_places()) {
                let text = emitter.emit(expr, "true");
                for (number, word) in words(expr, &text.value).iter().enumerate() {
                    put(&mut emitter.text, column.values, number, word);
                }
                if let Some(valid) = column.valid {
                    put(&mut emitter.text, valid, 0, &format!("select(0u, 1u, {})", text.valid));
                }
            }
            emitter.text.push_str("    }\n    cursor += 1u;\n");
        })
    };
    let generated = format!(
        "const PHASE: u32 = {}u;\n{}{}{count}{process}",
        phase as u32,
        shape.declarations(4),
        generator.prelude()
    );
    let (job, columns) = (shape.twin(), columns.clone());
    let twin = Arc::new(move |bound: &mut Bound<'_>| {
        with_arenas(&job, bound, 2, |arenas, mut own| {
            let Some(out) = own.pop() else { return };
            let Some(counts) = own.pop() else { return };
            select(&job, &columns, phase, arenas, counts, out);
        });
        Ok(())
    });
    let label = shape.label(KERNEL.name, phase.label());
    shape.linker.link(&KERNEL, label, &generated, shape.floats(), shape.bindings(2), twin)
}

/// The twin, tile by tile.
fn select(
    job: &TwinPipeline,
    columns: &Columns,
    phase: Phase,
    arenas: &mut Arenas<'_>,
    counts: &mut [u32],
    out: &mut [u32],
) {
    let capacity = arenas.slot[H_CAPACITY] as usize;
    let rows = job.row_count(arenas);
    if phase == Phase::Count {
        counts[0] = rows.div_ceil(TILE);
    }
    for tile in 0..rows.div_ceil(TILE) {
        let end = ((tile + 1) * TILE).min(rows);
        let start = match phase {
            Phase::Count => 0,
            Phase::Write => counts[COUNTS_HEADER + tile as usize],
            Phase::OnePass => arenas.tuples,
        };
        let mut cursor = start as usize;
        for row in tile * TILE..end {
            job.process(arenas, row, &mut |found| {
                if phase != Phase::Count && cursor < capacity {
                    write(columns, found, capacity, cursor, out);
                }
                cursor += 1;
            });
        }
        match phase {
            Phase::Count => counts[COUNTS_HEADER + tile as usize] = cursor as u32,
            Phase::Write => {}
            Phase::OnePass => {
                arenas.tuples = cursor as u32;
                let at = COUNTS_HEADER + 2 * tile as usize;
                counts[at..at + 2].copy_from_slice(&[start, cursor as u32 - start]);
            }
        }
    }
}

fn write(
    columns: &Columns,
    found: &mut Found<'_, '_>,
    capacity: usize,
    cursor: usize,
    out: &mut [u32],
) {
    for (table, place) in columns.rows.iter().zip(columns.row_places()) {
        out[place.word(capacity, cursor, 0)] = found.row_of(*table);
    }
    for (expr, column) in columns.computed.iter().zip(columns.computed_places()) {
        let value = found.eval(expr);
        for word in 0..expr.rep.words() {
            let at = column.values.word(capacity, cursor, word);
            out[at] = (value.unwrap_or(0) >> (32 * word)) as u32;
        }
        if let Some(valid) = column.valid {
            out[valid.word(capacity, cursor, 0)] = value.is_some() as u32;
        }
    }
}
