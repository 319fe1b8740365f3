//! Grouped aggregation: a table on the device that grows there, and whose groups come down once, as
//! columns.

mod columns;
mod merge;
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
use crate::expr::ir::Rep;
use crate::fragment::arena;
use crate::fragment::key::Dense;
use crate::fragment::spec::{Aggregation, Key};
use crate::kernel::Shape;
use crate::kernel::group_hash::{self, SPILL_HEADER};
use crate::record::{Buffer, Command, Completed};
use merge::Groups;
use table::{Kind, Step, Table};

pub use merge::merge_state;

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
}

pub struct GroupSink<'a> {
    runner: &'a Runner,
    keys: Arc<Vec<Key>>,
    aggregation: Arc<Aggregation>,
    shape: Option<Shape>,
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
        let (shape, table, retired) = (None, None, Vec::new());
        Self { runner, keys, aggregation, shape, table, retired, lot: 0, entries, out }
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
        self.runner.interners[domain].lock().len() as u32 + 1
    }

    /// False if a string has appeared that the dense table has no place for.
    fn fits(&self, dense: &Dense) -> bool {
        let mut keys = self.keys.iter().zip(&dense.sizes);
        keys.all(|(key, size)| key.domain.is_none_or(|domain| self.codes(domain) <= *size))
    }

    /// Puts the table aside; the next slot gets a new one.
    fn retire(&mut self) {
        Stats::add(&self.runner.stats.table_flushes, 1);
        self.lot += 1;
        self.retired.extend(self.table.take());
    }

    /// The table that takes in so many rows more.
    fn table_for(&mut self, rows: u64) -> Result<Table> {
        let spent = self.table.as_ref().is_some_and(|table| {
            let filled = table.rows > 0 && table.rows + rows > self.runner.limits.table_rows;
            filled || table.dense().is_some_and(|dense| !self.fits(dense))
        });
        if spent {
            self.retire();
        }
        let table = match self.table.take() {
            Some(table) => table,
            None => self.new_table()?,
        };
        Ok(Table { rows: table.rows + rows, ..table })
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
        self.shape = Some(Shape {
            pipeline: shape.pipeline.clone(),
            tables: shape.tables.clone(),
            drive: shape.drive,
            linker: shape.linker.clone(),
        });
        self.link();
        Ok(())
    }

    fn record(&mut self, slot: &mut Slot, joins: &Joins) -> Result<Vec<Command>> {
        let rows = slot.spilled.as_ref().map_or(slot.rows, |spilled| spilled.rows);
        let mut table = self.table_for(rows as u64)?;
        let mut commands = Vec::new();
        if std::mem::take(&mut table.fresh) {
            let range = 0..table.bytes();
            commands.push(Command::Clear { buffer: table.buffer.clone(), range });
        }
        slot.lot = self.lot;
        slot.header[arena::H_TABLE_MASK] = table.entries - 1;
        slot.header[arena::H_GROUPS] = stride_groups(rows);
        let mut own = vec![table.buffer.clone()];
        slot.own.clear();
        if let Kind::Hashed(_) = table.kind {
            let bytes = 4 * group_hash::spill_words(rows);
            let spill = self.runner.player.buffer(bytes, "spilled rows")?;
            let range = 0..4 * SPILL_HEADER as u64;
            commands.push(Command::Clear { buffer: spill.clone(), range });
            slot.own.push(spill.clone());
            own.push(spill);
            own.extend(slot.spilled.iter().map(|spilled| spilled.list.clone()));
            if slot.spilled.is_some() {
                self.link_replay(&mut table);
            }
        }
        commands.extend(self.rounds(&table, slot, &own, joins));
        commands.push(download_status(slot));
        for spill in &slot.own {
            let range = 0..4 * SPILL_HEADER as u64;
            commands.push(Command::Download { buffer: spill.clone(), range });
        }
        self.table = Some(table);
        Ok(commands)
    }

    fn done(&mut self, slot: &mut Slot, completed: Completed) -> Result<Verdict<'a>> {
        check_status(&completed.downloads[0])?;
        let list = slot.own.first().cloned();
        let spilled = list.zip(completed.downloads.get(1)).map(|(list, words)| (list, words[0]));
        slot.spilled =
            spilled.filter(|(_, rows)| *rows > 0).map(|(list, rows)| Spilled { list, rows });
        Ok(if slot.spilled.is_some() { Verdict::Again } else { Verdict::Done })
    }

    async fn make_room(&mut self, slot: &Slot) -> Result<()> {
        // Otherwise a slot before this one has made room already.
        if slot.lot == self.lot { self.grow().await } else { Ok(()) }
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
