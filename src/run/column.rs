//! Bits to Arrow arrays and back.

use std::panic::AssertUnwindSafe;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow::array::{
    ArrayData, ArrayRef, BooleanArray, make_array, new_empty_array, new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::DataType;

use crate::agg::array;
use crate::error::{Error, Result};
use crate::expr::ir::Rep;
use crate::fragment::arena::{self, Layout};
use crate::fragment::spec::{ArenaColumn, Store};
use crate::record::Words;

/// Words that came down as a buffer of Arrow's, of the same memory.
pub fn buffer(words: Words) -> Buffer {
    let (start, bytes) = (words.as_ptr(), 4 * words.len());
    let Some(start) = NonNull::new(start.cast_mut().cast::<u8>()) else { return Buffer::default() };
    let owner = Arc::new(AssertUnwindSafe(words));
    // SAFETY: the words lie at `start`, do not move with their owner, and nobody writes there.
    unsafe { Buffer::from_custom_allocation(start, bytes, owner) }
}

/// An array of the type from bit patterns; not for strings, whose codes an interner decodes.
pub fn from_bits(bits: &[Option<u128>], data_type: &DataType) -> Result<ArrayRef> {
    if bits.is_empty() {
        return Ok(new_empty_array(data_type));
    }
    if *data_type == DataType::Null {
        return Ok(new_null_array(data_type, bits.len()));
    }
    let nulls = BooleanBuffer::collect_bool(bits.len(), |row| bits[row].is_some());
    let nulls = NullBuffer::new(nulls);
    let nulls = (nulls.null_count() > 0).then_some(nulls);
    if *data_type == DataType::Boolean {
        let values = BooleanBuffer::collect_bool(bits.len(), |row| bits[row] == Some(1));
        return Ok(Arc::new(BooleanArray::new(values, nulls)));
    }
    let Some(width) = data_type.primitive_width() else {
        return Err(Error::Bug(format!("a column of type {data_type} computed on the device")));
    };
    let mut bytes = Vec::with_capacity(width * bits.len());
    for value in bits {
        bytes.extend_from_slice(&value.unwrap_or(0).to_le_bytes()[..width]);
    }
    let data = ArrayData::builder(data_type.clone())
        .len(bits.len())
        .nulls(nulls)
        .add_buffer(Buffer::from_vec(bytes));
    Ok(make_array(data.build()?))
}

/// An array of the type from a computed column as a kernel wrote it: `words` words a value, and, of
/// one that may be NULL, a word each that says whether it is not. Not for strings.
pub fn from_words(
    values: Words,
    words: usize,
    valid: Option<&[u32]>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let bits = |valid: &[u32]| BooleanBuffer::collect_bool(valid.len(), |row| valid[row] != 0);
    let nulls = valid.map(|valid| NullBuffer::new(bits(valid)));
    array::from_words(data_type, &buffer(values), words, nulls)
}

/// The codes of a computed column of strings; 0 is NULL.
pub fn codes(codes: &[u32], valid: Option<&[u32]>) -> Vec<u32> {
    match valid {
        None => codes.to_vec(),
        Some(valid) => {
            let known = |(code, valid): (&u32, &u32)| if *valid != 0 { *code } else { 0 };
            codes.iter().zip(valid).map(known).collect()
        }
    }
}

/// The bit patterns of an array that is not of strings.
pub fn to_bits(array: &ArrayRef, rep: Rep) -> Result<Vec<Option<u128>>> {
    if *array.data_type() == DataType::Null {
        return Ok(vec![None; array.len()]);
    }
    let store = match rep.words() {
        _ if rep == Rep::B1 => Store::Bits,
        1 => Store::W32,
        2 => Store::W64,
        _ => Store::W128,
    };
    let column = ArenaColumn {
        index: 0,
        name: "value".into(),
        data_type: array.data_type().clone(),
        rep,
        store,
        nullable: true,
        domain: None,
    };
    let rows = array.len();
    let layout = Layout::new(rows, &[(store, true)], &[], &[]);
    let mut words = vec![0; layout.words];
    let (values, validity) = layout.columns[0];
    let (front, back) = words.split_at_mut(validity);
    arena::encode_column(&column, std::slice::from_ref(array), &mut front[values..], back)?;
    let load = |row| arena::load(&words, (values, validity), &column, row);
    Ok((0..rows as u32).map(load).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;

    use super::*;

    /// What a kernel writes of these values, one of them NULL, is what they become by their bits.
    #[test]
    fn words_become_the_values_they_are_of() {
        let values = [1u128, 0xfe, 0x8000_0000, 0xffff_ffff_0000_0001, u128::MAX - 7, 0];
        let null = 2;
        let types = [
            (DataType::Boolean, 1),
            (DataType::Int8, 1),
            (DataType::UInt16, 1),
            (DataType::Float32, 1),
            (DataType::Int64, 2),
            (DataType::Decimal32(9, 2), 4),
            (DataType::Decimal64(18, 2), 4),
            (DataType::Decimal128(38, 2), 4),
        ];
        for (data_type, width) in types {
            let words =
                values.iter().flat_map(|value| (0..width).map(move |at| value >> (32 * at)));
            let words: Vec<u32> = words.map(|word| word as u32).collect();
            let valid = (0..values.len()).map(|row| (row != null) as u32).collect::<Vec<u32>>();
            let bits: Vec<Option<u128>> = (0..values.len())
                .map(|row| {
                    let value = &words[row * width..][..width];
                    let value = value.iter().rev().fold(0, |v, word| v << 32 | u128::from(*word));
                    (row != null).then_some(value)
                })
                .collect();
            let expected = from_bits(&bits, &data_type).unwrap();
            let array = from_words(words.into(), width, Some(&valid), &data_type).unwrap();
            assert_eq!(*array, *expected, "{data_type}");
            assert_eq!(array.null_count(), 1);
        }
    }

    #[test]
    fn codes_without_validity_are_null() {
        assert_eq!(codes(&[4, 5, 6], Some(&[1, 0, 1])), [4, 0, 6]);
        assert_eq!(codes(&[4, 5, 6], None), [4, 5, 6]);
    }

    #[test]
    fn a_type_wider_than_its_words_is_a_bug() {
        let array = from_words(vec![4].into(), 1, Some(&[1]), &DataType::Int64);
        assert!(matches!(array, Err(Error::Bug(_))));
    }
}
