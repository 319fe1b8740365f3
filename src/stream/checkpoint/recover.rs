//! How streams and queries come to where the pipeline stands: from snapshots, and by recorded
//! epochs that are read again, each of which a table skips that it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;

use super::catalog::{Definitions, Known};
use super::compact::{self, REPLAY_RECORDS};
use super::journal::{EpochRecord, Span};
use super::replay::{Replay, times};
use super::snapshot;
use crate::error::{Error, Result};
use crate::stream::connector::api::{OnError, Opening, Place, Read};
use crate::stream::dataflow::query::Query;
use crate::stream::log::definition::{Begin, Stream};
use crate::stream::log::history::Store;
use crate::stream::log::history_scan::history_rest;
use crate::stream::log::position::Start;
use crate::stream::operator::Input;
use crate::stream::operator::late::{Apart, Rows};
use crate::stream::runtime::state::Runner;
use crate::task;

/// Adds streams and queries to a run and brings them to the last recorded epoch.
///
/// Errors: definitions that have changed; results or history that the state folder knows nothing
/// of; sources that have lost what is needed.
pub async fn join(
    runner: &mut Runner,
    streams: Vec<Arc<Stream>>,
    mut queries: Vec<Query>,
) -> Result<()> {
    let folder = runner.journal.folder().to_path_buf();
    streams.iter().for_each(|stream| stream.set_state(folder.join(&stream.name)));
    let mut definitions = Definitions::read(&folder)?;
    definitions.streams(&streams, &folder)?;
    for stream in streams {
        if let Some(store) = Store::open(&stream, &runner.pipeline).await? {
            runner.stores.entry(stream.name.clone()).or_insert(store);
        }
        runner.streams.insert(stream.name.clone(), stream);
    }
    if runner.journal.records().is_empty() {
        begin_anew(runner, &queries).await?;
    }
    let last = runner.journal.last();
    for (name, store) in &runner.stores {
        ahead(runner, "the store of stream", name, store.epoch())?;
        compact::whole(&runner.journal, name, store)?;
        runner.journal.compare(name, store.epoch(), |partition| store.next(partition))?;
    }
    for query in &mut queries {
        ahead(runner, "sink", &query.name, query.reached())?;
        match definitions.query(query) {
            Known::New => {}
            Known::Same => {
                // Its results were given out before the next epoch was recorded.
                query.assume_reached(last.saturating_sub(1));
                snapshot::restore(&folder, &runner.memory.folder, query, |epoch| {
                    epoch <= last && runner.journal.end_of(epoch) == epoch
                })?;
            }
            Known::Changed if query.graph.is_stateless() => {
                tracing::warn!(
                    "sink {}: its query has changed; it keeps nothing between epochs, and goes on \
                     after epoch {last}",
                    query.name
                );
                query.done = last;
            }
            Known::Changed => return Err(changed(query, last)),
        }
        compact::settle(&runner.journal, query)?;
    }
    let present = runner.queries.iter().chain(&queries).map(|query| query.application.as_str());
    let present = present.chain(runner.streams.keys().map(String::as_str)).collect();
    runner.apart = definitions.present(&present, last);
    definitions.write(&folder)?;
    catch_up(runner, &mut queries).await?;
    runner.queries.extend(queries);
    Ok(())
}

fn changed(query: &Query, last: u64) -> Error {
    Error::user(format!(
        "sink {}: its query has changed since epoch {last} of this pipeline, and what its open \
         windows hold is the old query's. The stored history and the other queries can be kept: \
         undo the change; or INSERT INTO a new sink, which begins with the first row; or \
         --start-fresh forgets the state of the whole pipeline and begins with the stored history \
         (rows that sinks hold stay there)",
        query.name
    ))
}

/// A table that holds more than the state folder knows of.
fn ahead(runner: &Runner, what: &str, name: &str, reached: u64) -> Result<()> {
    let last = runner.journal.last();
    if reached <= last {
        return Ok(());
    }
    Err(Error::user(format!(
        "{what} {name} holds epoch {reached} of the pipeline {}, and the state folder {} knows of \
         {last} only: give the state folder of those runs with --state; or remove what the sink \
         holds, to have it made again; or go on after it with --start-fresh (results are then \
         given out a second time)",
        runner.pipeline,
        runner.journal.folder().display()
    )))
}

/// An empty state folder beside a store: its rows are the first epoch.
async fn begin_anew(runner: &mut Runner, queries: &[Query]) -> Result<()> {
    let stored = runner.stores.values().map(Store::epoch).max().unwrap_or(0);
    let mut base = runner.journal.base().max(stored);
    if runner.fresh {
        base = queries.iter().map(Query::reached).fold(base, u64::max);
    }
    if stored == 0 {
        if base > runner.journal.base() {
            runner.journal.start_fresh(&runner.pipeline, base)?;
        }
        return Ok(());
    }
    for query in queries.iter().filter(|query| query.reached() > runner.journal.base()) {
        if !runner.fresh {
            ahead(runner, "sink", &query.name, query.reached())?;
        }
    }
    let mut spans: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for (name, store) in &runner.stores {
        let Some(stream) = runner.streams.get(name).filter(|_| store.epoch() > 0) else { continue };
        let state = runner.context.state();
        let rest = history_rest(stream, &state).await?;
        spans.insert(name.clone(), stored_spans(rest));
    }
    runner.journal.start_fresh(&runner.pipeline, base)?;
    let epoch = base + 1;
    let time_us = crate::stream::time::clock::now_us();
    for (name, spans) in &spans {
        // The table has the rows and what is known of them: it only goes on to this epoch.
        let bare = |span: &Span| Span {
            from: span.to,
            ..Span::at(span.partition, span.to, span.clock.clone())
        };
        let bare: Vec<Span> = spans.iter().map(bare).collect();
        if let Some(store) = runner.stores.get_mut(name) {
            store.append(epoch, &[], &bare).await?;
        }
    }
    runner.journal.append_next(time_us, spans, BTreeMap::new())?;
    tracing::warn!(
        "the state folder {} is empty: this run begins with the stored history",
        runner.journal.folder().display()
    );
    Ok(())
}

/// What a history is of each partition's log, from what lies behind it.
pub fn stored_spans(rest: Vec<Start>) -> Vec<Span> {
    let of = |(partition, start): (usize, Start)| Span {
        partition,
        from: 0,
        to: start.place.offset,
        segments: start.place.segments,
        forced: start.forced,
        clock: start.clock,
    };
    rest.into_iter().enumerate().map(of).filter(|span| span.to > 0).collect()
}

/// Reads recorded epochs again for what is behind.
async fn catch_up(runner: &mut Runner, queries: &mut [Query]) -> Result<()> {
    let (base, last) = (runner.journal.base(), runner.journal.last());
    let mut replay = Replay::default();
    let mut at = behind(runner, queries).max(base);
    while at < last {
        let end = group_end(runner, queries, at);
        let records = runner.journal.between(at, end).to_vec();
        let mut rows = BTreeMap::new();
        for (name, stream) in &runner.streams {
            let of = |query: &&mut Query| {
                query.done < end && query.graph.streams.iter().any(|stream| stream.name == *name)
            };
            let behind = missing(&records, name, runner.stores.get(name));
            if !behind && !queries.iter_mut().any(|query| of(&query)) {
                continue;
            }
            let store = runner.stores.get(name);
            let read =
                replay.rows(&runner.context, &runner.journal, stream, &records, store).await?;
            if let (Some(store), true, Some(record)) =
                (runner.stores.get_mut(name), behind, records.last())
            {
                let spans = record.streams.get(name).map(Vec::as_slice).unwrap_or_default();
                store.append(record.epoch, &read, spans).await?;
                crate::fault::point("restored");
            }
            rows.insert(name.clone(), read);
        }
        repeat(runner, queries, end, &rows).await?;
        at = end;
    }
    runner.memory.forget();
    Ok(())
}

/// Gives the rows of a recorded epoch to the queries that are behind it, and their results to
/// sinks.
pub async fn repeat(
    runner: &mut Runner,
    queries: &mut [Query],
    epoch: u64,
    rows: &Rows,
) -> Result<()> {
    let apart = Apart::of(rows, &runner.streams)?;
    let record = runner.journal.record(epoch);
    let tables = record.map(|record| record.tables.clone()).unwrap_or_default();
    for query in queries.iter_mut().filter(|query| query.done < epoch) {
        let times = times(&runner.journal, epoch, &query.graph.streams);
        query.graph.read_tables(&tables).await?;
        query.advance(epoch, &Input { rows, times, apart: apart.as_ref() }).await?;
        if let Some(delivery) = query.commit(epoch) {
            delivery.run().await?;
        }
        crate::fault::point("repeated");
    }
    let count = rows.values().flatten().map(|batch| batch.num_rows()).sum();
    let clocks = |query: &Query| times(&runner.journal, epoch, &query.graph.streams);
    runner.memory.bound(runner.tuning.state_memory, count, queries, clocks)
}

/// Whether a store lacks one of these epochs.
fn missing(records: &[EpochRecord], stream: &str, store: Option<&Store>) -> bool {
    let Some(store) = store else { return false };
    let of = |record: &EpochRecord| record.part(stream).is_some_and(|part| part > store.epoch());
    records.iter().any(of)
}

/// The last epoch that everything has.
fn behind(runner: &Runner, queries: &[Query]) -> u64 {
    let mut least = queries.iter().map(|query| query.done).min().unwrap_or(u64::MAX);
    for (name, store) in &runner.stores {
        let lacks =
            |record: &&EpochRecord| record.part(name).is_some_and(|part| part > store.epoch());
        let first = runner.journal.records().iter().find(lacks);
        least = least.min(first.map_or(u64::MAX, |record| record.first() - 1));
    }
    least.min(runner.journal.last())
}

/// The last of the epochs after `at` that can be read again as one: what is behind by one of them
/// is so by all.
fn group_end(runner: &Runner, queries: &[Query], at: u64) -> u64 {
    let (journal, last) = (&runner.journal, runner.journal.last());
    let mut end = last;
    for query in queries {
        for edge in [query.done, query.reached()] {
            if edge > at {
                end = end.min(journal.end_of(edge));
            }
        }
    }
    for (name, store) in &runner.stores {
        if missing(journal.between(at, last), name, Some(store)) {
            end = match store.epoch() > at {
                true => end.min(journal.end_of(store.epoch())),
                false => journal.end_of(at + 1),
            };
        }
    }
    let mut count = 0;
    for record in journal.between(at, end) {
        let next = journal.record(record.epoch + 1);
        if next.is_some_and(|next| next.tables != record.tables) {
            return record.epoch; // tables beside the streams are read at other versions then
        }
        count += record.count();
        if count > REPLAY_RECORDS {
            return record.epoch;
        }
    }
    end
}

/// Where a partition begins that no run has read, by the option `start`: not before `from`.
pub async fn begin(stream: &Arc<Stream>, partition: usize, from: Start) -> Result<Start> {
    if let Err(reason) = stream.connector.bounded() {
        return Err(Error::user(format!("stream {}, start: {reason}", stream.name)));
    }
    let stream = stream.clone();
    let reading = task::blocking("reading a stream", move || -> Result<Start> {
        let opening = Opening {
            partition,
            rejects: None,
            on_error: OnError::Skip,
            from: from.place.clone(),
            ..Opening::new(&stream, false)
        };
        let mut source = stream.connector.open(opening)?;
        let mut segments = from.place.segments.clone();
        let mut offset = None;
        while offset.is_none() {
            let Read::Rows(rows) = source.next(8192)? else { break };
            let news = source.segments();
            segments.retain(|known| !news.iter().any(|new| new.same(known)));
            segments.extend(news);
            if let (Begin::At(from_us), Some(rule)) = (stream.begin, &stream.watermark) {
                let times = rows.batch.column(rule.column);
                let times = times.as_primitive::<TimestampMicrosecondType>().values();
                let first = times.iter().position(|time| *time >= from_us);
                offset = first.map(|at| rows.offsets.value(at));
            }
        }
        let offset = offset.unwrap_or_else(|| source.offset());
        segments.retain(|segment| segment.first <= offset);
        Ok(Start { place: Place { offset, segments }, ..from })
    });
    reading.await
}
