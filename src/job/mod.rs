//! Runs a pipeline file: every statement in order, continuous queries beside one another.

mod live;
mod tuning;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use tokio::sync::watch;

use crate::config::Options;
use crate::error::{Error, Result};
use crate::sql::explain::Explained;
use crate::sql::variables::{Values, substitute};
use crate::sql::{Engine, Insert, Kind, Outcome, Statement, is_setting, is_writing};
use crate::stream::audit::Subject;
use crate::stream::connector::sink::api::Writer;
use crate::stream::dataflow::Graph;
use crate::stream::dataflow::query::Query;
use crate::stream::log::definition::Stream;
use crate::stream::plan::proctime;
use crate::stream::plan::streams::streams;
use crate::stream::progress::Observer;
use crate::stream::runtime::state::Runner;
use crate::stream::runtime::totals::Totals;
use crate::stream::time::emit::Emit;
use crate::task;
use tuning::tuning;

pub use live::follow;

/// What `thalweg run` was asked for.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The file of statements.
    pub pipeline: PathBuf,
    /// What its `${name}` stand for.
    pub values: Values,
    /// The state folder: what the pipeline has done, and what its queries keep.
    pub state: Option<PathBuf>,
    /// Forget the state of earlier runs.
    pub start_fresh: bool,
    /// Read every source to its end, close all windows, return.
    pub until_end: bool,
    /// Where to serve metrics.
    pub metrics: Option<SocketAddr>,
    /// Who is told of every epoch.
    pub observer: Option<Observer>,
    /// True while streams are read: then the run comes to its end by itself when a signal asks for
    /// it. Elsewhere, such as in planning, it looks at signals between statements only.
    pub reading: Arc<AtomicBool>,
    pub options: Options,
}

/// Who writes the rows of a plain SELECT in a pipeline.
#[async_trait]
pub trait Results: Send {
    /// Writes all rows of one result.
    async fn write(&mut self, rows: SendableRecordBatchStream) -> Result<()>;

    /// Writes the line of a PRINT.
    fn print(&mut self, _text: &str) -> Result<()> {
        Ok(())
    }

    /// Whether plans are drawn, by `explain`; else they are rows.
    fn draws(&self) -> bool {
        false
    }

    /// Draws the plan of an EXPLAIN.
    async fn explain(&mut self, _explained: Explained) -> Result<()> {
        Ok(())
    }
}

/// Runs the pipeline until its end or until SIGINT or SIGTERM, then drains and commits. Answers
/// what its streams have read and given.
///
/// Errors: the first that a statement or a continuous query meets; what was committed stays.
pub async fn run(options: RunOptions, results: &mut dyn Results) -> Result<Totals> {
    let path = options.pipeline.display().to_string();
    let told = |error: Error| match error {
        Error::User(error) => error.in_file(&path).into(),
        other => other,
    };
    if options.metrics.is_some() {
        return Err(Error::user("--metrics is not available yet"));
    }
    let text = std::fs::read_to_string(&options.pipeline);
    let text = text.map_err(|error| told(Error::user(error.to_string())))?;
    let text = substitute(&text, &options.values).map_err(told)?;
    let stem = options.pipeline.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let engine = Engine::new(options.options)?.with_state(options.state.clone());
    let statements = engine.parse(&text).map_err(told)?;
    let mut pipeline = Pipeline {
        engine,
        stem,
        path: options.pipeline,
        state: options.state,
        passing: None,
        start_fresh: options.start_fresh,
        observer: options.observer,
        reading: options.reading,
        until_end: options.until_end,
        stop: stop_signal()?,
        runner: None,
        queries: Vec::new(),
        inserts: BTreeMap::new(),
        plans: BTreeMap::new(),
        read: BTreeSet::new(),
        worked: false,
    };
    for statement in statements {
        let line = statement.line;
        // Boxed, as those who call this are futures themselves: each would hold all that a
        // statement's planning holds, on its stack in debug builds.
        let done = Box::pin(pipeline.statement(statement, results));
        let done = task::caught("a pipeline", done).await;
        done.map_err(|error| match error {
            // Those of the parser and of definitions have a place in the text.
            Error::User(error) if error.place.is_none() => {
                told(error.of(format!("line {line}")).into())
            }
            other => told(other),
        })?;
        if *pipeline.stop.borrow() {
            return Ok(pipeline.totals());
        }
    }
    pipeline.warn_of_nothing();
    let drained = task::caught("a pipeline", Box::pin(pipeline.drain())).await;
    drained.map(|()| pipeline.totals())
}

/// Where state folders are kept, by the pipeline's name.
const STATE: &str = "thalweg-state";

/// True from the first SIGINT or SIGTERM on.
fn stop_signal() -> Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    task::detached("waiting for signals", async move {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
        sender.send_replace(true);
        // A second signal finds nobody to wait for: work is being finished.
        sender.closed().await;
        Ok(())
    });
    Ok(receiver)
}

struct Pipeline {
    engine: Engine,
    stem: String,
    /// The file of statements.
    path: PathBuf,
    /// The state folder that was asked for.
    state: Option<PathBuf>,
    /// The state folder of this run, where nothing outlasts it.
    passing: Option<PathBuf>,
    start_fresh: bool,
    observer: Option<Observer>,
    reading: Arc<AtomicBool>,
    until_end: bool,
    stop: watch::Receiver<bool>,
    /// From the first reading on.
    runner: Option<Runner>,
    /// Continuous queries that have not begun.
    queries: Vec<Query>,
    /// INSERTs so far, by sink.
    inserts: BTreeMap<String, usize>,
    /// What they insert.
    plans: BTreeMap<String, Vec<(LogicalPlan, Emit)>>,
    /// Streams whose log has been read in this run.
    read: BTreeSet<String>,
    /// Whether any statement was more than a definition or a setting.
    worked: bool,
}

impl Pipeline {
    async fn statement(&mut self, statement: Statement, results: &mut dyn Results) -> Result<()> {
        if let Some(insert) = self.engine.insert(&statement).await?
            && self.continuous(insert, statement.emit.unwrap_or_default()).await?
        {
            return Ok(());
        }
        if let Kind::Drop { name, .. } = &statement.kind
            && !self.until_end
            && self.reads(name)
        {
            return Err(Error::user(format!("stream {name} is read by an INSERT above")));
        }
        let defines = match &statement.kind {
            Kind::CreateStream(_) | Kind::CreateSink(_) | Kind::Show(_) => true,
            Kind::Print(_) => self.queries.is_empty(),
            Kind::Drop { .. } | Kind::Check { .. } => false,
            Kind::Sql(statement) => is_setting(statement),
        };
        self.worked |= !defines && !matches!(statement.kind, Kind::Drop { .. });
        // Every other statement may look at what the INSERTs before it have written.
        if self.until_end && !defines {
            self.drain().await?;
            if *self.stop.borrow() {
                return Ok(());
            }
        }
        if let Kind::Check { result, since, audit } = &statement.kind {
            let rows = self.check(result, since.as_deref(), *audit).await?;
            return results
                .write(self.engine.context.read_batch(rows)?.execute_stream().await?)
                .await;
        }
        if let Kind::Print(text) = &statement.kind {
            return results.print(text);
        }
        if results.draws()
            && let Some(explained) = self.engine.explain(&statement).await?
        {
            return results.explain(explained).await;
        }
        let writes = is_writing(&statement);
        match self.engine.execute(statement).await? {
            // How much was written is no result of a pipeline.
            Outcome::Rows(_) if writes => Ok(()),
            Outcome::Done => Ok(()),
            Outcome::Rows(rows) => results.write(rows).await,
        }
    }

    /// Tells where the statements only define what no other uses.
    fn warn_of_nothing(&self) {
        let stored = self.engine.streams().iter().any(|stream| stream.store.is_some());
        if !self.worked && !stored && self.plans.is_empty() {
            tracing::warn!(
                "{}: reads nothing: no stream has a store, and no INSERT INTO a sink reads one",
                self.path.display()
            );
        }
    }

    /// Whether an INSERT that has not begun reads a stream.
    fn reads(&self, stream: &str) -> bool {
        let mut streams = self.queries.iter().flat_map(|query| &query.graph.streams);
        streams.any(|known| known.name == stream)
    }

    /// Takes a query that reads streams; answers false for others.
    async fn continuous(&mut self, insert: Insert, emit: Emit) -> Result<bool> {
        let Insert { sink, plan } = insert;
        let Some(graph) = Graph::new(&self.engine.context, &plan, emit).await? else {
            return Ok(false);
        };
        for stream in &graph.streams {
            self.ends(stream)?;
        }
        let pipeline = self.name();
        let inserts = self.inserts.entry(sink.name.clone()).or_default();
        let writer = Writer { pipeline, sink: sink.name.clone(), insert: *inserts, keys: None };
        *inserts += 1;
        let mut query = Query::open(graph, sink.connector.as_ref(), writer).await?;
        query.by_processing_time = proctime::is_used(&plan)?;
        self.plans.entry(sink.name.clone()).or_default().push((plan, emit));
        self.queries.push(query);
        Ok(true)
    }

    /// Compares what an INSERT has given to a sink with the batch over history, or corrects it.
    async fn check(&self, result: &str, since: Option<&str>, audit: bool) -> Result<RecordBatch> {
        let word = if audit { "AUDIT" } else { "RECONCILE" };
        let (Some(plans), Some(sink)) = (self.plans.get(result), self.engine.sink(result)) else {
            return Err(Error::user(format!(
                "{word} {result}: no INSERT above gives the results of a stream to a sink of that \
                 name"
            )));
        };
        let ([(plan, emit)], Some(path), Some(runner)) =
            (plans.as_slice(), sink.connector.table(), &self.runner)
        else {
            return Err(Error::user(format!(
                "{word} {result}: the sink has to be a Delta table that one INSERT writes, read in \
                 this run (--until-end)"
            )));
        };
        let since_us = since.map(|text| {
            let parsed = string_to_timestamp_nanos(text);
            parsed
                .map(|ns| ns.div_euclid(1_000))
                .map_err(|_| Error::user(format!("{word} {result} SINCE '{text}': no timestamp")))
        });
        let writer =
            Writer { pipeline: self.name(), sink: result.to_string(), insert: 0, keys: None };
        let subject = Subject {
            name: result,
            path,
            application: writer.application(),
            plan,
            watermark_us: runner.watermark(&streams(plan)?).saturating_sub(emit.delay_us()),
            since_us: since_us.transpose()?,
        };
        match audit {
            true => subject.audit(&self.engine.context).await,
            false => subject.reconcile(&self.engine.context).await,
        }
    }

    /// Errors: a stream without an end in a run to the end.
    fn ends(&self, stream: &Stream) -> Result<()> {
        match stream.connector.bounded() {
            Err(reason) if self.until_end => {
                Err(Error::user(format!("stream {}: {reason}", stream.name)))
            }
            _ => Ok(()),
        }
    }

    /// What the pipeline's epochs are known by.
    fn name(&self) -> String {
        match self.engine.sql_options().pipeline {
            name if name.is_empty() => self.stem.clone(),
            name => name,
        }
    }

    /// Reads the streams for the queries so far and for stores: to the end, or until stopped.
    async fn drain(&mut self) -> Result<()> {
        let queries = std::mem::take(&mut self.queries);
        let mut streams = Vec::new();
        for stream in self.engine.streams() {
            let wanted = queries.iter().flat_map(|query| &query.graph.streams);
            let wanted = wanted.map(|stream| &stream.name).any(|name| *name == stream.name);
            let stored = stream.store.is_some() && !self.read.contains(&stream.name);
            if wanted || stored {
                self.ends(&stream)?;
                self.read.insert(stream.name.clone());
                streams.push(stream);
            }
        }
        if streams.is_empty() {
            return Ok(());
        }
        let tuning = tuning(&self.engine, self.until_end)?;
        let (name, mut stop) = (self.name(), self.stop.clone());
        let folder = self.folder();
        let runner = match &mut self.runner {
            Some(runner) => runner,
            none => {
                let (folder, passing) = folder;
                self.passing = passing.then(|| folder.clone());
                let mut runner = Runner::open(&self.engine.context, folder, name, tuning)?;
                if self.start_fresh {
                    runner.start_fresh()?;
                }
                runner.observer = self.observer.clone();
                none.insert(runner)
            }
        };
        self.reading.store(true, Ordering::SeqCst);
        let done = runner.run(streams, queries, tuning, &mut stop).await;
        self.reading.store(false, Ordering::SeqCst);
        done
    }

    /// The state folder, and whether it is of no use after this run: results on the console only
    /// are given again by the next.
    fn folder(&self) -> (PathBuf, bool) {
        if let Some(folder) = &self.state {
            return (folder.clone(), false);
        }
        if !self.engine.keeps() {
            let name = format!("thalweg-{}-{}", self.stem, std::process::id());
            return (std::env::temp_dir().join(name), true);
        }
        let named = self.engine.sql_options().pipeline;
        let name = match named.is_empty() {
            false => named,
            // Files of the same name in other places are other pipelines.
            true => {
                let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
                format!("{}-{:08x}", self.stem, fnv(path.as_os_str().as_encoded_bytes()))
            }
        };
        (PathBuf::from(STATE).join(name), false)
    }

    /// What the streams have read and given so far.
    fn totals(&self) -> Totals {
        self.runner.as_ref().map(Runner::totals).unwrap_or_default()
    }
}

/// Removes what is of no use after a run, however it ends.
impl Drop for Pipeline {
    fn drop(&mut self) {
        self.runner = None;
        if let Some(folder) = self.passing.take() {
            let _ = std::fs::remove_dir_all(folder); // in the system's folder for such files
        }
    }
}

/// The 32-bit FNV-1a hash (Fowler, Noll, Vo).
fn fnv(bytes: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}
