//! Columns as device words: the layout of an arena, and Arrow arrays encoded into it.
//!
//! An arena starts with a header of words: `HEADER` fixed ones, then for each column the offset of
//! its values and of its validity bits (0: no NULLs), then for each lookup table its offset, then
//! the parameters of the pipeline's expressions.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, downcast_primitive_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::*;

use super::spec::{ArenaColumn, Store};
use crate::error::{Error, Result};

/// Keys that may have a base: so many fit the header of a slot, two words each.
pub const MAX_BASES: usize = 8;

/// Fixed words at the start of an arena; their meaning depends on its use.
pub const HEADER: usize = H_BASES + 2 * MAX_BASES;
/// Rows in the arena.
pub const H_ROWS: usize = 0;
/// Slot: workgroups dispatched.
pub const H_GROUPS: usize = 1;
/// Slot: entries - 1 of the group table.
pub const H_TABLE_MASK: usize = 2;
/// Slot: capacity of the output in tuples.
pub const H_CAPACITY: usize = 3;
/// Slot: always 0, which the shader's compiler does not know (`zeros()` in `lib/slot`).
pub const H_ZEROS: [usize; 2] = [6, 7];

/// Slot: the bases of group keys, two words each (`key::Packing`).
pub const H_BASES: usize = 8;

/// Join table: slots of its index (`join::Index`).
pub const T_SLOTS: usize = 1;
/// Join table: where the slots start.
pub const T_SLOTS_AT: usize = 2;
/// Join table: where the rows of keys that have several start.
pub const T_MATCHES: usize = 3;
/// Join table: where its marks start, in words of the fragment's marks.
pub const T_MARKS: usize = 4;
/// Join table: the form of its index.
pub const T_FORM: usize = 5;
/// Join table: whether some key has several rows, once the index is built.
pub const T_SEVERAL: usize = 6;
/// Words of a field of the keys, which stand in a join table's header where parameters do.
pub const T_FIELDS_WORDS: usize = 5;

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
            // At a multiple of four words, as the widest loads want it.
            at = at.next_multiple_of(4);
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

    /// Splits an arena's words by ranges of rows, which follow each other from 0 and start at
    /// multiples of 32: for each of them, the words of the values and of the validity of each
    /// column (none where it has no NULLs).
    pub fn split<'a>(
        &self,
        stores: &[Store],
        ranges: &[Range<usize>],
        words: &'a mut [u32],
    ) -> Vec<Vec<(&'a mut [u32], &'a mut [u32])>> {
        let mut parts: Vec<Vec<_>> = ranges.iter().map(|_| Vec::new()).collect();
        let (mut rest, mut at) = (words, 0);
        // The next `count` words behind `from`, which is behind all that was asked for before.
        let mut next = |from: usize, count: usize| {
            let (here, behind) = std::mem::take(&mut rest)[from - at..].split_at_mut(count);
            (rest, at) = (behind, from + count);
            here
        };
        for (store, (values, validity)) in stores.iter().zip(&self.columns) {
            for (range, part) in ranges.iter().zip(&mut parts) {
                let words = store.words(range.len());
                part.push((next(values + store.words(range.start), words), &mut [][..]));
            }
            if *validity == 0 {
                continue;
            }
            for (range, part) in ranges.iter().zip(&mut parts) {
                let words = Store::Bits.words(range.len());
                let bits = next(validity + Store::Bits.words(range.start), words);
                if let Some(column) = part.last_mut() {
                    column.1 = bits;
                }
            }
        }
        parts
    }

    /// Ends at a multiple of eight words: what follows starts at a sector of memory.
    pub fn align(&mut self) {
        self.words = self.words.next_multiple_of(8);
    }

    /// The words of the header; `fixed` are those at its start.
    pub fn header_words(&self, fixed: [u32; HEADER]) -> Vec<u32> {
        let words = parameters_at(self.columns.len(), self.lookups.len()) + self.parameters.len();
        let mut header = vec![0; words];
        self.write_header(&mut header, fixed);
        header
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

/// Encodes one column, not of strings, of consecutive batches. `parts` are its arrays in order;
/// `values` and `validity` the words they go to (`validity` empty where the layout has none).
pub fn encode_column(
    column: &ArenaColumn,
    parts: &[ArrayRef],
    values: &mut [u32],
    validity: &mut [u32],
) -> Result<()> {
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

/// Writes the values of an array where the rows from `row` on have theirs.
fn encode_values(
    column: &ArenaColumn,
    part: &ArrayRef,
    row: usize,
    values: &mut [u32],
) -> Result<()> {
    use DataType as T;
    let store = column.store;
    let out = &mut values[store.words(row)..store.words(row + part.len())];
    match part.data_type() {
        T::Int8 => put_small(part.as_primitive::<Int8Type>().values(), out),
        T::Int16 => put_small(part.as_primitive::<Int16Type>().values(), out),
        T::UInt8 => put_small(part.as_primitive::<UInt8Type>().values(), out),
        T::UInt16 => put_small(part.as_primitive::<UInt16Type>().values(), out),
        T::Decimal32(..) if store != Store::W32 => {
            put_decimal(store, part.as_primitive::<Decimal32Type>().values(), out);
        }
        T::Decimal64(..) if store != Store::W64 => {
            put_decimal(store, part.as_primitive::<Decimal64Type>().values(), out);
        }
        T::Decimal128(..) if store != Store::W128 => {
            put_decimal(store, part.as_primitive::<Decimal128Type>().values(), out);
        }
        other => {
            // Words low first are the native layout.
            let bytes = native_bytes(part).filter(|bytes| bytes.len() == 4 * out.len());
            let Some(bytes) = bytes else {
                let text = format!("column {} of type {other} in an arena", column.name);
                return Err(Error::Bug(text));
            };
            bytemuck::cast_slice_mut(out).copy_from_slice(bytes);
        }
    }
    Ok(())
}

/// The values of a primitive array as they lie in memory, whatever its logical type.
fn native_bytes(array: &ArrayRef) -> Option<&[u8]> {
    let array = array.as_ref();
    downcast_primitive_array! {
        array => Some(array.values().inner().as_slice()),
        _ => None,
    }
}

/// Integers below 32 bits, widened by their sign.
fn put_small<N: Copy + Into<i32>>(items: &[N], out: &mut [u32]) {
    for (item, word) in items.iter().zip(out) {
        *word = (*item).into() as u32;
    }
}

/// Decimals whose store is of another width than their type.
fn put_decimal<N: Copy + Into<i128>>(store: Store, items: &[N], out: &mut [u32]) {
    match store {
        Store::W64 => {
            for (item, pair) in items.iter().zip(out.as_chunks_mut().0) {
                *pair = bytemuck::cast::<i64, [u32; 2]>((*item).into() as i64);
            }
        }
        Store::W128 => {
            for (item, words) in items.iter().zip(out.as_chunks_mut().0) {
                *words = bytemuck::cast::<i128, [u32; 4]>((*item).into());
            }
        }
        Store::W32 | Store::Bits => {
            for (item, word) in items.iter().zip(out) {
                *word = (*item).into() as u32;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, new_null_array};
    use arrow::compute::cast;

    use super::*;
    use crate::expr::ir::Rep;

    fn column(data_type: &DataType, rep: Rep) -> ArenaColumn {
        ArenaColumn {
            index: 0,
            name: "c".into(),
            data_type: data_type.clone(),
            rep,
            store: Store::of(data_type, rep),
            nullable: true,
            domain: None,
        }
    }

    /// Encodes the parts and reads all rows back.
    fn round_trip(column: &ArenaColumn, parts: &[ArrayRef]) -> Vec<Option<u128>> {
        let rows = parts.iter().map(|part| part.len()).sum();
        let layout = Layout::new(rows, &[(column.store, true)], &[], &[]);
        let mut words = vec![u32::MAX; layout.words];
        let (values, validity) = layout.columns[0];
        let (front, back) = words.split_at_mut(validity);
        encode_column(column, parts, &mut front[values..], back).unwrap();
        let load = |row| load(&words, (values, validity), column, row);
        (0..rows as u32).map(load).collect()
    }

    #[test]
    fn ranges_of_rows_have_the_words_of_their_rows() {
        let stores = [Store::Bits, Store::W32, Store::W64, Store::W128];
        let shapes = [(stores[0], true), (stores[1], false), (stores[2], true), (stores[3], false)];
        let layout = Layout::new(150, &shapes, &[3], &[]);
        // Each word holds its own place.
        let mut words: Vec<u32> = (0..layout.words as u32).collect();
        let ranges = [0..64, 64..128, 128..150];
        let parts = layout.split(&stores, &ranges, &mut words);
        assert_eq!(parts.len(), ranges.len());
        for (range, part) in ranges.into_iter().zip(parts) {
            for ((store, nulls), ((values, validity), found)) in
                shapes.iter().zip(layout.columns.iter().zip(part))
            {
                let first = values + store.words(range.start);
                let expected: Vec<u32> = (first as u32..).take(store.words(range.len())).collect();
                assert_eq!(found.0, expected, "{store:?} {range:?}");
                let first = validity + range.start / 32;
                let count = if *nulls { range.len().div_ceil(32) } else { 0 };
                let expected: Vec<u32> = (first as u32..).take(count).collect();
                assert_eq!(found.1, expected, "{store:?} {range:?}");
            }
        }
    }

    /// Values of every type and store, in parts that start amid an array.
    #[test]
    fn values_of_every_store_are_read_back() {
        use DataType as T;
        let numbers = [0i64, 1, -1, 127, -128, 99, -77, 5, 100];
        let all: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
        let types = [
            (T::Int8, Rep::I32),
            (T::Int16, Rep::I32),
            (T::Int32, Rep::I32),
            (T::Int64, Rep::I64),
            (T::Duration(TimeUnit::Second), Rep::I64),
            (T::Timestamp(TimeUnit::Microsecond, None), Rep::I64),
            (T::Decimal32(9, 0), Rep::I128),
            (T::Decimal64(18, 0), Rep::I128),
            (T::Decimal128(9, 0), Rep::I128),
            (T::Decimal128(18, 0), Rep::I128),
            (T::Decimal128(38, 0), Rep::I128),
        ];
        for (data_type, rep) in types {
            let array = cast(&all, &data_type).unwrap();
            let none = new_null_array(&data_type, 2);
            let parts = [array.slice(0, 2), none, array.slice(2, 7)];
            let mask = u128::MAX >> (128 - 32 * rep.words());
            let bits = |number: &i64| Some(*number as i128 as u128 & mask);
            let mut expected: Vec<Option<u128>> = numbers.iter().map(bits).collect();
            expected.splice(2..2, [None, None]);
            assert_eq!(round_trip(&column(&data_type, rep), &parts), expected, "{data_type}");
        }
    }

    #[test]
    fn unsigned_values_keep_their_bits() {
        let all: ArrayRef = Arc::new(Int64Array::from(vec![0, 200, 255]));
        for data_type in [DataType::UInt8, DataType::UInt16, DataType::UInt32] {
            let array = cast(&all, &data_type).unwrap();
            let found = round_trip(&column(&data_type, Rep::U32), &[array]);
            assert_eq!(found, [Some(0), Some(200), Some(255)], "{data_type}");
        }
    }

    #[test]
    fn an_array_of_another_type_than_its_column_is_a_bug() {
        let wide = column(&DataType::Int64, Rep::I64);
        let array: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![1]));
        let mut values = [0; 2];
        let encoded = encode_column(&wide, &[array], &mut values, &mut []);
        assert!(matches!(encoded, Err(Error::Bug(_))));
    }
}
