//! Arrays out of value bits.

use arrow::array::{ArrayData, ArrayRef, NullBufferBuilder, make_array};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::datatypes::DataType;

use crate::error::{Error, Result};
use crate::expr::ir::Rep;

/// How the device holds values of a type in accumulators; `None` where it cannot.
pub(super) fn rep(data_type: &DataType) -> Option<Rep> {
    use DataType::*;
    Some(match data_type {
        Boolean => Rep::B1,
        Int8 | Int16 | Int32 | Date32 | Time32(_) => Rep::I32,
        UInt8 | UInt16 | UInt32 => Rep::U32,
        Int64 | Date64 | Time64(_) | Timestamp(_, _) | Duration(_) => Rep::I64,
        UInt64 => Rep::U64,
        Float32 => Rep::F32,
        Float64 => Rep::F64,
        Decimal32(_, _) | Decimal64(_, _) | Decimal128(_, _) => Rep::I128,
        _ => return None,
    })
}

/// An array of `data_type` out of value bits, of which the low ones count.
pub(super) fn from_bits(
    data_type: &DataType,
    bits: impl ExactSizeIterator<Item = Option<u128>>,
) -> Result<ArrayRef> {
    let len = bits.len();
    let mut nulls = NullBufferBuilder::new(len);
    let bits = bits.map(|value| {
        nulls.append(value.is_some());
        value.unwrap_or(0)
    });
    let values = match data_type.primitive_width() {
        _ if data_type == &DataType::Boolean => {
            BooleanBuffer::from_iter(bits.map(|bits| bits & 1 == 1)).into_inner()
        }
        Some(1) => Buffer::from_vec(bits.map(|bits| bits as u8).collect()),
        Some(2) => Buffer::from_vec(bits.map(|bits| bits as u16).collect()),
        Some(4) => Buffer::from_vec(bits.map(|bits| bits as u32).collect()),
        Some(8) => Buffer::from_vec(bits.map(|bits| bits as u64).collect()),
        Some(16) => Buffer::from_vec(bits.map(|bits| bits as i128).collect()),
        _ => return Err(Error::Bug(format!("no {data_type} comes from the device"))),
    };
    let data = ArrayData::builder(data_type.clone()).len(len).add_buffer(values);
    Ok(make_array(data.nulls(nulls.finish()).build()?))
}
