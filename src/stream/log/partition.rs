//! One partition of a stream's log while it is read: rows in order, each with its place and with
//! the watermark before it. The batch and the epochs read through here, so that both see the same.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use super::definition::Stream;
use super::position::Start;
use crate::error::Result;
use crate::stream::connector::api::{Opening, Read, Rows, Source};
use crate::stream::time::watermark::{BEFORE_ALL, Clock, Forced};

/// Columns that the log has beside the declared ones: which partition a row is from, its offset
/// there, the watermark before it (where the stream has one; of the event time's type), and when
/// it was processed (UTC).
pub const PARTITION: &str = "__partition";
pub const OFFSET: &str = "__offset";
pub const WATERMARK: &str = "__watermark";
pub const PROCESSED: &str = "__processed";

/// All of them, in order.
pub const HIDDEN: [&str; 4] = [PARTITION, OFFSET, WATERMARK, PROCESSED];

/// The declared columns and those that the log adds.
pub fn schema(stream: &Stream) -> SchemaRef {
    let mut fields: Vec<_> = stream.schema.fields().iter().cloned().collect();
    let mut add = |name: &str, data_type: DataType| {
        fields.push(Arc::new(Field::new(name, data_type, false)));
    };
    add(PARTITION, DataType::Int32);
    add(OFFSET, DataType::Int64);
    if let Some(rule) = &stream.watermark {
        add(WATERMARK, stream.schema.field(rule.column).data_type().clone());
    }
    add(PROCESSED, DataType::Timestamp(TimeUnit::Microsecond, None));
    Arc::new(Schema::new(fields))
}

/// The declared columns, and where in the log a row stands.
pub fn placed_schema(stream: &Stream) -> SchemaRef {
    let count = stream.schema.fields().len() + 2;
    Arc::new(Schema::new(schema(stream).fields().iter().take(count).cloned().collect::<Vec<_>>()))
}

/// Gives the rows of one partition, taken in order, their places and the watermark before each.
#[derive(Debug)]
pub struct Stamper {
    stream: Arc<Stream>,
    partition: usize,
    pub clock: Clock,
    forced: VecDeque<Forced>,
}

/// Consecutive rows of one partition.
#[derive(Debug, Clone)]
pub struct LogRows {
    partition: usize,
    rows: Rows,
    /// The watermark before each row, where the stream has one.
    watermarks: Option<TimestampMicrosecondArray>,
}

impl LogRows {
    pub fn len(&self) -> usize {
        self.rows.batch.num_rows()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As `schema` says, processed at this time (microseconds, UTC).
    pub fn batch(&self, stream: &Stream, processed_us: i64) -> Result<RecordBatch> {
        let count = self.len();
        let mut columns = self.rows.batch.columns().to_vec();
        columns.push(Arc::new(Int32Array::from(vec![self.partition as i32; count])));
        columns.push(Arc::new(self.rows.offsets.clone()));
        if let Some(watermarks) = &self.watermarks {
            columns.push(Arc::new(watermarks.clone()));
        }
        let processed = TimestampMicrosecondArray::from(vec![processed_us; count]);
        columns.push(Arc::new(processed) as ArrayRef);
        Ok(RecordBatch::try_new(schema(stream), columns)?)
    }

    /// How many came when the watermark had passed their time.
    pub fn late(&self, stream: &Stream) -> u64 {
        let (Some(rule), Some(watermarks)) = (&stream.watermark, &self.watermarks) else {
            return 0;
        };
        let times = self.rows.batch.column(rule.column).as_primitive::<TimestampMicrosecondType>();
        let pairs = times.values().iter().zip(watermarks.values());
        pairs.filter(|(time, watermark)| time <= watermark).count() as u64
    }
}

impl Stamper {
    /// Begins where `start` says.
    pub fn new(stream: &Arc<Stream>, partition: usize, start: Start) -> Self {
        let Start { place, clock, forced } = start;
        let forced = forced.into_iter().filter(|forced| forced.offset >= place.offset).collect();
        Self { stream: stream.clone(), partition, clock, forced }
    }

    /// How many records after `offset` may be taken at once, `limit` at most: an advance that was
    /// recorded stands before the next.
    pub fn reach(&mut self, offset: i64, limit: usize) -> usize {
        while let Some(next) = self.forced.front().copied() {
            let left = next.offset.saturating_sub(offset);
            if left > 0 {
                return limit.min(usize::try_from(left).unwrap_or(limit));
            }
            self.clock.force(next.to_us);
            self.forced.pop_front();
        }
        limit
    }

    /// Takes the next rows.
    pub fn stamp(&mut self, rows: Rows) -> LogRows {
        let watermarks = self.stream.watermark.as_ref().map(|rule| {
            let times = rows.batch.column(rule.column).as_primitive::<TimestampMicrosecondType>();
            self.clock.advance(rule, times)
        });
        LogRows { partition: self.partition, rows, watermarks }
    }

    /// The watermark behind what was taken; of a stream without one, before all.
    pub fn watermark(&self) -> i64 {
        watermark(&self.stream, &self.clock)
    }
}

/// The watermark that a clock of the stream shows, in microseconds.
pub fn watermark(stream: &Stream, clock: &Clock) -> i64 {
    stream.watermark.as_ref().map_or(BEFORE_ALL, |rule| clock.watermark(rule))
}

/// A partition that is being read.
pub struct Log {
    source: Box<dyn Source>,
    pub stamper: Stamper,
}

/// What a log answers.
pub enum Entry {
    Rows(Box<LogRows>),
    /// Nothing now; perhaps later.
    Idle,
    /// Nothing any more.
    End,
}

impl Log {
    /// Opens the log as `opening` says, at `start`.
    pub fn open(stream: &Arc<Stream>, opening: Opening, start: Start) -> Result<Self> {
        let from = start.place.clone();
        let stamper = Stamper::new(stream, opening.partition, start);
        let source = stream.connector.open(Opening { from, ..opening })?;
        Ok(Self { source, stamper })
    }

    /// Offset of the next record.
    pub fn offset(&self) -> i64 {
        self.source.offset()
    }

    /// The next rows, of at most `limit` records; of malformed records there are no rows. Blocks.
    pub fn next(&mut self, limit: usize) -> Result<Entry> {
        let limit = self.stamper.reach(self.source.offset(), limit);
        match self.source.next(limit)? {
            Read::Rows(rows) => Ok(Entry::Rows(Box::new(self.stamper.stamp(rows)))),
            Read::Idle => Ok(Entry::Idle),
            Read::End => Ok(Entry::End),
        }
    }

    pub fn rejected(&self) -> u64 {
        self.source.rejected()
    }
}
