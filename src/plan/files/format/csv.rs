//! What a CSV file does not say about itself: its delimiter, how it spells NULL, whether quoted
//! values hold line breaks.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::config::CsvOptions;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, cast, when};
use datafusion::prelude::lit;
use encoding_rs::Encoding;

use crate::plan::files::found::{Files, Form};
use crate::plan::files::text::quotes::{self, Quotes};
use crate::plan::files::text::sample::Sample;
use crate::plan::files::text::{csv_rows, source};
use crate::task;

/// Spellings of NULL. They count only in files where they stand in columns that else hold numbers,
/// dates or truth values: elsewhere `NA` may be Namibia. An empty value is NULL everywhere.
pub const NULL_SPELLINGS: [&str; 9] =
    ["NA", "N/A", "n/a", "NULL", "Null", "null", "None", "\\N", "-"];

/// Tables below this size are read by one thread, so where their lines end does not matter
/// (`datafusion.optimizer.repartition_file_min_size`).
const SPLIT_FROM_BYTES: u64 = 10 << 20;

/// The delimiter that the header line shows; a comma where it shows none.
pub async fn delimiter(files: &Files) -> Result<u8> {
    if files.form == Form::Tsv {
        return Ok(b'\t');
    }
    let head = files.head().await?;
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let outside_quotes = unquoted(line);
    let has = |byte: u8| outside_quotes.contains(&byte);
    Ok([b',', b';', b'\t', b'|'].into_iter().find(|byte| has(*byte)).unwrap_or(b','))
}

/// The sign that a text names: itself, or a tab as `\t`. `None` for what cannot divide columns.
pub fn sign(text: &str) -> Option<u8> {
    match text.as_bytes() {
        b"\\t" => Some(b'\t'),
        [b'"' | b'\r' | b'\n' | 128.., ..] => None,
        [sign] => Some(*sign),
        _ => None,
    }
}

fn unquoted(line: &[u8]) -> Vec<u8> {
    let mut quoted = false;
    let keep = |byte: &u8| {
        quoted ^= *byte == b'"';
        !quoted
    };
    line.iter().copied().filter(keep).collect()
}

/// True where a line break may stand inside a quoted value, so that a file must not be cut at line
/// breaks to be read in parallel. Reads large local files once, at memory's speed; says true of
/// remote ones.
pub fn has_newlines_in_values(files: &Files, form: quotes::Form) -> Result<bool> {
    if files.compression.is_compressed() {
        return Ok(true); // never cut anyway
    }
    // Many files are cut as if they were one.
    if files.objects.iter().map(|object| object.size).sum::<u64>() < SPLIT_FROM_BYTES {
        return Ok(true);
    }
    for object in &files.objects {
        let Some(path) = files.local_path(object) else { return Ok(true) };
        if !source::no_line_ends_in_quotes(File::open(path)?, form)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How a file is to be cut into values.
///
/// Errors: what is NULL is no regular expression.
pub fn reader_format(options: &CsvOptions) -> Result<csv::reader::Format> {
    let mut reader = csv::reader::Format::default()
        .with_header(options.has_header.unwrap_or(true))
        .with_delimiter(options.delimiter)
        .with_quote(options.quote)
        .with_truncated_rows(options.truncated_rows.unwrap_or(false));
    if let Some(escape) = options.escape {
        reader = reader.with_escape(escape);
    }
    if let Some(comment) = options.comment {
        reader = reader.with_comment(comment);
    }
    if let Some(terminator) = options.terminator {
        reader = reader.with_terminator(terminator);
    }
    if let Some(nulls) = csv_rows::nulls(options)? {
        reader = reader.with_null_regex(nulls);
    }
    Ok(reader)
}

/// The types that columns are read as: where no value was seen text, which takes whatever comes.
pub fn read_as(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| match field.data_type() {
        DataType::Null => Field::new(field.name(), DataType::Utf8, true),
        kind => Field::new(field.name(), kind.clone(), true),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The columns of one file by its first rows.
pub async fn columns_of(
    sample: Sample,
    format: csv::reader::Format,
    options: &CsvOptions,
    encoding: Option<&'static Encoding>,
    rows: usize,
) -> Result<SchemaRef> {
    let (form, whole) = (csv_rows::form(options), sample.whole);
    let infer = move || {
        let from = QuotesReader { from: sample.text(encoding)?, quotes: Quotes::new(form), whole };
        Ok(format.infer_schema(from, Some(rows))?.0)
    };
    let inferred = task::blocking("reading a CSV header", infer).await?;
    let names: Vec<String> = inferred.fields().iter().map(|f| f.name().clone()).collect();
    let unique = csv_rows::unique_names(&names).into_iter().zip(inferred.fields());
    let fields = unique.map(|(name, field)| field.as_ref().clone().with_name(name));
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// A reader of a CSV file that fails at its end where a quote is still open.
struct QuotesReader<R> {
    from: R,
    quotes: Quotes,
    whole: bool,
}

impl<R: Read> Read for QuotesReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.quotes.pass(&buffer[..read]);
        match self.quotes.open() {
            Some(line) if read == 0 && self.whole && !buffer.is_empty() => {
                Err(std::io::Error::other(csv_rows::never_closed(line)))
            }
            _ => Ok(read),
        }
    }
}

/// The value of a column as it is meant: NULL where a spelling of NULL stands, else of this type.
pub fn meant(column: Expr, kind: &DataType) -> Result<Expr> {
    let spellings = NULL_SPELLINGS.map(lit).to_vec();
    let value = cast(column.clone(), kind.clone());
    when(column.in_list(spellings, false), lit(ScalarValue::Null)).otherwise(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_are_one_sign() {
        assert_eq!(["|", "\t", "\\t", ";"].map(sign), [b'|', b'\t', b'\t', b';'].map(Some));
        assert_eq!(["", "||", "\"", "\n", "ü"].map(sign), [None; 5]);
    }

    #[test]
    fn delimiters_in_quotes_do_not_count() {
        assert!(!unquoted(b"a;\"b,c\";d").contains(&b','));
        assert!(unquoted(b"a;\"b;c\",d").contains(&b','));
    }
}
