//! Grouped aggregation: a table on the device that grows there, and whose groups come down once, as
//! columns.

mod columns;
mod grow;
mod merge;
mod ranges;
mod sink;
mod table;

use std::sync::Arc;

use async_trait::async_trait;

use super::aggregate::send;
use super::sink::{Joins, Sink, Slot, Spilled, Verdict};
use super::sink::{check_status, download_status, stride_groups};
use super::stats::Stats;
use crate::config::WORKGROUP;
use crate::error::Result;
use crate::fragment::arena;
use crate::fragment::key::Packing;
use crate::kernel::Shape;
use crate::kernel::group_hash::{self, SPILL_HEADER};
use crate::record::{Buffer, Command, Completed};
use merge::Groups;
use ranges::RANGES;
use table::{Step, Table};

pub use ranges::programs_ahead;
pub use sink::GroupSink;

impl GroupSink<'_> {
    /// The table that takes in so many rows more.
    fn table_for(&mut self, packing: Arc<Packing>, rows: u32) -> Result<Table> {
        let most = self.runner.limits.table_rows;
        let filled = |table: &Table| table.rows > 0 && table.rows + rows as u64 > most;
        if self.table.as_ref().is_some_and(filled) {
            self.retire();
        }
        let table = match self.table.take() {
            Some(table) => table,
            None => self.new_table(packing, rows)?,
        };
        Ok(Table { rows: table.rows + rows as u64, ..table })
    }

    /// The dispatches of one slot's rounds.
    fn rounds(&self, table: &Table, slot: &Slot, own: &[Buffer], joins: &Joins) -> Vec<Command> {
        let dispatch = |step: &Step| match step {
            Step::Rows(program) => Command::Dispatch {
                program: program.clone(),
                bindings: joins.bind(slot, own),
                groups: slot.header[arena::H_GROUPS],
            },
            Step::Entries(program) => Command::Dispatch {
                program: program.clone(),
                bindings: vec![slot.buffer.clone(), slot.status.clone(), own[0].clone()],
                groups: table.entries.div_ceil(WORKGROUP).clamp(1, 1024),
            },
        };
        let steps = if slot.spilled.is_some() { &table.replay } else { &table.steps };
        steps.iter().map(dispatch).collect()
    }
}

#[async_trait]
impl<'a> Sink<'a> for GroupSink<'a> {
    fn begin(&mut self, shape: &Shape) -> Result<()> {
        self.shape = Some(shape.clone());
        self.link();
        Ok(())
    }

    fn record(&mut self, slot: &mut Slot, joins: &Joins) -> Result<Vec<Command>> {
        let rows = slot.spilled.as_ref().map_or(slot.rows, |spilled| spilled.rows);
        let Some(packing) = self.packing_for(rows) else { return self.record_ranges(slot, joins) };
        let mut table = self.table_for(packing, rows)?;
        let mut commands = Vec::new();
        if std::mem::take(&mut table.fresh) {
            let range = 0..table.bytes();
            commands.push(Command::Clear { buffer: table.buffer.clone(), range });
        }
        slot.lot = self.lot;
        slot.header[arena::H_TABLE_MASK] = table.entries - 1;
        slot.header[arena::H_GROUPS] = stride_groups(rows);
        let bases = table.groups.packing.base_words();
        slot.header[arena::H_BASES..][..bases.len()].copy_from_slice(&bases);
        let spill =
            self.runner.player.buffer(4 * group_hash::spill_words(rows), "rows put down")?;
        let head = 0..4 * SPILL_HEADER as u64;
        commands.push(Command::Clear { buffer: spill.clone(), range: head.clone() });
        let mut own = vec![table.buffer.clone(), spill.clone()];
        if let Some(spilled) = &slot.spilled {
            own.push(spilled.list.clone());
            self.link_replay(&mut table);
        }
        commands.extend(self.rounds(&table, slot, &own, joins));
        commands.push(download_status(slot));
        commands.push(Command::Download { buffer: spill.clone(), range: head });
        slot.own = vec![spill];
        self.table = Some(table);
        Ok(commands)
    }

    fn done(&mut self, slot: &mut Slot, completed: Completed) -> Result<Verdict<'a>> {
        check_status(&completed.downloads[0])?;
        let answer = &completed.downloads[1];
        if slot.lot == RANGES {
            if self.packing.is_none() {
                self.narrow(answer)?;
            }
            return Ok(Verdict::Again);
        }
        let (rows, misfits) = (answer[0], answer[1] > 0);
        slot.spilled = (rows > 0).then(|| Spilled { list: slot.own[0].clone(), rows, misfits });
        Ok(if rows > 0 { Verdict::Again } else { Verdict::Done })
    }

    async fn make_room(&mut self, slot: &Slot) -> Result<()> {
        match &slot.spilled {
            // A slot before this one has made room already.
            Some(_) if slot.lot != self.lot => Ok(()),
            Some(spilled) if spilled.misfits => self.widen().await,
            Some(_) => self.grow().await,
            None => Ok(()),
        }
    }

    async fn finish(&mut self) -> Result<()> {
        let mut tables = std::mem::take(&mut self.retired);
        tables.extend(self.table.take());
        tables.retain(|table| !table.fresh);
        let schema = &self.aggregation.schema;
        // Who reads partial states merges them.
        if tables.len() == 1 || self.aggregation.partial {
            for table in tables {
                let (arrays, groups) = self.columns(&table).await?;
                Stats::add(&self.runner.stats.groups, groups as u64);
                send(self.out, schema, arrays, groups).await?;
            }
            return Ok(());
        }
        let mut groups = Groups::default();
        for table in tables {
            self.merge(&table, &mut groups).await?;
        }
        Stats::add(&self.runner.stats.groups, groups.count as u64);
        let arrays = self.arrays(&groups)?;
        send(self.out, schema, arrays, groups.count).await
    }
}
