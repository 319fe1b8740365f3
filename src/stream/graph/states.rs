//! Aggregates: what is known of groups, until the window of a group is final.
//!
//! On the CPU rows go into the tables of their windows (`groups.rs`). From a device, and where
//! tables do not do, come states: the batches of DataFusion's partial aggregates, so any aggregate
//! it can split works. Either way the result is that of one aggregate over all rows.

use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::aggregates::AggregateExec;
use parking_lot::Mutex;

use super::bound::Clock;
use super::groups::OpenWindows;
use super::held::{Held, Key};
use super::plan::{Rows, Steps};
use super::{Size, Times};
use crate::error::Result;
use crate::stream::emit::Emit;
use crate::stream::slot::{Slot, SlotPlan};

/// States below this many rows are not worth merging.
const FEW_ROWS: usize = 4096;

/// Rows that go into tables.
struct Hashed {
    /// The lock is there for those who only look.
    open: Mutex<OpenWindows>,
    /// Rows to states.
    pub partial: (Slot, SlotPlan),
    /// The aggregate's rows to result rows.
    pub above: (Slot, SlotPlan),
}

impl Hashed {
    /// Tables and the plan whose rows they take, of an aggregate whose groups `times` are times of
    /// windows; `None` where tables do not do.
    fn new(
        rows: Rows,
        states: &SchemaRef,
        times: &[&str],
        key: Key,
    ) -> Result<Option<(Self, SlotPlan)>> {
        let Some(aggregate) = rows.aggregate.downcast_ref::<AggregateExec>() else {
            return Ok(None);
        };
        let groups = 0..aggregate.group_expr().expr().len();
        let times: Vec<usize> =
            groups.filter(|at| times.contains(&states.field(*at).name().as_str())).collect();
        let Some(open) = OpenWindows::new(aggregate, states, &times, key)? else {
            return Ok(None);
        };
        let open = Mutex::new(open);
        Ok(Some((Self { open, partial: rows.partial, above: rows.above }, rows.plan)))
    }
}

/// The groups of one aggregate.
pub struct Aggregate {
    /// What takes rows; without, states come.
    tables: Option<Hashed>,
    /// The group column that tells when a group is final; none where groups stay for ever.
    key: Option<Key>,
    emit: Emit,
    /// States to fewer states: one row per group.
    reduce: (Slot, SlotPlan),
    /// States to result rows.
    finish: (Slot, SlotPlan),
    /// How many columns of the states are groups.
    groups: usize,
    /// Of the states, and of the result.
    states: SchemaRef,
    schema: SchemaRef,
    held: Held,
    /// Rows when they were last merged.
    merged_rows: usize,
    /// States that have come since the last emission, where groups are emitted again.
    changed: Vec<RecordBatch>,
    /// Processing time of the last periodic emission.
    emitted_us: Option<i64>,
}

impl Aggregate {
    /// An aggregate in steps, and the plan whose rows or states it takes. `times` are the groups
    /// that are times of windows.
    pub fn new(
        steps: Steps,
        key: Option<Key>,
        emit: Emit,
        times: &[&str],
        schema: SchemaRef,
    ) -> Result<(Self, SlotPlan)> {
        let hashed = match (steps.rows, key, emit) {
            (Some(rows), Some(key), Emit::Close { .. }) => {
                Hashed::new(rows, &steps.states, times, key)?
            }
            _ => None,
        };
        let (tables, plan) = hashed.unzip();
        let aggregate = Self {
            tables,
            key,
            emit,
            reduce: steps.reduce,
            finish: steps.finish,
            groups: steps.groups,
            states: steps.states,
            schema,
            held: Held::default(),
            merged_rows: 0,
            changed: Vec::new(),
            emitted_us: None,
        };
        Ok((aggregate, plan.unwrap_or(steps.partial)))
    }

    /// Takes rows or states; answers what is final.
    pub async fn advance(
        &mut self,
        rows: Vec<RecordBatch>,
        times: &Times,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        let states = match &mut self.tables {
            Some(tables) => match tables.open.get_mut().update(rows)? {
                left if left.is_empty() => left,
                left => run(&tables.partial, left, &self.states, task).await?,
            },
            None => rows,
        };
        let again = !matches!(self.emit, Emit::Close { .. });
        if again {
            self.changed.extend(states.iter().cloned());
        }
        match &self.key {
            Some(key) => self.held.add(key, states)?,
            None => {
                let mut all = self.held.take_all();
                all.extend(states);
                self.held.put_back(all);
            }
        }
        // Doubling: each state row is merged a constant number of times on the average.
        if self.held.rows() > FEW_ROWS.max(2 * self.merged_rows) {
            let all = self.held.take_all();
            let merged = run(&self.reduce, all, &self.states, task).await?;
            self.held.put_back(merged);
            self.merged_rows = self.held.rows();
        }
        if again {
            return self.emit_again(times, task).await;
        }
        let mut closed = self.take_final(times)?;
        if let (Some(tables), Some(key)) = (&mut self.tables, &self.key) {
            let clock = key.clock(times);
            if closed.is_empty() {
                let results = tables.open.get_mut().take_results(clock)?;
                return run(&tables.above, results, &self.schema, task).await;
            }
            closed.extend(tables.open.get_mut().take_states(clock)?);
        }
        if closed.is_empty() {
            return Ok(Vec::new());
        }
        run(&self.finish, closed, &self.schema, task).await
    }

    fn take_final(&mut self, times: &Times) -> Result<Vec<RecordBatch>> {
        let Some(key) = &self.key else { return Ok(Vec::new()) };
        let closed = self.held.take(key, times)?;
        self.merged_rows = self.merged_rows.min(self.held.rows());
        Ok(closed)
    }

    /// The groups that have changed, as they are now; final ones are let go.
    async fn emit_again(
        &mut self,
        times: &Times,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        if let Emit::Periodic { every_us } = self.emit {
            let last = *self.emitted_us.get_or_insert(times.processing_us);
            let closing = times.event_us == i64::MAX;
            if times.processing_us < last.saturating_add(every_us) && !closing {
                return Ok(Vec::new());
            }
            self.emitted_us = Some(times.processing_us);
        }
        let changed = std::mem::take(&mut self.changed);
        let rows = match changed.is_empty() {
            true => Vec::new(),
            false => {
                let changed = run(&self.reduce, changed, &self.states, task).await?;
                let all = self.held.take_all();
                let all = run(&self.reduce, all, &self.states, task).await?;
                let of_changed = self.only_groups_of(&changed, &all)?;
                self.held.put_back(all);
                self.merged_rows = self.held.rows();
                run(&self.finish, of_changed, &self.schema, task).await?
            }
        };
        self.take_final(times)?;
        Ok(rows)
    }

    /// The states whose group is among those of `wanted`.
    fn only_groups_of(
        &self,
        wanted: &[RecordBatch],
        all: &[RecordBatch],
    ) -> Result<Vec<RecordBatch>> {
        use arrow::row::{RowConverter, SortField};
        let fields = self.states.fields()[..self.groups].iter();
        let fields = fields.map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = RowConverter::new(fields)?;
        let rows = |batch: &RecordBatch| converter.convert_columns(&batch.columns()[..self.groups]);
        let mut known = std::collections::HashSet::new();
        for batch in wanted {
            known.extend(rows(batch)?.iter().map(|row| row.owned()));
        }
        let mut out = Vec::new();
        for batch in all {
            let rows = rows(batch)?;
            let kept = (0..batch.num_rows() as u32)
                .filter(|row| known.contains(&rows.row(*row as usize).owned()));
            let kept = UInt32Array::from_iter_values(kept);
            if !arrow::array::Array::is_empty(&kept) {
                out.push(take_record_batch(batch, &kept)?);
            }
        }
        Ok(out)
    }

    /// When the last group is final by a clock.
    pub fn open_until(&self, clock: Clock) -> Option<i64> {
        let key = self.key.as_ref().filter(|key| key.bound.clock == clock);
        let tables = self.tables.as_ref().and_then(|tables| tables.open.lock().latest_us());
        key.and_then(|_| self.held.latest_us().max(tables))
    }

    pub fn size(&self) -> Size {
        let tables =
            self.tables.as_ref().map(|tables| tables.open.lock().size()).unwrap_or_default();
        Size { rows: self.held.rows() + tables.rows, bytes: self.held.bytes() + tables.bytes }
    }

    /// All states; tables are emptied into them.
    pub fn save(&mut self) -> Result<Vec<RecordBatch>> {
        if let (Some(tables), Some(key)) = (&mut self.tables, &self.key) {
            let states = tables.open.get_mut().take_states(i64::MAX)?;
            self.held.add(key, states)?;
        }
        Ok(self.held.batches().to_vec())
    }

    pub fn restore(&mut self, states: Vec<RecordBatch>) -> Result<()> {
        match &self.key {
            Some(key) => self.held.add(key, states),
            None => {
                self.held.put_back(states);
                Ok(())
            }
        }
    }
}

/// All rows of a plan over these.
async fn run(
    (slot, plan): &(Slot, SlotPlan),
    rows: Vec<RecordBatch>,
    schema: &SchemaRef,
    task: &Arc<TaskContext>,
) -> Result<Vec<RecordBatch>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    slot.put(rows);
    let out = plan.run(schema, task).await;
    slot.put(Vec::new());
    Ok(out?)
}
