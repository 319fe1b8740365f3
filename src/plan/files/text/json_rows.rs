//! Rows of JSON text. Numbers and times are read as they are written and converted without loss.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::is_not_null;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder;

use super::exact;
use super::json::{Rows, keys};
use super::parse::{Fault, HEAD_BYTES, Parse, Reading};

/// The rows of one file, or of a part of it.
pub struct JsonRows {
    /// The columns that are wanted, and all of the table's files.
    schema: SchemaRef,
    table: SchemaRef,
    batch_size: usize,
    /// What takes arrays apart, where the text begins with one.
    arrays: Option<Rows>,
    begun: bool,
    columns: Option<Columns>,
    /// Bytes that are not rows yet.
    text: Vec<u8>,
    used: usize,
    last: bool,
    /// Rows before the next batch.
    rows: u64,
}

struct Columns {
    decoder: Decoder,
    /// For each wanted one, its places in what the decoder gives: spelt as the table does, and in
    /// other cases.
    places: Vec<Vec<usize>>,
}

impl JsonRows {
    pub fn new(reading: &Reading) -> Self {
        Self {
            schema: Arc::clone(&reading.schema),
            table: Arc::clone(&reading.table),
            batch_size: reading.batch_size,
            arrays: None,
            begun: false,
            columns: None,
            text: Vec::new(),
            used: 0,
            last: false,
            rows: 0,
        }
    }

    /// Looks at the first rows: how they spell the columns' names.
    fn begin(&mut self) -> Result<(), Fault> {
        let unlike = |field: &Arc<Field>, key: &String| {
            key != field.name() && key.eq_ignore_ascii_case(field.name())
        };
        let head = &self.text[..self.text.len().min(HEAD_BYTES as usize)];
        let keys = if self.schema.fields().is_empty() { Vec::new() } else { keys(head) };
        let mut read: Vec<Field> = Vec::new();
        let mut places = Vec::new();
        for field in self.schema.fields() {
            let mut place = vec![read.len()];
            let written = exact::written_field(field, true).with_nullable(true);
            read.push(written.clone());
            let others = keys.iter().filter(|key| unlike(field, key));
            for key in others.filter(|key| self.table.index_of(key).is_err()) {
                place.push(read.len());
                read.push(written.clone().with_name(key));
            }
            places.push(place);
        }
        let builder = ReaderBuilder::new(Arc::new(Schema::new(read)))
            .with_coerce_primitive(true)
            .with_batch_size(self.batch_size);
        let decoder = builder.build_decoder().map_err(|error| fault(&error))?;
        self.columns = Some(Columns { decoder, places });
        Ok(())
    }

    /// The table's columns from those of the text.
    fn typed(&self, columns: &Columns, read: &RecordBatch) -> Result<RecordBatch, Fault> {
        let wrong = |error: ArrowError| Fault::new(error.to_string());
        let mut typed = Vec::with_capacity(columns.places.len());
        for (field, places) in self.schema.fields().iter().zip(&columns.places) {
            let mut column = Arc::clone(read.column(places[0]));
            for other in &places[1..] {
                let here = is_not_null(&column).map_err(wrong)?;
                column = zip(&here, &column, read.column(*other)).map_err(wrong)?;
            }
            let column: ArrayRef = exact::typed(&column, field.data_type()).map_err(|unfit| {
                Fault::of(self.rows + unfit.row as u64, field.name(), unfit.reason)
            })?;
            typed.push(column);
        }
        let rows = read.num_rows();
        let counted = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), typed, &counted).map_err(wrong)
    }

    fn decode(&mut self, columns: &mut Columns) -> Result<Option<RecordBatch>, Fault> {
        let rest = &self.text[self.used..];
        let decoded = columns.decoder.decode(rest).map_err(|error| fault(&error))?;
        self.used += decoded;
        let full = decoded < rest.len();
        if !full && !self.last {
            return Ok(None);
        }
        if columns.decoder.has_partial_record() {
            return Err(Fault::new("the file ends within an object"));
        }
        let read = columns.decoder.flush();
        let Some(read) = read.map_err(|error| fault(&error))? else { return Ok(None) };
        let typed = self.typed(columns, &read)?;
        self.rows += read.num_rows() as u64;
        Ok(Some(typed))
    }
}

impl Parse for JsonRows {
    fn push(&mut self, text: &[u8], last: bool) -> Result<(), Fault> {
        self.text.drain(..std::mem::take(&mut self.used));
        self.last = last;
        if !self.begun {
            let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
            self.begun = first.is_some();
            self.arrays = first.filter(|byte| **byte == b'[').map(|_| Rows::default());
        }
        match &mut self.arrays {
            None => self.text.extend_from_slice(text),
            Some(arrays) => {
                self.text.extend_from_slice(&arrays.pass(text)?);
                if last {
                    arrays.end()?;
                }
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<RecordBatch>, Fault> {
        if self.columns.is_none() {
            if !self.last && (self.text.len() as u64) < HEAD_BYTES {
                return Ok(None);
            }
            self.begin()?;
        }
        let Some(mut columns) = self.columns.take() else { return Ok(None) };
        let next = self.decode(&mut columns);
        self.columns = Some(columns);
        next
    }
}

fn fault(error: &ArrowError) -> Fault {
    Fault::new(match error {
        ArrowError::JsonError(text) => text.clone(),
        other => other.to_string(),
    })
}
