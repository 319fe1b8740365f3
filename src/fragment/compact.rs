//! What comes of a group table: for each key and each accumulator a column in Arrow's layout. The
//! layout, the text that writes it on a device, and the twin.

use std::fmt::Write;
use std::sync::Arc;

use super::cells::Cells;
use super::key::{self, Packing, Unpacked};
use super::spec::{Aggregation, Fold, Key};
use crate::agg::StateColumn;
use crate::error::Result;

/// Words that columns are aligned to: 64 bytes, as Arrow has them.
const ALIGN: usize = 16;

/// A column: of a key its value (of a string its code), of an accumulator its
/// [`crate::agg::Accumulator::value_words`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Words a group.
    pub words: usize,
    /// A bit a group says whether there is a value.
    pub valid: bool,
}

/// The columns of a group table: keys, then accumulators.
pub fn parts(keys: &[Key], aggregation: &Aggregation) -> Vec<Part> {
    let of_key = |key: &Key| Part {
        words: key.expr.rep.words(),
        valid: key.expr.nullable && key.domain.is_none(),
    };
    let of_fold = |fold: &Fold| Part {
        words: fold.acc.value_words(),
        valid: fold.acc.value_words() < fold.acc.words() && fold.may_miss(),
    };
    keys.iter().map(of_key).chain(aggregation.folds.iter().map(of_fold)).collect()
}

/// Where the columns of so many groups lie, in words of two buffers: values, and bits of validity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub values: Vec<usize>,
    /// `None` where a column has no bits.
    pub valid: Vec<Option<usize>>,
    /// Words of all values, of all bits.
    pub words: usize,
    pub bit_words: usize,
}

impl Layout {
    pub fn new(parts: &[Part], groups: usize) -> Self {
        let mut layout = Layout { values: vec![], valid: vec![], words: 0, bit_words: 0 };
        for part in parts {
            layout.values.push(layout.words);
            layout.words += (part.words * groups).next_multiple_of(ALIGN);
            layout.valid.push(part.valid.then_some(layout.bit_words));
            if part.valid {
                layout.bit_words += groups.div_ceil(32).next_multiple_of(ALIGN);
            }
        }
        layout
    }
}

/// How a table holds its groups: an entry is the packed keys and then the states.
#[derive(Debug, Clone)]
pub struct Entries {
    pub packing: Arc<Packing>,
    /// The keys are the entry's number; its first word says that the group exists.
    pub numbered: bool,
    /// Words of a cell of the table.
    pub cell_words: usize,
}

impl Entries {
    /// Cells of an entry before its states.
    pub fn head(&self) -> usize {
        if self.numbered { 1 } else { self.packing.limbs().div_ceil(self.cell_words) }
    }

    /// The same with other bases, given as words.
    pub fn with_bases(&self, words: &[u32]) -> Self {
        let packing = Arc::new(self.packing.with_bases(words));
        Self { packing, ..*self }
    }

    /// All that texts of kernels depend on.
    pub fn variant(&self) -> Vec<u32> {
        let mut variant = self.packing.variant();
        variant.push(u32::from(self.numbered));
        variant
    }

    /// The keys of an entry: bits, `None` for NULL.
    pub fn keys(&self, keys: &[Key], number: usize, entry: &[u32]) -> Vec<Option<u128>> {
        match self.numbered {
            true => self.packing.unpack(keys, &[number as u32]),
            false => self.packing.unpack(keys, &entry[..self.packing.limbs()]),
        }
    }

    /// Emits what reads the keys of an entry, the `number`-th; `limb(i)` is the text of one of its
    /// limbs, `base(i)` that of a word of the bases.
    pub fn unpack_text(
        &self,
        keys: &[Key],
        limb: &dyn Fn(usize) -> String,
        base: &dyn Fn(usize) -> String,
        out: &mut String,
    ) -> Vec<Unpacked> {
        let limb = |at: usize| if self.numbered { "number".into() } else { limb(at) };
        key::unpack_text(keys, &self.packing, &limb, base, out)
    }
}

/// `put_entry(entry, number, at)`: writes the entry that begins at word `entry` of the table, its
/// `number`-th, as group `at` of `groups`.
pub fn text(keys: &[Key], aggregation: &Aggregation, cells: &Cells, entries: &Entries) -> String {
    let mut out = String::from(
        "fn put_entry(entry: u32, number: u32, at: u32) {\n    var o = 0u;\n    var b = 0u;\n",
    );
    let all = parts(keys, aggregation);
    let base = |word: usize| format!("bases[{word}u]");
    let limb = |limb: usize| format!("tab[entry + {limb}u]");
    let unpacked = entries.unpack_text(keys, &limb, &base, &mut out);
    for (part, Unpacked { words, valid }) in all.iter().zip(unpacked) {
        put(*part, &words, &valid, &mut out);
    }
    let _ = writeln!(out, "    let s = entry + {}u;", entries.head() * cells.words);
    for ((fold, place), part) in cells.placed(aggregation).zip(&all[keys.len()..]) {
        let flags = place.flags.map_or("1u".into(), |(cell, bit)| {
            format!("(tab[s + {}u] >> {bit}u)", cell * cells.words)
        });
        let (at, width) = (place.value, cells.words);
        let word = |word: usize| format!("tab[s + {}u]", at * width + word);
        let words = fold.acc.column_words(at, width, &flags, &word, &mut out);
        put(*part, &words, &format!("({flags} & 1u) != 0u"), &mut out);
    }
    out.push_str("}\n");
    out
}

/// Statements that write one column's words and bit of a group, and go on to the next column.
fn put(part: Part, words: &[String], valid: &str, out: &mut String) {
    for (at, word) in words.iter().enumerate() {
        let _ = writeln!(out, "    out[o + at * {}u + {at}u] = {word};", part.words);
    }
    let _ = writeln!(out, "    o += aligned(groups * {}u);", part.words);
    if part.valid {
        let _ = writeln!(
            out,
            "    if ({valid}) {{\n        atomicOr(&bits[b + (at >> 5u)], 1u << (at & 31u));\n    \
             }}\n    b += aligned((groups + 31u) / 32u);"
        );
    }
}

/// The twin of `put_entry` for all groups: entries of `entry_words` words each, of which those that
/// begin with 0 are empty, into values and bits of zeros.
pub fn twin(
    keys: &[Key],
    aggregation: &Aggregation,
    cells: &Cells,
    entries: &Entries,
    table: (&[u32], usize),
    out: &mut [u32],
    bits: &mut [u32],
) -> Result<()> {
    let (words, entry_words) = table;
    let taken: Vec<(usize, &[u32])> =
        words.chunks_exact(entry_words).enumerate().filter(|(_, entry)| entry[0] != 0).collect();
    let all = parts(keys, aggregation);
    let layout = Layout::new(&all, taken.len());
    let head = entries.head() * cells.words;
    let states = taken.iter().flat_map(|(_, entry)| cells.read(aggregation, &entry[head..]));
    let states: Vec<u32> = states.collect();
    let accs = aggregation.accs();
    let columns = StateColumn::of_rows(&accs, &states, aggregation.words(), 0)?;
    for (at, (number, entry)) in taken.iter().enumerate() {
        let values = entries.keys(keys, *number, entry);
        for (part, value) in values.into_iter().enumerate() {
            let to = layout.values[part] + at * all[part].words;
            for word in 0..all[part].words {
                out[to + word] = (value.unwrap_or(0) >> (32 * word)) as u32;
            }
            if let Some(valid) = layout.valid[part] {
                bits[valid + at / 32] |= u32::from(value.is_some()) << (at % 32);
            }
        }
    }
    for (part, column) in columns.iter().enumerate().map(|(at, column)| (keys.len() + at, column)) {
        let to = layout.values[part];
        out[to..to + column.words().len()].copy_from_slice(column.words());
        if let Some(valid) = layout.valid[part] {
            for (at, _) in column.seen().enumerate().filter(|(_, seen)| seen.is_some()) {
                bits[valid + at / 32] |= 1 << (at % 32);
            }
        }
    }
    Ok(())
}
