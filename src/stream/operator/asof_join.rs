//! As-of joins of two streams: left rows wait until the right rows of their time are there, right
//! rows stay while a left row may ask for them.
//!
//! A left row is final once the watermark (less a lag) has passed its time: what comes on the right
//! is after it. Left rows still to come, or waiting, are after the watermark less the lags of both
//! sides; so of each key the newest right row up to there stays, and all that are newer.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::TaskContext;

use super::versioned_table::Versions;
use super::{Operator, RegionRows, both, pair};
use crate::error::Result;
use crate::stream::state::buffer::Held;
use crate::stream::state::final_key::Key;
use crate::stream::state::size::{MANY_ROWS, Part, Size};
use crate::stream::state::spill::Folder;
use crate::stream::time::clock::{Clock, Times};

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

    /// Takes rows of both sides.
    fn add(&mut self, [left, right]: [Vec<RecordBatch>; 2]) -> Result<()> {
        self.waiting.add(&self.key, left)?;
        right.into_iter().try_for_each(|batch| self.versions.push(batch))
    }
}

#[async_trait]
impl Operator for AsOfJoin {
    async fn advance(
        &mut self,
        inputs: Vec<RegionRows>,
        times: &Times,
        _task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        self.add(both(inputs))?;
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

    fn open_until(&self, clock: Clock) -> Option<i64> {
        self.waiting.latest_us().filter(|_| self.key.bound.clock == clock)
    }

    fn size(&self) -> Size {
        let (rows, bytes) = (self.versions.rows(), self.versions.bytes());
        self.waiting.size() + Size { rows, bytes, ..Size::default() }
    }

    fn spillable(&self, times: &Times) -> Result<Vec<(i128, usize)>> {
        Ok(self.key.waits(self.waiting.weights(&self.key)?, times).collect())
    }

    fn spill(&mut self, wait_us: i128, times: &Times, folder: &Folder) -> Result<()> {
        self.waiting.spill(&self.key, self.key.time_after(wait_us, times), folder)
    }

    fn parts(&self) -> usize {
        2
    }

    fn save(&mut self) -> Result<Vec<Part>> {
        Ok(vec![self.waiting.save()?, self.versions.save()?.into()])
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        let [waiting, versions] = pair(parts);
        self.waiting.restore(&self.key, waiting)?;
        versions.rows.into_iter().try_for_each(|batch| self.versions.push(batch))
    }
}
