//! Arrays out of the words of a device.

use arrow::array::{ArrayData, ArrayRef, make_array, new_null_array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
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

/// An array of `data_type` out of values of `words` words each, low words first, of which the low
/// bits count. Values of the type's own width are taken as they are, without a copy.
///
/// Errors, as a bug of ours, where values of so many words cannot be of the type.
pub fn from_words(
    data_type: &DataType,
    values: &Buffer,
    words: usize,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let all = values.typed_data::<u32>();
    let len = all.len() / words.max(1);
    let each = all.chunks_exact(words.max(1));
    let wide = |value: &[u32]| u64::from(value[0]) | u64::from(value[1]) << 32;
    let values = match data_type.primitive_width() {
        _ if data_type == &DataType::Null => return Ok(new_null_array(data_type, len)),
        _ if data_type == &DataType::Boolean => {
            BooleanBuffer::collect_bool(len, |row| all[row * words] & 1 == 1).into_inner()
        }
        Some(width) if width == 4 * words => values.clone(),
        Some(1) => Buffer::from_vec(each.map(|value| value[0] as u8).collect()),
        Some(2) => Buffer::from_vec(each.map(|value| value[0] as u16).collect()),
        Some(4) => Buffer::from_vec(each.map(|value| value[0]).collect()),
        Some(8) if words > 2 => Buffer::from_vec(each.map(wide).collect()),
        _ => {
            return Err(Error::Bug(format!("no {data_type} comes of {words} words of a device")));
        }
    };
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
    let data = ArrayData::builder(data_type.clone()).len(len).nulls(nulls).add_buffer(values);
    Ok(make_array(data.align_buffers(true).build()?))
}
