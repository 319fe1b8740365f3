//! How epochs are committed: recorded first, then brought about, one behind the other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use super::effects::{Effects, write};
use super::epoch::Epoch;
use super::state::{Runner, times};
use crate::error::Result;
use crate::stream::checkpoint::compact;
use crate::stream::checkpoint::journal::Span;
use crate::stream::checkpoint::snapshot::Snapshot;
use crate::stream::operator::Input;
use crate::stream::progress::Observer;
use crate::task;

impl Runner {
    /// Records an epoch, stores its rows and gives out its results.
    pub(in crate::stream) async fn commit(&mut self, mut epoch: Epoch) -> Result<()> {
        let streams = self.cut();
        if streams.is_empty() {
            return Ok(());
        }
        if epoch.begun.is_none() {
            epoch.time_us = self.time_us();
        }
        let number = self.record(&mut epoch, streams).await?;
        self.effects(number, epoch)
    }

    /// Cuts the logs behind what was read: the spans that are the next epoch's, by stream.
    fn cut(&mut self) -> BTreeMap<String, Vec<Span>> {
        let mut streams: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for feed in &mut self.feeds {
            if let Some(span) = feed.cut() {
                streams.entry(feed.stream.name.clone()).or_default().push(span);
            }
        }
        streams
    }

    /// Records the next epoch, once the one before is in stores and sinks; answers its number.
    /// From here on it will be brought about, whatever happens.
    async fn record(
        &mut self,
        epoch: &mut Epoch,
        streams: BTreeMap<String, Vec<Span>>,
    ) -> Result<u64> {
        self.settle().await?;
        let begun = Instant::now();
        let number = self.journal.append_next(epoch.time_us, streams, epoch.tables.clone())?;
        epoch.steps.record = begun.elapsed();
        crate::fault::point("recorded");
        Ok(number)
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
        let streams = self.cut();
        self.settle().await?;
        let time_us = self.time_us().max(over.unwrap_or(i64::MIN));
        let tables = self.read_tables().await?;
        let mut epoch = Epoch { time_us, tables, ..Epoch::default() };
        let number = self.record(&mut epoch, streams).await?;
        let begun = Instant::now();
        let rows = BTreeMap::new();
        for query in &mut self.queries {
            let times = times(&self.feeds, query, time_us);
            query.advance(number, &Input { rows: &rows, times, apart: None }).await?;
        }
        self.bound(0, time_us)?;
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
