//! A group table on the device: made, linked, grown.

use std::sync::Arc;

use super::GroupSink;
use crate::config::WORKGROUP;
use crate::error::Result;
use crate::fragment::fold;
use crate::fragment::key::{self, Dense};
use crate::kernel::group_hash::{Entry, TABLE_HEADER};
use crate::kernel::{group_dense, group_hash, rehash, settle};
use crate::record::{Buffer, Command, Program, Recording};
use crate::run::Stats;

/// By how much a table grows that has no room.
const GROWTH: u32 = 8;

/// How a group's entry is found.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The keys are its number.
    Dense(Dense),
    Hashed(Entry),
}

/// One dispatch of a slot's rounds.
#[derive(Clone)]
pub enum Step {
    Rows(Arc<Program>),
    Entries(Arc<Program>),
}

pub struct Table {
    pub buffer: Buffer,
    /// Entries, a power of two for a hash table.
    pub entries: u32,
    pub kind: Kind,
    pub entry_words: usize,
    /// Rows that were played on it, again where they were.
    pub rows: u64,
    /// True until the first slot's recording has cleared it.
    pub fresh: bool,
    pub steps: Vec<Step>,
    /// The same for rows that had no room; empty until there are any.
    pub replay: Vec<Step>,
}

impl Table {
    pub fn dense(&self) -> Option<&Dense> {
        match &self.kind {
            Kind::Dense(dense) => Some(dense),
            Kind::Hashed(_) => None,
        }
    }

    pub fn bytes(&self) -> u64 {
        table_bytes(self.entries, self.entry_words)
    }
}

fn table_bytes(entries: u32, entry_words: usize) -> u64 {
    4 * (TABLE_HEADER as u64 + entries as u64 * entry_words as u64)
}

impl GroupSink<'_> {
    pub(super) fn new_table(&self) -> Result<Table> {
        let (kind, entries, entry_words) = match self.dense() {
            Some(dense) => {
                let (entries, words) = (dense.groups(), Dense::entry(&self.aggregation));
                (Kind::Dense(dense), entries, words)
            }
            None => {
                let entry = Entry::of(&self.keys, &self.aggregation);
                let entries = self.entries.min(self.most_entries(entry.words));
                (Kind::Hashed(entry), entries, entry.words)
            }
        };
        let buffer = self.runner.player.buffer(table_bytes(entries, entry_words), "group table")?;
        let (rows, fresh, replay) = (0, true, Vec::new());
        let steps = self.steps(&kind, entry_words, false);
        Ok(Table { buffer, entries, kind, entry_words, rows, fresh, steps, replay })
    }

    /// Entries of the largest table that a binding holds.
    fn most_entries(&self, entry_words: usize) -> u32 {
        let limit = self.runner.player.capabilities().max_binding_bytes;
        let most = (limit / 4 - TABLE_HEADER as u64) / entry_words as u64;
        1 << most.max(1).ilog2().min(31)
    }

    /// The programs of all rounds, in order.
    fn steps(&self, kind: &Kind, entry_words: usize, replay: bool) -> Vec<Step> {
        let Some(shape) = &self.shape else { return Vec::new() };
        let (keys, aggregation) = (&self.keys, &self.aggregation);
        let limbs = if let Kind::Dense(_) = kind { 1 } else { key::limbs(keys) };
        let mut steps = Vec::new();
        for round in 1..=fold::rounds(aggregation) {
            steps.push(Step::Rows(match kind {
                Kind::Dense(dense) => group_dense::program(shape, keys, aggregation, dense, round),
                Kind::Hashed(_) => group_hash::program(shape, keys, aggregation, round, replay),
            }));
            let settled = settle::program(&shape.linker, aggregation, limbs, entry_words, round);
            steps.extend(settled.map(Step::Entries));
        }
        steps
    }

    /// Links the table's rounds for the drive that begins.
    pub(super) fn link(&mut self) {
        let Some(table) = self.table.take() else { return };
        let steps = self.steps(&table.kind, table.entry_words, false);
        self.table = Some(Table { steps, replay: Vec::new(), ..table });
    }

    /// Links the rounds for rows that had no room.
    pub(super) fn link_replay(&self, table: &mut Table) {
        if table.replay.is_empty() {
            table.replay = self.steps(&table.kind, table.entry_words, true);
        }
    }

    /// Makes room: a larger table with the same groups, or, past the largest that a binding holds,
    /// an empty one.
    pub(super) async fn grow(&mut self) -> Result<()> {
        let Some(mut table) = self.table.take() else { return Ok(()) };
        if let Kind::Hashed(entry) = table.kind {
            // A table that has room for a group a row, and yet not for one more, holds keys of one
            // place (or many tuples of a row): a larger one would not help.
            let rows = u32::try_from(table.rows.saturating_mul(4)).unwrap_or(1 << 31);
            let enough = rows.max(1).checked_next_power_of_two().unwrap_or(1 << 31);
            let most = self.most_entries(table.entry_words).min(enough);
            let mut entries = table.entries;
            while entries < most {
                entries = entries.saturating_mul(GROWTH).min(most);
                if let Some(buffer) = self.moved(&table, entry, entries).await? {
                    Stats::add(&self.runner.stats.table_growths, 1);
                    self.lot += 1;
                    self.entries = entries;
                    (table.buffer, table.entries) = (buffer, entries);
                    self.table = Some(table);
                    return Ok(());
                }
            }
        }
        self.table = Some(table);
        self.retire();
        Ok(())
    }

    /// The groups in a table of so many entries; `None` where one of them found no place there.
    ///
    /// What was recorded for the old table before is played before: the queue keeps its order.
    async fn moved(&self, table: &Table, entry: Entry, entries: u32) -> Result<Option<Buffer>> {
        let player = &self.runner.player;
        let bytes = table_bytes(entries, entry.words);
        let buffer = player.buffer(bytes, "group table")?;
        let size = 4 * rehash::SIZES as u64;
        let sizes = player.buffer(size, "table sizes")?;
        let mut staging = player.staging(size).await?;
        staging.words()[..rehash::SIZES].copy_from_slice(&[table.entries, entries - 1, 0, 0]);
        let bindings = vec![table.buffer.clone(), buffer.clone(), sizes.clone()];
        let groups = table.entries.div_ceil(WORKGROUP).clamp(1, 1024);
        let program = rehash::program(&self.runner.linker, entry);
        let commands = vec![
            Command::Upload { from: staging, bytes: size, to: sizes.clone(), at: 0 },
            Command::Clear { buffer: buffer.clone(), range: 0..bytes },
            Command::Dispatch { program, bindings, groups },
            Command::Download { buffer: sizes, range: 0..size },
        ];
        let completed = player.submit(Recording { label: "grow".into(), commands }).await?;
        self.runner.stats.completed(&completed);
        Ok((completed.downloads[0][2] == 0).then_some(buffer))
    }
}
