//! What keeps rows or states between epochs: one file for each stateful operator, and the trait
//! that each of them is.
//!
//! An operator stands where a query's plan is cut: the regions below it, plans without state, run
//! anew in each epoch, and it takes what they give. What it hands on is final, but for updating
//! aggregates. Everything it does follows from the rows and from the clocks of the epoch; none of
//! them looks at a clock of the machine.

pub(in crate::stream) mod aggregate;
pub(in crate::stream) mod asof_join;
pub(in crate::stream) mod buffered;
pub(in crate::stream) mod interval_join;
pub(in crate::stream) mod late;
pub(in crate::stream) mod lookup_table;
pub(in crate::stream) mod panes;
pub(in crate::stream) mod session;
pub(in crate::stream) mod steps;
pub(in crate::stream) mod updating_aggregate;
pub(in crate::stream) mod versioned_table;
pub(in crate::stream) mod window_tables;

use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::TaskContext;
use datafusion::prelude::SessionContext;

use crate::error::Result;
use crate::stream::exec::adaptive::Given;
use crate::stream::state::size::{Part, Size};
use crate::stream::state::spill::Folder;
use crate::stream::time::clock::{Clock, Times};
use late::{Apart, Rows};

/// A stateful operator: takes rows of an epoch, hands on what is final.
///
/// What it saves is divided into *parts*, whose number and order are part of the format of
/// snapshots: a new part goes behind those that there are.
#[async_trait]
pub trait Operator: Send + Sync {
    /// Takes what each of its regions gave; answers the rows that can be handed on.
    async fn advance(
        &mut self,
        inputs: Vec<RegionRows>,
        times: &Times,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>>;

    /// When the last of what it keeps is final by a clock, in microseconds; `None` where nothing
    /// waits for that clock.
    fn open_until(&self, clock: Clock) -> Option<i64>;

    /// The processing time, in microseconds, at which it has to be advanced though no rows came.
    fn due_us(&self) -> Option<i64> {
        None
    }

    /// Rows that it has found to be late since it was last asked; those that a watermark filter
    /// leaves out are counted before they come here.
    fn take_late(&mut self) -> u64 {
        0
    }

    /// Reads tables that it gives out rows of.
    async fn read_tables(&mut self, _context: &SessionContext) -> Result<()> {
        Ok(())
    }

    /// What it keeps.
    fn size(&self) -> Size;

    /// What it could write to the disk: how long after its clock each part is final, in
    /// microseconds, and its bytes in memory. What may change or meet other rows at any time is not
    /// among it.
    fn spillable(&self, _times: &Times) -> Result<Vec<(i128, usize)>> {
        Ok(Vec::new())
    }

    /// Writes to the disk what is final so many microseconds after its clock, or later.
    fn spill(&mut self, _wait_us: i128, _times: &Times, _folder: &Folder) -> Result<()> {
        Ok(())
    }

    /// How many parts `save` answers; an operator of none has no state, ever.
    fn parts(&self) -> usize;

    /// All state, as many parts as there are.
    fn save(&mut self) -> Result<Vec<Part>>;

    /// Takes what `save` gave, as many parts as there are; those that were empty are so again.
    fn restore(&mut self, parts: Vec<Part>) -> Result<()>;
}

/// What a region gave in an epoch.
#[derive(Default)]
pub struct RegionRows {
    pub rows: Given,
    /// Those of panes of windows, beside which `rows` are only what came late.
    pub panes: Given,
}

impl RegionRows {
    /// The rows alone: the run of the region ends with them.
    pub fn batches(self) -> Vec<RecordBatch> {
        let Given { batches, cost, .. } = self.rows;
        cost.into_iter().for_each(|cost| cost.ends(Duration::ZERO));
        batches
    }
}

/// The rows of the only region.
fn only(inputs: Vec<RegionRows>) -> Vec<RecordBatch> {
    inputs.into_iter().flat_map(RegionRows::batches).collect()
}

/// The rows of two regions.
fn both(inputs: Vec<RegionRows>) -> [Vec<RecordBatch>; 2] {
    pair(inputs.into_iter().map(RegionRows::batches))
}

/// The first two, such as the parts of an operator's two sides; none is an empty one.
fn pair<T: Default>(all: impl IntoIterator<Item = T>) -> [T; 2] {
    let mut all = all.into_iter();
    std::array::from_fn(|_| all.next().unwrap_or_default())
}

/// What hands its rows on as they are.
pub struct PassThrough;

#[async_trait]
impl Operator for PassThrough {
    async fn advance(
        &mut self,
        inputs: Vec<RegionRows>,
        _times: &Times,
        _task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        Ok(only(inputs))
    }

    fn open_until(&self, _clock: Clock) -> Option<i64> {
        None
    }

    fn size(&self) -> Size {
        Size::default()
    }

    fn parts(&self) -> usize {
        0
    }

    fn save(&mut self) -> Result<Vec<Part>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _parts: Vec<Part>) -> Result<()> {
        Ok(())
    }
}

/// The rows of an epoch.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    pub rows: &'a Rows,
    pub times: Times,
    /// The same rows, where some of them came when the watermark had passed their time.
    pub apart: Option<&'a Apart>,
}
