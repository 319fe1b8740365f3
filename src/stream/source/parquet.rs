//! Parquet: columns by name, rows in the order of the file.

use std::fs::File;
use std::path::Path;

use arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::{
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::Opening;
use super::file::{Format, Parsed, Position, Reject, pick};
use crate::error::{Error, Result};

/// Rows decoded at once; callers may ask for fewer at a time.
const ROWS: usize = 8192;

pub struct Parquet {
    batches: ParquetRecordBatchReader,
    /// Decoded and not yet answered.
    rest: Option<RecordBatch>,
    /// For each declared column, its place in a batch.
    fields: Vec<usize>,
    read: u64,
}

impl Parquet {
    pub fn open(path: &Path, opening: &Opening) -> Result<Self> {
        let wrong =
            |error: &dyn std::fmt::Display| Error::Data(format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(|error| wrong(&error))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| wrong(&e))?;
        let names: Vec<_> = builder.schema().fields().iter().map(|f| f.name().clone()).collect();
        let picked = pick(path, &opening.schema, &names)?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), picked.iter().copied());
        let mut present = picked.clone();
        present.sort_unstable();
        present.dedup();
        let fields = picked.iter().map(|field| present.partition_point(|other| other < field));
        let fields = fields.collect();
        let batches = builder.with_projection(mask).with_batch_size(ROWS).build();
        let batches = batches.map_err(|error| wrong(&error))?;
        Ok(Self { batches, rest: None, fields, read: 0 })
    }
}

impl Format for Parquet {
    fn unit(&self) -> &'static str {
        "row"
    }

    fn read(&self) -> u64 {
        self.read
    }

    fn next(&mut self, path: &Path, limit: usize, _reject: Reject<'_>) -> Result<Option<Parsed>> {
        let batch = match self.rest.take() {
            Some(batch) => batch,
            None => match self.batches.next() {
                Some(batch) => {
                    batch.map_err(|error| Error::Data(format!("{}: {error}", path.display())))?
                }
                None => return Ok(None),
            },
        };
        let rows = batch.num_rows().min(limit);
        if rows < batch.num_rows() {
            self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        let batch = batch.slice(0, rows);
        let first = self.read;
        self.read += rows as u64;
        let place = |ordinal| Position { ordinal, line: ordinal + 1 };
        let places = (first..self.read).map(place).collect();
        let columns = self.fields.iter().map(|field| batch.column(*field).clone()).collect();
        Ok(Some(Parsed { columns, places }))
    }
}
