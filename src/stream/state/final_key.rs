//! When a row is final: the column that tells it, and how far behind its clock.

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use arrow::record_batch::RecordBatch;

use crate::error::Result;
use crate::stream::time::clock::{Clock, Times};

/// Rows still to come have a value `v` in the column with `v + lag_us` after the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    pub clock: Clock,
    /// Microseconds.
    pub lag_us: i64,
    /// What sets it: of columns with the same origin, value and lag together are the same time, so
    /// that one is final with the other.
    pub origin: Origin,
}

/// A node, by its address in the plan that is looked at.
pub type Origin = usize;

impl Bound {
    /// A column that the watermark follows.
    pub fn event(origin: Origin) -> Self {
        Self { clock: Clock::Event, lag_us: 0, origin }
    }

    /// The bound behind a cut, which lets a row go with `key`.
    pub fn behind(self, key: Option<Self>) -> Option<Self> {
        key.filter(|key| key.origin == self.origin && key.clock == self.clock).map(|_| self)
    }

    /// When what ends at a time of this bound is final by a clock, if by this one.
    pub fn until(&self, end_us: Option<i64>, clock: Clock) -> Option<i64> {
        let end_us = end_us.filter(|_| self.clock == clock)?;
        Some(end_us.saturating_add(self.lag_us))
    }

    /// The same where rows are final so much later.
    pub fn later(self, by_us: i64) -> Self {
        Self { lag_us: self.lag_us.saturating_add(by_us), ..self }
    }
}

/// The column that tells when a row is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its index.
    pub column: usize,
    pub bound: Bound,
}

impl Key {
    /// The clock that it goes by.
    pub fn clock(&self, times: &Times) -> i64 {
        times.of(self.bound.clock)
    }

    /// Parts of what is kept by when they are final, as what they take by how long that is after
    /// the clock.
    pub fn waits(
        &self,
        parts: Vec<(i64, usize)>,
        times: &Times,
    ) -> impl Iterator<Item = (i128, usize)> + use<> {
        let clock = i128::from(self.clock(times));
        parts.into_iter().map(move |(final_us, bytes)| (i128::from(final_us) - clock, bytes))
    }

    /// The time so many microseconds after its clock.
    pub fn time_after(&self, wait_us: i128, times: &Times) -> i64 {
        let time_us = (i128::from(self.clock(times)) + wait_us).max(i64::MIN.into());
        i64::try_from(time_us).unwrap_or(i64::MAX)
    }

    /// When each row of a batch is final, in microseconds; a row without a time is at once.
    pub fn finals(&self, batch: &RecordBatch) -> Result<Int64Array> {
        micros(batch.column(self.column), self.bound.lag_us)
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
