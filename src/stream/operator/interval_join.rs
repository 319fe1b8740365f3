//! The join of two streams by an interval: what is new on a side meets what is kept of the other.
//!
//! ```text
//!  new left x (kept right + new right)  +  kept left x new right
//! ```
//!
//! So every pair is met once. A row is kept until the watermark says that nothing to come can meet
//! it; where the join keeps rows that meet nothing, they come out then.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, UInt64Array, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::common::JoinType;
use datafusion::execution::TaskContext;

use super::{Operator, RegionRows, both, pair};
use crate::error::{Error, Result};
use crate::stream::exec::adaptive::SlotPlan;
use crate::stream::exec::input::Slot;
use crate::stream::plan::interval::keeps_unmatched;
use crate::stream::state::buffer::Held;
use crate::stream::state::final_key::Key;
use crate::stream::state::size::{Part, Size};
use crate::stream::time::clock::{Clock, Times};
use crate::task::Task;

/// Names of the columns that number the rows of each side.
pub const ROWS: [&str; 2] = ["__left_row", "__right_row"];

/// One side of a join.
pub struct Side {
    /// When a row is over.
    pub key: Key,
    pub slot: Slot,
    /// Of the rows, without their numbers.
    pub schema: SchemaRef,
    /// Rows that are not over, numbered.
    held: Held,
    next: u64,
    /// Numbers of held rows that have met another.
    met: HashSet<u64>,
}

impl Side {
    pub fn new(key: Key, slot: Slot, schema: SchemaRef) -> Self {
        Self { key, slot, schema, held: Held::default(), next: 0, met: HashSet::new() }
    }

    /// The rows with their numbers behind them.
    fn number(&mut self, rows: Vec<RecordBatch>, name: &str) -> Result<Vec<RecordBatch>> {
        let schema = numbered(&self.schema, name);
        rows.into_iter()
            .map(|batch| {
                let first = self.next;
                self.next += batch.num_rows() as u64;
                let mut columns = batch.columns().to_vec();
                columns.push(Arc::new(UInt64Array::from_iter_values(first..self.next)));
                Ok(RecordBatch::try_new(schema.clone(), columns)?)
            })
            .collect()
    }

    /// Rows without their numbers, those whose number is wanted.
    fn strip(
        &self,
        batches: &[RecordBatch],
        wanted: impl Fn(u64) -> bool,
    ) -> Result<Vec<RecordBatch>> {
        let mut out = Vec::new();
        for batch in batches {
            let numbers = batch.column(batch.num_columns() - 1).as_primitive::<UInt64Type>();
            let kept = BooleanArray::from_unary(numbers, &wanted);
            if kept.true_count() > 0 {
                let batch = filter_record_batch(batch, &kept)?;
                let columns = batch.columns()[..batch.num_columns() - 1].to_vec();
                out.push(RecordBatch::try_new(self.schema.clone(), columns)?);
            }
        }
        Ok(out)
    }

    /// The held rows with their numbers and whether they have met another.
    fn save(&self) -> Result<Vec<RecordBatch>> {
        let with_met = |batch: &RecordBatch| {
            let numbers = batch.column(batch.num_columns() - 1).as_primitive::<UInt64Type>();
            let met = BooleanArray::from_unary(numbers, |number| self.met.contains(&number));
            let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
            fields.push(Arc::new(Field::new("__met", DataType::Boolean, false)));
            let mut columns = batch.columns().to_vec();
            columns.push(Arc::new(met));
            Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
        };
        self.held.batches().iter().map(with_met).collect()
    }

    fn restore(&mut self, batches: Vec<RecordBatch>, name: &str) -> Result<()> {
        let schema = numbered(&self.schema, name);
        let mut rows = Vec::new();
        for batch in batches {
            let mut columns = batch.columns().to_vec();
            let met = columns.pop();
            let numbers = columns.last().map(|column| column.as_primitive::<UInt64Type>().clone());
            if let (Some(met), Some(numbers)) = (met, numbers) {
                let met = met.as_boolean().clone();
                let numbers = numbers.values();
                self.met.extend((0..met.len()).filter(|at| met.value(*at)).map(|at| numbers[at]));
                self.next = numbers.iter().map(|last| last + 1).fold(self.next, u64::max);
            }
            rows.push(RecordBatch::try_new(schema.clone(), columns)?);
        }
        self.held.add(&self.key, rows)
    }
}

/// A side's columns and the numbers of its rows.
pub fn numbered(schema: &SchemaRef, name: &str) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(name, DataType::UInt64, false)));
    Arc::new(Schema::new(fields))
}

/// A join that is under way.
pub struct IntervalJoin {
    pub join_type: JoinType,
    pub left: Side,
    pub right: Side,
    /// The inner join of the numbered sides, and its columns.
    pub plan: SlotPlan,
    pub pairs: SchemaRef,
    /// Of the result.
    pub schema: SchemaRef,
}

impl IntervalJoin {
    /// All pairs of two sets of rows.
    async fn meet(
        &self,
        left: Vec<RecordBatch>,
        right: Vec<RecordBatch>,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        if left.is_empty() || right.is_empty() {
            return Ok(Vec::new());
        }
        self.left.slot.put(left);
        self.right.slot.put(right);
        // In a task: a join of many pairs computes for long without a pause, and whoever waits for
        // it may be told to stop meanwhile.
        let (plan, schema, task) = (self.plan.clone(), self.pairs.clone(), task.clone());
        let run = async move { plan.run(&schema, &task).await.map_err(Error::from) };
        let pairs = Task::spawn("a join", run).join().await;
        self.left.slot.put(Vec::new());
        self.right.slot.put(Vec::new());
        pairs
    }

    /// What pairs give at once; notes who has met another.
    fn met(&mut self, pairs: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
        let at = self.left.schema.fields().len();
        let mut out = Vec::new();
        let (mut new_left, mut new_right) = (HashSet::<u64>::new(), HashSet::<u64>::new());
        for batch in pairs {
            let last = batch.num_columns() - 1;
            let left = batch.column(at).as_primitive::<UInt64Type>().values();
            let right = batch.column(last).as_primitive::<UInt64Type>().values();
            new_left.extend(left.iter().filter(|number| !self.left.met.contains(number)));
            new_right.extend(right.iter().filter(|number| !self.right.met.contains(number)));
            if matches!(
                self.join_type,
                JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full
            ) {
                let columns = batch.columns().iter().enumerate();
                let columns = columns.filter(|(nth, _)| *nth != at && *nth != last);
                let columns = columns.map(|(_, column)| column.clone()).collect();
                out.push(RecordBatch::try_new(self.schema.clone(), columns)?);
            }
        }
        match self.join_type {
            JoinType::LeftSemi => {
                out = self.left.strip(&self.left.held.batches(), |n| new_left.contains(&n))?;
            }
            JoinType::LeftMark => {
                let met = self.left.strip(&self.left.held.batches(), |n| new_left.contains(&n))?;
                out = self.marked(met, true)?;
            }
            JoinType::RightSemi => {
                out = self.right.strip(&self.right.held.batches(), |n| new_right.contains(&n))?;
            }
            _ => {}
        }
        // Who has met another matters only where something depends on it.
        if self.join_type != JoinType::Inner {
            self.left.met.extend(new_left);
            self.right.met.extend(new_right);
        }
        Ok(out)
    }

    /// Lets go of the rows that nothing to come can meet.
    fn over(&mut self, times: &Times) -> Result<Vec<RecordBatch>> {
        let left = self.left.held.take(&self.left.key, self.left.key.clock(times))?;
        let right = self.right.held.take(&self.right.key, self.right.key.clock(times))?;
        let (keeps_left, keeps_right) = keeps_unmatched(self.join_type);
        let mut out = Vec::new();
        if keeps_left {
            let alone = self.left.strip(&left, |number| !self.left.met.contains(&number))?;
            out.extend(self.with_nulls(alone, true)?);
        }
        if keeps_right {
            let alone = self.right.strip(&right, |number| !self.right.met.contains(&number))?;
            out.extend(self.with_nulls(alone, false)?);
        }
        forget(&mut self.left.met, &left);
        forget(&mut self.right.met, &right);
        Ok(out)
    }

    /// Rows of one side as rows of the result.
    fn with_nulls(&self, rows: Vec<RecordBatch>, is_left: bool) -> Result<Vec<RecordBatch>> {
        match self.join_type {
            JoinType::LeftAnti | JoinType::RightAnti => return Ok(rows),
            JoinType::LeftMark => return self.marked(rows, false),
            _ => {}
        }
        let other = if is_left { &self.right.schema } else { &self.left.schema };
        rows.into_iter()
            .map(|batch| {
                let nulls = other.fields().iter();
                let nulls = nulls.map(|f| new_null_array(f.data_type(), batch.num_rows()));
                let own = batch.columns().iter().cloned();
                let columns: Vec<ArrayRef> = match is_left {
                    true => own.chain(nulls).collect(),
                    false => nulls.chain(own).collect(),
                };
                Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
            })
            .collect()
    }

    /// Left rows, and whether they have met another.
    fn marked(&self, rows: Vec<RecordBatch>, met: bool) -> Result<Vec<RecordBatch>> {
        rows.into_iter()
            .map(|batch| {
                let mut columns = batch.columns().to_vec();
                columns.push(Arc::new(BooleanArray::from(vec![met; batch.num_rows()])));
                Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
            })
            .collect()
    }
}

#[async_trait]
impl Operator for IntervalJoin {
    /// Answers the join's rows that are certain now.
    async fn advance(
        &mut self,
        inputs: Vec<RegionRows>,
        times: &Times,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        let [left, right] = both(inputs);
        let left = self.left.number(left, ROWS[0])?;
        let right = self.right.number(right, ROWS[1])?;
        let mut pairs = Vec::new();
        if !left.is_empty() {
            let all = self.right.held.batches().into_iter().chain(right.clone()).collect();
            pairs.extend(self.meet(left.clone(), all, task).await?);
        }
        if !right.is_empty() {
            let kept = self.left.held.batches();
            pairs.extend(self.meet(kept, right.clone(), task).await?);
        }
        self.left.held.add(&self.left.key, left)?;
        self.right.held.add(&self.right.key, right)?;
        let mut out = self.met(&pairs)?;
        out.extend(self.over(times)?);
        Ok(out)
    }

    fn open_until(&self, clock: Clock) -> Option<i64> {
        let sides = [&self.left, &self.right].into_iter();
        let sides = sides.filter(|side| side.key.bound.clock == clock);
        sides.filter_map(|side| side.held.latest_us()).max()
    }

    fn size(&self) -> Size {
        self.left.held.size() + self.right.held.size()
    }

    fn parts(&self) -> usize {
        2
    }

    fn save(&mut self) -> Result<Vec<Part>> {
        Ok(vec![self.left.save()?.into(), self.right.save()?.into()])
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        let [left, right] = pair(parts);
        self.left.restore(left.rows, ROWS[0])?;
        self.right.restore(right.rows, ROWS[1])
    }
}

fn forget(met: &mut HashSet<u64>, gone: &[RecordBatch]) {
    if met.is_empty() {
        return;
    }
    for batch in gone {
        let numbers = batch.column(batch.num_columns() - 1).as_primitive::<UInt64Type>();
        for number in numbers.values() {
            met.remove(number);
        }
    }
}
