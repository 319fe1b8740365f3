//! A pipeline's run: epochs of rows, each recorded, then stored, then given to every query. Where
//! an epoch ends decides when results come, never what they are.
//!
//! ```text
//!  rows, in batches ──► every query ──► provisional results (console)
//!  commit:  record on the disk ──► store ──► results (Delta, files) ──► now and then a snapshot
//!                                  beside the next epoch (effects.rs)
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use datafusion::prelude::SessionContext;
use tokio::sync::{Notify, watch};

use super::commit::{self, Effects, Pending};
use super::state_budget::Memory;
use super::totals::Totals;
use super::{follow, shutdown};
use crate::error::{Error, Result};
use crate::stream::checkpoint::journal::{EpochRecord, Journal, Span};
use crate::stream::checkpoint::snapshot::{self, Snapshot};
use crate::stream::checkpoint::{catalog, compact, recover};
use crate::stream::dataflow::query::Query;
use crate::stream::dataflow::{Input, Times};
use crate::stream::log::definition::{Begin, Stream};
use crate::stream::log::history::Store;
use crate::stream::log::partition::{LogRows, Start};
use crate::stream::log::reader::{self, Feed, Reading, Taken};
use crate::stream::now_us;
use crate::stream::operator::late::Apart;
use crate::stream::progress::{Observer, Steps};
use crate::stream::time::watermark::BEFORE_ALL;
use crate::task;

/// How streams are read: what the SQL options say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Rows that are given to the queries at once, at most.
    pub batch_rows: usize,
    /// Rows of an epoch, at most.
    pub rows: usize,
    /// An epoch is committed after this long.
    pub commit: Duration,
    /// While streams are followed, rows wait at most this long for more.
    pub latency: Duration,
    /// How often states are written to the disk.
    pub snapshot: Duration,
    /// Epochs that the journal keeps one by one.
    pub journal_epochs: usize,
    /// Bytes that the states of all queries take in memory; what is above waits on the disk.
    pub state_memory: usize,
    /// Reads to the end and closes all windows; else the streams are followed.
    pub until_end: bool,
}

/// A pipeline with its state folder, for one run.
pub struct Runner {
    pub(in crate::stream) context: SessionContext,
    pub(in crate::stream) pipeline: String,
    pub(in crate::stream) tuning: Tuning,
    pub(in crate::stream) streams: BTreeMap<String, Arc<Stream>>,
    pub(in crate::stream) stores: BTreeMap<String, Store>,
    pub(in crate::stream) queries: Vec<Query>,
    pub(in crate::stream) memory: Memory,
    /// What earlier runs have given to sinks is let stand.
    pub(in crate::stream) fresh: bool,
    /// Only looks at the streams: no store is written, and where all of them end, windows close.
    pub reader: bool,
    /// A signal has ended it within an epoch: what the queries hold is of no use.
    left_off: bool,
    /// Epochs up to this one are not merged.
    pub(in crate::stream) apart: u64,
    pub(in crate::stream) feeds: Vec<Feed>,
    ready: Arc<Notify>,
    /// The last recorded epoch, while its effects are on their way; it has the stores then.
    pending: Option<Pending>,
    saved: Instant,
    saved_epoch: u64,
    /// Who is told of epochs, and when it was last.
    pub observer: Option<Observer>,
    pub(in crate::stream) observed: Instant,
    /// Names this run.
    pub(in crate::stream) run: String,
    /// Of this run, but for what its queries have given.
    pub(in crate::stream) totals: Totals,
    /// Its lock goes last: until then the state folder is this run's.
    pub(in crate::stream) journal: Journal,
}

/// Rows that are processed together.
#[derive(Default)]
struct Batch {
    rows: BTreeMap<String, Vec<LogRows>>,
    /// Records, those that are malformed included: an epoch is theirs too.
    count: usize,
    late: u64,
}

/// What is read and not committed.
#[derive(Default)]
pub(in crate::stream) struct Epoch {
    /// Rows of streams that are stored.
    pub(in crate::stream) rows: BTreeMap<String, Vec<RecordBatch>>,
    /// Records, those that are malformed included.
    pub(in crate::stream) count: usize,
    pub(in crate::stream) late: u64,
    pub(in crate::stream) time_us: i64,
    begun: Option<Instant>,
    /// Rows of each stream.
    pub(in crate::stream) counts: BTreeMap<String, u64>,
    /// Versions of the tables beside the streams.
    tables: BTreeMap<String, i64>,
    pub(in crate::stream) steps: Steps,
}

impl Runner {
    /// Opens the state folder of a pipeline.
    ///
    /// Errors: another run has it open; it is another pipeline's.
    pub fn open(
        context: &SessionContext,
        folder: PathBuf,
        pipeline: String,
        tuning: Tuning,
    ) -> Result<Self> {
        let journal = Journal::open(&folder, &pipeline)?;
        let saved_epoch = journal.last();
        Ok(Self {
            context: context.clone(),
            journal,
            pipeline,
            tuning,
            streams: BTreeMap::new(),
            stores: BTreeMap::new(),
            queries: Vec::new(),
            memory: Memory::open(&folder)?,
            fresh: false,
            reader: false,
            left_off: false,
            apart: 0,
            feeds: Vec::new(),
            ready: Arc::new(Notify::new()),
            pending: None,
            saved: Instant::now(),
            saved_epoch,
            observer: None,
            observed: Instant::now(),
            run: format!("{:x}-{:x}", now_us(), std::process::id()),
            totals: Totals::default(),
        })
    }

    /// Forgets epochs, states and definitions; the stored history and results stay.
    pub fn start_fresh(&mut self) -> Result<()> {
        let last = self.journal.last();
        snapshot::discard(self.journal.folder())?;
        catalog::discard(self.journal.folder())?;
        self.journal.start_fresh(&self.pipeline, last)?;
        self.fresh = true;
        Ok(())
    }

    /// The least watermark over the partitions of streams, as it is recorded.
    pub fn watermark(&self, streams: &[Arc<Stream>]) -> i64 {
        crate::stream::checkpoint::replay::times(&self.journal, self.journal.last(), streams)
            .event_us
    }

    /// Adds streams and queries, brings them to where the others are, then reads: to the end, or
    /// until told to stop. What was begun is committed.
    pub async fn run(
        &mut self,
        streams: Vec<Arc<Stream>>,
        queries: Vec<Query>,
        tuning: Tuning,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<()> {
        self.tuning = tuning;
        match self.reader {
            true => follow::join(self, streams, queries).await?,
            false => recover::join(self, streams, queries).await?,
        }
        self.open_feeds().await?;
        // Where a log begins is known before anything of it is read.
        self.commit(Epoch::default()).await?;
        let ended = self.read_and_close(stop).await;
        // What is recorded is brought to its end even where the next failed.
        let settled = self.settle().await;
        if !ended? {
            let open = self.queries.iter().filter(|query| query.graph.open_until().is_some());
            let open: Vec<&str> = open.map(|query| query.name.as_str()).collect();
            if !open.is_empty() {
                let open = open.join(", ");
                tracing::warn!("every stream has ended; --until-end closes the windows of {open}");
            }
        }
        settled?;
        if !self.reader && !self.left_off {
            self.save().await?;
            self.tell_streams();
        }
        self.report();
        reader::close(std::mem::take(&mut self.feeds)).await;
        Ok(())
    }

    /// Reads, and closes all windows where that is wanted; false where windows stay open at the end
    /// of the streams.
    async fn read_and_close(&mut self, stop: &mut watch::Receiver<bool>) -> Result<bool> {
        let ended = self.read(stop).await?;
        self.tuning.until_end |= ended && self.reader;
        if ended && self.tuning.until_end {
            self.close_all().await?;
        }
        Ok(!ended || self.tuning.until_end)
    }

    async fn open_feeds(&mut self) -> Result<()> {
        let follow = !self.tuning.until_end;
        for stream in self.streams.values() {
            let state = Some(self.journal.folder().join(&stream.name));
            let reading = Reading {
                follow,
                limit: self.tuning.batch_rows.min(self.tuning.rows),
                state,
                ready: self.ready.clone(),
            };
            for partition in 0..stream.connector.partitions() {
                let mut start = self.journal.place(&stream.name, partition);
                let known = self.journal.knows(&stream.name, partition);
                if !known && stream.begin != Begin::Earliest {
                    start = recover::begin(stream, partition, Start::default()).await?;
                }
                let segments = start.place.segments.clone();
                let mut feed = Feed::open(stream, partition, start, &reading)?;
                if !known {
                    feed.adopt(segments);
                }
                self.feeds.push(feed);
            }
        }
        Ok(())
    }

    /// Reads and commits epochs; answers whether the streams have ended.
    async fn read(&mut self, stop: &mut watch::Receiver<bool>) -> Result<bool> {
        let mut epoch = Epoch::default();
        loop {
            let left = self.tuning.rows.saturating_sub(epoch.count);
            let asked = Instant::now();
            let batch = self.gather(left, epoch.begun, stop).await?;
            epoch.steps.read += asked.elapsed();
            if batch.count > 0 && !self.process_until_told(&mut epoch, batch, stop).await? {
                self.left_off = true;
                return Ok(false);
            }
            let ended = self.feeds.iter().all(|feed| feed.ended);
            let over = ended || *stop.borrow();
            let waited = epoch.begun.is_some_and(|begun| begun.elapsed() >= self.tuning.commit);
            if over || waited || epoch.count >= self.tuning.rows {
                self.commit(std::mem::take(&mut epoch)).await?;
            }
            if over {
                return Ok(ended && !*stop.borrow());
            }
            if self.pending.as_ref().is_some_and(Pending::is_over) {
                self.settle().await?;
            }
            if epoch.begun.is_none() {
                self.idle().await?;
            }
        }
    }

    /// Takes what has been read, of the partition that is farthest behind first; waits for more
    /// while there is time.
    async fn gather(
        &mut self,
        left: usize,
        begun: Option<Instant>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Batch> {
        let limit = left.min(self.tuning.batch_rows).max(1);
        let (mut batch, mut first) = (Batch::default(), None::<Instant>);
        loop {
            while batch.count < limit {
                let Some((nth, Taken { rows, records })) = self.take()? else { break };
                let stream = &self.feeds[nth].stream;
                batch.count += records;
                batch.late += rows.late(stream);
                if !rows.is_empty() {
                    batch.rows.entry(stream.name.clone()).or_default().push(rows);
                }
                first.get_or_insert_with(Instant::now);
            }
            if batch.count >= limit || *stop.borrow() || self.feeds.iter().all(|feed| feed.ended) {
                return Ok(batch);
            }
            let wait = match self.tuning.until_end {
                true => self.tuning.commit,
                false => self.tuning.latency,
            };
            let waited = first.map(|first| wait.saturating_sub(first.elapsed()));
            let commit = begun.map(|begun| self.tuning.commit.saturating_sub(begun.elapsed()));
            let wait = waited.into_iter().chain(commit).min().unwrap_or(LOOK);
            if wait.is_zero() {
                return Ok(batch);
            }
            tokio::select! {
                () = self.ready.notified() => {}
                () = tokio::time::sleep(wait) => {
                    if first.is_none() {
                        return Ok(batch); // nothing came: look at idle partitions
                    }
                }
                () = shutdown::told(stop) => {}
            }
        }
    }

    /// Rows of the partition that is farthest behind among those that have some.
    fn take(&mut self) -> Result<Option<(usize, Taken)>> {
        let mut order: Vec<usize> = (0..self.feeds.len()).collect();
        order.sort_by_key(|nth| self.feeds[*nth].watermark());
        for nth in order {
            if let Some(taken) = self.feeds[nth].take()? {
                return Ok(Some((nth, taken)));
            }
        }
        Ok(None)
    }

    /// Gives a batch to every query; false where that does not end soon after a signal: nothing of
    /// the epoch is recorded then.
    async fn process_until_told(
        &mut self,
        epoch: &mut Epoch,
        batch: Batch,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<bool> {
        tokio::select! {
            done = self.process(epoch, batch) => return done.map(|()| true),
            () = shutdown::long_ago(stop) => {}
        }
        tracing::warn!(
            "stopped while rows were being processed: they are not recorded, and the next run \
             reads them again"
        );
        Ok(false)
    }

    /// Gives a batch to every query.
    async fn process(&mut self, epoch: &mut Epoch, batch: Batch) -> Result<()> {
        if epoch.begun.is_none() {
            epoch.begun = Some(Instant::now());
            epoch.time_us = self.time_us();
            epoch.tables = self.read_tables().await?;
        }
        let begun = Instant::now();
        epoch.count += batch.count;
        epoch.late += batch.late;
        for (name, rows) in &batch.rows {
            let count = rows.iter().map(|rows| rows.len() as u64).sum::<u64>();
            *epoch.counts.entry(name.clone()).or_default() += count;
        }
        let mut all: BTreeMap<String, Vec<RecordBatch>> = BTreeMap::new();
        for (name, rows) in batch.rows {
            let stream = &self.streams[&name];
            let rows = rows.iter().map(|rows| rows.batch(stream, epoch.time_us));
            all.insert(name, rows.collect::<Result<_>>()?);
        }
        let number = self.journal.last() + 1;
        let apart = match batch.late > 0 {
            true => Apart::of(&all, &self.streams)?,
            false => None,
        };
        for query in &mut self.queries {
            let times = times(&self.feeds, query, epoch.time_us);
            let input = Input { rows: &all, times, apart: apart.as_ref() };
            query.advance(number, &input).await?;
        }
        self.bound(batch.count, epoch.time_us)?;
        for (name, rows) in all {
            if self.streams[&name].store.is_some() && !self.reader {
                epoch.rows.entry(name).or_default().extend(rows);
            }
        }
        epoch.steps.process += begun.elapsed();
        Ok(())
    }

    /// Keeps what the queries hold in memory within its bound.
    fn bound(&mut self, rows: usize, time_us: i64) -> Result<()> {
        let feeds = &self.feeds;
        let limit = self.tuning.state_memory;
        let times = |query: &Query| times(feeds, query, time_us);
        self.memory.bound(limit, rows, &mut self.queries, times)
    }

    /// Reads the tables beside the streams as they are now; answers their versions.
    async fn read_tables(&mut self) -> Result<BTreeMap<String, i64>> {
        let mut versions = BTreeMap::new();
        for query in &self.queries {
            versions.extend(query.graph.newest().await?);
        }
        for query in &mut self.queries {
            query.graph.read_tables(&versions).await?;
        }
        Ok(versions)
    }

    /// When an epoch is processed that begins now: later than the one before.
    fn time_us(&self) -> i64 {
        now_us().max(self.journal.last_time_us().saturating_add(1))
    }

    /// Records an epoch, stores its rows and gives out its results.
    async fn commit(&mut self, mut epoch: Epoch) -> Result<()> {
        let mut streams: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for feed in &mut self.feeds {
            if let Some(span) = feed.cut() {
                streams.entry(feed.stream.name.clone()).or_default().push(span);
            }
        }
        if streams.is_empty() {
            return Ok(());
        }
        self.settle().await?;
        let number = self.journal.last() + 1;
        let time_us = match epoch.begun {
            Some(_) => epoch.time_us,
            None => self.time_us(),
        };
        let begun = Instant::now();
        let tables = epoch.tables.clone();
        let record =
            EpochRecord { epoch: number, time_us, streams, tables, ..EpochRecord::default() };
        self.journal.append(record)?;
        epoch.steps.record = begun.elapsed();
        crate::fault::point("recorded");
        self.effects(number, epoch)
    }

    /// Begins to bring an epoch that is recorded to stores and sinks.
    fn effects(&mut self, number: u64, epoch: Epoch) -> Result<()> {
        let deliveries = self.queries.iter_mut().filter_map(|query| query.commit(number)).collect();
        let progress = self.progress(number, &epoch);
        self.totals.add(&epoch);
        let snapshot = match self.saved.elapsed() >= self.tuning.snapshot {
            true => self.snapshot()?,
            false => None,
        };
        let spans = self.journal.record(number).map(|record| record.streams.clone());
        let effects = Effects {
            epoch: number,
            stores: std::mem::take(&mut self.stores),
            rows: epoch.rows,
            spans: spans.unwrap_or_default(),
            deliveries,
            snapshot,
        };
        self.pending = Some(effects.start(progress, epoch.steps));
        Ok(())
    }

    /// Waits until the last recorded epoch is in stores and sinks, and tells of it.
    async fn settle(&mut self) -> Result<()> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let (done, mut progress) = pending.settle().await?;
        self.stores = done.stores;
        if done.saved {
            task::in_place(|| compact::trim(self))?;
        }
        let Some(Observer(observer)) = &self.observer else { return Ok(()) };
        for (progress, query) in progress.iter_mut().zip(&self.queries) {
            progress.sink.commit_version = query.version().await;
            observer(progress);
        }
        Ok(())
    }

    /// What the queries keep, where that is not in the state folder.
    fn snapshot(&mut self) -> Result<Option<(Snapshot, PathBuf)>> {
        let last = self.journal.last();
        let behind =
            self.saved_epoch != last || self.queries.iter().any(|query| query.done != last);
        (self.saved, self.saved_epoch) = (Instant::now(), last);
        if !behind {
            return Ok(None);
        }
        let snapshot = Snapshot::of(last, &mut self.queries)?;
        Ok(Some((snapshot, self.journal.folder().to_path_buf())))
    }

    async fn save(&mut self) -> Result<()> {
        match self.snapshot()? {
            Some((snapshot, folder)) => {
                commit::write(snapshot, folder).await?;
                task::in_place(|| compact::trim(self))
            }
            None => Ok(()),
        }
    }

    /// Partitions that have been idle for too long let their watermark go: to where the others
    /// are, or, with all of them idle, to the end of what is open.
    async fn idle(&mut self) -> Result<()> {
        if self.tuning.until_end {
            return Ok(());
        }
        let due = self.queries.iter().filter_map(|query| query.graph.due_us()).min();
        if due.is_some_and(|due| due <= self.time_us()) {
            return self.forced().await;
        }
        let is_idle = |feed: &Feed| {
            feed.stream.idle_timeout.is_some_and(|after| feed.active.elapsed() >= after)
        };
        let busy = self.feeds.iter().filter(|feed| !is_idle(feed)).map(Feed::watermark).max();
        let all_idle = busy.is_none();
        let target = busy.or_else(|| self.open_until(None));
        let Some(target) = target else { return Ok(()) };
        let mut forced = false;
        for feed in self.feeds.iter_mut().filter(|feed| is_idle(feed)) {
            if feed.watermark() < target {
                feed.force(target);
                forced = true;
            }
        }
        if !forced {
            return Ok(());
        }
        tracing::debug!(all_idle, "idle partitions let the watermark go to {target}");
        self.forced().await
    }

    /// When the last of what waits in the queries (over a stream) is final.
    fn open_until(&self, stream: Option<&str>) -> Option<i64> {
        let reads = |query: &&Query| match stream {
            Some(name) => query.graph.streams.iter().any(|stream| stream.name == name),
            None => true,
        };
        self.queries.iter().filter(reads).filter_map(|query| query.graph.open_until()).max()
    }

    /// Records the watermarks that were let go, then gives out what is final by them.
    async fn forced(&mut self) -> Result<()> {
        let open = self.queries.iter().filter_map(|query| query.graph.open_processing_until());
        let over = open.max().filter(|_| self.tuning.until_end);
        let mut streams: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for feed in &mut self.feeds {
            if let Some(span) = feed.cut() {
                streams.entry(feed.stream.name.clone()).or_default().push(span);
            }
        }
        self.settle().await?;
        let number = self.journal.last() + 1;
        let time_us = self.time_us().max(over.unwrap_or(i64::MIN));
        let tables = self.read_tables().await?;
        let record =
            EpochRecord { epoch: number, time_us, streams, tables, ..EpochRecord::default() };
        self.journal.append(record)?;
        crate::fault::point("recorded");
        let begun = Instant::now();
        let rows = BTreeMap::new();
        for query in &mut self.queries {
            let times = times(&self.feeds, query, time_us);
            query.advance(number, &Input { rows: &rows, times, apart: None }).await?;
        }
        self.bound(0, time_us)?;
        let mut epoch = Epoch { time_us, ..Epoch::default() };
        epoch.steps.process = begun.elapsed();
        self.effects(number, epoch)
    }

    /// Closes all windows: the watermarks go to the end of the last.
    async fn close_all(&mut self) -> Result<()> {
        // Windows over windows may open others while they close.
        for _ in 0..MOST_CLOSINGS {
            let mut any = self.queries.iter().any(|q| q.graph.open_processing_until().is_some());
            let open: Vec<Option<i64>> =
                self.feeds.iter().map(|feed| self.open_until(Some(&feed.stream.name))).collect();
            for (feed, open) in self.feeds.iter_mut().zip(open) {
                if let Some(open) = open.filter(|open| feed.watermark() < *open) {
                    feed.force(open);
                    any = true;
                }
            }
            if !any {
                return Ok(());
            }
            self.forced().await?;
        }
        Err(Error::Bug("windows do not close at the end".to_string()))
    }

    /// Tells batch queries over the streams what is recorded of their logs.
    fn tell_streams(&self) {
        for stream in self.streams.values() {
            let partitions = 0..stream.connector.partitions();
            let starts = partitions.map(|partition| self.journal.origin(&stream.name, partition));
            stream.record(starts.collect());
        }
    }
}

/// How often idle partitions are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// More closings one after another are a loop.
const MOST_CLOSINGS: usize = 1000;

pub(in crate::stream) fn reads(query: &Query, feed: &Feed) -> bool {
    query.graph.streams.iter().any(|stream| stream.name == feed.stream.name)
}

/// The clocks behind what a query's partitions have given.
fn times(feeds: &[Feed], query: &Query, processing_us: i64) -> Times {
    let of = |feed: &&Feed| feed.stream.watermark.is_some() && reads(query, feed);
    let event_us = feeds.iter().filter(of).map(Feed::watermark).min().unwrap_or(BEFORE_ALL);
    Times { event_us, processing_us }
}

/// The number in the only row and column of a count.
pub fn counted(batches: &[RecordBatch]) -> u64 {
    let counts = batches.iter().filter_map(|batch| {
        let column = batch.column(0).as_primitive_opt::<Int64Type>()?;
        (!column.is_empty()).then(|| column.value(0).max(0).unsigned_abs())
    });
    counts.sum()
}
