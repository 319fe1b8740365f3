//! Rows that wait until their time is final: partial states of windows, or rows themselves.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::compute::{cast, filter_record_batch, max, min, not};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use arrow::record_batch::RecordBatch;

use super::Times;
use super::bound::Bound;
use crate::error::Result;

/// The column that tells when a row is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its index.
    pub column: usize,
    pub bound: Bound,
    /// How long after it is final a row still waits, in microseconds.
    pub delay_us: i64,
}

impl Key {
    /// The clock that it goes by.
    pub fn clock(&self, times: &Times) -> i64 {
        times.of(self.bound.clock)
    }

    /// When each row of a batch is final, in microseconds; a row without a time is at once.
    pub fn finals(&self, batch: &RecordBatch) -> Result<Int64Array> {
        let after = self.bound.lag_us.saturating_add(self.delay_us);
        micros(batch.column(self.column), after)
    }
}

/// Times in microseconds, plus `after`; NULL is before all.
pub fn micros(column: &ArrayRef, after: i64) -> Result<Int64Array> {
    // A time zone does not change the instant.
    let zone = match column.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let micro = DataType::Timestamp(TimeUnit::Microsecond, zone);
    let ticks = cast(&cast(column, &micro)?, &DataType::Int64)?;
    let ticks = ticks.as_primitive::<Int64Type>();
    let moved = |tick: Option<i64>| tick.map_or(i64::MIN, |tick| tick.saturating_add(after));
    Ok(Int64Array::from_iter_values(ticks.iter().map(moved)))
}

/// Rows that are not final.
#[derive(Debug, Default)]
pub struct Held {
    batches: Vec<RecordBatch>,
    rows: usize,
    /// When the first of them is final, and the last.
    earliest_us: Option<i64>,
    latest_us: Option<i64>,
}

impl Held {
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn bytes(&self) -> usize {
        self.batches.iter().map(RecordBatch::get_array_memory_size).sum()
    }

    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// When the last of them is final.
    pub fn latest_us(&self) -> Option<i64> {
        self.latest_us
    }

    pub fn add(&mut self, key: &Key, batches: Vec<RecordBatch>) -> Result<()> {
        for batch in batches {
            let finals = key.finals(&batch)?;
            self.earliest_us = self.earliest_us.into_iter().chain(min(&finals)).min();
            self.latest_us = self.latest_us.max(max(&finals));
            self.rows += batch.num_rows();
            self.batches.push(batch);
        }
        Ok(())
    }

    /// Takes everything, to be put back in another form.
    pub fn take_all(&mut self) -> Vec<RecordBatch> {
        self.rows = 0;
        std::mem::take(&mut self.batches)
    }

    /// Puts back what `take_all` took, in another form.
    pub fn put_back(&mut self, batches: Vec<RecordBatch>) {
        self.rows = batches.iter().map(RecordBatch::num_rows).sum();
        self.batches = batches;
    }

    /// Takes out the rows that are final.
    pub fn take(&mut self, key: &Key, times: &Times) -> Result<Vec<RecordBatch>> {
        let clock = key.clock(times);
        if self.earliest_us.is_none_or(|earliest| earliest > clock) {
            return Ok(Vec::new());
        }
        let (mut done, mut open) = (Vec::new(), Vec::new());
        (self.earliest_us, self.latest_us) = (None, None);
        for batch in std::mem::take(&mut self.batches) {
            let finals = key.finals(&batch)?;
            let is_done = BooleanArray::from_unary(&finals, |time| time <= clock);
            match is_done.true_count() {
                0 => open.push(batch),
                count if count == batch.num_rows() => {
                    done.push(batch);
                    continue;
                }
                _ => {
                    done.push(filter_record_batch(&batch, &is_done)?);
                    open.push(filter_record_batch(&batch, &not(&is_done)?)?);
                }
            }
            for time in finals.values().iter().filter(|time| **time > clock) {
                self.earliest_us = Some(self.earliest_us.unwrap_or(i64::MAX).min(*time));
                self.latest_us = self.latest_us.max(Some(*time));
            }
        }
        self.put_back(open);
        Ok(done)
    }
}
