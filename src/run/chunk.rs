//! Batches of a source gathered into slots, and encoded.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use futures::StreamExt;
use parking_lot::RwLock;

use super::encode::{Rows, Strings};
use super::lookup::{Entries, LookupState, Lookups};
use super::runner::Runner;
use super::stats::Stats;
use crate::error::{DeviceError, Result};
use crate::fault;
use crate::fragment::arena::{self, HEADER, Layout};
use crate::fragment::intern::Interner;
use crate::fragment::spec::{ArenaColumn, Pipeline};
use crate::record::Staging;
use crate::task::{self, Feed};

/// Consecutive batches of a source that make one slot.
pub struct Chunk {
    pub batches: Vec<RecordBatch>,
    pub rows: usize,
}

/// The chunks of a source, as they come.
pub type Chunks = Feed<Chunk>;

/// A single chunk without rows: what drives a tail reads nothing of its slot but the header.
pub fn one_empty() -> Chunks {
    Feed::of(vec![Chunk { batches: Vec::new(), rows: 0 }])
}

/// A slot's arena, encoded.
pub struct Encoded {
    pub staging: Staging,
    pub words: usize,
    pub header: [u32; HEADER],
}

/// Reads a source in a task of its own, so that decoding goes on while slots are encoded.
pub fn gather(
    mut source: datafusion::execution::SendableRecordBatchStream,
    rows_max: usize,
) -> Chunks {
    Feed::spawn("reading a source", 1, move |chunks| async move {
        let mut chunk = Chunk { batches: Vec::new(), rows: 0 };
        while let Some(batch) = source.next().await {
            fault::point("decode");
            let mut batch = batch?;
            while batch.num_rows() > 0 {
                let take = batch.num_rows().min(rows_max - chunk.rows);
                chunk.batches.push(batch.slice(0, take));
                chunk.rows += take;
                batch = batch.slice(take, batch.num_rows() - take);
                if chunk.rows == rows_max {
                    let full = std::mem::replace(&mut chunk, Chunk { batches: vec![], rows: 0 });
                    if chunks.send(Ok(full)).await.is_err() {
                        return Ok(()); // nobody reads on
                    }
                }
            }
        }
        if chunk.rows > 0 {
            let _ = chunks.send(Ok(chunk)).await; // who does not read on does not want it
        }
        Ok(())
    })
}

/// Bytes that a row of the columns takes at most in an arena.
pub fn row_bytes(columns: &[ArenaColumn]) -> u64 {
    let bits: usize = columns.iter().map(|column| column.store.words(32) + 1).sum();
    (bits as u64 * 4).div_ceil(32).max(1)
}

impl Runner {
    /// Rows a slot of the pipeline may have: both limits of rows and of bytes hold.
    pub fn slot_rows(&self, pipeline: &Pipeline) -> usize {
        let by_bytes = self.limits.bytes / row_bytes(&pipeline.columns);
        self.limits.rows.min(by_bytes.max(1024) as usize).max(1)
    }

    /// Encodes a chunk into staging memory. `header` are the arena's fixed words, of which the
    /// rows are filled in here.
    pub async fn encode(
        &self,
        pipeline: &Arc<Pipeline>,
        lookups: &Lookups,
        chunk: &Arc<Chunk>,
        mut header: [u32; HEADER],
    ) -> Result<Encoded> {
        header[arena::H_ROWS] = chunk.rows as u32;
        let (pipeline, chunk) = (pipeline.clone(), chunk.clone());
        let (interners, lookups) = (self.interners.clone(), lookups.clone());
        let started = Instant::now();
        // The codes of strings come first: lookup tables are as long as the dictionaries are then.
        // Both grow while this slot waits for memory, so that it keeps what it was laid out for.
        let coded = task::blocking("encoding a slot", {
            let pipeline = pipeline.clone();
            let chunk = chunk.clone();
            let lookups = lookups.clone();
            move || {
                fault::point("encode");
                code(&pipeline, &chunk, &interners, &lookups)
            }
        })
        .await?;
        self.memory.strings_take(coded.string_bytes)?;
        fault::held().await;
        let words = coded.layout.words;
        let limit = self.player.capabilities().max_binding_bytes;
        if 4 * words as u64 > limit {
            return Err(DeviceError::TableFull(format!(
                "a slot of {} rows takes {} bytes with its lookup tables, a binding {limit}",
                chunk.rows,
                4 * words
            ))
            .into());
        }
        let mut staging = self.player.staging(4 * words as u64).await?;
        let staging = task::blocking("encoding a slot", move || {
            fault::hold();
            let words = staging.words();
            coded.layout.write_header(words, header);
            let rows = Rows::of(&chunk.batches);
            rows.write(&pipeline.columns, &coded.strings, &coded.layout, words)?;
            let places = coded.layout.lookups.iter().zip(&coded.entries);
            for (state, (offset, entries)) in lookups.lock().iter().zip(places) {
                state.write(*entries, &mut words[*offset..*offset + entries.arena_words()])?;
            }
            Ok(staging)
        })
        .await?;
        Stats::add(&self.stats.encode_ns, started.elapsed().as_nanos() as u64);
        Stats::add(&self.stats.rows_in, header[arena::H_ROWS] as u64);
        Stats::add(&self.stats.bytes_up, 4 * words as u64);
        Stats::add(&self.stats.slots, 1);
        Ok(Encoded { staging, words, header })
    }
}

/// What is known of a slot before it has memory.
struct Coded {
    layout: Layout,
    strings: Strings,
    /// What the slot carries of each lookup table.
    entries: Vec<Entries>,
    /// Bytes of all strings that are known, and of the lookup tables over them.
    string_bytes: usize,
}

fn code(
    pipeline: &Pipeline,
    chunk: &Chunk,
    interners: &[RwLock<Interner>],
    lookups: &Lookups,
) -> Result<Coded> {
    let rows = Rows::of(&chunk.batches);
    let strings = rows.code(&pipeline.columns, interners)?;
    fault::hold();
    let mut states = lookups.lock();
    let mut entries = Vec::new();
    for (lookup, state) in pipeline.lookups.iter().zip(states.iter_mut()) {
        entries.push(state.extend(lookup, interners)?);
    }
    let tables = states.iter().map(LookupState::memory_bytes).sum::<usize>();
    drop(states);
    let known = interners.iter().map(|interner| interner.read().memory_bytes());
    let string_bytes = known.sum::<usize>() + tables;
    let sizes: Vec<usize> = entries.iter().map(|entries| entries.arena_words()).collect();
    let shapes = rows.shapes(&pipeline.columns);
    let layout = Layout::new(chunk.rows, &shapes, &sizes, pipeline.parameters().words());
    Ok(Coded { layout, strings, entries, string_bytes })
}
