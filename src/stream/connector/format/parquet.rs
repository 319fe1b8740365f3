//! Parquet: columns by name, rows in the order of the file.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::columns::{Missing, pick};
use super::text::{Piece, Position, Records, piece};
use crate::error::{Error, Result};
use crate::plan::files;
use crate::stream::connector::api::Opening;
use crate::task;

/// Rows decoded at once; callers may ask for fewer at a time.
const ROWS: usize = 8192;

pub struct Parquet {
    batches: ParquetRecordBatchReader,
    /// Decoded and not yet answered.
    ahead: Option<RecordBatch>,
    /// For each declared column, its place in a batch; `None` is NULL.
    fields: Vec<Option<usize>>,
    /// Rows before `ahead`.
    read: u64,
    opening: Arc<Opening>,
}

impl Parquet {
    /// Opens a file behind its first `skip` rows.
    pub fn open(file: File, opening: &Arc<Opening>, missing: Missing, skip: u64) -> Result<Self> {
        whole(|| Self::read(file, opening, missing, skip))
    }

    fn read(file: File, opening: &Arc<Opening>, missing: Missing, skip: u64) -> Result<Self> {
        let wrong = |error: &dyn std::fmt::Display| {
            Error::Data(format!(
                "{error} (a file that is still being written is no Parquet file yet: write it \
                 elsewhere and rename it into place)"
            ))
        };
        let builder = files::rows_of(file).map_err(|error| wrong(&error))?;
        let names: Vec<_> = builder.schema().fields().iter().map(|f| f.name().clone()).collect();
        let picked = pick(&opening.source_schema(), &names, missing)?;
        let mut present: Vec<usize> = picked.iter().flatten().copied().collect();
        present.sort_unstable();
        present.dedup();
        let mask = ProjectionMask::roots(builder.parquet_schema(), present.iter().copied());
        let place = |field: usize| present.partition_point(|other| *other < field);
        let fields = picked.iter().map(|field| field.map(place)).collect();
        let rows = builder.metadata().file_metadata().num_rows().max(0).unsigned_abs();
        if rows < skip {
            return Err(Error::Data(format!("{rows} rows, of which {skip} have been read before")));
        }
        let offset = usize::try_from(skip).unwrap_or(usize::MAX);
        let batches = builder.with_projection(mask).with_batch_size(ROWS).with_offset(offset);
        let batches = batches.build().map_err(|error| wrong(&error))?;
        Ok(Self { batches, ahead: None, fields, read: skip, opening: opening.clone() })
    }

    fn look(&mut self) -> Result<()> {
        if self.ahead.is_none() {
            self.ahead = whole(|| Ok(self.batches.next().transpose()?))?;
        }
        Ok(())
    }
}

/// Does work on a file that may be damaged: the decoder's panics are errors about it.
fn whole<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    task::quietly(work).unwrap_or_else(|panic| {
        Err(Error::Data(format!("the file is damaged: {}", task::said(panic.as_ref()))))
    })
}

impl Records for Parquet {
    fn unit(&self) -> &'static str {
        "row"
    }

    fn next(&mut self) -> Result<Option<Piece>> {
        self.look()?;
        let Some(batch) = self.ahead.take() else { return Ok(None) };
        let rows = batch.num_rows();
        let places = (0..rows as u64).map(|ordinal| Position { ordinal, line: ordinal + 1 });
        let column = |field: &Option<usize>| match field {
            Some(at) => batch.column(*at).clone(),
            None => new_null_array(&DataType::Null, rows),
        };
        let columns: Vec<ArrayRef> = self.fields.iter().map(column).collect();
        let places: Vec<_> = places.collect();
        let rows = rows as u64;
        let piece = piece(&self.opening, &columns, &places, Vec::new(), rows, rows)?;
        let lines_before = self.read;
        self.read += rows;
        Ok(Some(Piece { lines_before, ..piece }))
    }

    fn ended(&mut self) -> Result<bool> {
        self.look()?;
        Ok(self.ahead.is_none())
    }
}
