//! Columns as device words: the layout of an arena, and Arrow arrays encoded into it.
//!
//! An arena starts with a header of words: `HEADER` fixed ones, then for each column the offset of
//! its values and of its validity bits (0: no NULLs), then for each lookup table its offset, then
//! the parameters of the pipeline's expressions.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::*;

use super::intern::Interner;
use super::key::MAX_BASES;
use super::spec::{ArenaColumn, Store};
use crate::error::{Error, Result};

/// Fixed words at the start of an arena; their meaning depends on its use.
pub const HEADER: usize = H_BASES + 2 * MAX_BASES;
/// Rows in the arena.
pub const H_ROWS: usize = 0;
/// Slot: workgroups dispatched. Table: buckets - 1.
pub const H_GROUPS: usize = 1;
pub const H_MASK: usize = 1;
/// Slot: entries - 1 of the group table. Table: offset of the bucket heads.
pub const H_TABLE_MASK: usize = 2;
pub const H_HEADS: usize = 2;
/// Slot: capacity of the output in tuples. Table: offset of the chain links.
pub const H_CAPACITY: usize = 3;
pub const H_NEXT: usize = 3;
/// Slot: always 0, which the shader's compiler does not know (`zeros()` in `lib/slot`).
pub const H_ZEROS: [usize; 2] = [6, 7];

/// Slot: the bases of group keys, two words each (`key::Packing`).
pub const H_BASES: usize = 8;

/// Where in the header the offsets of the lookup tables start, behind so many columns.
pub const fn lookups_at(columns: usize) -> usize {
    HEADER + 2 * columns
}

/// Where the parameters start, behind so many columns and lookup tables.
pub const fn parameters_at(columns: usize, lookups: usize) -> usize {
    lookups_at(columns) + lookups
}

/// Where everything lies, in words from the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    pub rows: usize,
    /// Values and validity of each column; validity 0 is none.
    pub columns: Vec<(usize, usize)>,
    pub lookups: Vec<usize>,
    /// Words of the parameters, as they stand in the header.
    pub parameters: Vec<u32>,
    pub words: usize,
}

impl Layout {
    /// Lays out columns of `rows` rows, then lookup tables of the given sizes in words; the header
    /// has the words of the parameters.
    pub fn new(
        rows: usize,
        columns: &[(Store, bool)],
        lookups: &[usize],
        parameters: &[u32],
    ) -> Self {
        let mut at = parameters_at(columns.len(), lookups.len()) + parameters.len();
        let mut layout = Layout { rows, parameters: parameters.to_vec(), ..Layout::default() };
        for (store, has_nulls) in columns {
            let values = at;
            at += store.words(rows);
            let validity = if *has_nulls { at } else { 0 };
            if *has_nulls {
                at += rows.div_ceil(32);
            }
            layout.columns.push((values, validity));
        }
        for words in lookups {
            layout.lookups.push(at);
            at += words;
        }
        layout.words = at;
        layout
    }

    /// Writes the header; `fixed` are the words at its start.
    pub fn write_header(&self, words: &mut [u32], fixed: [u32; HEADER]) {
        words[..HEADER].copy_from_slice(&fixed);
        let mut at = HEADER;
        for (values, validity) in &self.columns {
            words[at] = *values as u32;
            words[at + 1] = *validity as u32;
            at += 2;
        }
        for lookup in &self.lookups {
            words[at] = *lookup as u32;
            at += 1;
        }
        words[at..at + self.parameters.len()].copy_from_slice(&self.parameters);
    }
}

/// Encodes one column of consecutive batches. `parts` are its arrays in order; `values` and
/// `validity` the words they go to (`validity` empty where the layout has none).
pub fn encode_column(
    column: &ArenaColumn,
    parts: &[ArrayRef],
    interner: Option<&mut Interner>,
    values: &mut [u32],
    validity: &mut [u32],
) -> Result<()> {
    if let Some(interner) = interner {
        let mut at = 0;
        for part in parts {
            interner.encode(part, &mut values[at..at + part.len()])?;
            at += part.len();
        }
        return Ok(());
    }
    let mut row = 0;
    if column.store == Store::Bits {
        let mut bits = BitWriter::new(values);
        for part in parts {
            bits.extend_bool(part.as_boolean());
        }
        bits.finish();
    } else {
        for part in parts {
            encode_values(column, part, row, values)?;
            row += part.len();
        }
    }
    if !validity.is_empty() {
        let mut bits = BitWriter::new(validity);
        for part in parts {
            bits.extend_nulls(part.nulls(), part.len());
        }
        bits.finish();
    }
    Ok(())
}

/// Packs bits into words, in order, writing each word once.
struct BitWriter<'a> {
    out: &'a mut [u32],
    word: u32,
    bit: u32,
    at: usize,
}

impl<'a> BitWriter<'a> {
    fn new(out: &'a mut [u32]) -> Self {
        Self { out, word: 0, bit: 0, at: 0 }
    }

    fn push(&mut self, bits: u64, count: u32) {
        let mut bits = bits;
        let mut left = count;
        while left > 0 {
            let take = (32 - self.bit).min(left);
            let mask = if take == 32 { u32::MAX } else { (1 << take) - 1 };
            self.word |= (bits as u32 & mask) << self.bit;
            self.bit += take;
            bits >>= take;
            left -= take;
            if self.bit == 32 {
                self.out[self.at] = self.word;
                (self.word, self.bit, self.at) = (0, 0, self.at + 1);
            }
        }
    }

    fn extend_bool(&mut self, array: &BooleanArray) {
        self.extend_chunks(array.values().bit_chunks());
    }

    fn extend_nulls(&mut self, nulls: Option<&NullBuffer>, rows: usize) {
        match nulls {
            Some(nulls) => self.extend_chunks(nulls.inner().bit_chunks()),
            None => {
                for start in (0..rows).step_by(64) {
                    self.push(u64::MAX, (rows - start).min(64) as u32);
                }
            }
        }
    }

    fn extend_chunks(&mut self, chunks: arrow::util::bit_chunk_iterator::BitChunks<'_>) {
        for chunk in chunks.iter() {
            self.push(chunk, 64);
        }
        self.push(chunks.remainder_bits(), chunks.remainder_len() as u32);
    }

    fn finish(self) {
        if self.bit > 0 {
            self.out[self.at] = self.word;
        }
    }
}

fn put64(values: &mut [u32], row: usize, items: impl Iterator<Item = u64>) {
    for (item, pair) in items.zip(values[2 * row..].chunks_exact_mut(2)) {
        pair[0] = item as u32;
        pair[1] = (item >> 32) as u32;
    }
}

fn put32(values: &mut [u32], row: usize, items: impl Iterator<Item = u32>) {
    for (item, word) in items.zip(&mut values[row..]) {
        *word = item;
    }
}

/// Native values of an array of `$native`, whatever its logical type.
macro_rules! natives {
    ($array:expr, $native:ty) => {{
        let data = $array.to_data();
        let buffer = data.buffers()[0].clone();
        arrow::buffer::ScalarBuffer::<$native>::new(buffer, data.offset(), data.len())
    }};
}

fn encode_values(
    column: &ArenaColumn,
    part: &ArrayRef,
    row: usize,
    values: &mut [u32],
) -> Result<()> {
    use DataType as T;
    match part.data_type() {
        T::Int8 => put32(values, row, natives!(part, i8).iter().map(|v| *v as i32 as u32)),
        T::Int16 => put32(values, row, natives!(part, i16).iter().map(|v| *v as i32 as u32)),
        T::UInt8 => put32(values, row, natives!(part, u8).iter().map(|v| *v as u32)),
        T::UInt16 => put32(values, row, natives!(part, u16).iter().map(|v| *v as u32)),
        T::Int32 | T::UInt32 | T::Float32 | T::Date32 | T::Time32(_) => {
            let words = natives!(part, u32);
            values[row..row + words.len()].copy_from_slice(&words);
        }
        T::Int64
        | T::UInt64
        | T::Float64
        | T::Date64
        | T::Time64(_)
        | T::Timestamp(..)
        | T::Duration(_) => put64(values, row, natives!(part, u64).iter().copied()),
        T::Decimal32(..) => {
            put_decimal(column, row, values, natives!(part, i32).iter().map(|value| *value as i128))
        }
        T::Decimal64(..) => {
            put_decimal(column, row, values, natives!(part, i64).iter().map(|value| *value as i128))
        }
        T::Decimal128(..) => put_decimal(column, row, values, natives!(part, i128).iter().copied()),
        other => {
            return Err(Error::Bug(format!("column {} of type {other} in an arena", column.name)));
        }
    }
    Ok(())
}

fn put_decimal(
    column: &ArenaColumn,
    row: usize,
    values: &mut [u32],
    items: impl Iterator<Item = i128>,
) {
    match column.store {
        Store::W32 => put32(values, row, items.map(|value| value as u32)),
        Store::W64 => put64(values, row, items.map(|value| value as u64)),
        _ => {
            for (item, words) in items.zip(values[4 * row..].chunks_exact_mut(4)) {
                for (word, shift) in words.iter_mut().zip([0, 32, 64, 96]) {
                    *word = (item >> shift) as u32;
                }
            }
        }
    }
}

/// Reads a value back from an arena, as the twin does: `None` is NULL.
pub fn load(
    words: &[u32],
    offsets: (usize, usize),
    column: &ArenaColumn,
    row: u32,
) -> Option<u128> {
    let row = row as usize;
    let bit = |at: usize| (words[at + row / 32] >> (row % 32)) & 1;
    let (values, validity) = offsets;
    if validity != 0 && bit(validity) == 0 {
        return None;
    }
    let wide = |at: usize| words[at] as u64 | (words[at + 1] as u64) << 32;
    let signed = matches!(column.rep, crate::expr::ir::Rep::I128);
    let value = match column.store {
        Store::Bits => bit(values) as u128,
        Store::W32 if signed => words[values + row] as i32 as i128 as u128,
        Store::W32 => words[values + row] as u128,
        Store::W64 if signed => wide(values + 2 * row) as i64 as i128 as u128,
        Store::W64 => wide(values + 2 * row) as u128,
        Store::W128 => {
            let at = values + 4 * row;
            wide(at) as u128 | (wide(at + 2) as u128) << 64
        }
    };
    if column.domain.is_some() && value == 0 { None } else { Some(value) }
}
