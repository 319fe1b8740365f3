//! What an epoch brings about once it is recorded: its rows in stores, its results in sinks, now
//! and then a snapshot. All that goes on beside the next epoch, which is recorded only behind it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;

use crate::error::Result;
use crate::stream::checkpoint::journal::Span;
use crate::stream::checkpoint::snapshot::Snapshot;
use crate::stream::dataflow::query::Delivery;
use crate::stream::log::history::Store;
use crate::stream::progress::{Progress, Steps, rate};
use crate::task::{self, Task};

/// What is to be done for an epoch.
pub struct Effects {
    pub epoch: u64,
    pub stores: BTreeMap<String, Store>,
    /// Rows by stream.
    pub rows: BTreeMap<String, Vec<RecordBatch>>,
    /// Of the epoch record.
    pub spans: BTreeMap<String, Vec<Span>>,
    pub deliveries: Vec<Delivery>,
    /// With the state folder.
    pub snapshot: Option<(Snapshot, PathBuf)>,
}

/// What was done.
pub struct Done {
    pub stores: BTreeMap<String, Store>,
    /// Whether a snapshot was written.
    pub saved: bool,
    pub store: Duration,
    pub sink: Duration,
}

/// An epoch whose effects are on their way.
pub struct Pending {
    pub task: Task<Done>,
    /// What is told of it when they are there, by query, and how long its other steps took.
    pub progress: Vec<Progress>,
    pub steps: Steps,
}

impl Effects {
    /// Begins; the progress of the epoch waits for its end.
    pub fn start(self, progress: Vec<Progress>, steps: Steps) -> Pending {
        Pending { task: Task::spawn("committing an epoch", self.run()), progress, steps }
    }

    pub async fn run(mut self) -> Result<Done> {
        let begun = Instant::now();
        for (name, store) in &mut self.stores {
            let spans = self.spans.get(name).map(Vec::as_slice).unwrap_or_default();
            let rows = self.rows.remove(name).unwrap_or_default();
            store.append(self.epoch, &rows, spans).await?;
            crate::fault::point("stored");
        }
        let store = begun.elapsed();
        let begun = Instant::now();
        for delivery in self.deliveries {
            crate::fault::point("sink");
            delivery.run().await?;
            crate::fault::point("sunk");
        }
        let sink = begun.elapsed();
        let saved = self.snapshot.is_some();
        if let Some((snapshot, folder)) = self.snapshot {
            write(snapshot, folder).await?;
        }
        Ok(Done { stores: self.stores, saved, store, sink })
    }
}

/// Writes a snapshot to a state folder.
pub async fn write(snapshot: Snapshot, folder: PathBuf) -> Result<()> {
    task::blocking("writing a snapshot", move || snapshot.write(&folder)).await?;
    crate::fault::point("saved");
    Ok(())
}

impl Pending {
    /// Whether the effects are there, or have failed.
    pub fn is_over(&self) -> bool {
        self.task.is_over()
    }

    /// Waits for the effects.
    pub async fn settle(self) -> Result<(Done, Vec<Progress>)> {
        let done = self.task.join().await?;
        let steps = Steps { store: done.store, sink: done.sink, ..self.steps };
        let mut progress = self.progress;
        for one in &mut progress {
            one.duration_ms = steps.by_name();
            one.processed_rows_per_second = rate(one.num_input_rows, steps.work());
            for source in &mut one.sources {
                let store = done.stores.get(&source.description);
                source.store_version = store.map(Store::version);
            }
        }
        Ok((done, progress))
    }
}
