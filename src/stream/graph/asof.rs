//! As-of joins of two streams: left rows wait until the right rows of their time are there, right
//! rows stay while a left row may ask for them.
//!
//! A left row is final once the watermark (less a lag) has passed its time: what comes on the right
//! is after it. Left rows still to come, or waiting, are after the watermark less the lags of both
//! sides; so of each key the newest right row up to there stays, and all that are newer.

use arrow::record_batch::RecordBatch;

use super::held::{Held, Key};
use super::{Size, Times};
use crate::error::Result;
use crate::stream::asof::Versions;

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
        let waits_us = key.bound.lag_us.saturating_add(key.delay_us);
        Self { key, waiting: Held::default(), versions, lag_us: waits_us.max(left_lag_us) }
    }

    /// Takes the rows of both sides; answers those that are final.
    pub fn advance(
        &mut self,
        rows: Vec<Vec<RecordBatch>>,
        times: &Times,
    ) -> Result<Vec<RecordBatch>> {
        self.restore(rows)?;
        let mut out = Vec::new();
        for batch in self.waiting.take(&self.key, times)? {
            out.push(self.versions.join(&batch)?);
        }
        out.retain(|batch| batch.num_rows() > 0);
        self.versions.forget(self.key.clock(times).saturating_sub(self.lag_us))?;
        Ok(out)
    }

    pub fn open_until(&self) -> Option<i64> {
        self.waiting.latest_us()
    }

    pub fn size(&self) -> Size {
        Size {
            rows: self.waiting.rows() + self.versions.rows(),
            bytes: self.waiting.bytes() + self.versions.bytes(),
        }
    }

    pub fn save(&self) -> Result<Vec<Vec<RecordBatch>>> {
        Ok(vec![self.waiting.batches().to_vec(), self.versions.save()?])
    }

    /// Takes rows of both sides.
    pub fn restore(&mut self, sides: Vec<Vec<RecordBatch>>) -> Result<()> {
        let mut sides = sides.into_iter();
        self.waiting.add(&self.key, sides.next().unwrap_or_default())?;
        sides.next().unwrap_or_default().into_iter().try_for_each(|batch| self.versions.push(batch))
    }
}
