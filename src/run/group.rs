//! Grouped aggregation: a table on the device, emptied to the host when it is full and at the end.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use super::pipeline::{Joins, Sink, Slot, Verdict, check_status, download_status};
use super::{Runner, Sender, Stats, column};
use crate::agg::States;
use crate::config::WORKGROUP;
use crate::error::{DeviceError, Error, Result};
use crate::expr::ir::Rep;
use crate::fragment::arena;
use crate::fragment::fold;
use crate::fragment::spec::{Aggregation, Key};
use crate::kernel::group_dense::{self, Dense};
use crate::kernel::group_hash::{self, Entry, TABLE_HEADER};
use crate::kernel::{Shape, settle};
use crate::record::{Buffer, Command, Completed, Program, Recording};

/// Rows of a batch that is sent on.
const BATCH_ROWS: usize = 1 << 16;

/// Merges the states of all folds of one group into another.
pub fn merge_state(aggregation: &Aggregation, into: &mut [u32], from: &[u32]) {
    let mut at = 0;
    for fold in &aggregation.folds {
        let words = fold.acc.words();
        fold.acc.merge(&mut into[at..at + words], &from[at..at + words]);
        at += words;
    }
}

/// Output columns of all aggregates, from the states of `groups` groups one after another.
pub fn aggregate_columns(
    aggregation: &Aggregation,
    states: &[u32],
    groups: usize,
) -> Result<Vec<ArrayRef>> {
    let stride = aggregation.words();
    let mut offset = 0;
    let mut arrays = Vec::new();
    for aggregate in &aggregation.aggregates {
        let view = States::new(states, stride, offset, groups)?;
        if aggregation.partial {
            arrays.extend(aggregate.partial(view)?);
        } else {
            arrays.push(aggregate.finish(view)?);
        }
        offset += aggregate.words();
    }
    Ok(arrays)
}

/// Sends rows on, in batches.
pub async fn send(
    out: &Sender,
    schema: &SchemaRef,
    arrays: Vec<ArrayRef>,
    rows: usize,
) -> Result<()> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?;
    for start in (0..rows).step_by(BATCH_ROWS) {
        let part = batch.slice(start, BATCH_ROWS.min(rows - start));
        if out.send(Ok(part)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Groups on the host: limbs of the keys and states, one group after another.
struct Groups {
    limbs: Vec<u32>,
    states: Vec<u32>,
    count: usize,
    /// Built when a second lot of groups arrives.
    index: Option<HashMap<Box<[u32]>, usize>>,
}

impl Groups {
    fn add(&mut self, aggregation: &Aggregation, limbs: &[u32], state: &[u32]) {
        let found = self.index.as_ref().and_then(|index| index.get(limbs).copied());
        if let Some(group) = found {
            let at = group * state.len();
            merge_state(aggregation, &mut self.states[at..at + state.len()], state);
            return;
        }
        if let Some(index) = &mut self.index {
            index.insert(limbs.into(), self.count);
        }
        self.limbs.extend_from_slice(limbs);
        self.states.extend_from_slice(state);
        self.count += 1;
    }

    /// Before a second lot: finds the groups of the first.
    fn index(&mut self, limbs: usize) {
        if self.index.is_none() && self.count > 0 {
            let keys = self.limbs.chunks_exact(limbs).enumerate();
            self.index = Some(keys.map(|(group, key)| (key.into(), group)).collect());
        }
    }
}

/// The table on the device.
struct Table {
    buffer: Buffer,
    /// Entries, a power of two for a hash table.
    entries: u32,
    entry_words: usize,
    dense: Option<Dense>,
    /// Rows of the slots it was given.
    rows: u64,
    /// True until the first slot's recording has cleared it.
    fresh: bool,
    /// True once a slot's groups have found room.
    applied: bool,
    programs: Vec<Step>,
}

/// One dispatch of a slot's rounds.
enum Step {
    Rows(Arc<Program>),
    Entries(Arc<Program>),
}

pub struct GroupSink<'a> {
    runner: &'a Runner,
    keys: Arc<Vec<Key>>,
    aggregation: Arc<Aggregation>,
    shape: Option<Shape>,
    table: Option<Table>,
    /// Tables whose groups are still to be fetched.
    retired: Vec<Table>,
    /// Number of the table that slots are played on now.
    lot: usize,
    /// Entries of the next hash table.
    entries: u32,
    groups: Groups,
    out: &'a Sender,
}

impl<'a> GroupSink<'a> {
    pub fn new(
        runner: &'a Runner,
        keys: Arc<Vec<Key>>,
        aggregation: Arc<Aggregation>,
        out: &'a Sender,
    ) -> Self {
        let entries = runner.limits.group_entries;
        let groups = Groups { limbs: vec![], states: vec![], count: 0, index: None };
        Self {
            runner,
            keys,
            aggregation,
            shape: None,
            table: None,
            retired: Vec::new(),
            lot: 0,
            entries,
            groups,
            out,
        }
    }

    /// Sizes of a dense table, if every key is a boolean or a string of few values.
    fn dense(&self) -> Option<Dense> {
        let mut sizes = Vec::new();
        for key in self.keys.iter() {
            sizes.push(match (key.expr.rep, key.domain) {
                (Rep::B1, _) => 3,
                (Rep::U32, Some(domain)) => self.codes(domain).next_power_of_two(),
                _ => return None,
            });
        }
        let groups = sizes.iter().try_fold(1u32, |all, size| all.checked_mul(*size))?;
        let bytes = 4 * groups as u64 * Dense::entry(&self.aggregation) as u64;
        let most = self.runner.player.capabilities().max_workgroup_bytes.min(16 << 10) as u64;
        (bytes <= most).then_some(Dense { sizes })
    }

    /// Codes of a domain so far, NULL's included.
    fn codes(&self, domain: usize) -> u32 {
        self.runner.interners[domain].read().len() as u32 + 1
    }

    /// False if a string has appeared that the dense table has no place for.
    fn fits(&self, dense: &Dense) -> bool {
        let mut keys = self.keys.iter().zip(&dense.sizes);
        keys.all(|(key, size)| key.domain.is_none_or(|domain| self.codes(domain) <= *size))
    }

    fn make_table(&mut self) -> Result<()> {
        let dense = self.dense();
        let entry_words = match &dense {
            Some(_) => Dense::entry(&self.aggregation),
            None => Entry::of(&self.keys, &self.aggregation).words,
        };
        let entries = match &dense {
            Some(dense) => dense.groups(),
            None => {
                let limit = self.runner.player.capabilities().max_binding_bytes;
                let most = (limit / 4 - TABLE_HEADER as u64) / entry_words as u64;
                let most = 1u64 << most.max(1).ilog2();
                (self.entries as u64).min(most) as u32
            }
        };
        let bytes = 4 * (TABLE_HEADER as u64 + entries as u64 * entry_words as u64);
        let buffer = self.runner.player.buffer(bytes, "group table")?;
        let fresh = true;
        self.table = Some(Table {
            buffer,
            entries,
            entry_words,
            dense,
            rows: 0,
            fresh,
            applied: false,
            programs: vec![],
        });
        self.link()
    }

    /// Links the rounds for the table and the drive.
    fn link(&mut self) -> Result<()> {
        let (Some(shape), Some(table)) = (&self.shape, &mut self.table) else { return Ok(()) };
        let mut programs = Vec::new();
        let (keys, aggregation) = (&self.keys, &self.aggregation);
        let limbs = if table.dense.is_some() { 1 } else { fold::limbs(keys) };
        if table.dense.is_none() {
            programs.push(Step::Rows(group_hash::program(shape, keys, aggregation, 0)));
        }
        let rounds = fold::rounds(aggregation);
        for round in 1..=rounds {
            programs.push(Step::Rows(match &table.dense {
                Some(dense) => group_dense::program(shape, keys, aggregation, dense, round),
                None => group_hash::program(shape, keys, aggregation, round),
            }));
            let linker = &shape.linker;
            let settled = settle::program(linker, aggregation, limbs, table.entry_words, round);
            programs.extend(settled.map(Step::Entries));
        }
        table.programs = programs;
        Ok(())
    }

    /// Puts the table aside; the next slot gets a new one.
    fn retire(&mut self) {
        Stats::add(&self.runner.stats.table_flushes, 1);
        self.lot += 1;
        self.retired.extend(self.table.take());
    }

    /// Moves the groups of all tables put aside to the host. What was queued for them before is
    /// done before: the queue keeps its order.
    async fn flush(&mut self) -> Result<()> {
        for table in std::mem::take(&mut self.retired) {
            if !table.fresh {
                self.fetch(table).await?;
            }
        }
        Ok(())
    }

    async fn fetch(&mut self, table: Table) -> Result<()> {
        let words = TABLE_HEADER + table.entries as usize * table.entry_words;
        let range = 0..4 * words as u64;
        let download = Command::Download { buffer: table.buffer.clone(), range };
        let recording = Recording { label: "groups".into(), commands: vec![download] };
        let completed = self.runner.player.submit(recording).await?;
        self.runner.stats.completed(&completed);
        let width = fold::limbs(&self.keys);
        self.groups.index(width);
        let state_words = self.aggregation.words();
        let entries = completed.downloads[0][TABLE_HEADER..].chunks_exact(table.entry_words);
        for (number, entry) in entries.enumerate().filter(|(_, entry)| entry[0] != 0) {
            match &table.dense {
                Some(dense) => {
                    let limbs = self.dense_limbs(dense, number as u32);
                    self.groups.add(&self.aggregation, &limbs, &entry[1..1 + state_words]);
                }
                None => {
                    let (limbs, state) = entry.split_at(width);
                    self.groups.add(&self.aggregation, limbs, &state[..state_words]);
                }
            }
        }
        Ok(())
    }

    fn dense_limbs(&self, dense: &Dense, group: u32) -> Vec<u32> {
        let values: Vec<Option<u128>> = self
            .keys
            .iter()
            .zip(dense.keys(group))
            .map(|(key, value)| match (key.expr.rep, value) {
                (_, 0) => None,
                (Rep::B1, value) => Some(value as u128 - 1),
                (_, value) => Some(value as u128),
            })
            .collect();
        fold::pack_limbs(&self.keys, &values)
    }

    fn key_columns(&self) -> Result<Vec<ArrayRef>> {
        let width = fold::limbs(&self.keys);
        let mut columns: Vec<Vec<Option<u128>>> =
            self.keys.iter().map(|_| Vec::with_capacity(self.groups.count)).collect();
        for limbs in self.groups.limbs.chunks_exact(width) {
            for (column, value) in columns.iter_mut().zip(fold::unpack_limbs(&self.keys, limbs)) {
                column.push(value);
            }
        }
        let arrays = self.keys.iter().zip(columns).map(|(key, bits)| match key.domain {
            Some(domain) => {
                let codes: Vec<u32> = bits.iter().map(|b| b.unwrap_or(0) as u32).collect();
                self.runner.interners[domain].read().decode(&codes, &key.data_type)
            }
            None => column::from_bits(&bits, &key.data_type),
        });
        arrays.collect()
    }
}

#[async_trait]
impl Sink for GroupSink<'_> {
    fn begin(&mut self, shape: &Shape) -> Result<()> {
        self.shape = Some(Shape {
            pipeline: shape.pipeline.clone(),
            tables: shape.tables.clone(),
            drive: shape.drive,
            linker: shape.linker.clone(),
        });
        self.link()
    }

    fn record(&mut self, slot: &mut Slot, joins: &Joins) -> Result<Vec<Command>> {
        if self.table.is_none() {
            self.make_table()?;
        }
        let rows = slot.rows as u64;
        let spent = self.table.as_ref().is_some_and(|table| {
            let dense = table.dense.as_ref();
            let filled = table.rows > 0 && table.rows + rows > self.runner.limits.table_rows;
            filled || dense.is_some_and(|dense| !self.fits(dense))
        });
        if spent {
            self.retire();
            self.make_table()?;
        }
        slot.lot = self.lot;
        let Some(table) = &mut self.table else { return Ok(vec![]) };
        table.rows += rows;
        let mut commands = Vec::new();
        if std::mem::take(&mut table.fresh) {
            let words = TABLE_HEADER + table.entries as usize * table.entry_words;
            let range = 0..4 * words as u64;
            commands.push(Command::Clear { buffer: table.buffer.clone(), range });
        }
        slot.header[arena::H_TABLE_MASK] = table.entries - 1;
        let own = [table.buffer.clone()];
        for step in &table.programs {
            commands.push(match step {
                Step::Rows(program) => Command::Dispatch {
                    program: program.clone(),
                    bindings: joins.bind(slot, &own),
                    groups: slot.header[arena::H_GROUPS],
                },
                Step::Entries(program) => Command::Dispatch {
                    program: program.clone(),
                    bindings: vec![slot.buffer.clone(), slot.status.clone(), own[0].clone()],
                    groups: table.entries.div_ceil(WORKGROUP).clamp(1, 1024),
                },
            });
        }
        commands.push(download_status(slot));
        commands.push(Command::Download { buffer: table.buffer.clone(), range: 0..4 });
        Ok(commands)
    }

    async fn done(&mut self, slot: &Slot, completed: Completed) -> Result<Verdict> {
        check_status(&completed.downloads[0])?;
        let full = completed.downloads[1][0] != 0;
        let current = self.table.as_mut().filter(|_| slot.lot == self.lot);
        if !full {
            if let Some(table) = current {
                table.applied = true;
            }
            return Ok(Verdict::Done);
        }
        if let Some(table) = current
            && !table.applied
            && table.entries < self.entries
        {
            let entries = table.entries;
            let text = format!("{entries} entries cannot hold the groups of {} rows", slot.rows);
            return Err(DeviceError::TableFull(text).into());
        }
        Ok(Verdict::Again)
    }

    async fn make_room(&mut self, slot: &Slot) -> Result<()> {
        if slot.lot == self.lot {
            // Past the largest table a binding holds, lots are merged on the host.
            let entries = self.table.as_ref().map_or(0, |table| table.entries);
            if entries == self.entries {
                self.entries = self.entries.saturating_mul(8);
            }
            self.retire();
        }
        self.flush().await
    }

    async fn finish(&mut self) -> Result<()> {
        self.retired.extend(self.table.take());
        self.flush().await?;
        let rows = self.groups.count;
        Stats::add(&self.runner.stats.groups, rows as u64);
        if self.groups.states.len() != rows * self.aggregation.words() {
            return Err(Error::Bug("groups and their states differ in number".into()));
        }
        let mut arrays = self.key_columns()?;
        let states = std::mem::take(&mut self.groups.states);
        arrays.extend(aggregate_columns(&self.aggregation, &states, rows)?);
        send(self.out, &self.aggregation.schema, arrays, rows).await
    }
}
