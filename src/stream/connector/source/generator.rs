//! Logs of rows that are made, not received: row n is a function of the options and of n, so that a
//! reading can begin anywhere. Of several partitions, each has every so many-th row.
//!
//! Rows come as fast as they are read, but those that are followed without an end keep to their
//! rate, as live data does.

use std::fmt::Debug;
use std::iter::StepBy;
use std::ops::Range;
use std::time::Instant;

use arrow::array::{AsArray, Int64Array};
use arrow::compute::filter;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;

use super::dead_letter::Rejects;
use crate::error::Result;
use crate::stream::connector::api::{Opening, Read, Rejected, Rows, Source};
use crate::stream::connector::format::cast;
use crate::stream::connector::options::Settings;

/// Numbers of rows that are made together.
pub type Numbers = StepBy<Range<u64>>;

/// What makes rows.
pub trait Generator: Debug + Clone + Send + Sync {
    /// How many there are; `None` without an end.
    fn rows(&self) -> Option<u64>;

    /// The row that is due when these seconds have gone since row `first` was.
    fn due(&self, first: u64, seconds: f64) -> u64;

    /// The declared columns of some rows.
    fn make(&self, opening: &Opening, rows: Numbers) -> Result<RecordBatch>;
}

/// The option `partitions`.
pub fn partitions(settings: &mut Settings) -> Result<usize> {
    match settings.parsed("partitions", "a whole number")? {
        Some(0) => Err(settings.error("partitions = '0': one at least")),
        given => Ok(given.unwrap_or(1)),
    }
}

/// A reading without `follow` comes to an end where the rows do.
pub fn bounded(generator: &impl Generator) -> Result<(), String> {
    match generator.rows() {
        Some(_) => Ok(()),
        None => Err("a generator without an end: say how many with events = '..'".to_string()),
    }
}

/// One partition of the log.
pub struct Log<G> {
    generator: G,
    opening: Opening,
    /// Of the columns that are made.
    made: Opening,
    rejects: Rejects,
    partitions: u64,
    /// Offset of the next row.
    next: u64,
    /// When the reading began and with which row of all, where the generator keeps to its rate.
    live: Option<(Instant, u64)>,
}

impl<G: Generator> Log<G> {
    pub fn open(generator: G, opening: Opening, partitions: usize) -> Self {
        let next = opening.from.offset.max(0).unsigned_abs();
        let live = opening.follow && generator.rows().is_none();
        let (schema, event_time) = (opening.source_schema(), opening.source_event_time());
        let made = Opening { schema, event_time, ..opening.clone() };
        let (rejects, partitions) = (Rejects::new(&opening), partitions as u64);
        let mut log = Self { generator, opening, made, rejects, partitions, next, live: None };
        log.live = live.then(|| (Instant::now(), log.number(next)));
        log
    }

    /// Number among the rows of all partitions.
    fn number(&self, offset: u64) -> u64 {
        offset.saturating_mul(self.partitions).saturating_add(self.opening.partition as u64)
    }

    /// Adds the columns that are computed.
    fn computed(&mut self, rows: Rows) -> Result<Rows> {
        let Rows { batch, offsets } = rows;
        let mut rejected = Vec::new();
        let (batch, keep) = cast::computed(&self.opening, batch, &mut |row, reason| {
            let (offset, reason) = (offsets.value(row), reason.to_string());
            let place = format!("generated row {offset}");
            rejected.push(Rejected { offset, place, reason, row: String::new() });
            Ok(())
        })?;
        self.rejects.keep(&rejected)?;
        let offsets = match keep {
            Some(keep) => filter(&offsets, &keep)?.as_primitive::<Int64Type>().clone(),
            None => offsets,
        };
        Ok(Rows { batch, offsets })
    }

    /// How many rows this partition has of the first `all`.
    fn of(&self, all: u64) -> u64 {
        all.saturating_sub(self.opening.partition as u64).div_ceil(self.partitions)
    }
}

impl<G: Generator> Source for Log<G> {
    fn next(&mut self, limit: usize) -> Result<Read> {
        let rows = self.generator.rows().map_or(u64::MAX, |rows| self.of(rows));
        let mut end = self.next.saturating_add(limit as u64).min(rows);
        if self.next >= end {
            return Ok(Read::End);
        }
        if let Some((start, first)) = self.live {
            let due = self.generator.due(first, start.elapsed().as_secs_f64());
            end = end.min(self.of(due));
            if self.next >= end {
                return Ok(Read::Idle);
            }
        }
        let step = usize::try_from(self.partitions).unwrap_or(usize::MAX);
        // To behind the last row, not to the next of this partition, which may be beyond all.
        let numbers = self.number(self.next)..self.number(end - 1) + 1;
        let batch = self.generator.make(&self.made, numbers.step_by(step))?;
        let offsets = Int64Array::from_iter_values(self.next as i64..end as i64);
        self.next = end;
        let rows = Rows { batch, offsets };
        Ok(Read::Rows(if self.opening.computes() { self.computed(rows)? } else { rows }))
    }

    fn rejected(&self) -> u64 {
        self.rejects.count()
    }

    fn offset(&self) -> i64 {
        self.next as i64
    }
}
