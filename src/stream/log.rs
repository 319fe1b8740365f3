//! A stream's log while it is read: rows in order, each with the watermark before it. The batch
//! and the epochs read through here, so that both see the same.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use super::definition::Stream;
use super::source::{Opening, Read, Source};
use super::watermark::Clock;
use crate::error::Result;

/// Column that the log has beside the declared ones, where the stream has a watermark: the
/// watermark before the row, of the event time's type.
pub const WATERMARK: &str = "__watermark";

/// The declared columns and the watermark before the row.
pub fn schema(stream: &Stream) -> SchemaRef {
    let mut fields: Vec<_> = stream.schema.fields().iter().cloned().collect();
    if let Some(rule) = &stream.watermark {
        let data_type = stream.schema.field(rule.column).data_type().clone();
        fields.push(Arc::new(Field::new(WATERMARK, data_type, false)));
    }
    Arc::new(Schema::new(fields))
}

/// A log that is being read, from its first row.
pub struct Log {
    pub stream: Arc<Stream>,
    schema: SchemaRef,
    source: Box<dyn Source>,
    pub clock: Clock,
}

/// What a log answers.
pub enum Entry {
    Rows(LogRows),
    /// Nothing now; perhaps later.
    Idle,
    /// Nothing any more.
    End,
}

/// Consecutive rows.
#[derive(Debug)]
pub struct LogRows {
    /// As `schema` says.
    pub batch: RecordBatch,
    pub offsets: Int64Array,
}

impl Log {
    /// Opens the log. With `follow`, it does not end where the source has no more for now.
    pub fn open(stream: &Arc<Stream>, follow: bool) -> Result<Self> {
        let source = stream.connector.open(Opening::new(stream, follow))?;
        let schema = schema(stream);
        Ok(Self { stream: stream.clone(), schema, source, clock: Clock::default() })
    }

    /// The next rows, at most `limit`. Blocks.
    pub fn next(&mut self, limit: usize) -> Result<Entry> {
        let rows = match self.source.next(limit)? {
            Read::Rows(rows) => rows,
            Read::Idle => return Ok(Entry::Idle),
            Read::End => return Ok(Entry::End),
        };
        let mut columns = rows.batch.columns().to_vec();
        if let Some(rule) = &self.stream.watermark {
            let times = columns[rule.column].as_primitive::<TimestampMicrosecondType>();
            columns.push(Arc::new(self.clock.advance(rule, times)) as ArrayRef);
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        Ok(Entry::Rows(LogRows { batch, offsets: rows.offsets }))
    }

    pub fn rejected(&self) -> u64 {
        self.source.rejected()
    }

    /// Tells, once the reading is over, what was kept aside or bounded.
    pub fn report(&self) {
        let (name, rejected, bounded) = (&self.stream.name, self.rejected(), self.clock.bounded);
        if rejected > 0 {
            let path = self.stream.rejects.display();
            tracing::warn!("stream {name}: {rejected} malformed rows are kept aside in {path}");
        }
        if bounded > 0 {
            tracing::warn!(
                "stream {name}: max_advance bounded the watermark's step at {bounded} rows"
            );
        }
    }
}
