//! Accumulators in group tables, as WGSL: what each round adds to the cells of a row's group. The
//! functions that are called stand in `lib/cells_t0` and `lib/cells_t3`.

use std::fmt::Write;

use super::cells::Cells;
use super::fold::RowText;
use super::spec::Aggregation;
use crate::expr::wgsl::Emitter;

/// Statements of one round that fold a row into the states at `{table}[s ..]`. `tab[g ..]` is the
/// same entry's settled state in device memory (the same one, if `table` is `tab`).
pub fn update(
    aggregation: &Aggregation,
    cells: &Cells,
    number: u32,
    table: &str,
    emitter: &mut Emitter<'_>,
) {
    for (fold, round) in cells.in_round(aggregation, number, table) {
        let row = RowText::emit(fold, emitter);
        let update = fold.acc.round(&round, &row.argument);
        emitter.text.push_str(&row.line(&update));
    }
}

/// `merge(from, to)`: adds what a round put into a workgroup's entry to the one in device memory.
pub fn merge(aggregation: &Aggregation, cells: &Cells, number: u32) -> String {
    let mut out = String::from("fn merge(from_at: u32, to: u32) {\n");
    for (fold, round) in cells.in_round(aggregation, number, "loc") {
        fold.acc.merge_round(&round, &mut out);
    }
    if number == 1 {
        for at in cells.flags.clone() {
            let _ = writeln!(out, "    tab_or(to + {at}u, loc_get(from_at + {at}u));");
        }
    }
    out.push_str("}\n");
    out
}

/// `settle(s)`: after a round, drops what was kept relative to a leading cell that has risen.
/// `None` where no accumulator has anything to settle then.
pub fn settle(aggregation: &Aggregation, cells: &Cells, number: u32) -> Option<String> {
    let mut out = String::new();
    for (fold, round) in cells.in_round(aggregation, number, "tab") {
        fold.acc.settle(&round, &mut out);
    }
    (!out.is_empty()).then(|| format!("fn settle(s: u32) {{\n{out}}}\n"))
}
