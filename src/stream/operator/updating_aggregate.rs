//! Aggregates that are given out again whenever they have changed: the state of every group, and
//! where it stands, so that an update costs what has changed and not what there is.
//!
//! ```text
//!  new states ──reduce──► one a group ──┐
//!  states of those groups as they were ─┴─reduce──► states as they are ──finish──► results
//! ```

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::{filter_record_batch, interleave_record_batch, max, min};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use parking_lot::Mutex;

use super::steps::Steps;
use super::{Operator, RegionRows, only, pair};
use crate::error::Result;
use crate::stream::exec::adaptive::{SlotPlan, run};
use crate::stream::exec::input::Slot;
use crate::stream::state::final_key::Key;
use crate::stream::state::size::{Part, Size};
use crate::stream::time::clock::{Clock, Times};
use crate::stream::time::emit::Emit;

/// Rows that were replaced are cleared away when there are more than this and than those that hold.
const FEW_ROWS: usize = 4096;

/// Rows of a batch that is put together.
const BATCH_ROWS: usize = 8192;

/// The groups of one aggregate.
pub struct UpdatingAggregate {
    /// The group column that tells when a group is final; none where groups stay for ever.
    key: Option<Key>,
    /// Every so many microseconds of processing time; `None` at once.
    every_us: Option<i64>,
    reduce: (Slot, SlotPlan),
    finish: (Slot, SlotPlan),
    states: SchemaRef,
    schema: SchemaRef,
    /// The lock is there for those who only look.
    latest: Mutex<Latest>,
    /// States that have come since the last emission.
    changed: Vec<RecordBatch>,
    /// Processing time of the last periodic emission.
    emitted_us: Option<i64>,
}

impl UpdatingAggregate {
    /// An aggregate in steps, and the plan whose states it takes.
    pub fn new(
        steps: Steps,
        key: Option<Key>,
        emit: Emit,
        schema: SchemaRef,
    ) -> Result<(Self, SlotPlan)> {
        let every_us = match emit {
            Emit::Periodic { every_us } => Some(every_us),
            Emit::Update | Emit::Changes | Emit::Close { .. } => None,
        };
        let latest = Mutex::new(Latest::new(&steps.states, steps.groups)?);
        let updates = Self {
            key,
            every_us,
            reduce: steps.reduce,
            finish: steps.finish,
            states: steps.states,
            schema,
            latest,
            changed: Vec::new(),
            emitted_us: None,
        };
        Ok((updates, steps.partial))
    }

    /// Adds states to those of their groups; answers these as they are then.
    async fn merge(
        &mut self,
        changed: Vec<RecordBatch>,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        let mut now = run(&self.reduce, changed, &self.states, task).await?;
        let before = self.latest.get_mut().take(&now)?;
        if !before.is_empty() {
            now.splice(0..0, before);
            now = run(&self.reduce, now, &self.states, task).await?;
        }
        self.latest.get_mut().put(&now, self.key.as_ref())?;
        Ok(now)
    }
}

#[async_trait]
impl Operator for UpdatingAggregate {
    /// Answers the groups that have changed, as they are now. Final ones are let go.
    async fn advance(
        &mut self,
        inputs: Vec<RegionRows>,
        times: &Times,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        self.changed.extend(only(inputs));
        if let Some(every_us) = self.every_us {
            let last = *self.emitted_us.get_or_insert(times.processing_us);
            if times.processing_us < last.saturating_add(every_us) {
                return Ok(Vec::new());
            }
            self.emitted_us = Some(times.processing_us);
        }
        let changed = std::mem::take(&mut self.changed);
        let now = self.merge(changed, task).await?;
        let rows = run(&self.finish, now, &self.schema, task).await?;
        if let Some(key) = &self.key {
            self.latest.get_mut().let_go(key, times)?;
        }
        Ok(rows)
    }

    /// When the last group is final; by processing time, when the next emission is due if that is
    /// later.
    fn open_until(&self, clock: Clock) -> Option<i64> {
        let key = self.key.as_ref().filter(|key| key.bound.clock == clock);
        let last = key.and_then(|key| self.latest.lock().latest_us(key));
        match clock {
            Clock::Event => last,
            Clock::Processing => last.max(self.due_us()),
        }
    }

    /// When an emission is due; `None` where nothing has changed.
    fn due_us(&self) -> Option<i64> {
        let (every_us, emitted_us) = (self.every_us?, self.emitted_us?);
        (!self.changed.is_empty()).then(|| emitted_us.saturating_add(every_us))
    }

    fn size(&self) -> Size {
        let latest = self.latest.lock();
        let bytes = latest.batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
        let groups = latest.groups.as_ref().map_or(0, |groups| groups.size());
        Size { rows: latest.places.len(), bytes: bytes + groups, ..Size::default() }
    }

    fn parts(&self) -> usize {
        2
    }

    /// The state of every group, and what has come since the last emission.
    fn save(&mut self) -> Result<Vec<Part>> {
        let latest = self.latest.get_mut();
        latest.compact()?;
        Ok(vec![latest.batches.clone().into(), self.changed.clone().into()])
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        let [latest, changed] = pair(parts);
        self.changed = changed.rows;
        self.latest.get_mut().put(&latest.rows, self.key.as_ref())
    }
}

/// The newest state of each group.
struct Latest {
    /// Numbers groups; without GROUP BY all rows are of one, which is number 0.
    groups: Option<Box<dyn GroupValues>>,
    /// How many columns of the states are groups.
    columns: usize,
    /// Batch and row of each group's state.
    places: Vec<(usize, usize)>,
    batches: Vec<RecordBatch>,
    /// Rows of the batches, those that were replaced too.
    rows: usize,
    /// When the first group is final.
    earliest_us: Option<i64>,
    states: SchemaRef,
    /// Scratch: the groups of some rows.
    numbers: Vec<usize>,
}

impl Latest {
    fn new(states: &SchemaRef, columns: usize) -> Result<Self> {
        let groups = Arc::new(Schema::new(states.fields()[..columns].to_vec()));
        Ok(Self {
            groups: match columns {
                0 => None,
                _ => Some(new_group_values(groups, &GroupOrdering::None)?),
            },
            columns,
            places: Vec::new(),
            batches: Vec::new(),
            rows: 0,
            earliest_us: None,
            states: states.clone(),
            numbers: Vec::new(),
        })
    }

    /// The states there are of the groups of these rows, one row a group.
    fn take(&mut self, of: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
        let mut places = Vec::new();
        for batch in of {
            self.number(batch)?;
            let known = self.numbers.iter().filter_map(|number| self.places.get(*number));
            places.extend(known.copied());
        }
        self.rows_at(&places)
    }

    /// Numbers the groups of rows; answers how many there are by now.
    fn number(&mut self, rows: &RecordBatch) -> Result<usize> {
        let Some(groups) = &mut self.groups else {
            self.numbers.clear();
            self.numbers.resize(rows.num_rows(), 0);
            return Ok(1);
        };
        groups.intern(&rows.columns()[..self.columns], &mut self.numbers)?;
        Ok(groups.len())
    }

    fn rows_at(&self, places: &[(usize, usize)]) -> Result<Vec<RecordBatch>> {
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let chunks = places.chunks(BATCH_ROWS);
        chunks.map(|places| Ok(interleave_record_batch(&batches, places)?)).collect()
    }

    /// Puts states in the place of those of their groups.
    fn put(&mut self, states: &[RecordBatch], key: Option<&Key>) -> Result<()> {
        for batch in states {
            let groups = self.number(batch)?;
            self.places.resize(groups, (0, 0));
            for (row, number) in self.numbers.iter().enumerate() {
                self.places[*number] = (self.batches.len(), row);
            }
            if let Some(key) = key {
                let earliest = min(&key.finals(batch)?);
                self.earliest_us = self.earliest_us.into_iter().chain(earliest).min();
            }
            self.rows += batch.num_rows();
            self.batches.push(batch.clone());
        }
        match self.rows > FEW_ROWS.max(2 * self.places.len()) {
            true => self.compact(),
            false => Ok(()),
        }
    }

    /// Lets rows go that were replaced.
    fn compact(&mut self) -> Result<()> {
        let batches = self.rows_at(&self.places)?;
        self.rows = self.places.len();
        self.places.clear();
        for (nth, batch) in batches.iter().enumerate() {
            self.places.extend((0..batch.num_rows()).map(|row| (nth, row)));
        }
        self.batches = batches;
        Ok(())
    }

    /// Lets groups go that are final.
    fn let_go(&mut self, key: &Key, times: &Times) -> Result<()> {
        let clock = key.clock(times);
        if self.earliest_us.is_none_or(|earliest| earliest > clock) {
            return Ok(());
        }
        let mut open = Vec::new();
        for batch in self.rows_at(&self.places)? {
            let finals = key.finals(&batch)?;
            let is_open = BooleanArray::from_unary(&finals, |time| time > clock);
            let batch = filter_record_batch(&batch, &is_open)?;
            if batch.num_rows() > 0 {
                open.push(batch);
            }
        }
        *self = Self::new(&self.states, self.columns)?;
        self.put(&open, Some(key))
    }

    /// When the last group is final.
    fn latest_us(&self, key: &Key) -> Option<i64> {
        let finals = self.batches.iter().filter_map(|batch| key.finals(batch).ok());
        finals.filter_map(|finals| max(&finals)).max()
    }
}
