//! Selection and compaction: the tuples that pass, in order, with what is computed of them.

use std::fmt::Write;
use std::sync::Arc;

use super::{Kernel, Shape, with_arenas};
use crate::config::WORKGROUP;
use crate::expr::ir::Expr;
use crate::fragment::text::words;
use crate::record::{Bound, Program};

pub const KERNEL: Kernel = Kernel {
    name: "select",
    wgsl: include_str!("../../shaders/select.wgsl"),
    parts: &["lib/grid", "lib/hash", "lib/join", "lib/slot", "lib/scan", "lib/acc_wide"],
    faults: &[
        ("if (first + i < rows)", "if (first + i + 1u < rows)"),
        ("counts[COUNTS + tile] + sum.x", "counts[COUNTS + tile] + sum.x + 1u"),
        ("counts[COUNTS + tile] = sum.y", "counts[COUNTS + tile] = sum.x"),
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
    /// Values, each followed by a word of validity.
    pub computed: Vec<Expr>,
}

impl Columns {
    /// No rows, but values.
    pub fn computed(columns: &[Expr]) -> Self {
        Self { rows: Vec::new(), computed: columns.to_vec() }
    }

    /// Words of one tuple.
    pub fn words(&self) -> usize {
        self.rows.len() + self.computed.iter().map(|expr| expr.rep.words() + 1).sum::<usize>()
    }
}

/// Phase 0 counts, phase 1 writes. Bindings: slot, status, counts, out; then the joins'.
pub fn program(shape: &Shape, columns: &Arc<Columns>, phase: u32) -> Arc<Program> {
    let generator = shape.generator();
    let count = generator.function("count", &|emitter| {
        emitter.text.push_str("    cursor += 1u;\n");
    });
    let process = if phase == 0 {
        "fn process(row: u32) {\n}\n".to_string()
    } else {
        generator.function("process", &|emitter| {
            emitter.text.push_str("    if (cursor < slot[3]) {\n");
            let mut at = 0;
            let mut put = |out: &mut String, word: &str| {
                let _ = writeln!(out, "        out[{at}u * slot[3] + cursor] = {word};");
                at += 1;
            };
            for table in &columns.rows {
                put(&mut emitter.text, &generator.tuple_row(*table));
            }
            for expr in &columns.computed {
                let text = emitter.emit(expr, "true");
                for word in words(expr, &text.value) {
                    put(&mut emitter.text, &word);
                }
                put(&mut emitter.text, &format!("select(0u, 1u, {})", text.valid));
            }
            emitter.text.push_str("    }\n    cursor += 1u;\n");
        })
    };
    let generated = format!(
        "const PHASE: u32 = {phase}u;\n{}{}{count}{process}",
        shape.declarations(4),
        generator.prelude()
    );
    let (job, columns) = (shape.twin(), columns.clone());
    let twin = Arc::new(move |bound: &mut Bound<'_>| {
        with_arenas(&job, bound, 2, |arenas, mut own| {
            let Some(out) = own.pop() else { return };
            let Some(counts) = own.pop() else { return };
            let capacity = arenas.slot[3] as usize;
            let rows = job.row_count(arenas);
            counts[0] = rows.div_ceil(TILE);
            for tile in 0..counts[0] {
                let end = ((tile + 1) * TILE).min(rows);
                let mut cursor = match phase {
                    0 => 0,
                    _ => counts[COUNTS_HEADER + tile as usize] as usize,
                };
                for row in tile * TILE..end {
                    job.process(arenas, row, &mut |found| {
                        if phase == 1 && cursor < capacity {
                            write(&columns, found, capacity, cursor, out);
                        }
                        cursor += 1;
                    });
                }
                if phase == 0 {
                    counts[COUNTS_HEADER + tile as usize] = cursor as u32;
                }
            }
        });
        Ok(())
    });
    let label = shape.label(KERNEL.name, if phase == 0 { "count" } else { "write" });
    shape.linker.link(&KERNEL, label, &generated, shape.floats(), shape.bindings(2), twin)
}

fn write(
    columns: &Columns,
    found: &mut crate::fragment::twin::Found<'_, '_>,
    capacity: usize,
    cursor: usize,
    out: &mut [u32],
) {
    let mut at = cursor;
    let mut put = |word: u32| {
        out[at] = word;
        at += capacity;
    };
    for table in &columns.rows {
        put(found.row_of(*table));
    }
    for expr in &columns.computed {
        let value = found.eval(expr);
        for word in 0..expr.rep.words() {
            put((value.unwrap_or(0) >> (32 * word)) as u32);
        }
        put(value.is_some() as u32);
    }
}
