//! What a CSV file does not say about itself: its delimiter, how it spells NULL, whether quoted
//! values hold line breaks.

use std::fs::File;
use std::io::{Cursor, Read};
use std::sync::Arc;

use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::common::ScalarValue;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, cast, when};
use datafusion::prelude::lit;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::{GetResultPayload, ObjectMeta, ObjectStoreExt};
use regex::Regex;

use super::data;
use super::find::{Files, Form};
use super::schema::{
    Columns, SAMPLED_ROWS, SAMPLED_ROWS_PER_FILE, common_type, unreadable, unrelated,
};
use crate::task;

/// Spellings of NULL. They count only in files where they stand in columns that else hold numbers,
/// dates or truth values: elsewhere `NA` may be Namibia. An empty value is NULL everywhere.
const NULL_SPELLINGS: [&str; 9] = ["NA", "N/A", "n/a", "NULL", "Null", "null", "None", "\\N", "-"];

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
pub fn has_newlines_in_values(files: &Files, quote: u8) -> Result<bool> {
    if files.compression.is_compressed() {
        return Ok(true); // never cut anyway
    }
    // Many files are cut as if they were one.
    if files.objects.iter().map(|object| object.size).sum::<u64>() < SPLIT_FROM_BYTES {
        return Ok(true);
    }
    for object in &files.objects {
        let Some(path) = files.local_path(object) else { return Ok(true) };
        if quotes_a_newline(File::open(path)?, quote)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn quotes_a_newline(mut from: impl Read, quote: u8) -> std::io::Result<bool> {
    let mut buffer = vec![0; 1 << 20];
    let mut quoted = false;
    loop {
        let filled = from.read(&mut buffer)?;
        if filled == 0 {
            return Ok(false);
        }
        // Between two quotes all is inside or all is outside.
        for (at, run) in buffer[..filled].split(|byte| *byte == quote).enumerate() {
            quoted ^= at > 0;
            if quoted && run.contains(&b'\n') {
                return Ok(true);
            }
        }
    }
}

/// The columns of CSV files: the same header in each, types that fit all.
pub async fn infer(
    files: &Files,
    objects: &[ObjectMeta],
    format: &Arc<dyn FileFormat>,
) -> Result<Columns> {
    let (reader, _) = reader_format(format)?;
    let rows = (SAMPLED_ROWS / objects.len()).max(SAMPLED_ROWS_PER_FILE);
    let stored = columns(files, objects, &reader, rows).await?;
    // Worth a second look where text may be numbers with a few NULLs spelled out.
    if texts(&stored) == 0 {
        return Ok(Columns { stored, meant: None });
    }
    let spelled = format!("^({})?$", NULL_SPELLINGS.map(regex::escape).join("|"));
    let nulls = Regex::new(&spelled).map_err(|error| DataFusionError::External(error.into()))?;
    let meant = columns(files, objects, &reader.with_null_regex(nulls), rows).await?;
    let meant = (texts(&meant) < texts(&stored)).then_some(meant);
    Ok(Columns { stored, meant })
}

/// How a file is to be cut into values, and whether it has a header.
fn reader_format(format: &Arc<dyn FileFormat>) -> Result<(csv::reader::Format, bool)> {
    let Some(csv) = format.downcast_ref::<CsvFormat>() else {
        return Err(DataFusionError::Internal("a CSV format is expected".into()));
    };
    let options = csv.options();
    let has_header = options.has_header.unwrap_or(true);
    let mut reader = csv::reader::Format::default()
        .with_header(has_header)
        .with_delimiter(options.delimiter)
        .with_quote(options.quote)
        .with_truncated_rows(options.truncated_rows.unwrap_or(false));
    if let Some(escape) = options.escape {
        reader = reader.with_escape(escape);
    }
    if let Some(comment) = options.comment {
        reader = reader.with_comment(comment);
    }
    Ok((reader, has_header))
}

/// The header that all files have; none where they have none or hold nothing.
pub async fn header(files: &Files, format: &Arc<dyn FileFormat>) -> Result<Option<Vec<String>>> {
    let (reader, has_header) = reader_format(format)?;
    let objects: Vec<ObjectMeta> =
        files.objects.iter().filter(|object| object.size > 0).cloned().collect();
    if !has_header || objects.is_empty() {
        return Ok(None);
    }
    let schema = columns(files, &objects, &reader, 0).await?;
    Ok(Some(schema.fields().iter().map(|field| field.name().clone()).collect()))
}

fn texts(schema: &Schema) -> usize {
    schema.fields().iter().filter(|field| field.data_type() == &DataType::Utf8).count()
}

async fn columns(
    files: &Files,
    objects: &[ObjectMeta],
    format: &csv::reader::Format,
    rows: usize,
) -> Result<SchemaRef> {
    let mut first: Option<Schema> = None;
    let mut types: Vec<DataType> = Vec::new();
    for object in objects {
        let schema = match columns_of(files, object, format.clone(), rows).await {
            Ok(schema) => schema,
            Err(error) => return Err(unreadable(files, object, error).await),
        };
        let Some(first) = &first else {
            unique_names(files, object, &schema)?;
            types = schema.fields().iter().map(|field| field.data_type().clone()).collect();
            first = Some(schema);
            continue;
        };
        // Values are read by position, so that another order would mix columns up.
        let names = schema.fields().iter().map(|field| field.name());
        if !names.eq(first.fields().iter().map(|field| field.name())) {
            return Err(unrelated(files, &objects[0], first, object, &schema));
        }
        for (kind, field) in types.iter_mut().zip(schema.fields()) {
            *kind = common_type(kind, field.data_type()).unwrap_or(DataType::Utf8);
        }
    }
    let first = first.unwrap_or_else(Schema::empty);
    let field = |(field, kind): (&Arc<Field>, DataType)| match kind {
        // No value seen: text takes whatever comes; the Null type would drop it.
        DataType::Null => Field::new(field.name(), DataType::Utf8, true),
        kind => Field::new(field.name(), kind, true),
    };
    Ok(Arc::new(Schema::new(first.fields().iter().zip(types).map(field).collect::<Vec<_>>())))
}

/// The columns of one file by its first rows.
async fn columns_of(
    files: &Files,
    object: &ObjectMeta,
    format: csv::reader::Format,
    rows: usize,
) -> Result<Schema> {
    let compression = files.compression;
    let payload = files.store.get(&object.location).await?.payload;
    let from: Box<dyn Read + Send> = match payload {
        GetResultPayload::File(file, _) => compression.convert_read(file)?,
        GetResultPayload::Stream(parts) => {
            let sample = sample(parts, compression.is_compressed()).await?;
            compression.convert_read(Cursor::new(sample))?
        }
    };
    let infer = move || Ok(format.infer_schema(from, Some(rows))?);
    Ok(task::blocking("reading a CSV header", infer).await?.0)
}

/// The start of a remote file, up to the end of a line; all of it where it is compressed.
async fn sample(
    mut parts: BoxStream<'static, object_store::Result<Bytes>>,
    whole: bool,
) -> Result<Vec<u8>> {
    const SAMPLE_BYTES: usize = 4 << 20;
    let mut sample = Vec::new();
    while let Some(part) = parts.try_next().await? {
        sample.extend_from_slice(&part);
        if !whole && sample.len() >= SAMPLE_BYTES {
            let end = sample.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            sample.truncate(end);
            break;
        }
    }
    Ok(sample)
}

fn unique_names(files: &Files, object: &ObjectMeta, schema: &Schema) -> Result<()> {
    let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    match names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        None => Ok(()),
        Some((_, name)) => Err(data(format!(
            "file '{}': the header has the column '{name}' twice",
            files.shown(object)
        ))),
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
    fn line_breaks_are_found_inside_quotes_only() {
        let found = |text: &str| quotes_a_newline(text.as_bytes(), b'"').unwrap();
        assert!(!found("a,b\n1,\"x, y\"\n2,z\n"));
        assert!(found("a,b\n1,\"x\ny\"\n"));
        assert!(!found("a\n\"say \"\"hi\"\"\"\nb\n"));
        assert!(found("a\n\"say \"\"hi\n\"\"\"\nb\n"));
    }

    #[test]
    fn delimiters_in_quotes_do_not_count() {
        assert!(!unquoted(b"a;\"b,c\";d").contains(&b','));
        assert!(unquoted(b"a;\"b;c\",d").contains(&b','));
    }
}
