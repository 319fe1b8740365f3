//! How epochs are committed: recorded first, then brought about, one behind the other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use super::effects::{Effects, write};
use super::epoch::Epoch;
use super::state::{Runner, times};
use crate::error::Result;
use crate::stream::checkpoint::compact;
use crate::stream::checkpoint::journal::{EpochRecord, Span};
use crate::stream::checkpoint::snapshot::Snapshot;
use crate::stream::operator::Input;
use crate::stream::progress::Observer;
use crate::task;

impl Runner {
    /// Records an epoch, stores its rows and gives out its results.
    pub(in crate::stream) async fn commit(&mut self, mut epoch: Epoch) -> Result<()> {
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
    pub(in crate::stream) fn effects(&mut self, number: u64, epoch: Epoch) -> Result<()> {
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
    pub(in crate::stream) async fn settle(&mut self) -> Result<()> {
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
    pub(in crate::stream) fn snapshot(&mut self) -> Result<Option<(Snapshot, PathBuf)>> {
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

    pub(in crate::stream) async fn save(&mut self) -> Result<()> {
        match self.snapshot()? {
            Some((snapshot, folder)) => {
                write(snapshot, folder).await?;
                task::in_place(|| compact::trim(self))
            }
            None => Ok(()),
        }
    }

    /// Records the watermarks that were let go, then gives out what is final by them.
    pub(in crate::stream) async fn forced(&mut self) -> Result<()> {
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

    /// Tells batch queries over the streams what is recorded of their logs.
    pub(in crate::stream) fn tell_streams(&self) {
        for stream in self.streams.values() {
            let partitions = 0..stream.connector.partitions();
            let starts = partitions.map(|partition| self.journal.origin(&stream.name, partition));
            stream.record(starts.collect());
        }
    }
}
