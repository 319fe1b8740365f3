//! One reading of a stream: epochs of rows, each stored, then given to every query over the
//! stream, whose results go to their sinks. Where an epoch ends decides when results come, never
//! what they are.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use tokio::sync::watch;
use tokio::time::Instant;

use super::continuous::Continuous;
use super::definition::Stream;
use super::log::{Entry, Log, LogRows};
use super::sink::Sink;
use super::state::{Emitted, Windows};
use super::store::Store;
use super::watermark::BEFORE_ALL;
use crate::error::{Error, Result};

/// Rows that are asked of a source at once.
const READ_ROWS: usize = 8192;

/// How a stream is read. An epoch of 64 Ki rows keeps a device busy and a result within a second; a
/// commit a second is what a lake bears for long: the defaults of the SQL options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Rows of an epoch, at most.
    pub rows: usize,
    /// While it is followed, an epoch that is not full waits this long for more.
    pub wait: Duration,
    /// Reads to the end and closes all windows; else the stream is followed.
    pub until_end: bool,
}

/// A continuous query with its sink.
pub struct Query {
    /// Name of the sink, for reports.
    pub name: String,
    plan: Continuous,
    sink: Box<dyn Sink>,
    windows: Windows,
    /// The place that earlier runs reached.
    reached: Option<i64>,
    /// Results that earlier runs have written, not written again.
    skipped: u64,
    late: u64,
}

impl Query {
    /// Asks the sink how far it is.
    pub async fn new(name: String, plan: Continuous, mut sink: Box<dyn Sink>) -> Result<Self> {
        let reached = sink.reached().await?;
        Ok(Self { name, plan, sink, windows: Windows::default(), reached, skipped: 0, late: 0 })
    }

    /// Takes an epoch; the stream's watermark stands after it.
    async fn epoch(&mut self, rows: &[LogRows], watermark_us: i64) -> Result<()> {
        let Some(key) = self.plan.window().cloned() else { return self.pass(rows).await };
        let batches: Vec<RecordBatch> = rows.iter().map(|rows| rows.batch.clone()).collect();
        self.late += self.plan.late(&batches).await?;
        let states = self.plan.epoch(batches).await?;
        self.skipped += self.windows.add(&self.plan, &key, states, self.reached).await?;
        self.close(watermark_us).await
    }

    /// A query without windows: its rows go out as they come.
    async fn pass(&mut self, rows: &[LogRows]) -> Result<()> {
        let mut batches = Vec::with_capacity(rows.len());
        for rows in rows {
            let new = self.reached.unwrap_or(0);
            let new = BooleanArray::from_unary(&rows.offsets, |offset| offset >= new);
            self.skipped += (new.len() - new.true_count()) as u64;
            batches.push(filter_record_batch(&rows.batch, &new)?);
        }
        let last = rows.iter().rev().find_map(|rows| rows.offsets.values().last());
        let out = self.plan.epoch(batches).await?;
        match last {
            Some(last) if !out.is_empty() => self.sink.append(&out, Some(last + 1)).await,
            _ => Ok(()),
        }
    }

    /// Emits the windows that end at or before the watermark.
    async fn close(&mut self, watermark_us: i64) -> Result<()> {
        let Some(key) = self.plan.window().cloned() else { return Ok(()) };
        let closed = self.windows.close(&self.plan, &key, watermark_us).await?;
        let Some(Emitted { batches, end_us }) = closed else { return Ok(()) };
        if batches.is_empty() {
            return Ok(()); // HAVING kept none
        }
        self.sink.append(&batches, Some(end_us)).await
    }

    fn report(&self, stream: &str) {
        let (name, late, skipped) = (&self.name, self.late, self.skipped);
        if skipped > 0 {
            let what = "an earlier run of this pipeline has written: not written again";
            tracing::warn!("sink {name}: {skipped} rows or groups are what {what}");
        }
        if late > 0 {
            let what = "rows came after their window was over and are not in the result";
            tracing::warn!("stream {stream}, sink {name}: {late} {what}");
        }
    }
}

/// One reading of a stream's log for all its queries and its store.
pub struct Reading {
    pub stream: Arc<Stream>,
    pub queries: Vec<Query>,
    pub store: Option<Store>,
    pub tuning: Tuning,
}

/// Rows of the log that are processed together.
struct Epoch {
    rows: Vec<LogRows>,
    count: usize,
    watermark_us: i64,
    ended: bool,
}

impl Reading {
    /// Reads until the end, or until told to stop; what was begun is finished and committed.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<()> {
        let mut log = Log::open(&self.stream, !self.tuning.until_end)?;
        let mut pace = self.stream.pace.map(|pace| Pace::new(pace, &self.stream));
        let ended = loop {
            let begun = Instant::now();
            let limit = pace.as_ref().map_or(self.tuning.rows, |p| p.rows.min(self.tuning.rows));
            let epoch;
            (log, epoch) = read(log, limit).await?;
            if let Some(pace) = &mut pace
                && !pace.wait(&epoch, &mut stop).await
            {
                break false; // these rows are not due, and nobody waits for them any more
            }
            self.epoch(&epoch).await?;
            if epoch.ended {
                break true;
            }
            let rest = match epoch.count < limit && pace.is_none() {
                true => self.tuning.wait.saturating_sub(begun.elapsed()),
                false => Duration::ZERO,
            };
            if stopped(&mut stop, rest).await {
                break false;
            }
        };
        if ended && self.tuning.until_end {
            for query in &mut self.queries {
                query.close(i64::MAX).await?;
            }
        } else if ended {
            let name = &self.stream.name;
            tracing::warn!("stream {name} has ended; --until-end closes the windows still open");
        }
        log.report();
        if let Some(store) = &self.store {
            store.report(&self.stream.name);
        }
        self.queries.iter().for_each(|query| query.report(&self.stream.name));
        Ok(())
    }

    async fn epoch(&mut self, epoch: &Epoch) -> Result<()> {
        if epoch.count == 0 {
            return Ok(());
        }
        if let Some(store) = &mut self.store {
            store.append(&epoch.rows).await?;
        }
        for query in &mut self.queries {
            query.epoch(&epoch.rows, epoch.watermark_us).await?;
        }
        Ok(())
    }
}

/// Reads an epoch off the runtime's threads: sources block.
async fn read(mut log: Log, limit: usize) -> Result<(Log, Epoch)> {
    let reading = tokio::task::spawn_blocking(move || {
        let (mut rows, mut count) = (Vec::new(), 0);
        let mut ended = false;
        while count < limit {
            match log.next(READ_ROWS.min(limit - count))? {
                Entry::Rows(more) => {
                    count += more.batch.num_rows();
                    rows.push(more);
                }
                Entry::Idle => break,
                Entry::End => {
                    ended = true;
                    break;
                }
            }
        }
        let watermark = log.stream.watermark.as_ref().map(|rule| log.clock.watermark(rule));
        let watermark_us = watermark.unwrap_or(BEFORE_ALL);
        Ok((log, Epoch { rows, count, watermark_us, ended }))
    });
    reading.await.map_err(|error| Error::Bug(format!("reading a stream: {error}")))?
}

/// Waits, or until told to stop; answers whether it was.
async fn stopped(stop: &mut watch::Receiver<bool>, wait: Duration) -> bool {
    if !*stop.borrow() && !wait.is_zero() {
        // An error says that nobody can tell us to stop any more: the wait goes on.
        let told = async {
            if stop.wait_for(|stop| *stop).await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = told => {}
        }
    }
    *stop.borrow()
}

/// Holds rows back until they are due: so many seconds of event time in each second.
struct Pace {
    pace: f64,
    /// Index of the event time.
    column: usize,
    /// When the first row was, here and in event time (microseconds).
    begun: Option<(Instant, i64)>,
    /// Rows to read at once: fewer where one has to wait for them.
    rows: usize,
}

impl Pace {
    fn new(pace: f64, stream: &Stream) -> Self {
        let column = stream.watermark.as_ref().map_or(0, |rule| rule.column);
        Self { pace, column, begun: None, rows: 1 }
    }

    /// Waits for the last of these rows; answers false where it was told to stop.
    async fn wait(&mut self, epoch: &Epoch, stop: &mut watch::Receiver<bool>) -> bool {
        let latest = epoch.rows.iter().filter_map(|rows| {
            let times = rows.batch.column(self.column);
            let times = times.as_primitive_opt::<TimestampMicrosecondType>()?;
            arrow::compute::max(times)
        });
        let Some(latest) = latest.max() else {
            // Nothing came: look again soon, but do not spin.
            return epoch.ended || !stopped(stop, Duration::from_millis(50)).await;
        };
        let (begun, first) = *self.begun.get_or_insert((Instant::now(), latest));
        let since = latest.saturating_sub(first).max(0) as f64 / 1e6 / self.pace;
        let due = Duration::try_from_secs_f64(since).unwrap_or(Duration::MAX);
        let wait = due.saturating_sub(begun.elapsed());
        // Double while behind, halve while ahead.
        self.rows = if wait.is_zero() { self.rows.saturating_mul(2) } else { self.rows / 2 }.max(1);
        !stopped(stop, wait).await
    }
}

/// The number in the only row and column of a count.
pub fn counted(batches: &[RecordBatch]) -> u64 {
    let counts = batches.iter().filter_map(|batch| {
        let column = batch.column(0).as_primitive_opt::<Int64Type>()?;
        (!column.is_empty()).then(|| column.value(0).max(0).unsigned_abs())
    });
    counts.sum()
}
