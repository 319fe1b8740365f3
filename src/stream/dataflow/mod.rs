//! A continuous query: its plan, cut where rows have to wait for time to pass.
//!
//! ```text
//!  batch                         here
//!  Filter, Projection            region
//!  Join on windows               hold     rows of both sides, until their window is final
//!  Aggregate by window           states   partial states, until their window is final
//!  TUMBLE, Filter                region   placed on a device or the CPU by our rule
//!  Scan of a stream              slot     the rows of an epoch
//! ```
//!
//! Between two cuts stands a *region*: a plan without state, run anew in each epoch over slots. At
//! a cut stands *work*, which keeps what is not final and hands on what is. What leaves a cut is
//! final, so the whole is the batch over all rows, piece by piece. Never looks at a clock.

pub mod build;
pub(super) mod physical;
pub mod query;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;

use crate::error::{Error, Result};
use crate::plan::Decision;
use crate::stream::exec::input::{Given, Slot, SlotPlan};
use crate::stream::log::definition::Stream;
use crate::stream::operator::aggregate::Aggregate;
use crate::stream::operator::asof_join::AsOfJoin;
use crate::stream::operator::interval_join::IntervalJoin;
use crate::stream::operator::late::{Apart, Rows};
use crate::stream::operator::lookup_table::{Once, TableRows, Tables};
use crate::stream::operator::session::Sessions;
use crate::stream::operator::updating_aggregate::Updates;
use crate::stream::plan::watermark_bound::{Bound, Clock};
use crate::stream::runtime::pipeline::counted;
use crate::stream::state::buffer::{Held, Key};
use crate::stream::state::size::{Part, Size};
use crate::stream::state::spill::Folder;

/// The clocks behind the rows of an epoch, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The minimum watermark over the partitions of the query's streams.
    pub event_us: i64,
    /// When the epoch is processed (UTC).
    pub processing_us: i64,
}

impl Times {
    /// The time that a clock shows.
    pub fn of(&self, clock: Clock) -> i64 {
        match clock {
            Clock::Event => self.event_us,
            Clock::Processing => self.processing_us,
        }
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

/// A continuous query.
pub struct Graph {
    root: Node,
    /// The streams it reads, each once.
    pub streams: Vec<Arc<Stream>>,
    /// Of the result.
    pub schema: SchemaRef,
    /// What tells whether the state of an earlier run is this query's.
    pub fingerprint: String,
    /// Columns of the result that identify a row which is emitted again with other values;
    /// `None` where what is emitted is final.
    pub upsert_keys: Option<Vec<String>>,
    /// Rows that came after a window of theirs was over (in several windows, each counts).
    pub late: u64,
    /// How far behind the streams' watermarks it goes, in microseconds.
    delay_us: i64,
    /// Delta tables that it reads beside the streams.
    tables: Tables,
    context: SessionContext,
    task: Arc<TaskContext>,
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// Regions and what is done with their rows.
struct Node {
    regions: Vec<Region>,
    work: Work,
}

/// Rows above this many are not brought to results at once where some are final before others.
pub(super) const MANY_ROWS: usize = 1 << 20;

/// A plan without state.
struct Region {
    inputs: Vec<(Slot, Source)>,
    plan: SlotPlan,
    /// The plan with what the cut does of it, for reports.
    shown: SlotPlan,
    schema: SchemaRef,
    late: Option<Late>,
}

/// What a region with a late rule runs besides its plan.
struct Late {
    /// Counts the rows that the rule leaves out.
    count: SlotPlan,
    /// The plan without the rule, for rows of which none is late.
    in_time: SlotPlan,
    /// Whether that gives panes of the windows.
    panes: bool,
}

enum Source {
    /// The rows of a stream.
    Stream(String),
    /// What a cut hands on.
    Node(Box<Node>),
    /// The rows of tables.
    Table(Box<TableRows>),
}

enum Work {
    /// Rows go through.
    Pass,
    Aggregate(Box<Aggregate>),
    Updates(Box<Updates>),
    Hold(Box<Hold>),
    Interval(Box<IntervalJoin>),
    AsOf(Box<AsOfJoin>),
    /// By the clock that closes them.
    Sessions(Bound, Box<Sessions>),
    Once(Box<Once>),
}

/// Rows wait until they are final; then a plan runs over them.
struct Hold {
    /// Of each region.
    sides: Vec<(Key, Slot, Held)>,
    plan: SlotPlan,
    schema: SchemaRef,
}

/// A saved part of a query's state: a name within the query and its rows.
pub type Saved = (String, Part);

impl Graph {
    /// Takes the rows of an epoch; answers result rows.
    pub async fn advance(&mut self, input: &Input<'_>) -> Result<Vec<RecordBatch>> {
        let input = Input { times: self.delayed(&input.times), ..input.clone() };
        let mut pass = Pass { input: &input, task: self.task.clone(), late: 0 };
        let rows = self.root.advance(&mut pass).await;
        self.late += pass.late;
        let late = &mut self.late;
        self.root.visit_mut(&mut |work| {
            if let Work::Sessions(_, sessions) = work {
                *late += std::mem::take(&mut sessions.late);
            }
            Ok(())
        })?;
        rows
    }

    /// The newest versions of the tables beside the streams.
    pub async fn newest(&self) -> Result<BTreeMap<String, i64>> {
        let mut versions = BTreeMap::new();
        for (name, table) in &self.tables {
            versions.insert(name.clone(), table.newest().await?);
        }
        Ok(versions)
    }

    /// Reads the tables beside the streams at these versions, where they are of others.
    pub async fn read_tables(&mut self, versions: &BTreeMap<String, i64>) -> Result<()> {
        for (name, table) in &self.tables {
            if let Some(version) = versions.get(name) {
                table.set(*version);
            }
        }
        self.root.read_tables(&self.context).await
    }

    /// When the last of what is waiting is final by the watermark; `None` where nothing waits.
    pub fn open_until(&self) -> Option<i64> {
        let mut latest = None;
        self.root.visit(&mut |work| latest = latest.max(work.open_until()));
        latest.map(|latest: i64| latest.saturating_add(self.delay_us))
    }

    /// The clocks that it goes by.
    fn delayed(&self, times: &Times) -> Times {
        Times { event_us: times.event_us.saturating_sub(self.delay_us), ..*times }
    }

    /// The same of what waits for processing time to pass.
    pub fn open_processing_until(&self) -> Option<i64> {
        let mut latest = None;
        self.root.visit(&mut |work| latest = latest.max(work.open_processing_until()));
        latest
    }

    /// The processing time at which the first emission is due that rows alone do not bring.
    pub fn due_us(&self) -> Option<i64> {
        let mut first = None;
        self.root.visit(&mut |work| {
            let due = match work {
                Work::Updates(work) => work.due_us(),
                Work::Once(once) => once.due_us(),
                _ => None,
            };
            first = first.into_iter().chain(due).min();
        });
        first
    }

    /// What waits.
    pub fn size(&self) -> Size {
        let mut size = Size::default();
        self.root.visit(&mut |work| size = size + work.size());
        size
    }

    /// What could be written to the disk: how long it is still needed by its clock, in
    /// microseconds, and its bytes in memory.
    pub fn spillable(&self, times: &Times) -> Result<Vec<(i128, usize)>> {
        let (mut all, mut failed) = (Vec::new(), None);
        let times = &self.delayed(times);
        self.root.visit(&mut |work| match work.spillable(times) {
            Ok(parts) => all.extend(parts),
            Err(error) => failed = Some(error),
        });
        failed.map_or(Ok(all), Err)
    }

    /// Writes what is needed so much later, or later than that, to the disk.
    pub fn spill(&mut self, wait: i128, times: &Times, folder: &Folder) -> Result<()> {
        let times = &self.delayed(times);
        self.root.visit_mut(&mut |work| work.spill(wait, times, folder))
    }

    /// Whether the query has no state, ever.
    pub fn is_stateless(&self) -> bool {
        let mut none = true;
        self.root.visit(&mut |work| none &= matches!(work, Work::Pass));
        none
    }

    /// All state, in parts that `restore` takes again.
    pub fn save(&mut self) -> Result<Vec<Saved>> {
        let (mut parts, mut at) = (Vec::new(), 0);
        self.root.visit_mut(&mut |work| {
            let saved = work.save()?.into_iter().enumerate();
            let saved = saved.filter(|(_, part)| !part.rows.is_empty() || !part.spilled.is_empty());
            parts.extend(saved.map(|(side, part)| (format!("{at}.{side}"), part)));
            at += 1;
            Ok(())
        })?;
        Ok(parts)
    }

    /// Whether its state has parts of these names, whatever else it has.
    pub fn has_parts<'a>(&self, names: impl Iterator<Item = &'a String>) -> bool {
        let (mut own, mut at) = (BTreeSet::new(), 0);
        self.root.visit(&mut |work| {
            own.extend((0..work.sides()).map(|side| format!("{at}.{side}")));
            at += 1;
        });
        names.into_iter().all(|name| own.contains(name))
    }

    /// Puts back what `save` gave.
    pub fn restore(&mut self, mut parts: BTreeMap<String, Part>) -> Result<()> {
        let mut at = 0;
        self.root.visit_mut(&mut |work| {
            let sides = (0..work.sides()).map(|side| parts.remove(&format!("{at}.{side}")));
            let sides = sides.map(Option::unwrap_or_default).collect();
            at += 1;
            work.restore(sides)
        })
    }

    /// Where each region's fragments run, and why.
    pub fn decisions(&self) -> Vec<Decision> {
        let mut all = Vec::new();
        self.root.regions(&mut |region| all.extend(region.shown().decisions()));
        all
    }
}

/// The rows of a region.
#[derive(Default)]
struct Taken {
    rows: Given,
    /// Those of panes.
    panes: Given,
}

/// One epoch on its way through a graph.
struct Pass<'a> {
    input: &'a Input<'a>,
    task: Arc<TaskContext>,
    late: u64,
}

impl Node {
    fn advance<'a>(
        &'a mut self,
        pass: &'a mut Pass<'_>,
    ) -> BoxFuture<'a, Result<Vec<RecordBatch>>> {
        Box::pin(async move {
            let mut rows = Vec::with_capacity(self.regions.len());
            for region in &mut self.regions {
                let taken = region.run(pass).await?;
                if let Work::Aggregate(work) = &mut self.work {
                    let Taken { rows, panes } = taken;
                    return work.advance(rows, panes, &pass.input.times, &pass.task).await;
                }
                let Given { batches, cost, .. } = taken.rows;
                cost.into_iter().for_each(|cost| cost.ends(Duration::ZERO));
                rows.push(batches);
            }
            self.work.advance(rows, &pass.input.times, &pass.task).await
        })
    }

    fn read_tables<'a>(&'a mut self, context: &'a SessionContext) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if let Work::Once(once) = &mut self.work {
                once.refresh(context).await?;
            }
            for (_, source) in self.regions.iter_mut().flat_map(|region| &mut region.inputs) {
                match source {
                    Source::Node(node) => node.read_tables(context).await?,
                    Source::Table(table) => table.refresh(context).await?,
                    Source::Stream(_) => {}
                }
            }
            Ok(())
        })
    }

    fn visit(&self, f: &mut dyn FnMut(&Work)) {
        for (_, source) in self.regions.iter().flat_map(|region| &region.inputs) {
            if let Source::Node(node) = source {
                node.visit(f);
            }
        }
        f(&self.work);
    }

    fn visit_mut(&mut self, f: &mut dyn FnMut(&mut Work) -> Result<()>) -> Result<()> {
        for (_, source) in self.regions.iter_mut().flat_map(|region| &mut region.inputs) {
            if let Source::Node(node) = source {
                node.visit_mut(f)?;
            }
        }
        f(&mut self.work)
    }

    fn regions(&self, f: &mut dyn FnMut(&Region)) {
        for region in &self.regions {
            for (_, source) in &region.inputs {
                if let Source::Node(node) = source {
                    node.regions(f);
                }
            }
            f(region);
        }
    }
}

impl Region {
    async fn run(&mut self, pass: &mut Pass<'_>) -> Result<Taken> {
        let input = pass.input;
        let mut taken = Taken::default();
        let apart = input.apart.filter(|_| self.late.is_some());
        let panes = self.late.as_ref().is_some_and(|late| late.panes);
        let mut rows = input.rows;
        if let Some(apart) = apart
            && panes
            && self.inputs.iter().all(|(_, source)| !matches!(source, Source::Node(_)))
        {
            let count = self.put(&apart.in_time, pass).await?;
            if count > 0 {
                taken.panes = self.run_in_time(count, pass).await?;
            }
            rows = &apart.late;
        }
        let count = self.put(rows, pass).await?;
        if count > 0 {
            match apart.is_some() || self.late.is_none() {
                true => taken.rows = self.run_all(count, pass).await?,
                false if panes => taken.panes = self.run_in_time(count, pass).await?,
                false => taken.rows = self.run_in_time(count, pass).await?,
            }
        }
        self.inputs.iter().for_each(|(slot, _)| slot.put(Vec::new()));
        Ok(taken)
    }

    /// Puts rows where the plans read them; answers how many there are beside those of tables.
    async fn put(&mut self, rows: &Rows, pass: &mut Pass<'_>) -> Result<usize> {
        let mut count = 0;
        for (slot, source) in &mut self.inputs {
            let rows = match source {
                Source::Stream(name) => rows.get(name).cloned().unwrap_or_default(),
                Source::Node(node) => node.advance(pass).await?,
                Source::Table(table) => {
                    slot.put(table.rows.clone());
                    continue;
                }
            };
            count += rows.iter().map(RecordBatch::num_rows).sum::<usize>();
            slot.put(rows);
        }
        Ok(count)
    }

    /// Runs the plan without the rule: none of the rows is late.
    async fn run_in_time(&self, count: usize, pass: &Pass<'_>) -> Result<Given> {
        let (plan, schema) = match &self.late {
            Some(late) if late.panes => (&late.in_time, late.in_time.plan.schema()),
            Some(late) => (&late.in_time, self.schema.clone()),
            None => (&self.plan, self.schema.clone()),
        };
        Ok(plan.run_on_a_side(count, &schema, &pass.task).await?)
    }

    /// The plan to report of: that for rows in time where its runs choose their side.
    fn shown(&self) -> &SlotPlan {
        let in_time = self.late.as_ref().map(|late| &late.in_time);
        let plans = in_time.into_iter().chain([&self.plan]);
        plans.into_iter().find(|plan| plan.has_sides()).unwrap_or(&self.shown)
    }

    /// Runs the plan with the rule, and counts what it leaves out.
    async fn run_all(&self, count: usize, pass: &mut Pass<'_>) -> Result<Given> {
        if let Some(late) = &self.late {
            let schema = late.count.plan.schema();
            pass.late += counted(&late.count.run(&schema, &pass.task).await?);
        }
        Ok(self.plan.run_on_a_side(count, &self.schema, &pass.task).await?)
    }
}

impl Work {
    /// Whether it takes the rows of an aggregate, and not its states.
    fn takes_rows(&self) -> bool {
        matches!(self, Self::Aggregate(work) if work.takes_rows())
    }

    /// Takes the rows of each region; answers what is final.
    async fn advance(
        &mut self,
        mut rows: Vec<Vec<RecordBatch>>,
        times: &Times,
        task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        match self {
            Self::Pass => Ok(rows.pop().unwrap_or_default()),
            Self::Aggregate(_) => Err(Error::Bug("an aggregate without a region".to_string())),
            Self::Updates(work) => work.advance(rows.pop().unwrap_or_default(), times, task).await,
            Self::Hold(work) => work.advance(rows, times, task).await,
            Self::Interval(work) => work.advance(rows, times, task).await,
            Self::AsOf(work) => work.advance(rows, times),
            Self::Sessions(bound, work) => {
                work.push(rows.pop().unwrap_or_default())?;
                work.close(times.of(bound.clock).saturating_sub(bound.lag_us))
            }
            Self::Once(once) => Ok(once.take()),
        }
    }

    fn open_until(&self) -> Option<i64> {
        match self {
            Self::Pass | Self::Once(_) => None,
            Self::Aggregate(work) => work.open_until(Clock::Event),
            Self::Updates(work) => work.open_until(Clock::Event),
            Self::Hold(work) => work.open_until(Clock::Event),
            Self::Interval(work) => work.open_until(),
            Self::AsOf(work) => work.open_until(),
            Self::Sessions(bound, work) => bound.until(work.open_until(), Clock::Event),
        }
    }

    fn open_processing_until(&self) -> Option<i64> {
        match self {
            Self::Aggregate(work) => work.open_until(Clock::Processing),
            Self::Updates(work) => work.open_until(Clock::Processing).max(work.due_us()),
            Self::Hold(work) => work.open_until(Clock::Processing),
            Self::Sessions(bound, work) => bound.until(work.open_until(), Clock::Processing),
            Self::Once(once) => once.due_us(),
            Self::Pass | Self::Interval(_) | Self::AsOf(_) => None,
        }
    }

    fn size(&self) -> Size {
        match self {
            Self::Pass | Self::Once(_) => Size::default(),
            Self::Aggregate(work) => work.size(),
            Self::Updates(work) => work.size(),
            Self::Hold(work) => {
                work.sides.iter().fold(Size::default(), |size, (.., held)| size + held.size())
            }
            Self::Interval(work) => work.size(),
            Self::AsOf(work) => work.size(),
            Self::Sessions(_, work) => {
                Size { rows: work.rows(), bytes: work.bytes(), ..Size::default() }
            }
        }
    }

    fn spillable(&self, times: &Times) -> Result<Vec<(i128, usize)>> {
        let mut all = Vec::new();
        let mut add = |key: &Key, parts: Vec<(i64, usize)>| {
            let clock = i128::from(key.clock(times));
            all.extend(parts.into_iter().map(|(time, bytes)| (i128::from(time) - clock, bytes)));
        };
        match self {
            Self::Aggregate(work) => add(work.key(), work.weights()?),
            Self::Hold(work) => {
                for (key, _, held) in &work.sides {
                    add(key, held.weights(key)?);
                }
            }
            Self::AsOf(work) => add(work.key(), work.weights()?),
            // What may change or meet others at any time stays in memory.
            Self::Pass | Self::Updates(_) | Self::Interval(_) => {}
            Self::Sessions(..) | Self::Once(_) => {}
        }
        Ok(all)
    }

    fn spill(&mut self, wait: i128, times: &Times, folder: &Folder) -> Result<()> {
        let from = |key: &Key| {
            let from_us = (i128::from(key.clock(times)) + wait).max(i64::MIN.into());
            i64::try_from(from_us).unwrap_or(i64::MAX)
        };
        match self {
            Self::Aggregate(work) => work.spill(from(work.key()), folder),
            Self::Hold(work) => work
                .sides
                .iter_mut()
                .try_for_each(|(key, _, held)| held.spill(key, from(key), folder)),
            Self::AsOf(work) => work.spill(from(work.key()), folder),
            Self::Pass | Self::Updates(_) | Self::Interval(_) => Ok(()),
            Self::Sessions(..) | Self::Once(_) => Ok(()),
        }
    }

    /// Into how many parts `save` cuts the state.
    fn sides(&self) -> usize {
        match self {
            Self::Pass => 0,
            Self::Aggregate(work) => work.sides(),
            Self::Sessions(..) | Self::Once(_) => 1,
            Self::Hold(work) => work.sides.len(),
            Self::Interval(_) | Self::Updates(_) | Self::AsOf(_) => 2,
        }
    }

    fn save(&mut self) -> Result<Vec<Part>> {
        let in_memory = |sides: Vec<Vec<RecordBatch>>| sides.into_iter().map(Part::from).collect();
        match self {
            Self::Pass => Ok(Vec::new()),
            Self::Aggregate(work) => work.save(),
            Self::Updates(work) => work.save().map(in_memory),
            Self::Hold(work) => work.sides.iter().map(|(.., held)| held.save()).collect(),
            Self::Interval(work) => work.save().map(in_memory),
            Self::AsOf(work) => work.save(),
            Self::Sessions(_, work) => Ok(vec![work.save()?.into()]),
            Self::Once(once) => once.save(),
        }
    }

    fn restore(&mut self, sides: Vec<Part>) -> Result<()> {
        let in_memory = |sides: Vec<Part>| sides.into_iter().map(|side| side.rows);
        match self {
            Self::Pass => Ok(()),
            Self::Aggregate(work) => work.restore(sides),
            Self::Updates(work) => {
                let mut sides = in_memory(sides);
                let (latest, changed) = (sides.next(), sides.next());
                work.restore(&latest.unwrap_or_default(), changed.unwrap_or_default())
            }
            Self::Hold(work) => {
                let sides = work.sides.iter_mut().zip(sides);
                sides.into_iter().try_for_each(|((key, _, held), part)| held.restore(key, part))
            }
            Self::Interval(work) => work.restore(in_memory(sides).collect()),
            Self::AsOf(work) => work.restore(sides),
            Self::Sessions(_, work) => work.restore(in_memory(sides).flatten().collect()),
            Self::Once(once) => {
                once.restore(&sides);
                Ok(())
            }
        }
    }
}

impl Hold {
    /// When the last row is final by a clock.
    fn open_until(&self, clock: Clock) -> Option<i64> {
        let sides = self.sides.iter().filter(|(key, ..)| key.bound.clock == clock);
        sides.filter_map(|(.., held)| held.latest_us()).max()
    }

    async fn advance(
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
    async fn close(
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
