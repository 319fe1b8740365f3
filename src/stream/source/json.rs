//! JSON: one object a line; keys that are not declared are passed over, missing ones are NULL.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use arrow::record_batch::RecordBatch;

use super::Opening;
use super::text::{Dialect, Parse, Piece, Position, Wrong, lines, piece};
use crate::error::Result;

/// Lines of JSON.
#[derive(Debug, Clone, Copy)]
pub struct Json;

/// The lines of one file.
#[derive(Debug)]
struct Parser {
    /// Columns as they are decoded.
    schema: SchemaRef,
}

impl Dialect for Json {
    fn whole(&self, bytes: &[u8]) -> usize {
        memchr::memrchr(b'\n', bytes).map_or(0, |end| end + 1)
    }

    /// The first object shows how keys are spelt.
    fn begin(
        &self,
        opening: &Opening,
        bytes: &[u8],
        all: bool,
    ) -> Result<Option<(Arc<dyn Parse>, usize)>> {
        let present = if all { bytes } else { &bytes[..self.whole(bytes)] };
        let blank = |line: &&[u8]| line.iter().all(u8::is_ascii_whitespace);
        let first = present.split(|byte| *byte == b'\n').find(|line| !blank(line));
        match first {
            None if !all => Ok(None),
            first => {
                let schema = decoded(&opening.schema, first.unwrap_or_default());
                Ok(Some((Arc::new(Parser { schema }), 0)))
            }
        }
    }
}

/// Keys as the file spells them, where a declared name differs from one in case only; times and
/// decimals as text, so that they are read as everywhere else.
fn decoded(declared: &Schema, first: &[u8]) -> SchemaRef {
    let object: Option<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_slice(first).ok();
    let spelt = |name: &String| {
        let keys = object.iter().flat_map(|object| object.keys());
        let mut keys = keys.filter(|key| key.eq_ignore_ascii_case(name));
        let same = object.as_ref().is_some_and(|object| object.contains_key(name));
        if same { name.clone() } else { keys.next().unwrap_or(name).clone() }
    };
    let fields = declared.fields().iter().map(|field| {
        let data_type = match field.data_type() {
            other if other.is_temporal() || other.is_decimal() => DataType::Utf8,
            DataType::Utf8View => DataType::Utf8,
            other => other.clone(),
        };
        Field::new(spelt(field.name()), data_type, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Lines of text, without those that are blank.
struct Lines<'a> {
    bytes: &'a [u8],
    /// Where each begins and ends.
    ends: Vec<(usize, usize)>,
    places: Vec<Position>,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut found = Self { bytes, ends: Vec::new(), places: Vec::new() };
        let (mut start, mut line) = (0, 0);
        while start < bytes.len() {
            let end = memchr::memchr(b'\n', &bytes[start..]);
            let end = end.map_or(bytes.len(), |length| start + length + 1);
            line += 1;
            if !bytes[start..end].trim_ascii().is_empty() {
                let ordinal = found.places.len() as u64;
                found.places.push(Position { ordinal, line });
                found.ends.push((start, end));
            }
            start = end;
        }
        found
    }

    /// Decodes lines, if each holds one object.
    fn decode(&self, schema: &SchemaRef, from: usize, to: usize) -> Result<RecordBatch, String> {
        let ends = &self.ends[from..to];
        let (Some((start, _)), Some((_, end))) = (ends.first(), ends.last()) else {
            return Ok(RecordBatch::new_empty(schema.clone()));
        };
        // Else an object may go over two lines where another line has two.
        let braced = |(start, end): &(usize, usize)| {
            let line = self.bytes[*start..*end].trim_ascii();
            line.first() == Some(&b'{') && line.last() == Some(&b'}')
        };
        if to - from > 1 && !ends.iter().all(braced) {
            return Err("not one object on a line".to_string());
        }
        decode(schema, &self.bytes[*start..*end], to - from)
    }
}

/// Decodes text that holds `rows` objects; anything else is an error.
fn decode(schema: &SchemaRef, text: &[u8], rows: usize) -> Result<RecordBatch, String> {
    let builder = ReaderBuilder::new(schema.clone()).with_coerce_primitive(true);
    let mut decoder =
        builder.with_batch_size(rows + 1).build_decoder().map_err(|e| e.to_string())?;
    let used = decoder.decode(text).map_err(|error| error.to_string())?;
    if used != text.len() {
        return Err("more than one object on a line".to_string());
    }
    match decoder.flush().map_err(|error| error.to_string())? {
        Some(batch) if batch.num_rows() == rows => Ok(batch),
        _ => Err("not one object on a line".to_string()),
    }
}

impl Parse for Parser {
    fn parse(&self, opening: &Opening, bytes: &[u8]) -> Result<Piece> {
        let found = Lines::new(bytes);
        let count = found.places.len();
        let (mut good, mut places, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        // Where a line is malformed, which one it is: by halves, the first first.
        let mut ranges = vec![(0, count)];
        while let Some((from, to)) = ranges.pop() {
            match found.decode(&self.schema, from, to) {
                Ok(batch) => {
                    good.push(batch);
                    places.extend_from_slice(&found.places[from..to]);
                }
                Err(_) if to - from > 1 => {
                    let middle = from + (to - from) / 2;
                    ranges.extend([(middle, to), (from, middle)]);
                }
                Err(reason) => {
                    let (start, end) = found.ends[from];
                    let row = String::from_utf8_lossy(&bytes[start..end]).trim_end().to_string();
                    wrong.push(Wrong { at: found.places[from], reason, row });
                }
            }
        }
        let batch = match good.len() {
            1 => good.remove(0),
            _ => arrow::compute::concat_batches(&self.schema, &good)?,
        };
        piece(opening, batch.columns(), &places, wrong, count as u64, lines(bytes))
    }
}
