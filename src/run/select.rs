//! Selection: what passes, slot by slot, in the order of the source.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::future::FutureExt;

use super::output::Source;
use super::pipeline::{Joins, Sink, Slot, Verdict, check_status, download_status};
use super::table::TableState;
use super::{Runner, Sender};
use crate::error::{DeviceError, Result};
use crate::fragment::arena;
use crate::fragment::spec::Pipeline;
use crate::kernel::select::{self, COUNTS_HEADER, Columns, TILE};
use crate::kernel::{Shape, scan};
use crate::record::{Buffer, Command, Completed, Program, Recording, Words};
use crate::task;

/// What is dispatched for a slot, in this order.
#[derive(Clone)]
pub struct Programs {
    count: Arc<Program>,
    scan: Arc<Program>,
    write: Arc<Program>,
}

impl Programs {
    pub fn of(shape: &Shape, columns: &Arc<Columns>) -> Self {
        let phase = |phase: u32| {
            let make = || select::program(shape, columns, phase);
            shape.program(&select::KERNEL, &[phase], make)
        };
        let scan = shape.program(&scan::KERNEL, &[], || scan::program(&shape.linker));
        Self { count: phase(0), scan, write: phase(1) }
    }

    pub fn all(self) -> Vec<Arc<Program>> {
        vec![self.count, self.scan, self.write]
    }
}

/// The kernels of a selection: the tuples of a slot that pass, on the device.
pub struct Selection<'a> {
    runner: &'a Runner,
    columns: Arc<Columns>,
    programs: Option<Programs>,
    /// Tuples of the next slot's output; grows where a join multiplies rows.
    capacity: u32,
}

/// What a slot has given.
pub enum Found {
    None,
    Tuples(Tuples),
    /// More than there was room for: the slot is to be played again.
    TooMany,
}

/// The tuples of one slot, on the device: word k of a tuple at `k * capacity + tuple`.
pub struct Tuples {
    words: u64,
    pub buffer: Buffer,
    pub capacity: u32,
    pub rows: u32,
}

impl<'a> Selection<'a> {
    pub fn new(runner: &'a Runner, columns: Arc<Columns>) -> Self {
        Self { runner, columns, programs: None, capacity: 0 }
    }

    /// Prepares the programs for slots, or for a tail.
    pub fn begin(&mut self, shape: &Shape) {
        self.programs = Some(Programs::of(shape, &self.columns));
    }

    /// The commands after the slot's upload.
    pub fn record(&mut self, slot: &mut Slot, joins: &Joins) -> Result<Vec<Command>> {
        let Some(Programs { count, scan, write }) = self.programs.clone() else {
            return Ok(vec![]);
        };
        let tiles = slot.rows.div_ceil(TILE);
        let limit = self.runner.player.capabilities().max_binding_bytes;
        let words = self.columns.words().max(1) as u64;
        let most = (limit / (4 * words)).min(u32::MAX as u64) as u32;
        self.capacity = self.capacity.max(slot.rows.max(1));
        if self.capacity > most {
            let text = format!("{} joined rows of one slot", self.capacity);
            return Err(DeviceError::TableFull(text).into());
        }
        slot.header[arena::H_CAPACITY] = self.capacity;
        let counts_bytes = 4 * (COUNTS_HEADER as u64 + tiles as u64);
        let counts = self.runner.player.buffer(counts_bytes, "tile counts")?;
        let bytes = 4 * words * self.capacity as u64;
        let out = self.runner.player.buffer(bytes, "tuples")?;
        let bindings = joins.bind(slot, &[counts.clone(), out.clone()]);
        slot.own = vec![counts.clone(), out];
        let dispatch = |program: &Arc<Program>, bindings: &Vec<Buffer>, groups| Command::Dispatch {
            program: program.clone(),
            bindings: bindings.clone(),
            groups,
        };
        Ok(vec![
            dispatch(&count, &bindings, tiles.max(1)),
            dispatch(&scan, &vec![counts.clone()], 1),
            dispatch(&write, &bindings, tiles.max(1)),
            download_status(slot),
            Command::Download { buffer: counts, range: 0..4 * COUNTS_HEADER as u64 },
        ])
    }

    /// Takes in a slot's answer.
    pub fn done(&mut self, slot: &Slot, completed: &Completed) -> Result<Found> {
        check_status(&completed.downloads[0])?;
        let rows = completed.downloads[1][1];
        let capacity = slot.header[arena::H_CAPACITY];
        if rows > capacity {
            self.capacity = rows.next_power_of_two().max(rows);
            return Ok(Found::TooMany);
        }
        if rows == 0 {
            return Ok(Found::None);
        }
        let (words, buffer) = (self.columns.words() as u64, slot.own[1].clone());
        Ok(Found::Tuples(Tuples { words, buffer, capacity, rows }))
    }
}

impl Tuples {
    /// Brings them to the host, word by word.
    async fn fetch(&self, runner: &Runner) -> Result<Vec<Words>> {
        let mut recording = Recording { label: "fetch".into(), commands: vec![] };
        for word in 0..self.words {
            let at = 4 * word * self.capacity as u64;
            let range = at..at + 4 * self.rows as u64;
            recording.commands.push(Command::Download { buffer: self.buffer.clone(), range });
        }
        if recording.commands.is_empty() {
            return Ok(Vec::new());
        }
        let completed = runner.player.submit(recording).await?;
        runner.stats.completed(&completed);
        Ok(completed.downloads)
    }

    /// The same in a buffer of their size, where they fill less than half of theirs.
    pub async fn shrunk(self, runner: &Runner) -> Result<Self> {
        if self.rows > self.capacity / 2 || self.words == 0 {
            return Ok(self);
        }
        let bytes = 4 * self.rows as u64;
        let to = runner.player.buffer(bytes * self.words, "tuples")?;
        let copy = |word: u64| Command::Copy {
            from: self.buffer.clone(),
            from_at: 4 * word * self.capacity as u64,
            to: to.clone(),
            to_at: word * bytes,
            bytes,
        };
        let commands = (0..self.words).map(copy).collect();
        runner.player.submit(Recording { label: "shrink".into(), commands }).await?;
        Ok(Self { buffer: to, capacity: self.rows, ..self })
    }
}

/// Sends the rows that pass.
pub struct SelectSink<'a> {
    runner: &'a Runner,
    selection: Selection<'a>,
    pipeline: Arc<Pipeline>,
    schema: SchemaRef,
    tables: Arc<[TableState]>,
    out: &'a Sender,
}

impl<'a> SelectSink<'a> {
    pub fn new(
        runner: &'a Runner,
        pipeline: Arc<Pipeline>,
        columns: Arc<Columns>,
        schema: &SchemaRef,
        tables: Arc<[TableState]>,
        out: &'a Sender,
    ) -> Self {
        let (schema, selection) = (schema.clone(), Selection::new(runner, columns));
        Self { runner, selection, pipeline, schema, tables, out }
    }
}

#[async_trait]
impl<'a> Sink<'a> for SelectSink<'a> {
    fn begin(&mut self, shape: &Shape) -> Result<()> {
        self.selection.begin(shape);
        Ok(())
    }

    fn record(&mut self, slot: &mut Slot, joins: &Joins) -> Result<Vec<Command>> {
        self.selection.record(slot, joins)
    }

    fn done(&mut self, slot: &mut Slot, completed: Completed) -> Result<Verdict<'a>> {
        let tuples = match self.selection.done(slot, &completed)? {
            Found::TooMany => return Ok(Verdict::Again),
            Found::None => return Ok(Verdict::Done),
            Found::Tuples(tuples) => tuples,
        };
        let (runner, rows) = (self.runner, tuples.rows as usize);
        let source = Source {
            pipeline: self.pipeline.clone(),
            columns: self.selection.columns.clone(),
            schema: self.schema.clone(),
            interners: runner.interners.clone(),
            chunk: slot.chunk.clone(),
            tables: self.tables.clone(),
        };
        let out = self.out;
        let emit = async move {
            let words = tuples.fetch(runner).await?;
            let batch = task::blocking("taking a slot's rows", move || source.batch(&words, rows));
            let batch = batch.await?;
            // Nobody listens any more: the rows are not wanted.
            let _ = out.send(Ok(batch)).await;
            Ok(())
        };
        Ok(Verdict::Emit(emit.boxed()))
    }

    async fn make_room(&mut self, _: &Slot) -> Result<()> {
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
