//! Record batches to bytes: table, CSV, JSON lines, Parquet, Arrow IPC.

use std::mem;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringBuilder};
use arrow::compute::{cast, concat_batches};
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use arrow::json;
use arrow::json::writer::LineDelimited;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_options;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;

use crate::cli::args::Format;
use crate::error::{Error, Result};

/// Turns the batches of one result into bytes. What it answers is to be written in order.
pub trait Encoder: Send {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>>;

    /// What is left: a footer, a table's last line, the header of a result without rows.
    fn finish(&mut self) -> Result<Vec<u8>>;
}

/// Rows of a Parquet row group: enough for good compression, few enough to read in parallel.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// An encoder for results of this schema. `file` tells a file from a stream, which Arrow IPC
/// tells apart too.
pub fn encoder(format: Format, schema: SchemaRef, file: bool) -> Result<Box<dyn Encoder>> {
    Ok(match format {
        Format::Table => Box::new(Table::new(schema)),
        Format::Csv => Box::new(Csv { schema, header_due: true }),
        Format::Json => Box::new(Json),
        Format::Parquet => Box::new(Parquet::new(schema)?),
        Format::Arrow if file => {
            let schema = plain_schema(&schema);
            Box::new(ArrowFile(FileWriter::try_new(Vec::new(), &schema)?, schema))
        }
        Format::Arrow => {
            let schema = plain_schema(&schema);
            Box::new(ArrowStream(StreamWriter::try_new(Vec::new(), &schema)?, schema))
        }
    })
}

/// Drawn with lines. Column widths need all rows, so a long result is drawn in chunks, each with
/// the widths it needs; the header is repeated where they change.
struct Table {
    schema: SchemaRef,
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    /// The line above the last chunk, by which equal widths are known.
    border: Option<String>,
}

/// Rows held back for the widths of a table's columns.
const TABLE_CHUNK_ROWS: usize = 10_000;

impl Table {
    fn new(schema: SchemaRef) -> Self {
        Self { schema, waiting: Vec::new(), waiting_rows: 0, border: None }
    }

    fn draw(&mut self) -> Result<String> {
        let batches = mem::take(&mut self.waiting);
        self.waiting_rows = 0;
        let batch = concat_batches(&self.schema, &batches)?;
        let options = FormatOptions::default().with_null("NULL");
        let text = pretty_format_batches_with_options(&[batch], &options)?.to_string();
        let mut lines: Vec<&str> = text.lines().collect();
        // The last line closes the table; `finish` draws it.
        let border = lines.pop().unwrap_or_default().to_string();
        if self.border.as_deref() == Some(border.as_str()) {
            let head = lines.iter().skip(1).position(|line| *line == border);
            lines.drain(..head.map_or(0, |at| at + 2));
        }
        self.border = Some(border);
        Ok(lines.join("\n") + "\n")
    }
}

impl Encoder for Table {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        self.waiting_rows += batch.num_rows();
        self.waiting.push(batch.clone());
        if self.waiting_rows < TABLE_CHUNK_ROWS {
            return Ok(Vec::new());
        }
        Ok(self.draw()?.into_bytes())
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        let mut text = String::new();
        if !self.waiting.is_empty() || self.border.is_none() {
            text = self.draw()?;
        }
        let border = self.border.take().unwrap_or_default();
        Ok((text + &border + "\n").into_bytes())
    }
}

struct Csv {
    schema: SchemaRef,
    header_due: bool,
}

impl Csv {
    fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        let batch = with_nested_as_text(batch)?;
        let mut bytes = Vec::new();
        let header = mem::take(&mut self.header_due);
        let mut writer = csv::WriterBuilder::new().with_header(header).build(&mut bytes);
        writer.write(&batch)?;
        drop(writer);
        Ok(bytes)
    }
}

impl Encoder for Csv {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        self.encode(batch)
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        if !self.header_due {
            return Ok(Vec::new());
        }
        self.encode(&RecordBatch::new_empty(self.schema.clone()))
    }
}

/// CSV has no lists, structs or maps: they are written as they are shown in a table.
fn with_nested_as_text(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|field| field.data_type().is_nested()) {
        return Ok(batch.clone());
    }
    let options = FormatOptions::default();
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if !field.data_type().is_nested() {
            fields.push(field.as_ref().clone());
            columns.push(Arc::clone(column));
            continue;
        }
        fields.push(Field::new(field.name(), DataType::Utf8, true));
        columns.push(as_text(column, &options)?);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn as_text(column: &ArrayRef, options: &FormatOptions<'_>) -> Result<ArrayRef> {
    let formatter = ArrayFormatter::try_new(column, options)?;
    let mut text = StringBuilder::new();
    for row in 0..column.len() {
        match column.is_null(row) {
            true => text.append_null(),
            false => text.append_value(formatter.value(row).try_to_string()?),
        }
    }
    Ok(Arc::new(text.finish()))
}

/// One object per line; a NULL is written as `null`, so that each line has all columns.
struct Json;

impl Encoder for Json {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        let builder = json::WriterBuilder::new().with_explicit_nulls(true);
        let mut writer = builder.build::<_, LineDelimited>(Vec::new());
        writer.write(batch)?;
        writer.finish()?;
        Ok(writer.into_inner())
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

struct Parquet(Option<ArrowWriter<Vec<u8>>>);

impl Parquet {
    fn new(schema: SchemaRef) -> Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties));
        Ok(Self(Some(writer.map_err(parquet_error)?)))
    }
}

impl Encoder for Parquet {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        let Some(writer) = &mut self.0 else { return Ok(Vec::new()) };
        writer.write(batch).map_err(parquet_error)?;
        Ok(mem::take(writer.inner_mut()))
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        let Some(writer) = self.0.take() else { return Ok(Vec::new()) };
        writer.into_inner().map_err(parquet_error)
    }
}

fn parquet_error(error: datafusion::parquet::errors::ParquetError) -> Error {
    Error::DataFusion(error.into())
}

struct ArrowFile(FileWriter<Vec<u8>>, SchemaRef);

impl Encoder for ArrowFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        self.0.write(&plain_batch(batch, &self.1)?)?;
        Ok(mem::take(self.0.get_mut()))
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        self.0.finish()?;
        Ok(mem::take(self.0.get_mut()))
    }
}

struct ArrowStream(StreamWriter<Vec<u8>>, SchemaRef);

impl Encoder for ArrowStream {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        self.0.write(&plain_batch(batch, &self.1)?)?;
        Ok(mem::take(self.0.get_mut()))
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        self.0.finish()?;
        Ok(mem::take(self.0.get_mut()))
    }
}

/// The schema without dictionaries: an Arrow file cannot replace one batch's by the next one's.
fn plain_schema(schema: &Schema) -> SchemaRef {
    let plain = |field: &Arc<Field>| match field.data_type() {
        DataType::Dictionary(_, value) => field.as_ref().clone().with_data_type((**value).clone()),
        _ => field.as_ref().clone(),
    };
    let fields: Vec<Field> = schema.fields().iter().map(plain).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn plain_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let plain: Result<Vec<ArrayRef>, _> =
        columns.map(|(column, field)| cast(column, field.data_type())).collect();
    Ok(RecordBatch::try_new(schema.clone(), plain?)?)
}
