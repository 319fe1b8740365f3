//! CSV: records by RFC 4180, columns by the names in the header, an empty field is NULL.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder, new_null_array};
use arrow::datatypes::DataType;
use csv::{ByteRecord, ReaderBuilder};

use super::Opening;
use super::file::{Missing, pick};
use super::text::{Dialect, Parse, Piece, Position, Wrong, lines, piece};
use crate::error::{Error, Result};

/// CSV files with or without a header.
#[derive(Debug, Clone, Copy)]
pub struct Csv {
    pub header: bool,
    pub missing: Missing,
}

/// The records of one file.
#[derive(Debug)]
struct Parser {
    /// For each declared column, its field in a record; `None` is NULL.
    fields: Vec<Option<usize>>,
    /// Fields of a whole record.
    width: usize,
}

impl Dialect for Csv {
    fn whole(&self, bytes: &[u8]) -> usize {
        match memchr::memchr(b'"', bytes) {
            None => memchr::memrchr(b'\n', bytes).map_or(0, |end| end + 1),
            Some(_) => whole_quoted(bytes),
        }
    }

    fn begin(
        &self,
        opening: &Opening,
        bytes: &[u8],
        all: bool,
    ) -> Result<Option<(Arc<dyn Parse>, usize)>> {
        let declared = opening.schema.fields().len();
        let plain = Parser { fields: (0..declared).map(Some).collect(), width: declared };
        if !self.header {
            return Ok(Some((Arc::new(plain), 0)));
        }
        let mut records = reader(bytes);
        let mut names = ByteRecord::new();
        let found = records.read_byte_record(&mut names).map_err(|e| Error::Data(e.to_string()))?;
        let end = usize::try_from(records.position().byte()).unwrap_or(bytes.len());
        let end = end + usize::from(bytes.get(end) == Some(&b'\n'));
        if !all && (!found || end > self.whole(bytes)) {
            return Ok(None);
        }
        if !found {
            return Ok(Some((Arc::new(plain), bytes.len())));
        }
        let name = |name: &[u8]| {
            String::from_utf8_lossy(name).trim_start_matches('\u{feff}').trim().to_string()
        };
        let names: Vec<String> = names.iter().map(name).collect();
        let fields = pick(&opening.schema, &names, self.missing)?;
        Ok(Some((Arc::new(Parser { fields, width: names.len() }), end)))
    }
}

/// Bytes up to the last end of a line that is not within quotes.
fn whole_quoted(bytes: &[u8]) -> usize {
    /// A quote opens a field only where it begins.
    enum At {
        Field,
        Within,
        Quoted,
        /// Behind a quote within quotes: their end, or half of one that is meant.
        Quote,
    }
    let (mut at, mut whole) = (At::Field, 0);
    for (place, byte) in bytes.iter().enumerate() {
        at = match (at, byte) {
            (At::Quoted, b'"') => At::Quote,
            (At::Quoted, _) | (At::Quote | At::Field, b'"') => At::Quoted,
            (_, b'\n') => {
                whole = place + 1;
                At::Field
            }
            (_, b',' | b'\r') => At::Field,
            _ => At::Within,
        };
    }
    whole
}

/// Widths are checked record by record, so that a wrong one is that row's fault.
fn reader(bytes: &[u8]) -> csv::Reader<&[u8]> {
    ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes)
}

impl Parse for Parser {
    fn parse(&self, opening: &Opening, bytes: &[u8]) -> Result<Piece> {
        let mut columns: Vec<StringBuilder> =
            self.fields.iter().map(|_| StringBuilder::new()).collect();
        let (mut places, mut wrong, mut count) = (Vec::new(), Vec::new(), 0);
        let (mut records, mut record) = (reader(bytes), ByteRecord::new());
        while records.read_byte_record(&mut record).map_err(|e| Error::Data(e.to_string()))? {
            let line = record.position().map_or(1, csv::Position::line);
            let at = Position { ordinal: count, line };
            count += 1;
            if let Err(reason) = self.append(&record, &mut columns) {
                let fields: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
                wrong.push(Wrong { at, reason, row: fields.join(",") });
            } else {
                places.push(at);
            }
        }
        let columns =
            columns.into_iter().zip(&self.fields).map(|(mut column, field)| match field {
                Some(_) => Arc::new(column.finish()) as ArrayRef,
                None => new_null_array(&DataType::Null, places.len()),
            });
        let columns: Vec<ArrayRef> = columns.collect();
        piece(opening, &columns, &places, wrong, count, lines(bytes))
    }
}

impl Parser {
    /// Appends a record's fields, or none of them.
    fn append(&self, record: &ByteRecord, columns: &mut [StringBuilder]) -> Result<(), String> {
        if record.len() != self.width {
            return Err(format!("{} fields where {} are wanted", record.len(), self.width));
        }
        let present = || self.fields.iter().flatten();
        if let Some(field) = present().find(|at| std::str::from_utf8(&record[**at]).is_err()) {
            return Err(format!("field {} is not UTF-8", field + 1));
        }
        for (builder, field) in columns.iter_mut().zip(&self.fields) {
            match field.map(|field| std::str::from_utf8(&record[field])) {
                Some(Ok(text)) if !text.is_empty() => builder.append_value(text),
                _ => builder.append_null(),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_at_lines_outside_quotes() {
        let csv = Csv { header: true, missing: Missing::Fail };
        for (text, whole) in [
            ("", 0),
            ("a,b", 0),
            ("a,b\nc", 4),
            ("a,\"b\nc\"\nd", 8),
            ("a,\"b\nc", 0),
            ("1,2\na,\"b\"\"\nc\"\n", 14),
            ("1,2\na,\"b\"\"\nc", 4),
            // A quote within a field opens nothing.
            ("a,5\"\nb\nc", 7),
            ("a\r\n\"b\r\n", 3),
        ] {
            assert_eq!(csv.whole(text.as_bytes()), whole, "{text:?}");
        }
    }
}
