//! A hash table of groups moved into a larger one, on the device.

use std::sync::Arc;

use super::group_hash::{self, Entry, TABLE_HEADER};
use super::{Kernel, Linker};
use crate::record::{Access, Bound, Program};

pub const KERNEL: Kernel = Kernel {
    name: "rehash",
    wgsl: include_str!("../../shaders/rehash.wgsl"),
    parts: &["lib/grid", "lib/hash", "lib/place"],
    faults: &[
        ("i < entries;", "i + 1u < entries;"),
        ("old_tab[old + word]);", "old_tab[old]);"),
        ("word < ENTRY; word++", "word + 1u < ENTRY; word++"),
    ],
};

/// Words of `sizes`: entries of the old table, entries - 1 of the new one, whether an entry found
/// no place, one spare.
pub const SIZES: usize = 4;

/// Bindings: old table, new table (cleared), sizes.
pub fn program(linker: &Linker, entry: Entry) -> Arc<Program> {
    let generated =
        format!("const LIMBS: u32 = {}u;\nconst ENTRY: u32 = {}u;\n", entry.limbs, entry.words);
    let twin = Arc::new(move |bound: &mut Bound<'_>| {
        let [old, new, sizes] = &mut bound.buffers[..] else { return Ok(()) };
        let entries = old[TABLE_HEADER..].chunks_exact(entry.words).take(sizes[0] as usize);
        for old in entries.filter(|old| old[0] != 0) {
            let (limbs, states) = old.split_at(entry.limbs);
            match group_hash::place(new, sizes[1], entry, limbs) {
                Some(at) => new[at..at + states.len()].copy_from_slice(states),
                None => sizes[2] = 1,
            }
        }
        Ok(())
    });
    let bindings = vec![Access::Read, Access::ReadWrite, Access::ReadWrite];
    linker.link(&KERNEL, "rehash".into(), &generated, (false, false), bindings, twin)
}
