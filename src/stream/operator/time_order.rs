//! Rows that wait until the watermark has passed their time, and come out by it; of one time as
//! they came.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::TaskContext;

use super::{Operator, RegionRows, only};
use crate::error::Result;
use crate::stream::state::buffer::Held;
use crate::stream::state::final_key::Key;
use crate::stream::state::size::{Part, Size};
use crate::stream::state::spill::Folder;
use crate::stream::time::clock::{Clock, Times};

/// Rows in the order of their time.
pub struct TimeOrder {
    key: Key,
    held: Held,
}

impl TimeOrder {
    /// `key` is the column of the times.
    pub fn new(key: Key) -> Self {
        Self { key, held: Held::default() }
    }
}

#[async_trait]
impl Operator for TimeOrder {
    async fn advance(
        &mut self,
        inputs: Vec<RegionRows>,
        times: &Times,
        _task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        self.held.add(&self.key, only(inputs))?;
        let done = self.held.take(&self.key, self.key.clock(times))?;
        let Some(first) = done.first() else { return Ok(Vec::new()) };
        let rows = concat_batches(&first.schema(), &done)?;
        let places: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..rows.num_rows() as u64));
        let keys = [rows.column(self.key.column).clone(), places];
        let keys = keys.map(|values| SortColumn { values, options: None });
        let order = lexsort_to_indices(&keys, None)?;
        Ok(vec![take_record_batch(&rows, &order)?])
    }

    fn open_until(&self, clock: Clock) -> Option<i64> {
        self.held.latest_us().filter(|_| self.key.bound.clock == clock)
    }

    fn size(&self) -> Size {
        self.held.size()
    }

    fn spillable(&self, times: &Times) -> Result<Vec<(i128, usize)>> {
        Ok(self.key.waits(self.held.weights(&self.key)?, times).collect())
    }

    fn spill(&mut self, wait_us: i128, times: &Times, folder: &Folder) -> Result<()> {
        self.held.spill(&self.key, self.key.time_after(wait_us, times), folder)
    }

    fn parts(&self) -> usize {
        1
    }

    fn save(&mut self) -> Result<Vec<Part>> {
        Ok(vec![self.held.save()?])
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        parts.into_iter().try_for_each(|part| self.held.restore(&self.key, part))
    }
}
