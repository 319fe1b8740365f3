//! A stream's own history: every row appended to a Delta table, one commit an epoch, with the
//! partition it came from and its offset there.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;

use super::definition::Stream;
use super::log::LogRows;
use crate::error::{Error, Result};
use crate::lake::Table;

/// Columns beside the declared ones.
pub const PARTITION: &str = "__partition";
pub const OFFSET: &str = "__offset";

/// An open store.
pub struct Store {
    table: Table,
    schema: Arc<Schema>,
    application: String,
    /// Offset of the first row that is not stored.
    next: i64,
    /// Rows that earlier runs have stored.
    skipped: usize,
}

impl Store {
    /// Opens the store of a stream that has one.
    pub async fn open(stream: &Stream, pipeline: &str) -> Result<Option<Self>> {
        let Some(path) = &stream.store else { return Ok(None) };
        let mut fields: Vec<_> = stream.schema.fields().iter().cloned().collect();
        for (name, data_type) in [(PARTITION, DataType::Int32), (OFFSET, DataType::Int64)] {
            if stream.schema.index_of(name).is_ok() {
                return Err(Error::User(format!(
                    "stream {}: the store adds a column {name}, and the stream has one",
                    stream.name
                )));
            }
            fields.push(Arc::new(Field::new(name, data_type, false)));
        }
        let schema = Arc::new(Schema::new(fields));
        let table = Table::open_or_create(path, &schema).await?;
        // Sources of several partitions will have a place for each.
        let application = format!("thalweg/{pipeline}/{}/0", stream.name);
        let next = table.reached(&application).await?.unwrap_or(0);
        Ok(Some(Self { table, schema, application, next, skipped: 0 }))
    }

    /// Appends the rows of an epoch that are not stored yet, in one commit.
    pub async fn append(&mut self, rows: &[LogRows]) -> Result<()> {
        let mut batches = Vec::with_capacity(rows.len());
        let mut next = self.next;
        for rows in rows {
            let new = BooleanArray::from_unary(&rows.offsets, |offset| offset >= self.next);
            self.skipped += new.len() - new.true_count();
            let offsets = filter(&rows.offsets, &new)?;
            let batch = filter_record_batch(&rows.batch, &new)?;
            let declared = self.schema.fields().len() - 2;
            let mut columns = batch.columns()[..declared].to_vec();
            columns.push(Arc::new(Int32Array::from(vec![0; batch.num_rows()])) as ArrayRef);
            columns.push(offsets);
            next = rows.offsets.values().last().map_or(next, |last| next.max(last + 1));
            batches.push(RecordBatch::try_new(self.schema.clone(), columns)?);
        }
        batches.retain(|batch| batch.num_rows() > 0);
        if batches.is_empty() {
            return Ok(());
        }
        self.table.append(&batches, &[(self.application.clone(), next)]).await?;
        self.next = next;
        Ok(())
    }

    /// Tells, once the reading is over, what was there already.
    pub fn report(&self, stream: &str) {
        let skipped = self.skipped;
        if skipped > 0 {
            let what = "an earlier run of this pipeline has stored: not stored again";
            tracing::warn!("stream {stream}: {skipped} rows are what {what}");
        }
    }
}
