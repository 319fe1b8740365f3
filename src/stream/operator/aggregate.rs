//! Aggregates: what is known of groups, until the window of a group is final.
//!
//! On the CPU rows go into the tables of their windows (`window_tables.rs`), or of their panes
//! where windows overlap (`panes.rs`). From a device, and where tables do not do, come states: the
//! batches of DataFusion's partial aggregates, so any aggregate it can split works. Either way the
//! result is that of one aggregate over all rows.

use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::aggregates::AggregateExec;
use parking_lot::Mutex;

use super::panes::Panes;
use super::steps::{Rows, Steps};
use super::window_tables::OpenWindows;
use super::{Operator, RegionRows};
use crate::error::{Error, Result};
use crate::stream::exec::adaptive::{SlotPlan, run};
use crate::stream::exec::input::Slot;
use crate::stream::plan::window::columns::Edge;
use crate::stream::plan::window::panes::Hop;
use crate::stream::state::buffer::Held;
use crate::stream::state::final_key::Key;
use crate::stream::state::size::{FEW_ROWS, MANY_ROWS, Part, Size};
use crate::stream::state::spill::Folder;
use crate::stream::time::clock::{Clock, Times};

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

/// The groups of one aggregate whose results come once.
pub struct Aggregate {
    /// What takes rows; without, states come.
    tables: Option<Hashed>,
    /// What takes rows of overlapping windows that are in time. The lock is there for those who
    /// only look.
    panes: Option<Mutex<Panes>>,
    /// The group column that tells when a group is final.
    key: Key,
    /// States to fewer states: one row per group.
    reduce: (Slot, SlotPlan),
    /// States to result rows.
    finish: (Slot, SlotPlan),
    /// Of the states, and of the result.
    states: SchemaRef,
    schema: SchemaRef,
    held: Held,
    /// Rows when they were last merged.
    merged_rows: usize,
}

impl Aggregate {
    /// An aggregate in steps, and the plan whose rows or states it takes. `times` are the groups
    /// that are times of windows.
    pub fn new(
        steps: Steps,
        key: Key,
        times: &[&str],
        schema: SchemaRef,
    ) -> Result<(Self, SlotPlan)> {
        let hashed = match steps.rows {
            Some(rows) => Hashed::new(rows, &steps.states, times, key)?,
            None => None,
        };
        let (tables, plan) = hashed.unzip();
        let aggregate = Self {
            tables,
            panes: None,
            key,
            reduce: steps.reduce,
            finish: steps.finish,
            states: steps.states,
            schema,
            held: Held::default(),
            merged_rows: 0,
        };
        Ok((aggregate, plan.unwrap_or(steps.partial)))
    }

    /// Takes rows that are in time by panes from now on, by the steps of the aggregate over panes;
    /// answers the plan whose rows or states these are, `None` where panes do not do. `edges` are
    /// the groups that are times of windows.
    pub fn set_panes(
        &mut self,
        steps: Steps,
        hop: Hop,
        edges: &[(String, Edge)],
    ) -> Result<Option<SlotPlan>> {
        let names = |schema: &SchemaRef| -> Vec<String> {
            schema.fields()[..steps.groups].iter().map(|field| field.name().clone()).collect()
        };
        let groups = names(&self.states);
        let of = |name: &String| edges.iter().find(|(group, _)| group == name);
        let edges = groups.iter().enumerate();
        let edges = edges.filter_map(|(at, name)| Some((at, of(name)?.1)));
        let edges: Vec<(usize, Edge)> = edges.collect();
        let own = edges.iter().find(|(column, _)| *column == self.key.column);
        let (Some((_, own)), true) = (own, names(&steps.states) == groups) else {
            return Ok(None);
        };
        let rows = match steps.rows {
            Some(rows) => {
                // A pane is over when its end is where that of a window that is final would be.
                let (before, after) = (hop.edge(*own, 0, hop.size), hop.edge(*own, 0, hop.step));
                let lag = hop.us((before - hop.size) - (after - hop.step));
                let mut key = self.key;
                key.bound.lag_us = key.bound.lag_us.saturating_add(lag);
                let times: Vec<&str> =
                    edges.iter().map(|(column, _)| groups[*column].as_str()).collect();
                Hashed::new(rows, &steps.states, &times, key)?
            }
            None => None,
        };
        let (hashed, plan) = rows.unzip();
        let rows = hashed.map(|hashed| (hashed.open.into_inner(), hashed.partial));
        let panes = Panes::new(rows, hop, edges, self.key, self.states.clone());
        self.panes = Some(Mutex::new(panes));
        Ok(Some(plan.unwrap_or(steps.partial)))
    }

    /// Takes rows or states of panes.
    async fn add_panes(
        &mut self,
        rows: Vec<RecordBatch>,
        states: bool,
        task: &Arc<TaskContext>,
    ) -> Result<()> {
        match &mut self.panes {
            Some(panes) if !rows.is_empty() => {
                let panes = panes.get_mut();
                panes.add(rows, states, task).await?;
                panes.merge(&self.reduce, task).await
            }
            _ => Ok(()),
        }
    }

    /// Whether it takes rows, and not states.
    pub fn takes_rows(&self) -> bool {
        self.tables.is_some()
    }

    /// Takes rows or states.
    async fn add(
        &mut self,
        rows: Vec<RecordBatch>,
        states: bool,
        task: &Arc<TaskContext>,
    ) -> Result<()> {
        let states = match &mut self.tables {
            Some(tables) if !states => match tables.open.get_mut().update(rows)? {
                left if left.is_empty() => left,
                left => run(&tables.partial, left, &self.states, task).await?,
            },
            _ => rows,
        };
        self.held.add(&self.key, states)?;
        // Doubling: each state row is merged a constant number of times on the average.
        if self.held.rows() > FEW_ROWS.max(2 * self.merged_rows) {
            let all = self.held.take_all()?;
            let merged = run(&self.reduce, all, &self.states, task).await?;
            self.held.put_back(merged);
            self.merged_rows = self.held.rows();
        }
        Ok(())
    }

    /// Answers what is final.
    async fn close_all(
        &mut self,
        times: &Times,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        let (clock, mut out) = (self.key.clock(times), Vec::new());
        loop {
            let (more, reached) = self.close(clock, task).await?;
            out.extend(more);
            if reached == clock {
                return Ok(out);
            }
        }
    }

    /// Result rows of what is final at a time, or at the time before it that it answers, where
    /// there is much.
    async fn close(
        &mut self,
        clock_us: i64,
        task: &Arc<TaskContext>,
    ) -> Result<(Vec<RecordBatch>, i64)> {
        let mut clock = self.held.reach(clock_us, MANY_ROWS);
        let mut states = Vec::new();
        if let Some(panes) = &mut self.panes {
            (states, clock) = panes.get_mut().take_final(clock, MANY_ROWS)?;
        }
        let mut closed = self.held.take(&self.key, clock)?;
        closed.extend(states);
        self.merged_rows = self.merged_rows.min(self.held.rows());
        if let Some(tables) = &mut self.tables {
            if closed.is_empty() {
                let results = tables.open.get_mut().take_results(clock)?;
                return Ok((run(&tables.above, results, &self.schema, task).await?, clock));
            }
            closed.extend(tables.open.get_mut().take_states(clock)?);
        }
        Ok((run(&self.finish, closed, &self.schema, task).await?, clock))
    }
}

#[async_trait]
impl Operator for Aggregate {
    async fn advance(
        &mut self,
        mut inputs: Vec<RegionRows>,
        times: &Times,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        let Some(RegionRows { rows, panes }) = inputs.pop() else {
            return Err(Error::Bug("an aggregate without a region".to_string()));
        };
        let begun = Instant::now();
        self.add_panes(panes.batches, panes.states, task).await?;
        self.add(rows.batches, rows.states, task).await?;
        let out = self.close_all(times, task).await?;
        // Where there are rows of panes, these are nearly all: what closing takes is theirs.
        let mut took = begun.elapsed();
        for cost in [panes.cost, rows.cost].into_iter().flatten() {
            cost.ends(std::mem::take(&mut took));
        }
        Ok(out)
    }

    fn open_until(&self, clock: Clock) -> Option<i64> {
        let tables = self.tables.as_ref().and_then(|tables| tables.open.lock().latest_us());
        let panes = self.panes.as_ref().and_then(|panes| panes.lock().latest_us());
        self.held.latest_us().max(tables).max(panes).filter(|_| self.key.bound.clock == clock)
    }

    fn size(&self) -> Size {
        let tables =
            self.tables.as_ref().map(|tables| tables.open.lock().size()).unwrap_or_default();
        let panes = self.panes.as_ref().map(|panes| panes.lock().size()).unwrap_or_default();
        self.held.size() + tables + panes
    }

    fn spillable(&self, times: &Times) -> Result<Vec<(i128, usize)>> {
        let tables = self.tables.as_ref().map(|tables| tables.open.lock().weights());
        let panes = self.panes.as_ref().map(|panes| panes.lock().weights()).transpose()?;
        let mut all = self.held.weights(&self.key)?;
        all.extend(tables.into_iter().chain(panes).flatten());
        Ok(self.key.waits(all, times).collect())
    }

    /// Groups go to the disk as states.
    fn spill(&mut self, wait_us: i128, times: &Times, folder: &Folder) -> Result<()> {
        let from_us = self.key.time_after(wait_us, times);
        if let Some(tables) = &mut self.tables {
            let states = tables.open.get_mut().take_states_from(from_us)?;
            self.held.add(&self.key, states)?;
        }
        if let Some(panes) = &mut self.panes {
            panes.get_mut().spill(from_us, folder)?;
        }
        self.held.spill(&self.key, from_us, folder)?;
        self.merged_rows = self.merged_rows.min(self.held.rows());
        Ok(())
    }

    fn parts(&self) -> usize {
        if self.panes.is_some() { 3 } else { 1 }
    }

    /// All states, and those of panes; tables are emptied into them.
    fn save(&mut self) -> Result<Vec<Part>> {
        if let Some(tables) = &mut self.tables {
            let states = tables.open.get_mut().take_states(i64::MAX)?;
            self.held.add(&self.key, states)?;
        }
        let mut parts = vec![self.held.save()?];
        if let Some(panes) = &mut self.panes {
            parts.extend(panes.get_mut().save()?);
        }
        Ok(parts)
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        let mut parts = parts.into_iter();
        self.held.restore(&self.key, parts.next().unwrap_or_default())?;
        match &mut self.panes {
            Some(panes) => panes.get_mut().restore(parts),
            None => Ok(()),
        }
    }
}
