//! A table of groups moved into a hash table, on the device.

use std::fmt::Write;
use std::sync::Arc;

use super::group_hash::{self, Entry};
use super::link::{Kernel, Linker};
use crate::error::DeviceError;
use crate::fragment::arena::MAX_BASES;
use crate::fragment::compact::Entries;
use crate::fragment::key::{self, Packing};
use crate::fragment::spec::Key;
use crate::record::{Access, Bound, Program};

pub const KERNEL: Kernel = Kernel {
    name: "rehash",
    wgsl: include_str!("../../shaders/rehash.wgsl"),
    parts: &["lib/grid", "lib/hash", "lib/acc_wide", "lib/cell_t0", "lib/place"],
    faults: &[
        ("i < entries;", "i + 1u < entries;"),
        ("old_tab[old + OLD_HEAD + cell]", "old_tab[old + OLD_HEAD]"),
        ("cell < STATES;", "cell + 1u < STATES;"),
    ],
};

/// Words of `sizes`: entries of the old table, entries - 1 of the new one, whether an entry found
/// no place, one spare; then the bases of the old keys.
pub const SIZES: usize = 4 + 2 * MAX_BASES;

/// A table before and after.
#[derive(Clone)]
pub struct Moved {
    pub old: Entries,
    /// Cells of an old entry.
    pub old_cells: usize,
    /// The new keys have no bases, or are packed as the old ones.
    pub packing: Arc<Packing>,
    pub entry: Entry,
    /// Cells of an entry behind its keys, without what fills it up.
    pub states: usize,
}

impl Moved {
    /// All that the text depends on.
    pub fn variant(&self) -> Vec<u32> {
        let mut variant = self.old.variant();
        variant.extend(self.packing.variant());
        variant.extend([self.old_cells as u32, self.entry.cells as u32]);
        variant.push(u32::from(self.entry.identity));
        variant
    }
}

/// Bindings: old table, new table (cleared), sizes.
pub fn program(linker: &Linker, keys: &Arc<Vec<Key>>, moved: &Moved) -> Arc<Program> {
    let Moved { old, old_cells, packing, entry, states } = moved;
    let generated = format!(
        "const OLD_HEAD: u32 = {}u;\nconst OLD_ENTRY: u32 = {old_cells}u;\n\
         const STATES: u32 = {states}u;\n{}{}",
        old.head(),
        entry.declarations(),
        packed(keys, old, packing),
    );
    let (keys, moved) = (keys.clone(), moved.clone());
    let twin = Arc::new(move |bound: &mut Bound<'_>| {
        let Moved { old: from, old_cells, packing, entry, states } = &moved;
        let cell = entry.cell_words;
        let [old, new, sizes] = &mut bound.buffers[..] else {
            return Err(DeviceError::Validation("moving a table has three bindings".into()));
        };
        // Programs are kept for other rows, whose keys have other bases.
        let bases = &sizes[4..];
        let from = from.with_bases(bases);
        let packing = if *packing.fields == *from.packing.fields { &from.packing } else { packing };
        let entries = old.chunks_exact(old_cells * cell).take(sizes[0] as usize);
        for (number, old) in entries.enumerate().filter(|(_, old)| old[0] != 0) {
            let values = from.keys(&keys, number, old);
            let place = packing
                .pack(&keys, &values)
                .and_then(|limbs| group_hash::place(new, sizes[1], *entry, &limbs));
            let states = &old[from.head() * cell..][..states * cell];
            match place {
                Some(at) => new[at..at + states.len()].copy_from_slice(states),
                None => sizes[2] = 1,
            }
        }
        Ok(())
    });
    let bindings = vec![Access::Read, Access::ReadWrite, Access::ReadWrite];
    linker.link(&KERNEL, "rehash".into(), &generated, (false, false), bindings, twin)
}

/// `packed(entry, number)`: the new limbs of an old entry.
fn packed(keys: &[Key], old: &Entries, packing: &Packing) -> String {
    let limb = match old.cell_words {
        1 => "old_tab[entry + i]",
        _ => "u32(old_tab[entry + i / 2u] >> ((i % 2u) * 32u))",
    };
    let mut out = format!(
        "fn old_limb(entry: u32, i: u32) -> u32 {{\n    return {limb};\n}}\n\
         fn packed(entry: u32, number: u32) -> array<u32, LIMBS> {{\n    \
         var limbs: array<u32, LIMBS>;\n",
    );
    if old.packing.fields == packing.fields && !old.numbered {
        out.push_str(
            "    for (var i = 0u; i < LIMBS; i++) {\n        \
             limbs[i] = old_limb(entry, i);\n    }\n    return limbs;\n}\n",
        );
        return out;
    }
    let base = |word: usize| format!("atomicLoad(&sizes[{}u])", 4 + word);
    let limb = |limb: usize| format!("old_limb(entry, {limb}u)");
    let unpacked = old.unpack_text(keys, &limb, &base, &mut out);
    let mut fields = Vec::new();
    for (unpacked, field) in unpacked.iter().zip(&packing.fields) {
        let mut left = field.bits;
        for word in &unpacked.words {
            if left > 0 {
                fields.push((format!("select(0u, {word}, {})", unpacked.valid), left.min(32)));
            }
            left -= left.min(32);
        }
        if field.nullable {
            fields.push((format!("select(0u, 1u, {})", unpacked.valid), 1));
        }
    }
    let _ = writeln!(out, "    limbs = {};\n    return limbs;\n}}", key::limbs_text(&fields));
    out
}
