//! Recorded epochs, read again: from the store where their rows are there, else from the source.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::prelude::SessionContext;

use super::journal::{EpochRecord, Journal, span};
use crate::error::{Error, Result};
use crate::stream::connector::api::{OnError, Opening};
use crate::stream::log::definition::Stream;
use crate::stream::log::history::Store;
use crate::stream::log::partition::{Entry, Log, watermark};
use crate::stream::time::clock::Times;
use crate::stream::time::watermark::BEFORE_ALL;
use crate::task;

/// Reads recorded epochs in order.
#[derive(Default)]
pub struct Replay {
    /// Sources that are open, by stream and partition.
    logs: BTreeMap<(String, usize), Log>,
}

impl Replay {
    /// The rows of a stream in consecutive epochs, as `log::schema` has them.
    pub async fn rows(
        &mut self,
        context: &SessionContext,
        journal: &Journal,
        stream: &Arc<Stream>,
        records: &[EpochRecord],
        store: Option<&Store>,
    ) -> Result<Vec<RecordBatch>> {
        let parts = records.iter().filter_map(|record| record.part(&stream.name));
        let last = parts.max().unwrap_or(0);
        if let Some(store) = store.filter(|store| store.epoch() >= last) {
            let mut spans = Vec::new();
            for partition in 0..stream.connector.partitions() {
                let parts = || records.iter().filter_map(|r| span(r, &stream.name, partition));
                if let (Some(first), Some(last)) = (parts().next(), parts().next_back()) {
                    spans.push((partition, first.from, last.to));
                }
            }
            return store.rows(context, stream, &spans).await;
        }
        let mut rows = Vec::new();
        for record in records {
            for partition in 0..stream.connector.partitions() {
                rows.extend(self.part(journal, stream, record, partition).await?);
            }
        }
        Ok(rows)
    }

    /// A partition's rows of one epoch, from the source.
    async fn part(
        &mut self,
        journal: &Journal,
        stream: &Arc<Stream>,
        record: &EpochRecord,
        partition: usize,
    ) -> Result<Vec<RecordBatch>> {
        let Some(span) = span(record, &stream.name, partition).cloned() else {
            return Ok(Vec::new());
        };
        let key = (stream.name.clone(), partition);
        let open = self.logs.remove(&key).filter(|log| log.offset() == span.from);
        let mut log = match open {
            Some(log) => log,
            None => {
                let start = journal.place_before(record.epoch, &stream.name, partition);
                let opening = Opening {
                    partition,
                    state: Some(journal.folder().join(&stream.name)),
                    // They were kept aside, or gave an error, when they were read first.
                    rejects: None,
                    on_error: OnError::Skip,
                    ..Opening::new(stream, false)
                };
                let mut start = start;
                start.place.offset = span.from;
                Log::open(stream, opening, start)?
            }
        };
        let (stream, time_us) = (stream.clone(), record.time_us);
        let reading = task::blocking("reading a stream", move || -> Result<_> {
            let mut rows = Vec::new();
            while log.offset() < span.to {
                let left = usize::try_from(span.to - log.offset()).unwrap_or(1);
                match log.next(left.min(8192))? {
                    Entry::Rows(more) if more.is_empty() => {}
                    Entry::Rows(more) => rows.push(more.batch(&stream, time_us)?),
                    Entry::Idle | Entry::End => {
                        return Err(Error::Data(format!(
                            "stream {}: the source ends at offset {}, and this pipeline has read \
                             it up to {}: rows are gone",
                            stream.name,
                            log.offset(),
                            span.to
                        )));
                    }
                }
            }
            Ok((log, rows))
        });
        let (log, rows) = reading.await?;
        self.logs.insert(key, log);
        Ok(rows)
    }
}

/// The clocks behind an epoch for a query over these streams.
pub fn times(journal: &Journal, epoch: u64, streams: &[Arc<Stream>]) -> Times {
    let mut event_us: Option<i64> = None;
    for stream in streams.iter().filter(|stream| stream.watermark.is_some()) {
        for partition in 0..stream.connector.partitions() {
            let start = journal.place_before(epoch + 1, &stream.name, partition);
            let at = watermark(stream, &start.clock);
            event_us = Some(event_us.map_or(at, |least| least.min(at)));
        }
    }
    let record = journal.record(epoch);
    let processing_us = record.map_or(BEFORE_ALL, |record| record.time_us);
    Times { event_us: event_us.unwrap_or(BEFORE_ALL), processing_us }
}
