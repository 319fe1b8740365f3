//! Rows that wait until they are final; then a plan runs over them.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::TaskContext;

use super::{Operator, RegionRows};
use crate::error::Result;
use crate::stream::exec::adaptive::SlotPlan;
use crate::stream::exec::input::Slot;
use crate::stream::state::buffer::Held;
use crate::stream::state::final_key::Key;
use crate::stream::state::size::{MANY_ROWS, Part, Size};
use crate::stream::state::spill::Folder;
use crate::stream::time::clock::{Clock, Times};

/// Rows that wait until they are final; then a plan runs over them.
pub struct Buffered {
    sides: Vec<Side>,
    plan: SlotPlan,
    schema: SchemaRef,
}

/// The rows of one region.
pub struct Side {
    /// When a row is final.
    key: Key,
    /// Where the plan reads those that are.
    slot: Slot,
    held: Held,
}

impl Side {
    pub fn new(key: Key, slot: Slot) -> Self {
        Self { key, slot, held: Held::default() }
    }
}

impl Buffered {
    /// A side for each region; `plan` runs over their final rows, and gives `schema`.
    pub fn new(sides: Vec<Side>, plan: SlotPlan, schema: SchemaRef) -> Self {
        Self { sides, plan, schema }
    }

    /// Result rows of what was final so long ago; on all sides, as what belongs together is final
    /// together.
    async fn close(
        &mut self,
        before_us: i64,
        times: &Times,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        let mut any = false;
        for Side { key, slot, held } in &mut self.sides {
            let done = held.take(key, key.clock(times).saturating_sub(before_us))?;
            any |= !done.is_empty();
            slot.put(done);
        }
        if !any {
            return Ok(Vec::new());
        }
        let rows = self.plan.run(&self.schema, task).await;
        self.sides.iter().for_each(|side| side.slot.put(Vec::new()));
        Ok(rows?)
    }
}

#[async_trait]
impl Operator for Buffered {
    async fn advance(
        &mut self,
        inputs: Vec<RegionRows>,
        times: &Times,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        for (Side { key, held, .. }, rows) in self.sides.iter_mut().zip(inputs) {
            held.add(key, rows.batches())?;
        }
        let mut out = Vec::new();
        loop {
            let before = self.sides.iter().map(|Side { key, held, .. }| {
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

    fn open_until(&self, clock: Clock) -> Option<i64> {
        let sides = self.sides.iter().filter(|side| side.key.bound.clock == clock);
        sides.filter_map(|side| side.held.latest_us()).max()
    }

    fn size(&self) -> Size {
        self.sides.iter().fold(Size::default(), |size, side| size + side.held.size())
    }

    fn spillable(&self, times: &Times) -> Result<Vec<(i128, usize)>> {
        let mut all = Vec::new();
        for Side { key, held, .. } in &self.sides {
            all.extend(key.waits(held.weights(key)?, times));
        }
        Ok(all)
    }

    fn spill(&mut self, wait_us: i128, times: &Times, folder: &Folder) -> Result<()> {
        self.sides.iter_mut().try_for_each(|Side { key, held, .. }| {
            held.spill(key, key.time_after(wait_us, times), folder)
        })
    }

    fn parts(&self) -> usize {
        self.sides.len()
    }

    fn save(&mut self) -> Result<Vec<Part>> {
        self.sides.iter().map(|side| side.held.save()).collect()
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        let mut sides = self.sides.iter_mut().zip(parts);
        sides.try_for_each(|(Side { key, held, .. }, part)| held.restore(key, part))
    }
}
