//! Group tables made, linked and grown.

use std::sync::Arc;

use super::sink::GroupSink;
use super::table::{Step, Table, steps, table_bytes};
use crate::config::WORKGROUP;
use crate::error::Result;
use crate::fragment::cells::Cells;
use crate::fragment::compact::Entries;
use crate::fragment::key::Packing;
use crate::kernel::group_hash::{Entry, Rounds};
use crate::kernel::rehash::{self, Moved};
use crate::record::{Buffer, Command, Recording};
use crate::run::stats::Stats;

/// By how much a table grows that has no room.
const GROWTH: u32 = 8;

impl GroupSink<'_> {
    /// A table for the first `rows` rows: of one entry for each value the keys may have, in
    /// workgroup memory or, where the rows are as many, in device memory; else a hash table.
    pub(super) fn new_table(&self, packing: Arc<Packing>, rows: u32) -> Result<Table> {
        let values = 1u64 << packing.bits().min(32);
        let cells = self.cells();
        let mut entry = Entry::of(&packing, &cells);
        let numbered_words = (1 + cells.count) * cells.words;
        let local = self.runner.player.capabilities().max_workgroup_bytes.min(32 << 10) as u64;
        let numbered = 4 * values * numbered_words as u64 <= local;
        let enough = self.entries.max(rows.next_power_of_two());
        let most = self.most_entries(entry.words());
        let (entries, entry_words) = if numbered {
            (values as u32, numbered_words)
        } else if packing.limbs() == 1 && values <= enough.min(most) as u64 {
            entry.identity = true;
            (values as u32, entry.words())
        } else {
            (self.entries.min(most), entry.words())
        };
        let buffer = self.runner.player.buffer(table_bytes(entries, entry_words), "group table")?;
        let groups = Entries { packing, numbered, cell_words: cells.words };
        let (rows, fresh, steps, replay) = (0, true, Vec::new(), Vec::new());
        let mut table =
            Table { buffer, entries, groups, entry, entry_words, rows, fresh, steps, replay };
        table.steps = self.steps(&table, false);
        Ok(table)
    }

    /// The cells of a group's states.
    pub(super) fn cells(&self) -> Cells {
        Cells::of(&self.aggregation, self.runner.linker.tier)
    }

    /// Entries of the largest table that a binding holds.
    fn most_entries(&self, entry_words: usize) -> u32 {
        let limit = self.runner.player.capabilities().max_binding_bytes;
        let most = limit / 4 / entry_words as u64;
        1 << most.max(1).ilog2().min(31)
    }

    /// The programs of all rounds, in order.
    fn steps(&self, table: &Table, replay: bool) -> Vec<Step> {
        let Some(shape) = &self.shape else { return Vec::new() };
        let (keys, aggregation, packing) = (&self.keys, &self.aggregation, &table.groups.packing);
        let rounds = Rounds { shape, keys, aggregation, packing, replay };
        steps(&rounds, table.groups.numbered, table.entry)
    }

    /// Links the table's rounds for the drive that begins.
    pub(super) fn link(&mut self) {
        let Some(table) = self.table.take() else { return };
        let steps = self.steps(&table, false);
        self.table = Some(Table { steps, replay: Vec::new(), ..table });
    }

    /// Links the rounds for rows that were put down.
    pub(super) fn link_replay(&self, table: &mut Table) {
        if table.replay.is_empty() {
            table.replay = self.steps(table, true);
        }
    }

    /// Makes room: a larger table with the same groups, or, past the largest that a binding holds,
    /// an empty one.
    pub(super) async fn grow(&mut self) -> Result<()> {
        let Some(table) = self.table.take() else { return Ok(()) };
        // A table that has room for a group a row, and yet not for one more, holds keys of one
        // place (or many tuples of a row): a larger one would not help.
        let rows = u32::try_from(table.rows.saturating_mul(4)).unwrap_or(1 << 31);
        let enough = rows.max(1).checked_next_power_of_two().unwrap_or(1 << 31);
        let more = table.entries.saturating_mul(GROWTH);
        let packing = table.groups.packing.clone();
        self.replace(table, packing, more, enough).await
    }

    /// Moves the groups to a table whose keys have room for what did not fit.
    pub(super) async fn widen(&mut self) -> Result<()> {
        let Some(table) = self.table.take() else { return Ok(()) };
        let wider = Packing::coded(&self.keys, &|domain| self.codes(domain).saturating_mul(4));
        let packing = Arc::new(wider);
        self.packing = Some(packing.clone());
        let entries = self.entries.max(table.entries);
        self.replace(table, packing, entries, u32::MAX).await
    }

    /// Puts a hash table of at least `entries` entries, and at most `enough`, in place of a table;
    /// an empty one where they are too many.
    async fn replace(
        &mut self,
        table: Table,
        packing: Arc<Packing>,
        mut entries: u32,
        enough: u32,
    ) -> Result<()> {
        let entry = Entry::of(&packing, &self.cells());
        let most = self.most_entries(entry.words()).min(enough);
        entries = entries.min(most);
        while entries > table.entries || *packing != *table.groups.packing {
            if let Some(buffer) = self.moved(&table, &packing, entry, entries).await? {
                Stats::add(&self.runner.stats.table_growths, 1);
                self.lot += 1;
                self.entries = self.entries.max(entries);
                let groups = Entries { packing, numbered: false, ..table.groups };
                let (entry_words, replay) = (entry.words(), Vec::new());
                let mut table =
                    Table { buffer, entries, groups, entry, entry_words, replay, ..table };
                table.steps = self.steps(&table, false);
                self.table = Some(table);
                return Ok(());
            }
            if entries == most {
                break;
            }
            entries = entries.saturating_mul(GROWTH).min(most);
        }
        self.table = Some(table);
        self.retire();
        Ok(())
    }

    /// The groups in a table of so many entries; `None` where one of them found no place there.
    ///
    /// What was recorded for the old table before is played before: the queue keeps its order.
    async fn moved(
        &self,
        table: &Table,
        packing: &Arc<Packing>,
        entry: Entry,
        entries: u32,
    ) -> Result<Option<Buffer>> {
        let player = &self.runner.player;
        let bytes = table_bytes(entries, entry.words());
        let buffer = player.buffer(bytes, "group table")?;
        let size = 4 * rehash::SIZES as u64;
        let mut words = vec![table.entries, entries - 1, 0, 0];
        words.extend(table.groups.packing.base_words());
        words.resize(rehash::SIZES, 0);
        let (sizes, sizes_up) = self.runner.sent(&words, size, "table sizes").await?;
        let bindings = vec![table.buffer.clone(), buffer.clone(), sizes.clone()];
        let groups = table.entries.div_ceil(WORKGROUP).clamp(1, 1024);
        let cells = self.cells();
        let (old, packing) = (table.groups.clone(), packing.clone());
        let old_cells = table.entry_words / cells.words;
        let moved = Moved { old, old_cells, packing, entry, states: cells.count };
        let Some(shape) = &self.shape else { return Ok(None) };
        let variant = moved.variant();
        let make = || rehash::program(&shape.linker, &self.keys, &moved);
        let program = shape.program(&rehash::KERNEL, &variant, make);
        let commands = vec![
            sizes_up,
            Command::Clear { buffer: buffer.clone(), range: 0..bytes },
            Command::Dispatch { program, bindings, groups },
            Command::Download { buffer: sizes, range: 0..size },
        ];
        let completed = player.submit(Recording { label: "move".into(), commands }).await?;
        self.runner.stats.completed(&completed);
        Ok((completed.downloads[0][2] == 0).then_some(buffer))
    }
}
