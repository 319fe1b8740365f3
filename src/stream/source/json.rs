//! JSON: one object a line; keys that are not declared are passed over, missing ones are NULL.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use arrow::record_batch::RecordBatch;

use super::Opening;
use super::file::{Format, Parsed, Position, Reject, reader};
use crate::error::{Error, Result};

pub struct Json {
    lines: BufReader<Box<dyn std::io::Read + Send>>,
    /// Columns as they are decoded; known when the first object has shown how keys are spelt.
    schema: Option<SchemaRef>,
    declared: SchemaRef,
    line: u64,
    read: u64,
}

impl Json {
    pub fn open(path: &Path, opening: &Opening) -> Result<Self> {
        let lines = BufReader::new(reader(path)?);
        let declared = opening.schema.clone();
        Ok(Self { lines, schema: None, declared, line: 0, read: 0 })
    }

    /// Keys as the file spells them, where a declared name differs from one in case only; times
    /// and decimals as text, so that they are read as everywhere else.
    fn schema(&self, first: &str) -> SchemaRef {
        let object: Option<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_str(first).ok();
        let spelt = |name: &String| {
            let keys = object.iter().flat_map(|object| object.keys());
            let mut keys = keys.filter(|key| key.eq_ignore_ascii_case(name));
            let same = object.as_ref().is_some_and(|object| object.contains_key(name));
            if same { name.clone() } else { keys.next().unwrap_or(name).clone() }
        };
        let fields = self.declared.fields().iter().map(|field| {
            let data_type = match field.data_type() {
                other if other.is_temporal() || other.is_decimal() => DataType::Utf8,
                DataType::Utf8View => DataType::Utf8,
                other => other.clone(),
            };
            Field::new(spelt(field.name()), data_type, true)
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
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

impl Format for Json {
    fn unit(&self) -> &'static str {
        "line"
    }

    fn read(&self) -> u64 {
        self.read
    }

    fn next(&mut self, path: &Path, limit: usize, reject: Reject<'_>) -> Result<Option<Parsed>> {
        let (mut text, mut ends, mut places) = (Vec::new(), Vec::new(), Vec::new());
        while places.len() < limit {
            let start = text.len();
            let bytes = self.lines.read_until(b'\n', &mut text);
            if bytes.map_err(|error| Error::Data(format!("{}: {error}", path.display())))? == 0 {
                break;
            }
            self.line += 1;
            if text[start..].iter().all(u8::is_ascii_whitespace) {
                text.truncate(start);
                continue;
            }
            places.push(Position { ordinal: self.read, line: self.line });
            self.read += 1;
            ends.push(text.len());
        }
        if places.is_empty() {
            return Ok(None);
        }
        if self.schema.is_none() {
            let first = String::from_utf8_lossy(&text[..ends[0]]);
            self.schema = Some(self.schema(&first));
        }
        let Some(schema) = self.schema.clone() else { return Ok(None) };
        if let Ok(batch) = decode(&schema, &text, places.len()) {
            return Ok(Some(Parsed { columns: batch.columns().to_vec(), places }));
        }
        // One of the lines is malformed: which one is found by reading each for itself.
        let (mut good, mut kept, mut start) = (Vec::new(), Vec::new(), 0);
        for (place, end) in places.into_iter().zip(ends) {
            match decode(&schema, &text[start..end], 1) {
                Ok(batch) => {
                    good.push(batch);
                    kept.push(place);
                }
                Err(reason) => {
                    let line = String::from_utf8_lossy(&text[start..end]);
                    reject(place, &reason, line.trim_end())?;
                }
            }
            start = end;
        }
        let batch = arrow::compute::concat_batches(&schema, &good)?;
        Ok(Some(Parsed { columns: batch.columns().to_vec(), places: kept }))
    }
}
