//! Rows that wait until they are final; then a plan runs over them.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::execution::TaskContext;

use crate::error::Result;
use crate::stream::exec::adaptive::SlotPlan;
use crate::stream::exec::input::Slot;
use crate::stream::state::buffer::Held;
use crate::stream::state::final_key::Key;
use crate::stream::state::size::MANY_ROWS;
use crate::stream::time::clock::{Clock, Times};

/// Rows wait until they are final; then a plan runs over them.
pub struct Hold {
    /// Of each region.
    pub sides: Vec<(Key, Slot, Held)>,
    pub plan: SlotPlan,
    pub schema: SchemaRef,
}

impl Hold {
    /// When the last row is final by a clock.
    pub fn open_until(&self, clock: Clock) -> Option<i64> {
        let sides = self.sides.iter().filter(|(key, ..)| key.bound.clock == clock);
        sides.filter_map(|(.., held)| held.latest_us()).max()
    }

    pub async fn advance(
        &mut self,
        rows: Vec<Vec<RecordBatch>>,
        times: &Times,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        for ((key, _, held), rows) in self.sides.iter_mut().zip(rows) {
            held.add(key, rows)?;
        }
        let mut out = Vec::new();
        loop {
            let before = self.sides.iter().map(|(key, _, held)| {
                let clock = key.clock(times);
                clock.saturating_sub(held.reach(clock, MANY_ROWS))
            });
            let before_us = before.max().unwrap_or(0);
            out.extend(self.close(before_us, times, task).await?);
            if before_us == 0 {
                return Ok(out);
            }
        }
    }

    /// Result rows of what was final so long ago; on all sides, as what belongs together is final
    /// together.
    pub async fn close(
        &mut self,
        before_us: i64,
        times: &Times,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        let mut any = false;
        for (key, slot, held) in &mut self.sides {
            let done = held.take(key, key.clock(times).saturating_sub(before_us))?;
            any |= !done.is_empty();
            slot.put(done);
        }
        if !any {
            return Ok(Vec::new());
        }
        let rows = self.plan.run(&self.schema, task).await;
        self.sides.iter().for_each(|(_, slot, _)| slot.put(Vec::new()));
        Ok(rows?)
    }
}
