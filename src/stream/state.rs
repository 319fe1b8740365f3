//! The open windows of one continuous query: partial states in memory, merged as they grow, taken
//! out when the watermark passes a window's end.

use arrow::array::{Array, AsArray, BooleanArray, Int64Array};
use arrow::compute::{cast, filter_record_batch, min};
use arrow::datatypes::{DataType, Int64Type};
use arrow::record_batch::RecordBatch;

use super::continuous::Continuous;
use super::shape::WindowKey;
use crate::error::Result;

/// States below this many rows are not worth merging.
const FEW_ROWS: usize = 4096;

/// A result up to a place in the stream.
#[derive(Debug)]
pub struct Emitted {
    pub batches: Vec<RecordBatch>,
    /// End of the last window, in microseconds.
    pub end_us: i64,
}

/// States of windows that are not final.
#[derive(Debug, Default)]
pub struct Windows {
    states: Vec<RecordBatch>,
    rows: usize,
    /// Rows when they were last merged.
    merged_rows: usize,
    /// Earliest end among the states, in microseconds.
    earliest_us: Option<i64>,
}

impl Windows {
    /// Adds the states of an epoch. Windows that end by `emitted_us` were emitted by an earlier run
    /// and are left out; answers how many states that were.
    pub async fn add(
        &mut self,
        query: &Continuous,
        key: &WindowKey,
        states: Vec<RecordBatch>,
        emitted_us: Option<i64>,
    ) -> Result<u64> {
        let mut skipped = 0;
        for batch in states {
            let mut ends = ends(&batch, key)?;
            let mut batch = batch;
            if let Some(emitted_us) = emitted_us {
                let open = BooleanArray::from_unary(&ends, |end| end > emitted_us);
                skipped += (open.len() - open.true_count()) as u64;
                batch = filter_record_batch(&batch, &open)?;
                ends = self::ends(&batch, key)?;
            }
            self.earliest_us = self.earliest_us.into_iter().chain(min(&ends)).min();
            self.rows += batch.num_rows();
            self.states.push(batch);
        }
        // Doubling: each state row is merged a constant number of times on the average.
        if self.rows > FEW_ROWS.max(2 * self.merged_rows) {
            self.states = query.reduce(std::mem::take(&mut self.states)).await?;
            self.rows = self.states.iter().map(RecordBatch::num_rows).sum();
            self.merged_rows = self.rows;
        }
        Ok(skipped)
    }

    /// Takes out the windows that end at or before the watermark and computes their rows.
    pub async fn close(
        &mut self,
        query: &Continuous,
        key: &WindowKey,
        watermark_us: i64,
    ) -> Result<Option<Emitted>> {
        if self.earliest_us.is_none_or(|earliest| earliest > watermark_us) {
            return Ok(None);
        }
        let (mut closed, mut open) = (Vec::new(), Vec::new());
        let (mut end_us, mut earliest_us) = (i64::MIN, None);
        for batch in std::mem::take(&mut self.states) {
            let ends = ends(&batch, key)?;
            for end in ends.values() {
                match *end <= watermark_us {
                    true => end_us = end_us.max(*end),
                    false => earliest_us = Some(earliest_us.unwrap_or(i64::MAX).min(*end)),
                }
            }
            let done = BooleanArray::from_unary(&ends, |end| end <= watermark_us);
            closed.push(filter_record_batch(&batch, &done)?);
            open.push(filter_record_batch(&batch, &arrow::compute::not(&done)?)?);
        }
        open.retain(|batch| batch.num_rows() > 0);
        self.rows = open.iter().map(RecordBatch::num_rows).sum();
        self.merged_rows = self.merged_rows.min(self.rows);
        (self.states, self.earliest_us) = (open, earliest_us);
        let batches = query.finish(closed).await?;
        Ok(Some(Emitted { batches, end_us }))
    }
}

/// Each state's end of window, in microseconds.
fn ends(batch: &RecordBatch, key: &WindowKey) -> Result<Int64Array> {
    let micro = arrow::datatypes::TimeUnit::Microsecond;
    let column = batch.column(key.column);
    // A time zone does not change the instant.
    let zone = match column.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let ticks = cast(&cast(column, &DataType::Timestamp(micro, zone))?, &DataType::Int64)?;
    let ticks = ticks.as_primitive::<Int64Type>();
    debug_assert_eq!(ticks.null_count(), 0, "a row without a time is in no window");
    Ok(ticks.unary(|tick| tick.saturating_add(key.to_end_us)))
}
