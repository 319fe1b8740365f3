//! Plans a query once, and plays its fragment on any player over any number of rows.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::row::{RowConverter, SortField};
use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, collect};
use futures::stream;
use tokio::sync::mpsc;

use thalweg::config::{DeviceChoice, Options};
use thalweg::device::{self, Player, Tier};
use thalweg::error::{DeviceError, Result};
use thalweg::fragment::spec::{Fragment, Sink, Table};
use thalweg::plan::{DeviceExec, session};
use thalweg::run::{Runner, SlotLimits};
use thalweg::stream::plan::lower;
use thalweg::stream::plan::window::WindowPlanner;

/// Tables by name.
pub type Tables = [(&'static str, RecordBatch)];

/// What a run counted, by the names of `Stats::all`.
pub type Counts = HashMap<&'static str, u64>;

/// A fragment with the rows of its sources.
pub struct Planned {
    pub sql: String,
    fragment: Arc<Fragment>,
    sources: Vec<RecordBatch>,
    /// The rows come in the order of the source, not in any.
    ordered: bool,
}

/// How a fragment is played.
#[derive(Clone)]
pub struct Setup {
    pub limits: SlotLimits,
    /// Kernel, text, replacement.
    pub fault: Option<(String, String, String)>,
    /// Every key has the same hash.
    pub collide: bool,
}

impl Default for Setup {
    /// Slots as small as they can be, so that several are in flight at few rows; the ranges of keys
    /// are looked for, and groups written by the device, however few they are.
    fn default() -> Self {
        let limits = SlotLimits {
            rows: 1024,
            group_entries: 256,
            range_rows: 1,
            whole_table_bytes: 0,
            ..SlotLimits::default()
        };
        Self { limits, fault: None, collide: false }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Played {
    batch: RecordBatch,
    /// Each row as bytes that tell every bit of it, NaNs and zeros included.
    rows: Vec<Vec<u8>>,
    pub stats: Counts,
}

impl Planned {
    /// How many build sides stay on the device.
    pub fn stored(&self) -> usize {
        let stored = |table: &&Table| matches!(table.pipeline.sink, Sink::Store { .. });
        self.fragment.tables.iter().filter(stored).count()
    }
}

/// The player of a tier, or the test fails; `None` only where the environment allows it.
pub fn player(tier: Tier) -> Option<Arc<dyn Player>> {
    match device::open_with_tier(&Options::default(), Some(tier)) {
        Ok(player) => Some(player),
        Err(DeviceError::NoAdapter(reason))
            if std::env::var("THALWEG_ALLOW_NO_DEVICE").is_ok_and(|value| value == "1") =>
        {
            eprintln!("SKIPPED by THALWEG_ALLOW_NO_DEVICE: parity on {tier:?} ({reason})");
            None
        }
        Err(error) => panic!("{error}\n(THALWEG_ALLOW_NO_DEVICE=1 skips tests that need a GPU)"),
    }
}

/// Plans queries over the tables: each must become one fragment.
pub async fn plan(tables: &Tables, queries: &[String]) -> Vec<Planned> {
    let options = Options { device: DeviceChoice::Gpu, strict: true, ..Options::default() };
    let context = session(&options).unwrap();
    context.register_relation_planner(Arc::new(WindowPlanner)).unwrap();
    let rules = context.state().analyzer().rules.clone();
    lower::register(&context, rules);
    for (name, batch) in tables {
        context.register_batch(*name, batch.clone()).unwrap();
    }
    let mut planned = Vec::new();
    for sql in queries {
        let frame = context.sql(sql).await.unwrap_or_else(|error| panic!("{error}\nin {sql}"));
        let task = Arc::new(frame.task_ctx());
        let root = frame.create_physical_plan().await;
        let root = root.unwrap_or_else(|error| panic!("{error}\nin {sql}"));
        let mut found = Vec::new();
        fragments(&root, &mut found);
        assert_eq!(found.len(), 1, "fragments of {sql}");
        let exec = found[0].downcast_ref::<DeviceExec>().unwrap();
        let mut sources = Vec::new();
        for source in exec.children() {
            let batches = collect(source.clone(), task.clone()).await.unwrap();
            sources.push(concat_batches(&source.schema(), &batches).unwrap());
        }
        let fragment = Arc::new(exec.fragment().clone());
        let ordered =
            fragment.tables.is_empty() && matches!(fragment.main.sink, Sink::Select { .. });
        planned.push(Planned { sql: sql.clone(), fragment, sources, ordered });
    }
    planned
}

/// The fragments of a plan, from the top.
pub fn fragments(plan: &Arc<dyn ExecutionPlan>, found: &mut Vec<Arc<dyn ExecutionPlan>>) {
    if plan.is::<DeviceExec>() {
        found.push(plan.clone());
    }
    plan.children().into_iter().for_each(|child| fragments(child, found));
}

impl Planned {
    /// Rows of the source that drives the main pipeline.
    pub fn rows(&self) -> usize {
        self.sources[self.fragment.main.source].num_rows()
    }

    /// Plays the fragment over the first `rows` rows of its main source.
    pub async fn play(
        &self,
        player: &Arc<dyn Player>,
        rows: usize,
        setup: &Setup,
    ) -> Result<Played> {
        let (batches, stats) = self.run(player, rows, setup).await?;
        Played::new(self, &batches, stats)
    }

    /// As `play`, with the batches as they come.
    pub async fn run(
        &self,
        player: &Arc<dyn Player>,
        rows: usize,
        setup: &Setup,
    ) -> Result<(Vec<RecordBatch>, Counts)> {
        let mut runner = Runner::new(player.clone(), self.fragment.clone(), setup.limits);
        runner.linker.fault = setup.fault.clone();
        if setup.collide {
            runner.linker.hash = Some(COLLIDING_HASH.into());
        }
        let main = self.fragment.main.source;
        let sources = self.sources.iter().enumerate().map(|(number, batch)| {
            pieces(if number == main { batch.slice(0, rows) } else { batch.clone() })
        });
        let (send, mut receive) = mpsc::channel(4);
        let run = async {
            let send = send;
            runner.run(sources.collect(), &send).await
        };
        let gather = async {
            let mut batches = Vec::new();
            while let Some(batch) = receive.recv().await {
                batches.push(batch?);
            }
            Ok::<_, thalweg::error::Error>(batches)
        };
        let (ran, batches) = futures::join!(Box::pin(run), gather);
        ran?;
        Ok((batches?, runner.stats.all().into_iter().collect()))
    }
}

/// A hash that is the same for all.
const COLLIDING_HASH: &str = "
fn hash_word(h0: u32, word: u32) -> u32 {
    return 0u;
}

fn hash_end(h0: u32) -> u32 {
    return 7u;
}
";

/// A source's rows in batches of odd sizes, of which most start within a byte of their bitmaps.
fn pieces(batch: RecordBatch) -> SendableRecordBatchStream {
    let mut batches = Vec::new();
    let mut at = 0;
    for size in [7, 1, 500, 33, 300].into_iter().cycle() {
        if at >= batch.num_rows() {
            break;
        }
        // Few batches where there are many rows.
        let size = (size + batch.num_rows() / 50).min(batch.num_rows() - at);
        batches.push(Ok(batch.slice(at, size)));
        at += size;
    }
    Box::pin(RecordBatchStreamAdapter::new(batch.schema(), stream::iter(batches)))
}

impl Played {
    fn new(planned: &Planned, batches: &[RecordBatch], stats: Counts) -> Result<Self> {
        let schema = match &planned.fragment.main.sink {
            Sink::Select { schema, .. } => schema,
            Sink::Reduce(aggregation) | Sink::Group { aggregation, .. } => &aggregation.schema,
            Sink::Store { .. } => panic!("a main pipeline that gives no rows"),
        };
        let batch = concat_batches(schema, batches)?;
        let mut rows = encoded(&batch)?;
        if !planned.ordered {
            rows.sort_unstable();
        }
        Ok(Self { batch, rows, stats })
    }

    pub fn num_rows(&self) -> usize {
        self.batch.num_rows()
    }

    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    pub fn equals(&self, other: &Self) -> bool {
        self.batch.num_rows() == other.batch.num_rows() && self.rows == other.rows
    }

    /// The rows as a table, for a failure.
    pub fn text(&self) -> String {
        let first = self.batch.slice(0, self.batch.num_rows().min(20));
        format!("{} rows\n{}", self.num_rows(), pretty_format_batches(&[first]).unwrap())
    }
}

/// Each row as bytes that tell every bit of it.
pub fn encoded(batch: &RecordBatch) -> Result<Vec<Vec<u8>>> {
    if batch.num_columns() == 0 {
        return Ok(vec![vec![]; batch.num_rows()]);
    }
    let schema = batch.schema();
    let fields = schema.fields().iter();
    let fields = fields.map(|field| SortField::new(field.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(batch.columns())?;
    Ok(rows.iter().map(|row| row.as_ref().to_vec()).collect())
}
