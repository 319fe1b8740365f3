//! Codes for whole columns of strings. A value is looked up by its bytes once where it can be told
//! apart from others without them: a string of at most 12 bytes by its view, which holds it; a
//! longer one of a view array by its place in memory; one of a dictionary by its key.

use std::sync::Arc;

use arrow::array::{
    AnyDictionaryArray, Array, ArrayRef, AsArray, ByteView, FixedSizeBinaryArray, GenericByteArray,
    GenericByteViewArray, downcast_integer_array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ArrowNativeType, ByteArrayType, ByteViewType, DataType};

use crate::error::{Error, Result};

/// Bytes of a string that its view holds itself, behind four of length.
pub const INLINE: usize = 12;

/// Marks a code that is not one of the interner's, but of those that `intern::find` returns.
pub const FRESH: u32 = 1 << 31;

/// Values that were met lately and are known without a look into the interner, at most: as many
/// as lie in a core's own cache.
const RECENT: usize = 1 << 12;

/// What gives a string its code.
pub trait Codes {
    /// The code of a string of at most `INLINE` bytes, by its view.
    fn short(&mut self, view: u128) -> u32;

    /// The code of a longer one.
    fn long(&mut self, value: &[u8]) -> u32;
}

/// Writes the codes of consecutive arrays of strings, of binaries or of a dictionary of either.
pub fn encode(codes: &mut impl Codes, parts: &[ArrayRef], out: &mut [u32]) -> Result<()> {
    let mut coder = Coder::new(codes, out.len());
    let mut rest = out;
    for part in parts {
        let (here, behind) = rest.split_at_mut(part.len());
        coder.encode(part, here)?;
        rest = behind;
    }
    Ok(())
}

/// The final code of one that `find` wrote; `adopted` is what `Interner::adopt` returned.
pub fn settle(code: u32, adopted: &[u32]) -> u32 {
    match code & FRESH {
        0 => code,
        _ => adopted[(code ^ FRESH) as usize - 1],
    }
}

/// Writes the code of each row of a dictionary, 0 for NULL; `codes` are those of its values.
pub fn by_key(dictionary: &dyn AnyDictionaryArray, codes: &[u32], out: &mut [u32]) -> Result<()> {
    let keys = dictionary.keys();
    downcast_integer_array! {
        keys => match keys.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => {
                for (out, key) in out.iter_mut().zip(keys.values()) {
                    *out = codes[key.as_usize()];
                }
            }
            nulls => fill(out, nulls, |row| codes[keys.value(row).as_usize()]),
        },
        other => return Err(Error::Bug(format!("a dictionary with keys of type {other}"))),
    }
    Ok(())
}

/// The view of a string of at most `INLINE` bytes that lies at `start` in `data`.
pub fn inline_view(data: &[u8], start: usize, length: usize) -> u128 {
    let tail = &data[start..];
    let text = match tail.first_chunk() {
        Some(chunk) => u128::from_le_bytes(*chunk),
        None => {
            let mut chunk = [0; 16];
            chunk[..length].copy_from_slice(&tail[..length]);
            u128::from_le_bytes(chunk)
        }
    };
    clean(text << 32 | length as u128)
}

/// An inline view with nothing behind its string.
fn clean(view: u128) -> u128 {
    let bytes = 4 + (view as u32 as usize).min(INLINE);
    view & u128::MAX >> (8 * (16 - bytes))
}

/// Writes one code a row, 0 for NULL.
fn fill(out: &mut [u32], nulls: Option<&NullBuffer>, mut code: impl FnMut(usize) -> u32) {
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => {
            for (row, out) in out.iter_mut().enumerate() {
                *out = code(row);
            }
        }
        Some(nulls) => {
            for (row, out) in out.iter_mut().enumerate() {
                *out = if nulls.is_valid(row) { code(row) } else { 0 };
            }
        }
    }
}

struct Coder<'a, C> {
    codes: &'a mut C,
    /// Direct-mapped by `key`: views of short strings; length and address of long ones, which
    /// stay where they are while their arrays are borrowed.
    met: Vec<(u128, u32)>,
    /// Leaves of a mixed key the bits that number `met`.
    shift: u32,
    /// The last dictionary's values and their codes; batches of one file often share them.
    values: Option<(&'a ArrayRef, Vec<u32>)>,
}

impl<'a, C: Codes> Coder<'a, C> {
    fn new(codes: &'a mut C, rows: usize) -> Self {
        let slots = (rows / 4).clamp(2, RECENT).next_power_of_two();
        let shift = 64 - slots.trailing_zeros();
        // No view has this length, and no string this address.
        Self { codes, met: vec![(u128::MAX, 0); slots], shift, values: None }
    }

    fn encode(&mut self, array: &'a ArrayRef, out: &mut [u32]) -> Result<()> {
        match array.data_type() {
            DataType::Utf8 => self.texts(array.as_string::<i32>(), out),
            DataType::LargeUtf8 => self.texts(array.as_string::<i64>(), out),
            DataType::Binary => self.texts(array.as_binary::<i32>(), out),
            DataType::LargeBinary => self.texts(array.as_binary::<i64>(), out),
            DataType::Utf8View => self.views(array.as_string_view(), out),
            DataType::BinaryView => self.views(array.as_binary_view(), out),
            DataType::FixedSizeBinary(_) => self.fixed(array.as_fixed_size_binary(), out),
            DataType::Dictionary(..) => return self.dictionary(array.as_any_dictionary(), out),
            other => return Err(Error::Bug(format!("a column of type {other} has no codes"))),
        }
        Ok(())
    }

    /// The code of what the key stands for, by `miss` where it was not met lately.
    fn recent(&mut self, key: u128, miss: impl FnOnce(&mut C) -> u32) -> u32 {
        let (low, high) = (key as u64, (key >> 64) as u64);
        let mixed = (low ^ high.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = &mut self.met[(mixed >> self.shift) as usize];
        if slot.0 != key {
            *slot = (key, miss(self.codes));
        }
        slot.1
    }

    fn short(&mut self, view: u128) -> u32 {
        self.recent(view, |codes| codes.short(view))
    }

    /// The code of a value in `data`; `last` is the long one before it with its code.
    fn value<'v>(
        &mut self,
        data: &'v [u8],
        start: usize,
        length: usize,
        last: &mut (&'v [u8], u32),
    ) -> u32 {
        if length <= INLINE {
            return self.short(inline_view(data, start, length));
        }
        let value = &data[start..start + length];
        if value != last.0 {
            *last = (value, self.codes.long(value));
        }
        last.1
    }

    fn texts<T: ByteArrayType>(&mut self, array: &GenericByteArray<T>, out: &mut [u32]) {
        let (data, offsets) = (array.value_data(), array.value_offsets());
        let mut last: (&[u8], u32) = (&[], 0);
        fill(out, array.nulls(), |row| {
            let start = offsets[row].as_usize();
            self.value(data, start, offsets[row + 1].as_usize() - start, &mut last)
        });
    }

    fn fixed(&mut self, array: &FixedSizeBinaryArray, out: &mut [u32]) {
        let mut last: (&[u8], u32) = (&[], 0);
        fill(out, array.nulls(), |row| {
            let value = array.value(row);
            self.value(value, 0, value.len(), &mut last)
        });
    }

    fn views<T: ByteViewType + ?Sized>(
        &mut self,
        array: &'a GenericByteViewArray<T>,
        out: &mut [u32],
    ) {
        let (views, buffers) = (array.views(), array.data_buffers());
        fill(out, array.nulls(), |row| {
            let view = views[row];
            if view as u32 as usize <= INLINE {
                return self.short(clean(view));
            }
            let at = ByteView::from(view);
            let data = buffers[at.buffer_index as usize].as_slice();
            let value = &data[at.offset as usize..][..at.length as usize];
            let key = (value.as_ptr() as usize as u128) << 64 | at.length as u128;
            self.recent(key, |codes| codes.long(value))
        });
    }

    fn dictionary(
        &mut self,
        dictionary: &'a dyn AnyDictionaryArray,
        out: &mut [u32],
    ) -> Result<()> {
        let values = dictionary.values();
        let last = self.values.take().filter(|(last, _)| Arc::ptr_eq(last, values));
        let codes = match last {
            Some((_, codes)) => codes,
            None => {
                let mut codes = vec![0; values.len()];
                self.encode(values, &mut codes)?;
                codes
            }
        };
        by_key(dictionary, &codes, out)?;
        self.values = Some((values, codes));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{FixedSizeBinaryArray, StringArray, UInt32Array};
    use arrow::compute::{cast, take};

    use super::*;
    use crate::fragment::intern::{Interner, find};

    /// Counts how often it is asked.
    #[derive(Default)]
    struct Counting {
        interner: Interner,
        short: usize,
        long: usize,
    }

    impl Codes for Counting {
        fn short(&mut self, view: u128) -> u32 {
            self.short += 1;
            self.interner.short(view)
        }

        fn long(&mut self, value: &[u8]) -> u32 {
            self.long += 1;
            self.interner.long(value)
        }
    }

    /// Strings of all lengths around that of a view, in an order without a pattern, some NULL.
    fn texts(rows: usize, distinct: usize) -> Vec<Option<String>> {
        let text = |row: usize| {
            let number = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            let number = number as usize % distinct;
            (number % 7 != 3).then(|| format!("{number}{}", "x".repeat(number % 20)))
        };
        (0..rows).map(text).collect()
    }

    /// Codes in the order of first sight, by a plain search.
    fn in_order(texts: &[Option<String>]) -> Vec<u32> {
        let mut seen: Vec<&String> = Vec::new();
        let mut code = |text| {
            let known = seen.iter().position(|known| *known == text);
            known.unwrap_or_else(|| {
                seen.push(text);
                seen.len() - 1
            }) as u32
                + 1
        };
        texts.iter().map(|text| text.as_ref().map_or(0, &mut code)).collect()
    }

    fn dictionary_of(key: DataType, value: DataType) -> DataType {
        DataType::Dictionary(Box::new(key), Box::new(value))
    }

    fn codes_of(parts: &[ArrayRef]) -> Vec<u32> {
        let mut codes = vec![u32::MAX; parts.iter().map(|part| part.len()).sum()];
        encode(&mut Interner::default(), parts, &mut codes).unwrap();
        codes
    }

    #[test]
    fn codes_count_from_one_in_the_order_of_first_sight_in_every_type() {
        let texts = texts(5000, 2000);
        let all: ArrayRef = Arc::new(StringArray::from(texts.clone()));
        let types = [
            DataType::Utf8,
            DataType::LargeUtf8,
            DataType::Utf8View,
            DataType::Binary,
            DataType::LargeBinary,
            DataType::BinaryView,
            dictionary_of(DataType::UInt16, DataType::Utf8),
            dictionary_of(DataType::Int64, DataType::Utf8View),
        ];
        for data_type in types {
            let array = cast(&all, &data_type).unwrap();
            let parts = [array.slice(0, 7), array.slice(7, 0), array.slice(7, 4993)];
            // A dictionary's values come in its own order; here that is the one of first sight.
            assert_eq!(codes_of(&parts), in_order(&texts), "{data_type}");
            let tail = in_order(&texts[4001..]);
            if !matches!(data_type, DataType::Dictionary(..)) {
                assert_eq!(codes_of(&[array.slice(4001, 999)]), tail, "{data_type}");
            }
        }
    }

    #[test]
    fn binaries_of_a_fixed_width_have_codes() {
        for width in [2, INLINE, 20] {
            let values = [3u8, 4, 3, 5, 4].map(|byte| Some(vec![byte; width]));
            let values = values.into_iter().chain([None]);
            let array = FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, width as i32);
            let array: ArrayRef = Arc::new(array.unwrap());
            assert_eq!(codes_of(&[array.slice(0, 6)]), [1, 2, 1, 3, 2, 0]);
            assert_eq!(codes_of(&[array.slice(1, 4)]), [1, 2, 3, 1]);
        }
    }

    #[test]
    fn strings_that_differ_behind_a_zero_byte_or_in_length_have_codes_of_their_own() {
        let texts = ["", "\0", "\0\0", "a", "a\0", "twelve bytes", "twelve bytes\0"];
        for data_type in [DataType::Utf8, DataType::Utf8View] {
            let array: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
            let array = cast(&array, &data_type).unwrap();
            let backwards = UInt32Array::from_iter_values((0..7).rev());
            let backwards = take(&array, &backwards, None).unwrap();
            let codes = codes_of(&[array, backwards]);
            assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1]);
        }
    }

    /// As Parquet's reader makes them: rows of one value have one view.
    fn views(values: &ArrayRef, rows: usize) -> ArrayRef {
        let views = cast(values, &DataType::Utf8View).unwrap();
        let numbers: UInt32Array = (0..rows).map(|row| row as u32 % 4).collect();
        take(&views, &numbers, None).unwrap()
    }

    #[test]
    fn a_value_is_hashed_once_an_array_and_not_once_a_row() {
        let rows = 10_000;
        let values = ["short", "a value longer than a view", "another one as long as that", "s"];
        let values: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        let hashed = || {
            let mut counting = Counting::default();
            let parts = [views(&values, rows), views(&values, rows)];
            encode(&mut counting, &parts, &mut vec![0; 2 * rows]).unwrap();
            counting.long + counting.short
        };
        // Two values drive each other out if their addresses want it so: seldom.
        let least = (0..5).map(|_| hashed()).min().unwrap();
        assert!(least <= 2 * 2 + 2, "{least} of {} rows", 2 * rows);

        let keyed =
            cast(&views(&values, rows), &dictionary_of(DataType::Int32, DataType::Utf8)).unwrap();
        let parts = [keyed.slice(0, 100), keyed.slice(100, 9000), keyed.slice(9100, 900)];
        let mut counting = Counting::default();
        encode(&mut counting, &parts, &mut vec![0; rows]).unwrap();
        assert_eq!((counting.long, counting.short), (2, 2));

        let sorted: UInt32Array = (0..rows as u32).map(|row| row / 2500).collect();
        let sorted = take(&values, &sorted, None).unwrap();
        let mut counting = Counting::default();
        encode(&mut counting, &[sorted], &mut vec![0; rows]).unwrap();
        assert_eq!((counting.long, counting.short), (2, 2));
    }

    /// More values than are kept as met lately, so that they drive each other out.
    #[test]
    fn what_was_driven_out_keeps_its_code() {
        let texts = texts(20_000, 2 * RECENT);
        let array: ArrayRef = Arc::new(StringArray::from(texts.clone()));
        let views = cast(&array, &DataType::Utf8View).unwrap();
        assert_eq!(codes_of(&[views]), in_order(&texts));
    }

    #[test]
    fn strings_found_in_pieces_have_the_codes_that_one_pass_gives_them() {
        let texts = texts(6000, 500);
        let array: ArrayRef = Arc::new(StringArray::from(texts.clone()));
        let mut known = Interner::default();
        let mut codes = vec![0; texts.len()];
        encode(&mut known, &[array.slice(0, 50)], &mut codes[..50]).unwrap();
        let pieces = [50..300, 300..301, 301..6000];
        let mut fresh = Vec::new();
        for piece in &pieces {
            let parts = [array.slice(piece.start, piece.len())];
            fresh.push(find(&known, &parts, &mut codes[piece.clone()]).unwrap());
        }
        for (piece, fresh) in pieces.into_iter().zip(&fresh) {
            let adopted = known.adopt(fresh);
            codes[piece].iter_mut().for_each(|code| *code = settle(*code, &adopted));
        }
        assert_eq!(codes, in_order(&texts));
        for (code, text) in codes.iter().zip(&texts) {
            let found = (*code != 0).then(|| known.get(*code).to_vec());
            assert_eq!(found, text.as_ref().map(|text| text.as_bytes().to_vec()));
        }
    }
}
