//! A pipeline's run: epochs of rows, each recorded, then stored, then given to every query. Where
//! an epoch ends decides when results come, never what they are.
//!
//! ```text
//!  rows, in batches ──► every query ──► provisional results (console)
//!  commit:  record on the disk ──► store ──► results (Delta, files) ──► now and then a snapshot
//!                                  beside the next epoch (effects.rs)
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use tokio::sync::watch;

use super::effects::Pending;
use super::epoch::{Batch, Epoch};
use super::state::{Runner, Tuning, times};
use super::{follow, shutdown};
use crate::error::{Error, Result};
use crate::stream::checkpoint::recover;
use crate::stream::dataflow::query::Query;
use crate::stream::log::definition::{Begin, Stream};
use crate::stream::log::position::Start;
use crate::stream::log::reader::{self, Feed, Reading, Taken};
use crate::stream::operator::Input;
use crate::stream::operator::late::Apart;
use crate::stream::time::clock::now_us;

impl Runner {
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
    pub(in crate::stream) fn bound(&mut self, rows: usize, time_us: i64) -> Result<()> {
        let feeds = &self.feeds;
        let limit = self.tuning.state_memory;
        let times = |query: &Query| times(feeds, query, time_us);
        self.memory.bound(limit, rows, &mut self.queries, times)
    }

    /// Reads the tables beside the streams as they are now; answers their versions.
    pub(in crate::stream) async fn read_tables(&mut self) -> Result<BTreeMap<String, i64>> {
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
    pub(in crate::stream) fn time_us(&self) -> i64 {
        now_us().max(self.journal.last_time_us().saturating_add(1))
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
}

/// How often idle partitions are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// More closings one after another are a loop.
const MOST_CLOSINGS: usize = 1000;
