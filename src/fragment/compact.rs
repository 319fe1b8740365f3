//! What comes of a group table: for each key and each accumulator a column in Arrow's layout. The
//! layout, the text that writes it on a device, and the twin.

use std::fmt::Write;

use super::key::{self, Dense};
use super::spec::{Aggregation, Key};
use crate::agg::{Acc, StateColumn};
use crate::error::Result;
use crate::expr::ir::Rep;

/// Words that columns are aligned to: 64 bytes, as Arrow has them.
const ALIGN: usize = 16;

/// A column: of a key its value (of a string its code), of an accumulator its
/// [`Acc::value_words`].
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
    let of_acc =
        |acc: Acc| Part { words: acc.value_words(), valid: acc.value_words() < acc.words() };
    let accs = aggregation.folds.iter().map(|fold| of_acc(fold.acc));
    keys.iter().map(of_key).chain(accs).collect()
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

/// How keys lie in an entry, before its states.
#[derive(Debug, Clone, Copy)]
pub enum Entries<'a> {
    /// In limbs of 31 bits (`key::pack_limbs`).
    Hashed,
    /// In the entry's number; its first word says that the group exists.
    Dense(&'a Dense),
}

impl Entries<'_> {
    /// Words of an entry before its states.
    fn head(self, keys: &[Key]) -> usize {
        match self {
            Entries::Hashed => key::limbs(keys),
            Entries::Dense(_) => 1,
        }
    }

    /// The keys of an entry: bits, `None` for NULL.
    pub fn keys(self, keys: &[Key], number: usize, entry: &[u32]) -> Vec<Option<u128>> {
        match self {
            Entries::Hashed => key::unpack_limbs(keys, &entry[..key::limbs(keys)]),
            Entries::Dense(dense) => dense.values(keys, number as u32),
        }
    }
}

/// `put_entry(entry, number, at)`: writes the entry that begins at word `entry` of the table, its
/// `number`-th, as group `at` of `groups`.
pub fn text(keys: &[Key], aggregation: &Aggregation, entries: Entries<'_>) -> String {
    let mut out = String::from(
        "fn put_entry(entry: u32, number: u32, at: u32) {\n    var o = 0u;\n    var b = 0u;\n",
    );
    let all = parts(keys, aggregation);
    let (mut place, mut stride) = (0, 1);
    for (index, key) in keys.iter().enumerate() {
        let (words, valid) = match entries {
            Entries::Hashed => limb_words(key, &mut place),
            Entries::Dense(dense) => {
                let digit = format!("(number / {stride}u) % {}u", dense.sizes[index]);
                stride *= dense.sizes[index];
                digit_words(key, index, &digit, &mut out)
            }
        };
        put(all[index], &words, &valid, &mut out);
    }
    let _ = writeln!(out, "    let s = entry + {}u;", entries.head(keys));
    let mut state = 0;
    for (fold, part) in aggregation.folds.iter().zip(&all[keys.len()..]) {
        let word = |at: usize| format!("tab[s + {}u]", state + at);
        let words = match fold.acc {
            Acc::Best { rep, max } => best_words(rep, max, &word),
            acc => (0..acc.value_words()).map(word).collect(),
        };
        let seen = format!("{} != 0u", word(part.words));
        put(*part, &words, &seen, &mut out);
        state += fold.acc.words();
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

/// A hashed key's words, and whether it is not NULL; `place` is its first bit in the limbs.
fn limb_words(key: &Key, place: &mut usize) -> (Vec<String>, String) {
    let mut field = |bits: usize| {
        let (limb, low) = (*place / 31, *place % 31);
        *place += bits;
        let get = |limb: usize| format!("(tab[entry + {limb}u] & 0x7fffffffu)");
        let mut text = format!("({} >> {low}u)", get(limb));
        if low + bits > 31 {
            text = format!("({text} | ({} << {}u))", get(limb + 1), 31 - low);
        }
        if bits < 32 { format!("({text} & {}u)", (1u32 << bits) - 1) } else { text }
    };
    let words = match key.expr.rep {
        Rep::B1 => vec![field(1)],
        rep => (0..rep.words()).map(|_| field(32)).collect(),
    };
    let valid = if key.expr.nullable { format!("{} != 0u", field(1)) } else { "true".into() };
    (words, valid)
}

/// A dense key's words, and whether it is not NULL; `digit` is its value's place.
fn digit_words(key: &Key, index: usize, digit: &str, out: &mut String) -> (Vec<String>, String) {
    let _ = writeln!(out, "    let d{index} = {digit};");
    let word = match key.expr.rep {
        Rep::B1 => format!("max(d{index}, 1u) - 1u"),
        _ => format!("d{index}"),
    };
    (vec![word], format!("d{index} != 0u"))
}

/// The words of the value that `Acc::Best` keeps the rank of: `agg::unorder` in words.
fn best_words(rep: Rep, max: bool, word: &dyn Fn(usize) -> String) -> Vec<String> {
    let last = rep.words() - 1;
    let ranked = |at: usize| if max { word(at) } else { format!("(~{})", word(at)) };
    let top = ranked(last);
    let value = |at: usize| match rep {
        Rep::B1 | Rep::U32 | Rep::U64 => ranked(at),
        Rep::I32 | Rep::I64 | Rep::I128 if at == last => format!("({top} ^ 0x80000000u)"),
        Rep::I32 | Rep::I64 | Rep::I128 => ranked(at),
        Rep::F32 | Rep::F64 => {
            let positive = if at == last { format!("({top} ^ 0x80000000u)") } else { ranked(at) };
            format!("select(~{}, {positive}, ({top} >> 31u) == 1u)", ranked(at))
        }
    };
    (0..=last).map(value).collect()
}

/// The twin of `put_entry` for all groups: entries of `entry_words` words each, of which those that
/// begin with 0 are empty, into values and bits of zeros.
pub fn twin(
    keys: &[Key],
    aggregation: &Aggregation,
    entries: Entries<'_>,
    table: (&[u32], usize),
    out: &mut [u32],
    bits: &mut [u32],
) -> Result<()> {
    let (words, entry_words) = table;
    let taken: Vec<(usize, &[u32])> =
        words.chunks_exact(entry_words).enumerate().filter(|(_, entry)| entry[0] != 0).collect();
    let all = parts(keys, aggregation);
    let layout = Layout::new(&all, taken.len());
    let head = entries.head(keys);
    let states: Vec<u32> = taken
        .iter()
        .flat_map(|(_, entry)| &entry[head..head + aggregation.words()])
        .copied()
        .collect();
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
