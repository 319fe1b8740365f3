//! The build side of a join: an index of the keys of its rows.

use std::sync::Arc;

use super::link::{Kernel, Linker, Views};
use crate::fragment::join::{self, Lookup};
use crate::fragment::load::widths;
use crate::fragment::spec::{ArenaColumn, Table};
use crate::record::{Access, Bound, Program};

pub const KERNEL: Kernel = Kernel {
    name: "build",
    wgsl: include_str!("../../shaders/build.wgsl"),
    parts: &["lib/grid", "lib/hash", "lib/scan", "lib/acc_wide", "lib/join"],
    faults: &[
        ("row < rows; row += stride", "row + 1u < rows; row += stride"),
        ("if (before == 1u)", "if (before == 99u)"),
        ("if (same_key(row, owner - 1u))", "if (true)"),
        ("atomicStore(&index[at + 2u], key.x);", ""),
        ("var end = start + scanned.x;", "var end = start;"),
        ("1u << (key.x & 31u)", "1u << (key.x & 30u)"),
        ("put_payload(row, at + 2u);", ""),
        ("put_payload(row, at + 4u);", "put_payload(row + 1u, at + 4u);"),
    ],
};

/// Slots that an invocation gives places in phase 1.
pub const ITEMS: u32 = 4;

/// Phase 0 puts the rows into slots; phase 1 gives keys of several rows their places, phase 2
/// writes those rows there. Bindings: the table's arena, its index, which starts as zeros.
pub fn program(linker: &Linker, table: &Table, lookup: Lookup, phase: u32) -> Arc<Program> {
    let read = table.keys.iter().chain(&table.payload);
    let read: Vec<ArenaColumn> = read.map(|column| table.columns[*column].clone()).collect();
    let mut views = Views::default();
    views.add("table", 0, &widths(&read));
    if views.count() + 2 > linker.max_bindings {
        views = Views::default();
    }
    let generated = format!(
        "const PHASE: u32 = {phase}u;\n{}{}",
        views.declarations(2),
        join::build_part(table, lookup, views.count() > 0)
    );
    let table = table.clone();
    let twin = Arc::new(move |bound: &mut Bound<'_>| {
        let [words, index] = bound.buffers.as_mut_slice() else { return Ok(()) };
        join::build(&table, lookup, phase, words, index);
        Ok(())
    });
    let label = ["build<put>", "build<places>", "build<matches>"][phase as usize % 3];
    let mut bindings = vec![Access::Read, Access::ReadWrite];
    bindings.extend(views.accesses());
    linker.link(&KERNEL, label.into(), &generated, (false, false), bindings, twin)
}
