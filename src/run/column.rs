//! Bits to Arrow arrays and back.

use std::panic::AssertUnwindSafe;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow::array::{
    ArrayData, ArrayRef, BooleanArray, make_array, new_empty_array, new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::DataType;

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
    arena::encode_column(&column, std::slice::from_ref(array), None, &mut front[values..], back)?;
    let load = |row| arena::load(&words, (values, validity), &column, row);
    Ok((0..rows as u32).map(load).collect())
}
