//! Arrow streams as bodies. Nothing that one claims is believed before it is checked: not how long
//! it is, nor what its packed buffers unpack to, nor how many rows it has.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, new_null_array};
use arrow::buffer::Buffer;
use arrow::compute::kernels::length::length;
use arrow::compute::{cast, sum, take};
use arrow::datatypes::DataType;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::{CompressionType, Message, RecordBatch as Header, root_as_message};
use arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};
use crate::stream::connector::api::Opening;
use crate::stream::connector::format::columns::{Missing, pick};
use crate::stream::connector::format::text::{Piece, Position, piece};
use crate::task;

/// Stands before the length of a message.
const CONTINUES: u32 = 0xFFFF_FFFF;

/// Bytes of values for each that a body may have: values that stand there once may be meant in
/// many rows.
const SHARED: u64 = 4;

/// A body may have a row for so many bytes that it may be long: a row of NULLs takes none.
const ROW_BYTES: u64 = 8;

/// Rows of a stream; `most` bytes may come out of packed buffers. They are slices of the body
/// where it is not packed.
///
/// Errors: a stream that is damaged, without its end, or that means more than it has.
pub fn pieces(opening: &Opening, body: &[u8], most: u64) -> Result<Vec<Piece>> {
    let decoded = task::quietly(|| {
        check(body, most)?;
        let (mut decoder, mut left) = (StreamDecoder::new(), Buffer::from(body));
        let (mut pieces, mut weight) = (Vec::new(), 0_u64);
        while let Some(batch) = decoder.decode(&mut left)? {
            for column in batch.columns() {
                weight = weight.saturating_add(weigh(column)?);
            }
            let most = most.saturating_mul(SHARED);
            if weight > most {
                return Err(wrong(format!("expected values of at most {most} bytes, found more")));
            }
            pieces.push(of_batch(opening, &batch)?);
        }
        decoder.finish()?;
        match decoder.schema() {
            Some(_) => Ok(pieces),
            None => Err(wrong("expected an Arrow stream, found an empty body")),
        }
    });
    let damaged = |_| Err(wrong("expected an Arrow stream, found one that is damaged"));
    decoded.unwrap_or_else(damaged)
}

fn wrong(text: impl Into<String>) -> Error {
    Error::Data(text.into())
}

/// Goes through the messages up to the mark of the end, and sums up what they claim.
fn check(body: &[u8], most: u64) -> Result<()> {
    let word = |at: usize| {
        let bytes = body.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let cut = || wrong("expected an Arrow stream with its end-of-stream marker, found one cut off");
    let (mut at, mut unpacked, mut rows) = (0_usize, 0_u64, 0_u64);
    loop {
        let mut size = word(at).ok_or_else(cut)?;
        at += 4;
        if size == CONTINUES {
            size = word(at).ok_or_else(cut)?;
            at += 4;
        }
        if size == 0 {
            break;
        }
        let told = body.get(at..).and_then(|rest| rest.get(..size as usize)).ok_or_else(cut)?;
        at += size as usize;
        let message = root_as_message(told)
            .map_err(|_| wrong("expected a message of an Arrow stream, found other bytes"))?;
        let length = usize::try_from(message.bodyLength()).ok();
        let content = length.and_then(|length| body.get(at..)?.get(..length)).ok_or_else(cut)?;
        at += content.len();
        let Some(header) = batch_of(&message) else { continue };
        unpacked = unpacked.saturating_add(unpacks_to(&header, content)?);
        rows = rows.saturating_add(u64::try_from(header.length()).unwrap_or(u64::MAX));
        if unpacked > most {
            let text = "expected packed buffers of at most";
            return Err(wrong(format!("{text} {most} bytes when unpacked, found more")));
        }
        let most = (most / ROW_BYTES).max(1);
        if rows > most {
            return Err(wrong(format!("expected at most {most} rows in one body, found {rows}")));
        }
    }
    match body.len() - at {
        0 => Ok(()),
        more => Err(wrong(format!("expected the end of the Arrow stream, found {more} bytes"))),
    }
}

fn batch_of<'a>(message: &Message<'a>) -> Option<Header<'a>> {
    let dictionary = || message.header_as_dictionary_batch().and_then(|batch| batch.data());
    message.header_as_record_batch().or_else(dictionary)
}

/// Bytes that the buffers of a batch claim to unpack to.
fn unpacks_to(header: &Header, content: &[u8]) -> Result<u64> {
    let Some(packed) = header.compression() else { return Ok(0) };
    if packed.codec() != CompressionType::ZSTD {
        // What LZ4 unpacks to is known only by doing it.
        let text = "expected buffers that are plain or packed by zstd, found lz4";
        return Err(wrong(text));
    }
    let mut sum = 0_u64;
    for buffer in header.buffers().into_iter().flatten().filter(|buffer| buffer.length() > 0) {
        let start = usize::try_from(buffer.offset()).ok();
        let claim = start.and_then(|start| content.get(start..)?.get(..8)?.try_into().ok());
        let claim = claim.map(i64::from_le_bytes);
        let claim = claim.ok_or_else(|| wrong("expected a packed buffer, found none"))?;
        // -1 says that it is plain.
        sum = sum.saturating_add(u64::try_from(claim).unwrap_or(buffer.length().unsigned_abs()));
    }
    Ok(sum)
}

/// Bytes, at least, that the values of a column are when each stands for itself.
fn weigh(array: &ArrayRef) -> Result<u64> {
    let own = array.len() as u64;
    let nested = match array.data_type() {
        DataType::Utf8View | DataType::BinaryView => total(length(array)?)?,
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values = dictionary.values();
            if values.data_type().is_nested() {
                return Err(wrong("expected a dictionary of plain values, found a nested one"));
            }
            match length(values) {
                Ok(lengths) => total(take(&lengths, dictionary.keys(), None)?)?,
                Err(_) => 0, // numbers
            }
        }
        DataType::Struct(_) => of_all(array.as_struct().columns())?,
        DataType::List(_) => weigh(array.as_list::<i32>().values())?,
        DataType::LargeList(_) => weigh(array.as_list::<i64>().values())?,
        DataType::FixedSizeList(..) => weigh(array.as_fixed_size_list().values())?,
        DataType::Map(..) => of_all(array.as_map().entries().columns())?,
        other if other.is_nested() => {
            return Err(wrong(format!("expected lists, maps and structs, found {other}")));
        }
        _ => 0,
    };
    Ok(own.saturating_add(nested))
}

fn of_all(columns: &[ArrayRef]) -> Result<u64> {
    columns.iter().try_fold(0_u64, |sum, column| Ok(sum.saturating_add(weigh(column)?)))
}

/// The sum of lengths.
fn total(lengths: ArrayRef) -> Result<u64> {
    let lengths = cast(&lengths, &DataType::Int64)?;
    let lengths: &Int64Array = lengths.as_primitive();
    Ok(sum(lengths).map_or(0, |sum| u64::try_from(sum).unwrap_or(u64::MAX)))
}

fn of_batch(opening: &Opening, batch: &RecordBatch) -> Result<Piece> {
    let names: Vec<_> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
    let rows = batch.num_rows() as u64;
    let null = || new_null_array(&DataType::Null, rows as usize);
    let fields = pick(&opening.source_schema(), &names, Missing::Null)?;
    let columns = fields.iter().map(|at| at.map_or_else(null, |at| batch.column(at).clone()));
    let places = (0..rows).map(|ordinal| Position { ordinal, line: ordinal + 1 });
    let (columns, places) = (columns.collect::<Vec<_>>(), places.collect::<Vec<_>>());
    piece(opening, &columns, &places, Vec::new(), rows, rows)
}
