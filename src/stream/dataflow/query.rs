//! A continuous query with its sink: epochs go in, results come out once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use tokio::sync::Mutex;

use super::{Graph, Saved};
use crate::error::Result;
use crate::stream::connector::sink::api::{Guarantee, Mode, Sink, SinkConnector, Writer};
use crate::stream::operator::Input;
use crate::stream::progress::{
    self, EventTimes, Fragment, Progress, SinkProgress, SourceProgress, StateOperator, Steps,
};
use crate::stream::state::size::{Part, Size};

/// A continuous query with its sink.
pub struct Query {
    /// Name of the sink, for reports.
    pub name: String,
    /// What its epochs and its state are known by.
    pub application: String,
    pub graph: Graph,
    sink: SharedSink,
    /// The sink keeps epochs: rows wait for the commit of theirs. Else they are given out at once.
    exactly_once: bool,
    /// Last epoch whose results are out.
    reached: u64,
    /// Last epoch that had results.
    written: u64,
    /// Last epoch whose rows its state holds.
    pub done: u64,
    /// What it keeps depends on when rows were processed.
    pub by_processing_time: bool,
    /// The epoch that is under way.
    advanced: u64,
    /// Results of the running epoch that wait for its commit.
    results: Vec<RecordBatch>,
    /// Rows given out in the epoch, and in this run.
    epoch_rows: u64,
    pub given: u64,
}

type SharedSink = Arc<Mutex<Box<dyn Sink>>>;

/// Results of an epoch on their way to a sink.
pub struct Delivery {
    sink: SharedSink,
    rows: Vec<RecordBatch>,
    epoch: u64,
}

impl Delivery {
    pub async fn run(self) -> Result<()> {
        self.sink.lock().await.append(&self.rows, Some(self.epoch)).await
    }
}

/// An epoch that is done, for a query's progress.
pub struct Done<'a> {
    pub epoch: u64,
    pub run: &'a str,
    pub time_us: i64,
    pub rows: u64,
    /// Since the epoch before.
    pub since: Duration,
    pub steps: Steps,
    pub event_time: EventTimes,
    pub sources: Vec<SourceProgress>,
}

impl Query {
    /// Opens the sink and asks it how far it is.
    ///
    /// Errors: a sink that cannot take rows that change, for a query that gives such, or its
    /// columns.
    pub async fn open(graph: Graph, sink: &dyn SinkConnector, writer: Writer) -> Result<Self> {
        let (name, application) = (writer.sink.clone(), writer.application());
        let writer = Writer { keys: graph.upsert_keys.clone(), ..writer };
        let mode = if writer.keys.is_some() { Mode::Update } else { Mode::Append };
        sink.check(&name, mode)?;
        sink.takes(&name, &graph.schema)?;
        let exactly_once = sink.guarantee() == Guarantee::ExactlyOnce;
        let mut sink = sink.open(writer, &graph.schema).await?;
        let reached = sink.reached().await?.unwrap_or(0);
        Ok(Self {
            name,
            application,
            graph,
            sink: Arc::new(Mutex::new(sink)),
            exactly_once,
            reached,
            written: reached,
            done: 0,
            by_processing_time: false,
            advanced: 0,
            results: Vec::new(),
            epoch_rows: 0,
            given: 0,
        })
    }

    /// Last epoch whose results are out.
    pub fn reached(&self) -> u64 {
        self.reached
    }

    /// Last epoch that had results.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn exactly_once(&self) -> bool {
        self.exactly_once
    }

    /// Results up to an epoch are out, as far as a sink that keeps none can know.
    pub fn assume_reached(&mut self, epoch: u64) {
        if !self.exactly_once {
            self.reached = self.reached.max(epoch);
        }
    }

    /// Results up to an epoch are out: the last of them gave none.
    pub fn settle(&mut self, epoch: u64) {
        self.reached = self.reached.max(epoch);
    }

    /// Takes rows of an epoch.
    pub async fn advance(&mut self, epoch: u64, input: &Input<'_>) -> Result<()> {
        if epoch != self.advanced {
            (self.advanced, self.epoch_rows) = (epoch, 0);
        }
        let rows = self.graph.advance(input).await?;
        if epoch <= self.reached {
            return Ok(()); // an earlier run has given these out
        }
        if self.exactly_once {
            self.results.extend(rows);
        } else if !rows.is_empty() {
            self.give(&rows, epoch).await?;
        }
        Ok(())
    }

    /// Ends an epoch: answers what is to be given out of it once it is recorded.
    pub fn commit(&mut self, epoch: u64) -> Option<Delivery> {
        self.done = epoch;
        self.reached = self.reached.max(epoch);
        let rows = std::mem::take(&mut self.results);
        if rows.is_empty() {
            return None;
        }
        self.gave(&rows, epoch);
        Some(Delivery { sink: self.sink.clone(), rows, epoch })
    }

    async fn give(&mut self, rows: &[RecordBatch], epoch: u64) -> Result<()> {
        self.sink.lock().await.append(rows, Some(epoch)).await?;
        self.gave(rows, epoch);
        Ok(())
    }

    fn gave(&mut self, rows: &[RecordBatch], epoch: u64) {
        self.written = epoch;
        let rows = rows.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        self.epoch_rows += rows;
        self.given += rows;
    }

    /// Version of the table behind its sink, where there is one.
    pub async fn version(&self) -> Option<i64> {
        self.sink.lock().await.version()
    }

    /// What it has done in an epoch, before the sink has its results.
    pub fn progress(&self, done: Done<'_>) -> Progress {
        let size: Size = self.graph.size();
        let decisions = self.graph.decisions().into_iter();
        let fragments = decisions.map(|decision| Fragment {
            node: decision.node,
            side: decision.side.to_string(),
            reason: decision.reason,
        });
        let time_us =
            if done.time_us == 0 { crate::stream::time::clock::now_us() } else { done.time_us };
        let work = done.steps.work();
        Progress {
            id: self.application.clone(),
            run_id: done.run.to_string(),
            name: self.name.clone(),
            batch_id: done.epoch,
            timestamp: progress::time(time_us).unwrap_or_default(),
            num_input_rows: done.rows,
            input_rows_per_second: progress::rate(done.rows, done.since),
            processed_rows_per_second: progress::rate(done.rows, work),
            duration_ms: done.steps.by_name(),
            event_time: done.event_time,
            state_operators: vec![StateOperator {
                num_rows_total: size.rows as u64,
                memory_used_bytes: size.bytes as u64,
                spilled_rows: size.spilled_rows as u64,
                spilled_bytes: size.spilled_bytes,
                num_rows_dropped_by_watermark: self.graph.late,
            }],
            sources: done.sources,
            sink: SinkProgress {
                description: self.name.clone(),
                guarantee: match self.exactly_once {
                    true => Guarantee::ExactlyOnce.name(),
                    false => Guarantee::AtLeastOnce.name(),
                },
                num_output_rows: self.epoch_rows,
                commit_version: None,
            },
            fragments: fragments.collect(),
        }
    }

    /// Its state.
    pub fn save(&mut self) -> Result<Vec<Saved>> {
        self.graph.save()
    }

    /// Takes the state that was saved after an epoch.
    pub fn restore(&mut self, epoch: u64, parts: BTreeMap<String, Part>) -> Result<()> {
        self.graph.restore(parts)?;
        self.done = epoch;
        Ok(())
    }
}
