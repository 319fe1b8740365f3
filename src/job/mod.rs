//! Runs a pipeline file: every statement in order, continuous queries beside one another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use futures::future::try_join_all;
use tokio::sync::watch;

use crate::config::Options;
use crate::error::{Error, Result};
use crate::sql::{Engine, Insert, Kind, Outcome, Statement, is_setting};
use crate::stream::continuous::Continuous;
use crate::stream::definition::Stream;
use crate::stream::epoch::{Query, Reading, Tuning};
use crate::stream::shape::{Shape, shape};
use crate::stream::sink::Writer;
use crate::stream::store::Store;

/// What `thalweg run` was asked for.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The file of statements.
    pub pipeline: PathBuf,
    /// The state folder. Rejected rows are kept there; recovery comes with the deep engine.
    pub state: Option<PathBuf>,
    /// Read every source to its end, close all windows, return.
    pub until_end: bool,
    /// Where to serve metrics.
    pub metrics: Option<SocketAddr>,
    pub options: Options,
}

/// Who writes the rows of a plain SELECT in a pipeline.
#[async_trait]
pub trait Results: Send {
    /// Writes all rows of one result.
    async fn write(&mut self, rows: SendableRecordBatchStream) -> Result<()>;
}

/// Runs the pipeline until its end or until SIGINT or SIGTERM, then drains and commits.
///
/// Errors: the first that a statement or a continuous query meets; what was committed stays.
pub async fn run(options: RunOptions, results: &mut dyn Results) -> Result<()> {
    let path = options.pipeline.display().to_string();
    let told = |error: Error| match error {
        Error::User(message) => Error::User(format!("{path}: {message}")),
        other => other,
    };
    if options.metrics.is_some() {
        return Err(Error::User("--metrics is not there yet".to_string()));
    }
    let text = std::fs::read_to_string(&options.pipeline);
    let text = text.map_err(|error| told(Error::User(error.to_string())))?;
    let engine = Engine::new(options.options)?.with_state(options.state);
    let statements = engine.parse(&text).map_err(told)?;
    let stem = options.pipeline.file_stem().unwrap_or_default().to_string_lossy();
    let mut pipeline = Pipeline {
        engine,
        stem: stem.into_owned(),
        until_end: options.until_end,
        stop: stop_signal()?,
        queries: BTreeMap::new(),
        inserts: BTreeMap::new(),
        stored: BTreeSet::new(),
    };
    for statement in statements {
        let line = statement.line;
        let done = pipeline.statement(statement, results).await;
        done.map_err(|error| match error {
            // Those of the parser and of definitions have a place in the text already.
            Error::User(text) if text.starts_with("line ") => told(Error::User(text)),
            Error::User(text) => told(Error::User(format!("line {line}: {text}"))),
            other => other,
        })?;
        if *pipeline.stop.borrow() {
            return Ok(());
        }
    }
    pipeline.drain().await
}

/// True from the first SIGINT or SIGTERM on.
fn stop_signal() -> Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn(async move {
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
    });
    Ok(receiver)
}

struct Pipeline {
    engine: Engine,
    stem: String,
    until_end: bool,
    stop: watch::Receiver<bool>,
    /// Continuous queries that have not begun, by stream.
    queries: BTreeMap<String, Vec<Query>>,
    /// INSERTs so far, by sink.
    inserts: BTreeMap<String, usize>,
    /// Streams whose log has been stored to its end.
    stored: BTreeSet<String>,
}

impl Pipeline {
    async fn statement(&mut self, statement: Statement, results: &mut dyn Results) -> Result<()> {
        if let Some(insert) = self.engine.insert(&statement).await?
            && let Some(shape) = shape(&insert.plan)?
        {
            return self.continuous(insert, &shape).await;
        }
        if let Kind::Drop { name, .. } = &statement.kind
            && !self.until_end
            && self.queries.contains_key(name)
        {
            return Err(Error::User(format!("stream {name} is read by an INSERT above")));
        }
        let defines = match &statement.kind {
            Kind::CreateStream(_) | Kind::CreateSink(_) | Kind::Show(_) => true,
            Kind::Drop { .. } => false,
            Kind::Sql(statement) => is_setting(statement),
        };
        // Every other statement may look at what the INSERTs before it have written.
        if self.until_end && !defines {
            self.drain().await?;
            if *self.stop.borrow() {
                return Ok(());
            }
        }
        match self.engine.execute(statement).await? {
            Outcome::Done => Ok(()),
            Outcome::Rows(rows) => results.write(rows).await,
        }
    }

    async fn continuous(&mut self, insert: Insert, shape: &Shape) -> Result<()> {
        let Insert { sink, plan } = insert;
        if self.until_end
            && let Err(reason) = shape.stream.connector.bounded()
        {
            return Err(Error::User(format!("stream {}: {reason}", shape.stream.name)));
        }
        let plan = Continuous::plan(&self.engine.context, &plan, shape).await?;
        let pipeline = self.name();
        let inserts = self.inserts.entry(sink.name.clone()).or_default();
        let writer = Writer { pipeline, sink: sink.name.clone(), insert: *inserts };
        *inserts += 1;
        let open = sink.connector.open(writer, &plan.schema).await?;
        let query = Query::new(sink.name.clone(), plan, open).await?;
        self.queries.entry(shape.stream.name.clone()).or_default().push(query);
        Ok(())
    }

    /// What the pipeline's places are known by.
    fn name(&self) -> String {
        match self.engine.sql_options().pipeline {
            name if name.is_empty() => self.stem.clone(),
            name => name,
        }
    }

    /// Reads the streams for the queries so far and for stores: to the end, or until stopped.
    async fn drain(&mut self) -> Result<()> {
        let set = self.engine.sql_options();
        if set.epoch_rows == 0 {
            return Err(Error::User("thalweg.epoch_rows = 0: an epoch has rows".to_string()));
        }
        let wait = Duration::from_millis(set.epoch_ms);
        let tuning = Tuning { rows: set.epoch_rows, wait, until_end: self.until_end };
        let mut readings = Vec::new();
        for stream in self.engine.streams() {
            let queries = self.queries.remove(&stream.name).unwrap_or_default();
            let store = self.store(&stream).await?;
            if !queries.is_empty() || store.is_some() {
                readings.push(Reading { stream, queries, store, tuning });
            }
        }
        let readings = readings.into_iter().map(|reading| reading.run(self.stop.clone()));
        try_join_all(readings).await?;
        Ok(())
    }

    /// The store of a stream whose log has not been stored in this run.
    async fn store(&mut self, stream: &Arc<Stream>) -> Result<Option<Store>> {
        if stream.store.is_none() || !self.stored.insert(stream.name.clone()) {
            return Ok(None);
        }
        if self.until_end
            && let Err(reason) = stream.connector.bounded()
        {
            return Err(Error::User(format!("stream {}: {reason}", stream.name)));
        }
        Store::open(stream, &self.name()).await
    }
}
