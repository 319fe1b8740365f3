//! CSV: records by RFC 4180, columns by the names in the header, an empty field is NULL.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use csv::ByteRecord;

use super::Opening;
use super::file::{Format, Parsed, Position, Reject, pick, reader};
use crate::error::{Error, Result};

pub struct Csv {
    records: csv::Reader<Box<dyn std::io::Read + Send>>,
    /// For each declared column, its field in a record.
    fields: Vec<usize>,
    /// Fields of a whole record; `None` in a file without any record.
    width: Option<usize>,
    record: ByteRecord,
    read: u64,
}

impl Csv {
    pub fn open(path: &Path, opening: &Opening, header: bool) -> Result<Self> {
        let mut builder = csv::ReaderBuilder::new();
        // Widths are checked here, record by record, so that a wrong one is that row's fault.
        builder.has_headers(header).flexible(true);
        let mut records = builder.from_reader(reader(path)?);
        let declared = opening.schema.fields().len();
        let (fields, width) = if header {
            let names = records.byte_headers().map_err(|error| unreadable(path, &error))?;
            let name = |name: &[u8]| {
                String::from_utf8_lossy(name).trim_start_matches('\u{feff}').trim().to_string()
            };
            let names: Vec<String> = names.iter().map(name).collect();
            match names.is_empty() {
                true => ((0..declared).collect(), None),
                false => (pick(path, &opening.schema, &names)?, Some(names.len())),
            }
        } else {
            ((0..declared).collect(), Some(declared))
        };
        Ok(Self { records, fields, width, record: ByteRecord::new(), read: 0 })
    }
}

fn unreadable(path: &Path, error: &csv::Error) -> Error {
    Error::Data(format!("{}: {error}", path.display()))
}

impl Format for Csv {
    fn unit(&self) -> &'static str {
        "line"
    }

    fn read(&self) -> u64 {
        self.read
    }

    fn next(&mut self, path: &Path, limit: usize, reject: Reject<'_>) -> Result<Option<Parsed>> {
        let columns = self.fields.iter().map(|_| StringBuilder::new());
        let mut columns: Vec<StringBuilder> = columns.collect();
        let mut places = Vec::new();
        let end = self.read + limit as u64;
        while self.read < end {
            let more = self.records.read_byte_record(&mut self.record);
            if !more.map_err(|error| unreadable(path, &error))? {
                break;
            }
            let line = self.record.position().map_or(0, csv::Position::line);
            let place = Position { ordinal: self.read, line };
            self.read += 1;
            let record = &self.record;
            let whole = || {
                let fields: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
                fields.join(",")
            };
            let width = *self.width.get_or_insert(record.len());
            if record.len() != width {
                let reason = format!("{} fields where {width} are wanted", record.len());
                reject(place, &reason, &whole())?;
                continue;
            }
            if let Some(field) =
                self.fields.iter().find(|f| std::str::from_utf8(&record[**f]).is_err())
            {
                reject(place, &format!("field {} is not UTF-8", field + 1), &whole())?;
                continue;
            }
            for (builder, field) in columns.iter_mut().zip(&self.fields) {
                match std::str::from_utf8(&record[*field]) {
                    Ok("") | Err(_) => builder.append_null(),
                    Ok(text) => builder.append_value(text),
                }
            }
            places.push(place);
        }
        if end - self.read == limit as u64 {
            return Ok(None);
        }
        let columns = columns.into_iter().map(|mut c| Arc::new(c.finish()) as ArrayRef);
        Ok(Some(Parsed { columns: columns.collect(), places }))
    }
}
