//! What of the state folder is merged or removed, so that it does not grow with time.
//!
//! Epochs that everything has are merged in the journal into records of many rows: which records of
//! each partition, advances, segments and clocks stay, so a query that joins later, or has lost its
//! snapshot, reads the same log again; where one epoch ended and the next began is forgotten. So
//! epochs stay apart
//!
//! - that are newer than the oldest snapshot which is kept: a restart begins there;
//! - at which tables beside the streams had other versions;
//! - whose rows are too many to be read again at once;
//! - from before a query or a stream was last taken out of the pipeline: what its table holds then
//!   is not known;
//! - where a query goes by processing time over a stream without a store, which is nowhere else.
//!
//! What a sink held at the merging is noted: its number lies within merged epochs where the last of
//! them gave it nothing.

use std::collections::BTreeMap;

use super::journal::{EpochRecord, Journal, Span};
use super::snapshot;
use crate::error::{Error, Result};
use crate::stream::dataflow::query::Query;
use crate::stream::log::history::Store;
use crate::stream::runtime::state::Runner;

/// Records of the log that are read again at once, about.
pub const REPLAY_RECORDS: i64 = 1 << 18;

/// Which epochs may be merged.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Those after this one,
    after: u64,
    /// up to this one,
    until: u64,
    /// but not the newest.
    keep: usize,
}

impl EpochRecord {
    /// The first epoch that it stands for.
    pub fn first(&self) -> u64 {
        self.since.unwrap_or(self.epoch)
    }

    /// The last of its epochs that has a part of a stream.
    pub fn part(&self, stream: &str) -> Option<u64> {
        let has = self.streams.contains_key(stream);
        has.then(|| self.parts.get(stream).copied().unwrap_or(self.epoch))
    }

    /// How many records of the log it has.
    pub fn count(&self) -> i64 {
        self.streams.values().flatten().map(|span| span.to - span.from).sum()
    }

    /// Takes the next epoch in.
    fn merge(&mut self, next: &Self) {
        let parts = self.streams.keys().chain(next.streams.keys()).cloned();
        let part = |name: String| Some((next.part(&name).or_else(|| self.part(&name))?, name));
        let parts = parts.filter_map(part).map(|(part, name)| (name, part)).collect();
        for (name, spans) in &next.streams {
            let known = self.streams.entry(name.clone()).or_default();
            for span in spans {
                match known.iter_mut().find(|known| known.partition == span.partition) {
                    Some(known) => append(known, span),
                    None => known.push(span.clone()),
                }
            }
        }
        self.since = Some(self.first());
        self.parts = parts;
        (self.epoch, self.time_us) = (next.epoch, next.time_us);
    }
}

/// Adds the records that follow.
fn append(span: &mut Span, next: &Span) {
    next.segments.iter().cloned().for_each(|segment| segment.tell(&mut span.segments));
    span.forced.extend(&next.forced);
    (span.to, span.clock) = (next.to, next.clock.clone());
}

/// The records with what may be merged merged; `given` tells what sinks hold, up to an epoch.
fn merged(
    records: &[EpochRecord],
    limits: Limits,
    given: impl Fn(u64) -> BTreeMap<String, u64>,
) -> Vec<EpochRecord> {
    let apart = records.len().saturating_sub(limits.keep.max(1));
    let mut all: Vec<EpochRecord> = Vec::new();
    for (at, record) in records.iter().enumerate() {
        let may = |record: &EpochRecord| {
            record.first() > limits.after && record.epoch <= limits.until && at < apart
        };
        match all.last_mut() {
            Some(last)
                if may(record)
                    && last.first() > limits.after
                    && last.tables == record.tables
                    && last.count() + record.count() <= REPLAY_RECORDS =>
            {
                last.merge(record);
                last.given = given(last.epoch);
            }
            _ => all.push(record.clone()),
        }
    }
    all
}

/// Merges what may be merged, once it is worth it, and removes what was received and is stored.
pub fn trim(runner: &mut Runner) -> Result<()> {
    let folder = runner.journal.folder().to_path_buf();
    let Some(until) = snapshot::oldest(&folder) else { return Ok(()) };
    for (name, store) in &runner.stores {
        let Some(stream) = runner.streams.get(name).filter(|s| s.connector.received()) else {
            continue;
        };
        let place = runner.journal.place_before(until + 1, name, 0).place;
        stream.connector.forget(&folder.join(name), place.offset.min(store.next(0)))?;
    }
    let keep = runner.tuning.journal_epochs.max(1);
    if runner.journal.records().len() < 2 * keep || runner.queries.iter().any(is_nowhere_else) {
        return Ok(());
    }
    let limits = Limits { after: runner.apart, until, keep };
    let given = |epoch: u64| {
        let held = runner.queries.iter().filter(|query| query.exactly_once());
        held.map(|query| (query.application.clone(), query.written().min(epoch))).collect()
    };
    let records = merged(runner.journal.records(), limits, given);
    match records.len() + keep <= runner.journal.records().len() {
        true => runner.journal.rewrite(&runner.pipeline, records),
        false => Ok(()),
    }
}

/// Whether a query goes by processing times that only the journal knows.
fn is_nowhere_else(query: &Query) -> bool {
    query.by_processing_time && query.graph.streams.iter().any(|stream| stream.store.is_none())
}

/// What a sink has of epochs that were merged: all, where it holds what it held then.
///
/// Errors: it holds some of them, and nobody knows which rows they are.
pub fn settle(journal: &Journal, query: &mut Query) -> Result<()> {
    let reached = query.reached();
    let within = |record: &&EpochRecord| record.first() <= reached && reached < record.epoch;
    let Some(record) = journal.record(reached).filter(within) else { return Ok(()) };
    if query.done >= record.epoch || !query.exactly_once() {
        return Ok(());
    }
    match record.given.get(&query.application) {
        Some(given) if *given <= reached => query.settle(record.epoch),
        _ => return Err(part_of("sink", &query.name, reached, record)),
    }
    Ok(())
}

/// Errors: a store that has some of merged epochs only.
pub fn whole(journal: &Journal, stream: &str, store: &Store) -> Result<()> {
    let reached = store.epoch();
    match journal.record(reached) {
        Some(record) if record.part(stream).is_some_and(|part| part > reached) => {
            Err(part_of("the store of stream", stream, reached, record))
        }
        _ => Ok(()),
    }
}

fn part_of(what: &str, name: &str, reached: u64, record: &EpochRecord) -> Error {
    let (first, last) = (record.first(), record.epoch);
    Error::user(format!(
        "{what} {name} holds this pipeline up to epoch {reached}, and held more: the epochs \
         {first} to {last} are merged, so what is missing cannot be told from what is there. Bring \
         back its newer version; or remove what it holds, to have it made again; or go on after it \
         with --start-fresh (results are then given out a second time)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::connector::api::Segment;
    use crate::stream::time::watermark::{Clock, Forced};

    /// An epoch of ten records of one stream.
    fn record(epoch: u64, stream: &str, table: i64) -> EpochRecord {
        let from = (epoch as i64 - 1) * 10;
        let mut span = Span::at(0, from, Clock::default());
        span.to = from + 10;
        span.segments = vec![Segment::new(format!("{}.csv", epoch / 3), epoch as i64 / 3, epoch)];
        span.forced = vec![Forced { offset: span.to, to_us: epoch as i64 }];
        let streams = BTreeMap::from([(stream.to_string(), vec![span])]);
        let tables = BTreeMap::from([("t".to_string(), table)]);
        EpochRecord { epoch, time_us: epoch as i64, streams, tables, ..EpochRecord::default() }
    }

    fn shape(records: &[EpochRecord]) -> Vec<(u64, u64)> {
        records.iter().map(|record| (record.first(), record.epoch)).collect()
    }

    #[test]
    fn epochs_are_merged_within_their_limits() {
        let tables = [1, 1, 1, 2, 2, 2, 2, 2, 2, 2];
        let records: Vec<_> = (1..=10).map(|n| record(n, "s", tables[n as usize - 1])).collect();
        let given = |epoch| BTreeMap::from([("q".to_string(), epoch)]);
        let of = |after, until, keep| merged(&records, Limits { after, until, keep }, given);
        assert_eq!(shape(&of(0, 10, 2))[..2], [(1, 3), (4, 8)]);
        assert_eq!(shape(&of(0, 6, 2))[..3], [(1, 3), (4, 6), (7, 7)]);
        assert_eq!(shape(&of(5, 9, 0))[4..], [(5, 5), (6, 9), (10, 10)]);
        // Again, with what came since.
        let once = of(0, 6, 2);
        let twice = merged(&once, Limits { after: 0, until: 8, keep: 1 }, given);
        assert_eq!(shape(&twice), [(1, 3), (4, 8), (9, 9), (10, 10)]);
        assert_eq!(twice, merged(&records, Limits { after: 0, until: 8, keep: 1 }, given));
        let span = &twice[1].streams["s"][0];
        assert_eq!((span.from, span.to, span.forced.len()), (30, 80, 5));
        let told: Vec<_> = span.segments.iter().map(|s| (s.path.as_str(), s.size)).collect();
        assert_eq!(told, [("1.csv", 5), ("2.csv", 8)]);
        assert_eq!((twice[1].given["q"], twice[1].part("s")), (8, Some(8)));
    }

    #[test]
    fn the_last_part_of_each_stream_is_known_and_rows_stay_few() {
        let mut records = vec![record(1, "s", 1), record(2, "other", 1), record(3, "other", 1)];
        records[2].streams.get_mut("other").unwrap()[0].to = 20 + REPLAY_RECORDS;
        records.push(record(4, "s", 1));
        let all = merged(&records, Limits { after: 0, until: 4, keep: 1 }, |_| BTreeMap::new());
        assert_eq!(shape(&all), [(1, 2), (3, 3), (4, 4)]);
        assert_eq!((all[0].part("s"), all[0].part("other")), (Some(1), Some(2)));
        assert_eq!(all[0].part("none"), None);
    }
}
