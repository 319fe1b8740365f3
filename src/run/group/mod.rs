//! Grouped aggregation: a table on the device that grows there, and whose groups come down once, as
//! columns.

mod columns;
mod merge;
mod ranges;
mod table;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use super::pipeline::{Joins, Sink, Slot, Verdict, check_status, download_status, stride_groups};
use super::{Runner, Sender, Stats};
use crate::agg::StateColumn;
use crate::config::WORKGROUP;
use crate::error::Result;
use crate::fragment::arena;
use crate::fragment::key::Packing;
use crate::fragment::spec::{Aggregation, Key};
use crate::kernel::Shape;
use crate::kernel::group_hash::{self, SPILL_HEADER};
use crate::record::{Buffer, Command, Completed};
use merge::Groups;
use ranges::RANGES;
use table::{Step, Table};

pub use merge::merge_state;
pub use ranges::programs_ahead;

/// Rows of a batch that is sent on.
const BATCH_ROWS: usize = 1 << 16;

/// Output columns of all aggregates, from the states of their accumulators.
pub fn aggregate_columns(
    aggregation: &Aggregation,
    mut states: &[StateColumn],
) -> Result<Vec<ArrayRef>> {
    let mut arrays = Vec::new();
    for aggregate in &aggregation.aggregates {
        let (own, rest) = states.split_at(aggregate.columns().len().min(states.len()));
        states = rest;
        if aggregation.partial {
            arrays.extend(aggregate.partial(own)?);
        } else {
            arrays.push(aggregate.finish(own)?);
        }
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

/// Rows of a slot that its table had no room for.
#[derive(Clone)]
pub struct Spilled {
    pub list: Buffer,
    pub rows: u32,
    /// Some of them do not fit how keys are packed.
    pub misfits: bool,
}

pub struct GroupSink<'a> {
    runner: &'a Runner,
    keys: Arc<Vec<Key>>,
    aggregation: Arc<Aggregation>,
    shape: Option<Shape>,
    /// How keys are packed; `None` until their ranges are known.
    packing: Option<Arc<Packing>>,
    table: Option<Table>,
    /// Tables that take in no more rows: their groups are merged with the others' on the host.
    retired: Vec<Table>,
    /// Number of the table that slots are played on now.
    lot: usize,
    /// Entries of the next hash table.
    entries: u32,
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
        Self {
            runner,
            keys,
            aggregation,
            shape: None,
            packing: None,
            table: None,
            retired: Vec::new(),
            lot: 0,
            entries,
            out,
        }
    }

    /// Codes of a domain so far, NULL's included.
    fn codes(&self, domain: usize) -> u32 {
        self.runner.interners[domain].read().len() as u32 + 1
    }

    /// Puts the table aside; the next slot gets a new one.
    fn retire(&mut self) {
        Stats::add(&self.runner.stats.table_flushes, 1);
        self.lot += 1;
        self.retired.extend(self.table.take());
    }

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
