//! As-of joins of two streams: left rows wait until the right rows of their time are there, right
//! rows stay while a left row may ask for them.
//!
//! A left row is final once the watermark (less a lag) has passed its time: what comes on the right
//! is after it. Left rows still to come, or waiting, are after the watermark less the lags of both
//! sides; so of each key the newest right row up to there stays, and all that are newer.

use arrow::record_batch::RecordBatch;

use super::versioned_table::Versions;
use crate::error::Result;
use crate::stream::state::buffer::Held;
use crate::stream::state::final_key::Key;
use crate::stream::state::size::{MANY_ROWS, Part, Size};
use crate::stream::state::spill::Folder;
use crate::stream::time::clock::Times;

/// A join that is under way.
#[derive(Debug)]
pub struct AsOfJoin {
    /// When a left row is final.
    key: Key,
    waiting: Held,
    versions: Versions,
    /// How far behind the watermark left rows may be that are not given out, in microseconds.
    lag_us: i64,
}

impl AsOfJoin {
    /// `left_lag_us` is how far behind the watermark left rows may come.
    pub fn new(key: Key, left_lag_us: i64, versions: Versions) -> Self {
        let lag_us = key.bound.lag_us.max(left_lag_us);
        Self { key, waiting: Held::default(), versions, lag_us }
    }

    /// Takes the rows of both sides; answers those that are final.
    pub fn advance(
        &mut self,
        rows: Vec<Vec<RecordBatch>>,
        times: &Times,
    ) -> Result<Vec<RecordBatch>> {
        self.add(rows)?;
        let (clock, mut out) = (self.key.clock(times), Vec::new());
        loop {
            let reach = self.waiting.reach(clock, MANY_ROWS);
            for batch in self.waiting.take(&self.key, reach)? {
                out.push(self.versions.join(&batch)?);
            }
            if reach == clock {
                break;
            }
        }
        out.retain(|batch| batch.num_rows() > 0);
        self.versions.forget(self.key.clock(times).saturating_sub(self.lag_us))?;
        Ok(out)
    }

    pub fn open_until(&self) -> Option<i64> {
        self.waiting.latest_us()
    }

    pub fn size(&self) -> Size {
        let (rows, bytes) = (self.versions.rows(), self.versions.bytes());
        self.waiting.size() + Size { rows, bytes, ..Size::default() }
    }

    /// When a left row is final.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// When left rows in memory are final and what they take, in parts.
    pub fn weights(&self) -> Result<Vec<(i64, usize)>> {
        self.waiting.weights(&self.key)
    }

    /// Writes left rows that are final at a time or after it to the disk.
    pub fn spill(&mut self, from_us: i64, folder: &Folder) -> Result<()> {
        self.waiting.spill(&self.key, from_us, folder)
    }

    pub fn save(&self) -> Result<Vec<Part>> {
        Ok(vec![self.waiting.save()?, self.versions.save()?.into()])
    }

    /// Takes what `save` gave.
    pub fn restore(&mut self, sides: Vec<Part>) -> Result<()> {
        let mut sides = sides.into_iter();
        self.waiting.restore(&self.key, sides.next().unwrap_or_default())?;
        let versions = sides.next().unwrap_or_default().rows;
        versions.into_iter().try_for_each(|batch| self.versions.push(batch))
    }

    /// Takes rows of both sides.
    fn add(&mut self, sides: Vec<Vec<RecordBatch>>) -> Result<()> {
        let mut sides = sides.into_iter();
        self.waiting.add(&self.key, sides.next().unwrap_or_default())?;
        sides.next().unwrap_or_default().into_iter().try_for_each(|batch| self.versions.push(batch))
    }
}
