//! Rows of CSV text: columns by the names of the header, which each file has in its own order.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Decoder;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use csv::{ByteRecord, ReaderBuilder as RecordReader, Terminator};
use datafusion::common::config::CsvOptions;
use datafusion::error::DataFusionError;
use regex::Regex;

use super::exact;
use super::parse::{Fault, Parse, Reading};
use super::quotes::{Form, Quotes};
use crate::error::foreign::arrow::{CsvFault, csv_fault};
use crate::plan::files::error::user;

/// What of the options tells where values are.
pub fn form(options: &CsvOptions) -> Form {
    Form {
        delimiter: options.delimiter,
        quote: options.quote,
        escape: options.escape,
        comment: options.comment,
        terminator: options.terminator,
    }
}

/// Values that are NULL: those that are empty, and what `null_regex` says.
///
/// Errors: it is no regular expression.
pub fn nulls(options: &CsvOptions) -> Result<Option<Regex>, DataFusionError> {
    let Some(pattern) = &options.null_regex else { return Ok(None) };
    let wrong = |error| user(format!("format.null_regex '{pattern}': {error}"));
    Regex::new(&format!("^$|(?:{pattern})")).map(Some).map_err(wrong)
}

/// Names as they are in a header, each once: one that is empty goes by its place, `column0` being
/// the first; one that is there already is followed by a number, as in `a_1`.
pub fn unique_names(header: &[String]) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    let mut names = Vec::with_capacity(header.len());
    for (at, name) in header.iter().enumerate() {
        let plain = if name.is_empty() { format!("column{at}") } else { name.clone() };
        let numbered = (1..).map(|number| format!("{plain}_{number}"));
        let mut choices = std::iter::once(plain.clone()).chain(numbered);
        let free = choices.find(|name| !taken.contains(name)).unwrap_or(plain);
        taken.insert(free.clone());
        names.push(free);
    }
    names
}

/// A quote that is still open at the end of a file.
pub fn never_closed(line: u64) -> Fault {
    Fault::on(line, "a quote opens a value here and is never closed")
}

/// For each wanted name, its place among those of a file: the same, or the only one that differs in
/// case.
pub fn places(wanted: &Schema, names: &[String]) -> Vec<Option<usize>> {
    let place = |wanted: &String| {
        let same = names.iter().position(|name| name == wanted);
        let mut alike = (0..names.len()).filter(|at| names[*at].eq_ignore_ascii_case(wanted));
        same.or_else(|| match (alike.next(), alike.next()) {
            (Some(at), None) => Some(at),
            _ => None,
        })
    };
    wanted.fields().iter().map(|field| place(field.name())).collect()
}

/// Whether a table names the columns of a file otherwise, so that they go by their places: no name
/// is one of the header's to the letter, and those that are alike stand at their places.
pub fn is_renamed(wanted: &Schema, names: &[String]) -> bool {
    let found = places(wanted, names);
    if found.iter().all(Option::is_none) {
        return true;
    }
    let mut fields = wanted.fields().iter().zip(&found).enumerate();
    found.len() == names.len()
        && found.contains(&None)
        && fields.all(|(at, (field, place))| match place {
            Some(place) => *place == at && names[at] != *field.name(),
            None => true,
        })
}

/// A column of a table that is not in a header which has others of it.
pub fn lacking<'a>(wanted: &'a Schema, names: &[String]) -> Option<&'a str> {
    if is_renamed(wanted, names) {
        return None;
    }
    let known = |name: &String| names.iter().any(|column| column.eq_ignore_ascii_case(name));
    let lacking = wanted.fields().iter().find(|field| !known(field.name()));
    lacking.map(|field| field.name().as_str())
}

/// A reader of the records of text that is cut as the options say.
fn records<R: Read>(form: Form, from: R) -> csv::Reader<R> {
    let mut builder = RecordReader::new();
    builder.has_headers(false).flexible(true).delimiter(form.delimiter).quote(form.quote);
    builder.escape(form.escape).comment(form.comment);
    if let Some(end) = form.terminator {
        builder.terminator(Terminator::Any(end));
    }
    builder.from_reader(from)
}

/// The names in the header of text, and where the first record begins; `None` where it goes on
/// behind the text, of which there is more unless `all`.
pub fn header(form: Form, text: &[u8], all: bool) -> Option<(Vec<String>, usize)> {
    let mut records = records(form, text);
    let mut names = ByteRecord::new();
    let found = records.read_byte_record(&mut names).unwrap_or(false);
    let mut end = usize::try_from(records.position().byte()).unwrap_or(text.len()).min(text.len());
    // Of the two ends of such a line the reader leaves the second one to the next record.
    if text[..end].ends_with(b"\r") && text[end..].starts_with(b"\n") {
        end += 1;
    }
    if !all && (!found || end == text.len()) {
        return None;
    }
    let names: Vec<String> =
        names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    Some((unique_names(&names), end))
}

/// The line, from 1, on which a record begins; records count from 0, a header is one.
pub fn line_of(form: Form, from: impl Read, record: u64) -> Option<u64> {
    let (mut records, mut next) = (records(form, OneEnd::new(from)), ByteRecord::new());
    for _ in 0..=record {
        if !records.read_byte_record(&mut next).ok()? {
            return None;
        }
    }
    next.position().map(csv::Position::line)
}

/// Text without the `\r` of a line's end `\r\n`, of which the reader of records counts the second
/// sign to the next record.
struct OneEnd<R> {
    from: BufReader<R>,
    /// A `\r` that is not handed on yet.
    held: bool,
}

impl<R: Read> OneEnd<R> {
    fn new(from: R) -> Self {
        Self { from: BufReader::new(from), held: false }
    }
}

impl<R: Read> Read for OneEnd<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let mut filled = 0;
        // One place is left for the sign that is held.
        while filled == 0 && into.len() > 1 {
            let text = self.from.fill_buf()?;
            let taken = text.len().min(into.len() - 1);
            if taken == 0 && !std::mem::take(&mut self.held) {
                return Ok(0);
            }
            if taken == 0 {
                into[0] = b'\r';
                return Ok(1);
            }
            for &sign in &text[..taken] {
                if std::mem::take(&mut self.held) && sign != b'\n' {
                    into[filled] = b'\r';
                    filled += 1;
                }
                match sign {
                    b'\r' => self.held = true,
                    sign => {
                        into[filled] = sign;
                        filled += 1;
                    }
                }
            }
            self.from.consume(taken);
        }
        Ok(filled)
    }
}

/// The rows of one file, or of a part of it.
pub struct CsvRows {
    options: CsvOptions,
    form: Form,
    /// How NULL is spelled, besides an empty value.
    nulls: Option<Regex>,
    quotes: Quotes,
    /// The columns that are wanted, and all of the table's files.
    schema: SchemaRef,
    table: SchemaRef,
    batch_size: usize,
    /// None until the header is whole.
    columns: Option<Columns>,
    /// Bytes that are not rows yet.
    text: Vec<u8>,
    used: usize,
    last: bool,
    /// Rows before the next batch.
    rows: u64,
}

/// How the columns of a file become those of the table.
struct Columns {
    decoder: Decoder,
    /// The names of the file's, in its order.
    names: Vec<String>,
    /// For each wanted one, its place in what the decoder gives; `None` is NULL.
    places: Vec<Option<usize>>,
}

impl CsvRows {
    /// With `head`, the start of the file, a part within it is read.
    pub fn new(
        reading: &Reading,
        options: &CsvOptions,
        head: Option<&[u8]>,
    ) -> Result<Self, Fault> {
        let form = form(options);
        let mut rows = Self {
            options: options.clone(),
            form,
            nulls: nulls(options).map_err(|error| Fault::new(error.to_string()))?,
            quotes: Quotes::new(form),
            schema: Arc::clone(&reading.schema),
            table: Arc::clone(&reading.table),
            batch_size: reading.batch_size,
            columns: None,
            text: Vec::new(),
            used: 0,
            last: false,
            rows: 0,
        };
        if options.has_header == Some(false) {
            rows.columns = Some(rows.by_position());
        } else if let Some(head) = head {
            let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
            let (names, _) = header(form, head, true).unwrap_or_default();
            rows.columns = Some(rows.by_name(names));
        }
        Ok(rows)
    }

    /// The columns of a file whose header has these names.
    fn by_name(&self, names: Vec<String>) -> Columns {
        if is_renamed(&self.table, &names) {
            return self.by_position();
        }
        let found = places(&self.schema, &names);
        let fields = names.iter().enumerate().map(|(at, name)| {
            let wanted = found.iter().position(|place| *place == Some(at));
            match wanted.map(|wanted| self.schema.field(wanted).data_type()) {
                Some(kind) => Field::new(name, exact::written(kind, false), true),
                None => Field::new(name, DataType::Utf8, true),
            }
        });
        let stored = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let read: Vec<usize> = found.iter().flatten().copied().collect();
        let mut next = 0..read.len();
        let places = found.iter().map(|place| place.and_then(|_| next.next())).collect();
        Columns { decoder: self.decoder(stored, read), names, places }
    }

    fn by_position(&self) -> Columns {
        let fields = self.table.fields().iter();
        let stored: Vec<Field> =
            fields.map(|field| exact::written_field(field, false).with_nullable(true)).collect();
        let names = stored.iter().map(|field| field.name().clone()).collect();
        let wanted = self.schema.fields().iter();
        let read: Vec<usize> =
            wanted.filter_map(|field| self.table.index_of(field.name()).ok()).collect();
        let places = (0..read.len()).map(Some).collect();
        Columns { decoder: self.decoder(Arc::new(Schema::new(stored)), read), names, places }
    }

    fn decoder(&self, stored: SchemaRef, read: Vec<usize>) -> Decoder {
        let mut builder = ReaderBuilder::new(stored)
            .with_header(false)
            .with_delimiter(self.form.delimiter)
            .with_quote(self.form.quote)
            .with_batch_size(self.batch_size)
            .with_truncated_rows(self.options.truncated_rows.unwrap_or(false))
            .with_projection(read);
        if let Some(escape) = self.form.escape {
            builder = builder.with_escape(escape);
        }
        if let Some(comment) = self.form.comment {
            builder = builder.with_comment(comment);
        }
        if let Some(terminator) = self.form.terminator {
            builder = builder.with_terminator(terminator);
        }
        if let Some(nulls) = &self.nulls {
            builder = builder.with_null_regex(nulls.clone());
        }
        builder.build_decoder()
    }

    /// Reads the header, if it is whole.
    fn begin(&mut self) {
        if let Some((names, end)) = header(self.form, &self.text, self.last) {
            self.used = end;
            self.columns = Some(self.by_name(names));
        }
    }

    /// The table's columns from those of the file.
    fn typed(&self, columns: &Columns, read: &RecordBatch) -> Result<RecordBatch, Fault> {
        let rows = read.num_rows();
        let wanted = self.schema.fields().iter().zip(&columns.places);
        let typed = wanted.map(|(field, place)| match place {
            None => Ok(new_null_array(field.data_type(), rows)),
            Some(at) => exact::typed(read.column(*at), field.data_type()).map_err(|unfit| {
                let why = format!("{}{AS_TEXT}", unfit.reason);
                Fault::of(self.rows + unfit.row as u64, field.name(), why)
            }),
        });
        let typed: Result<Vec<ArrayRef>, Fault> = typed.collect();
        let counted = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), typed?, &counted)
            .map_err(|error| Fault::new(error.to_string()))
    }
}

/// The way out of a value that does not fit.
const AS_TEXT: &str = "; a table that CREATE EXTERNAL TABLE declares may have it as VARCHAR";

impl Parse for CsvRows {
    fn push(&mut self, text: &[u8], last: bool) -> Result<(), Fault> {
        self.quotes.pass(text);
        self.text.drain(..std::mem::take(&mut self.used));
        self.text.extend_from_slice(text);
        self.last = last;
        match self.quotes.open() {
            Some(line) if last => Err(never_closed(line)),
            _ => Ok(()),
        }
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, Fault> {
        if self.columns.is_none() {
            self.begin();
        }
        let Some(mut columns) = self.columns.take() else { return Ok(None) };
        let next = self.decode(&mut columns);
        self.columns = Some(columns);
        next
    }
}

impl CsvRows {
    fn decode(&mut self, columns: &mut Columns) -> Result<Option<RecordBatch>, Fault> {
        loop {
            let rest = &self.text[self.used..];
            if rest.is_empty() && !self.last {
                return Ok(None);
            }
            let wrong = |error: &ArrowError| fault(error, &columns.names);
            let decoded = columns.decoder.decode(rest).map_err(|error| wrong(&error))?;
            self.used += decoded;
            if decoded > 0 && columns.decoder.capacity() > 0 {
                continue;
            }
            let Some(read) = columns.decoder.flush().map_err(|error| wrong(&error))? else {
                return Ok(None);
            };
            let typed = self.typed(columns, &read)?;
            self.rows += read.num_rows() as u64;
            return Ok(Some(typed));
        }
    }
}

/// The fault that arrow-csv has found.
fn fault(error: &ArrowError, names: &[String]) -> Fault {
    let message = match error {
        ArrowError::CsvError(text) | ArrowError::ParseError(text) => text.clone(),
        other => other.to_string(),
    };
    match csv_fault(&message) {
        Some(CsvFault::Value { record, column, value, kind }) => {
            let name = usize::try_from(column).ok().and_then(|column| names.get(column));
            let why = format!("'{}' is no {kind}{AS_TEXT}", value.escape_debug());
            Fault::of(record, name.map_or("?", String::as_str), why)
        }
        Some(CsvFault::Count { record, expected, found }) => {
            let why = format!("{expected} values expected, {found} values found");
            Fault { row: record.checked_sub(1), ..Fault::new(why) }
        }
        None => Fault::new(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_unique() {
        let unique = |names: &[&str]| {
            unique_names(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(unique(&["day", "", "", "day"]), ["day", "column1", "column2", "day_1"]);
        assert_eq!(unique(&["a", "a", "a", "a_1"]), ["a", "a_1", "a_2", "a_1_1"]);
        assert_eq!(unique(&["a", "A"]), ["a", "A"]);
    }

    #[test]
    fn headers_end_where_their_record_does() {
        let form =
            Form { delimiter: b',', quote: b'"', escape: None, comment: None, terminator: None };
        let found = |text: &str, all: bool| {
            header(form, text.as_bytes(), all).map(|(names, end)| (names.join("|"), end))
        };
        assert_eq!(found("a,b\r\n1", false), Some(("a|b".to_string(), 5)));
        assert_eq!(found("\n\"a\n1\",b\n1", false), Some(("a\n1|b".to_string(), 9)));
        assert_eq!(found("a,b", false), None);
        assert_eq!(found("a,b\n", true).map(|(names, _)| names), Some("a|b".to_string()));
        assert_eq!(line_of(form, &b"a\n\n\"1\n2\"\n3\n"[..], 2), Some(5));
        assert_eq!(line_of(form, &b"a\r\n1\r\n2\r3\r\n"[..], 3), Some(3));
    }
}
