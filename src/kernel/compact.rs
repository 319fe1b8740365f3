//! A group table's groups as columns in Arrow's layout.

use std::sync::Arc;

use super::link::{Kernel, Linker};
use super::select::{COUNTS_HEADER, TILE};
use crate::error::DeviceError;
use crate::fragment::cells::Cells;
use crate::fragment::compact::{self, Entries};
use crate::fragment::spec::{Aggregation, Key};
use crate::record::{Access, Bound, Program};

pub const KERNEL: Kernel = Kernel {
    name: "compact",
    wgsl: include_str!("../../shaders/compact.wgsl"),
    parts: &["lib/grid", "lib/scan", "lib/acc_wide"],
    faults: &[
        ("if (first + i < entries", "if (first + i + 1u < entries"),
        ("counts[COUNTS + tile] + sum.x", "sum.x"),
        ("counts[COUNTS + tile] = sum.y", "counts[COUNTS + tile] = sum.x"),
        ("put_entry((first + i) * ENTRY, first + i, at)", "put_entry(0u, 0u, at)"),
    ],
};

/// Phase 0 counts, phase 1 writes. `entry` is the words of an entry. Bindings: table, counts,
/// values, bits, bases.
pub fn program(
    linker: &Linker,
    keys: &Arc<Vec<Key>>,
    aggregation: &Arc<Aggregation>,
    entries: &Entries,
    entry: usize,
    phase: u32,
) -> Arc<Program> {
    let cells = Cells::of(aggregation, linker.tier);
    let put = match phase {
        0 => "fn put_entry(entry: u32, number: u32, at: u32) {\n}\n".into(),
        _ => compact::text(keys, aggregation, &cells, entries),
    };
    let generated = format!("const PHASE: u32 = {phase}u;\nconst ENTRY: u32 = {entry}u;\n{put}");
    let (keys, aggregation, entries) = (keys.clone(), aggregation.clone(), entries.clone());
    let twin = Arc::new(move |bound: &mut Bound<'_>| {
        let [table, counts, out, bits, bases] = &mut bound.buffers[..] else {
            return Err(DeviceError::Validation("compaction has five bindings".into()));
        };
        let count = counts[2] as usize;
        let words = &table[..count * entry];
        if phase == 0 {
            let tiles = words.chunks(TILE as usize * entry);
            for (tile, words) in tiles.enumerate() {
                let taken = words.chunks_exact(entry).filter(|entry| entry[0] != 0).count();
                counts[COUNTS_HEADER + tile] = taken as u32;
            }
            return Ok(());
        }
        // Programs are kept for other rows, whose keys have other bases.
        let entries = entries.with_bases(bases);
        compact::twin(&keys, &aggregation, &cells, &entries, (words, entry), out, bits)
            .map_err(|error| DeviceError::Validation(error.to_string()))
    });
    let label = format!("compact<{}>", if phase == 0 { "count" } else { "write" });
    let mut bindings = vec![Access::ReadWrite; 5];
    (bindings[0], bindings[4]) = (Access::Read, Access::Read);
    linker.link(&KERNEL, label, &generated, (false, false), bindings, twin)
}
