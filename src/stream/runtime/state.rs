//! What a run knows: its streams, queries and journal. Reading, committing, recovery and reports
//! share it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::prelude::SessionContext;
use tokio::sync::Notify;

use super::effects::Pending;
use super::state_budget::Memory;
use super::totals::Totals;
use crate::error::Result;
use crate::stream::checkpoint::journal::Journal;
use crate::stream::checkpoint::{catalog, replay, snapshot};
use crate::stream::dataflow::query::Query;
use crate::stream::log::definition::Stream;
use crate::stream::log::history::Store;
use crate::stream::log::reader::Feed;
use crate::stream::progress::Observer;
use crate::stream::time::clock::{Times, now_us};
use crate::stream::time::watermark::BEFORE_ALL;

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
    pub(super) left_off: bool,
    /// Epochs up to this one are not merged.
    pub(in crate::stream) apart: u64,
    pub(in crate::stream) feeds: Vec<Feed>,
    pub(super) ready: Arc<Notify>,
    /// The last recorded epoch, while its effects are on their way; it has the stores then.
    pub(super) pending: Option<Pending>,
    pub(super) saved: Instant,
    pub(super) saved_epoch: u64,
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
        replay::times(&self.journal, self.journal.last(), streams).event_us
    }
}

/// Whether a query reads the stream of a feed.
pub(super) fn reads(query: &Query, feed: &Feed) -> bool {
    query.graph.streams.iter().any(|stream| stream.name == feed.stream.name)
}

/// The clocks behind what a query's partitions have given.
pub(super) fn times(feeds: &[Feed], query: &Query, processing_us: i64) -> Times {
    let of = |feed: &&Feed| feed.stream.watermark.is_some() && reads(query, feed);
    let event_us = feeds.iter().filter(of).map(Feed::watermark).min().unwrap_or(BEFORE_ALL);
    Times { event_us, processing_us }
}
