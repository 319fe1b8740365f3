//! CSV: records by RFC 4180, columns by the names in the header, an empty field is NULL. Fields may
//! be divided by another sign than a comma.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder, new_null_array};
use arrow::datatypes::DataType;
use csv::{ByteRecord, ReaderBuilder};

use super::columns::{Missing, pick};
use super::text::{Dialect, Head, Parse, Piece, Position, Wrong, head, lines, piece};
use crate::error::{Error, Result};
use crate::plan::files;
use crate::stream::connector::api::Opening;
use crate::stream::connector::options::Settings;

/// The sign between fields of CSV, and of TSV.
pub const COMMA: u8 = b',';
pub const TAB: u8 = b'\t';

/// The option `delimiter` of text in columns.
///
/// Errors: no sign; text of another form.
pub fn delimiter(settings: &mut Settings, format: &str) -> Result<Option<u8>> {
    let Some(text) = settings.text("delimiter") else { return Ok(None) };
    if !matches!(format, "auto" | "csv" | "tsv") {
        return Err(settings.error(format!("a delimiter goes with CSV, found format = '{format}'")));
    }
    let wrong = || {
        settings.error(format!("delimiter = '{text}': expected one sign, such as '|', or '\\t'"))
    };
    files::sign(&text).map(Some).ok_or_else(wrong)
}

/// For what tells one log from another.
pub fn identity(delimiter: Option<u8>) -> String {
    delimiter.map_or(String::new(), |sign| format!(", delimiter {:?}", char::from(sign)))
}

/// CSV files with or without a header.
#[derive(Debug, Clone, Copy)]
pub struct Csv {
    pub header: bool,
    /// Between fields.
    pub delimiter: u8,
    pub missing: Missing,
}

/// The records of one file.
#[derive(Debug)]
struct Parser {
    /// For each declared column, its field in a record; `None` is NULL.
    fields: Vec<Option<usize>>,
    /// Fields of a whole record.
    width: usize,
    /// Between them.
    delimiter: u8,
}

impl Dialect for Csv {
    fn whole(&self, bytes: &[u8]) -> usize {
        match memchr::memchr(b'"', bytes) {
            None => memchr::memrchr(b'\n', bytes).map_or(0, |end| end + 1),
            Some(_) => quotes(bytes, self.delimiter).0,
        }
    }

    fn begin(
        &self,
        opening: &Opening,
        bytes: &[u8],
        all: bool,
    ) -> Result<Option<(Arc<dyn Parse>, usize)>> {
        let declared = opening.source_schema().fields().len();
        let delimiter = self.delimiter;
        let plain =
            Parser { fields: (0..declared).map(Some).collect(), width: declared, delimiter };
        let Head::Text(mark) = head(bytes, all)? else { return Ok(None) };
        if !self.header {
            return Ok(Some((Arc::new(plain), mark)));
        }
        let text = &bytes[mark..];
        let mut records = reader(text, delimiter);
        let mut names = ByteRecord::new();
        let found = records.read_byte_record(&mut names).map_err(|e| Error::Data(e.to_string()))?;
        let end = usize::try_from(records.position().byte()).unwrap_or(text.len());
        let end = end + usize::from(text.get(end) == Some(&b'\n'));
        if !all && (!found || end > self.whole(text)) {
            return Ok(None);
        }
        if !found {
            return Ok(Some((Arc::new(plain), bytes.len())));
        }
        if unclosed(&text[..end], delimiter).is_some() {
            return Err(Error::Data("a quote in the header is never closed".to_string()));
        }
        let name = |name: &[u8]| String::from_utf8_lossy(name).trim().to_string();
        let names: Vec<String> = names.iter().map(name).collect();
        let fields = pick(&opening.source_schema(), &names, self.missing)?;
        Ok(Some((Arc::new(Parser { fields, width: names.len(), delimiter }), mark + end)))
    }
}

/// Where a quote opens that is never closed.
fn unclosed(bytes: &[u8], delimiter: u8) -> Option<usize> {
    memchr::memchr(b'"', bytes)?;
    quotes(bytes, delimiter).1
}

/// The place behind the last end of a line that is not within quotes; where the quote opens that
/// the bytes end in.
fn quotes(bytes: &[u8], delimiter: u8) -> (usize, Option<usize>) {
    /// A quote opens a field only where it begins.
    enum At {
        Field,
        Within,
        Quoted,
        /// Behind a quote within quotes: their end, or half of one that is meant.
        Quote,
    }
    let (mut at, mut whole, mut opened) = (At::Field, 0, 0);
    for (place, byte) in bytes.iter().enumerate() {
        at = match (at, byte) {
            (At::Quoted, b'"') => At::Quote,
            (At::Quoted, _) | (At::Quote, b'"') => At::Quoted,
            (At::Field, b'"') => {
                opened = place;
                At::Quoted
            }
            (_, b'\n') => {
                whole = place + 1;
                At::Field
            }
            (_, b'\r') => At::Field,
            (_, byte) if *byte == delimiter => At::Field,
            _ => At::Within,
        };
    }
    (whole, matches!(at, At::Quoted).then_some(opened))
}

/// Widths are checked record by record, so that a wrong one is that row's fault.
fn reader(bytes: &[u8], delimiter: u8) -> csv::Reader<&[u8]> {
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(delimiter).from_reader(bytes)
}

impl Parse for Parser {
    fn parse(&self, opening: &Opening, bytes: &[u8]) -> Result<Piece> {
        let mut columns: Vec<StringBuilder> =
            self.fields.iter().map(|_| StringBuilder::new()).collect();
        let (mut places, mut wrong, mut count) = (Vec::new(), Vec::new(), 0);
        let divider = char::from(self.delimiter).to_string();
        let (mut records, mut record) = (reader(bytes, self.delimiter), ByteRecord::new());
        // What follows is all within it: one row, up to the end.
        let unclosed = unclosed(bytes, self.delimiter);
        while records.read_byte_record(&mut record).map_err(|e| Error::Data(e.to_string()))? {
            let line = record.position().map_or(1, csv::Position::line);
            let at = Position { ordinal: count, line };
            count += 1;
            let rest = |opened: &usize| records.position().byte() > *opened as u64;
            if let Some(opened) = unclosed.filter(rest) {
                let at = Position { line: lines(&bytes[..opened]) + 1, ..at };
                let from = record.position().map_or(opened, |at| at.byte() as usize);
                let row = String::from_utf8_lossy(&bytes[from.min(opened)..]).into_owned();
                let reason = "a quote that opens here is never closed".to_string();
                wrong.push(Wrong { at, reason, row });
            } else if let Err(reason) = self.append(&record, &mut columns) {
                let fields: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
                wrong.push(Wrong { at, reason, row: fields.join(&divider) });
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
            return Err(format!(
                "field {} is not UTF-8: is the text in another encoding, such as \
                 encoding = 'windows-1252'?",
                field + 1
            ));
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
    use arrow::datatypes::Field;

    use super::*;
    use crate::stream::connector::api::testing;

    #[test]
    fn records_end_at_lines_outside_quotes() {
        let csv = Csv { header: true, delimiter: COMMA, missing: Missing::Fail };
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

    #[test]
    fn a_quote_that_is_never_closed_makes_one_row_of_the_rest() {
        let fields = ["a", "b"].map(|name| Field::new(name, DataType::Utf8, true));
        let opening = testing::opening(fields.to_vec());
        let csv = Csv { header: true, delimiter: COMMA, missing: Missing::Fail };
        for (text, rows, wrong) in [
            ("a,b\n1,\"x\ny\"\n2,z\n", 2, None),
            ("a,b\n1,x\n2,\"y\n3,z\n", 1, Some((2, "2,\"y\n3,z\n"))),
            ("a,b\n\"1\n\n\",\"x", 0, Some((3, "\"1\n\n\",\"x"))),
            ("a,b\n1,x\n\"", 1, Some((2, "\""))),
            ("a,b\n1,5\"\n2,\"\"\n3,\"\"\"\"", 3, None),
            ("\u{feff}a,b\n1,x\n", 1, None),
        ] {
            let (parser, used) = csv.begin(&opening, text.as_bytes(), true).unwrap().unwrap();
            let piece = parser.parse(&opening, &text.as_bytes()[used..]).unwrap();
            assert_eq!(piece.batch.num_rows(), rows, "{text:?}");
            let told = piece.wrong.first().map(|wrong| (wrong.at.line, wrong.row.as_str()));
            assert_eq!(told, wrong, "{text:?}");
        }
        let error = csv.begin(&opening, b"a,\"b\n1,2\n", true).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("in the header"), "{error}");
    }
}
