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
//! a cut stands an *operator*, which keeps what is not final and hands on what is. What leaves a
//! cut is final, so the whole is the batch over all rows, piece by piece. Never looks at a clock.

pub mod build;
mod build_join;
pub(in crate::stream) mod physical;
pub mod query;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;

use crate::error::Result;
use crate::plan::Decision;
use crate::stream::exec::adaptive::{Given, SlotPlan};
use crate::stream::exec::input::Slot;
use crate::stream::log::definition::Stream;
use crate::stream::operator::late::{Rows, counted};
use crate::stream::operator::lookup_table::{TableRows, Tables};
use crate::stream::operator::{Input, Operator, RegionRows};
use crate::stream::state::size::{Part, Size};
use crate::stream::state::spill::Folder;
use crate::stream::time::clock::{Clock, Times};

/// How the fingerprint ends of a query whose rows of equal keys come in the order of the log: what
/// versions kept of it that had no such order is not in it.
pub(in crate::stream) const IN_LOG_ORDER: &str = "\nin the order of the log";

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
    operator: Box<dyn Operator>,
}

/// A plan without state.
struct Region {
    inputs: Vec<(Slot, Source)>,
    plan: SlotPlan,
    /// The plan with what the cut does of it, for reports.
    shown: SlotPlan,
    schema: SchemaRef,
    late: Option<Late>,
}

/// What a region with a watermark filter runs besides its plan.
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
        self.root.visit_mut(&mut |operator| {
            *late += operator.take_late();
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
        self.open_by(Clock::Event).map(|latest| latest.saturating_add(self.delay_us))
    }

    /// The clocks that it goes by.
    fn delayed(&self, times: &Times) -> Times {
        Times { event_us: times.event_us.saturating_sub(self.delay_us), ..*times }
    }

    /// When the last of what is waiting is final by processing time; `None` where nothing waits.
    pub fn open_processing_until(&self) -> Option<i64> {
        self.open_by(Clock::Processing)
    }

    fn open_by(&self, clock: Clock) -> Option<i64> {
        let mut latest = None;
        self.root.visit(&mut |operator| latest = latest.max(operator.open_until(clock)));
        latest
    }

    /// The processing time at which the first emission is due that rows alone do not bring.
    pub fn due_us(&self) -> Option<i64> {
        let mut first = None;
        self.root.visit(&mut |operator| first = first.into_iter().chain(operator.due_us()).min());
        first
    }

    /// What waits.
    pub fn size(&self) -> Size {
        let mut size = Size::default();
        self.root.visit(&mut |operator| size = size + operator.size());
        size
    }

    /// What could be written to the disk: how long it is still needed by its clock, in
    /// microseconds, and its bytes in memory.
    pub fn spillable(&self, times: &Times) -> Result<Vec<(i128, usize)>> {
        let (mut all, mut failed) = (Vec::new(), None);
        let times = &self.delayed(times);
        self.root.visit(&mut |operator| match operator.spillable(times) {
            Ok(parts) => all.extend(parts),
            Err(error) => failed = Some(error),
        });
        failed.map_or(Ok(all), Err)
    }

    /// Writes to the disk what is needed so many microseconds after its clock, or later.
    pub fn spill(&mut self, wait_us: i128, times: &Times, folder: &Folder) -> Result<()> {
        let times = &self.delayed(times);
        self.root.visit_mut(&mut |operator| operator.spill(wait_us, times, folder))
    }

    /// Whether the query has no state, ever.
    pub fn is_stateless(&self) -> bool {
        let mut none = true;
        self.root.visit(&mut |operator| none &= operator.parts() == 0);
        none
    }

    /// All state, in parts that `restore` takes again.
    pub fn save(&mut self) -> Result<Vec<Saved>> {
        let (mut parts, mut at) = (Vec::new(), 0);
        self.root.visit_mut(&mut |operator| {
            let saved = operator.save()?.into_iter().enumerate();
            let saved = saved.filter(|(_, part)| !part.rows.is_empty() || !part.spilled.is_empty());
            parts.extend(saved.map(|(nth, part)| (format!("{at}.{nth}"), part)));
            at += 1;
            Ok(())
        })?;
        Ok(parts)
    }

    /// Whether its state has parts of these names, whatever else it has.
    pub fn has_parts<'a>(&self, names: impl Iterator<Item = &'a String>) -> bool {
        let (mut own, mut at) = (BTreeSet::new(), 0);
        self.root.visit(&mut |operator| {
            own.extend((0..operator.parts()).map(|nth| format!("{at}.{nth}")));
            at += 1;
        });
        names.into_iter().all(|name| own.contains(name))
    }

    /// Puts back what `save` gave.
    pub fn restore(&mut self, mut parts: BTreeMap<String, Part>) -> Result<()> {
        let mut at = 0;
        self.root.visit_mut(&mut |operator| {
            let own = (0..operator.parts()).map(|nth| parts.remove(&format!("{at}.{nth}")));
            let own = own.map(Option::unwrap_or_default).collect();
            at += 1;
            operator.restore(own)
        })
    }

    /// Where each region's fragments run, and why.
    pub fn decisions(&self) -> Vec<Decision> {
        let mut all = Vec::new();
        self.root.regions(&mut |region| all.extend(region.shown().decisions()));
        all
    }
}

/// One epoch on its way through a graph.
struct Pass<'a> {
    input: &'a Input<'a>,
    task: Arc<TaskContext>,
    late: u64,
}

impl Node {
    fn new(regions: Vec<Region>, operator: impl Operator + 'static) -> Self {
        Self { regions, operator: Box::new(operator) }
    }

    fn advance<'a>(
        &'a mut self,
        pass: &'a mut Pass<'_>,
    ) -> BoxFuture<'a, Result<Vec<RecordBatch>>> {
        Box::pin(async move {
            let mut inputs = Vec::with_capacity(self.regions.len());
            for region in &mut self.regions {
                inputs.push(region.run(pass).await?);
            }
            self.operator.advance(inputs, &pass.input.times, &pass.task).await
        })
    }

    fn read_tables<'a>(&'a mut self, context: &'a SessionContext) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.operator.read_tables(context).await?;
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

    fn visit(&self, f: &mut dyn FnMut(&dyn Operator)) {
        for (_, source) in self.regions.iter().flat_map(|region| &region.inputs) {
            if let Source::Node(node) = source {
                node.visit(f);
            }
        }
        f(self.operator.as_ref());
    }

    fn visit_mut(&mut self, f: &mut dyn FnMut(&mut dyn Operator) -> Result<()>) -> Result<()> {
        for (_, source) in self.regions.iter_mut().flat_map(|region| &mut region.inputs) {
            if let Source::Node(node) = source {
                node.visit_mut(f)?;
            }
        }
        f(self.operator.as_mut())
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
    async fn run(&mut self, pass: &mut Pass<'_>) -> Result<RegionRows> {
        let input = pass.input;
        let mut given = RegionRows::default();
        let apart = input.apart.filter(|_| self.late.is_some());
        let panes = self.late.as_ref().is_some_and(|late| late.panes);
        let mut rows = input.rows;
        if let Some(apart) = apart
            && panes
            && self.inputs.iter().all(|(_, source)| !matches!(source, Source::Node(_)))
        {
            let count = self.put(&apart.in_time, pass).await?;
            if count > 0 {
                given.panes = self.run_in_time(count, pass).await?;
            }
            rows = &apart.late;
        }
        let count = self.put(rows, pass).await?;
        if count > 0 {
            match apart.is_some() || self.late.is_none() {
                true => given.rows = self.run_all(count, pass).await?,
                false if panes => given.panes = self.run_in_time(count, pass).await?,
                false => given.rows = self.run_in_time(count, pass).await?,
            }
        }
        self.inputs.iter().for_each(|(slot, _)| slot.put(Vec::new()));
        Ok(given)
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
