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

pub struct SelectSink<'a> {
    runner: &'a Runner,
    pipeline: Arc<Pipeline>,
    columns: Arc<Columns>,
    schema: SchemaRef,
    tables: Arc<[TableState]>,
    programs: Option<Programs>,
    /// Tuples of the next slot's output; grows where a join multiplies rows.
    capacity: u32,
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
        let schema = schema.clone();
        Self { runner, pipeline, columns, schema, tables, programs: None, capacity: 0, out }
    }
}

/// The tuples of one slot, on the device.
struct Tuples<'a> {
    runner: &'a Runner,
    columns: Arc<Columns>,
    buffer: Buffer,
    capacity: u32,
    rows: u32,
}

impl Tuples<'_> {
    /// Brings them to the host, word by word.
    async fn fetch(&self) -> Result<Vec<Words>> {
        let Self { runner, columns, buffer, capacity, rows } = self;
        if *rows == 0 || columns.words() == 0 {
            return Ok(Vec::new());
        }
        let mut recording = Recording { label: "fetch".into(), commands: vec![] };
        for word in 0..columns.words() as u64 {
            let at = 4 * word * *capacity as u64;
            let range = at..at + 4 * *rows as u64;
            recording.commands.push(Command::Download { buffer: buffer.clone(), range });
        }
        let completed = runner.player.submit(recording).await?;
        runner.stats.completed(&completed);
        Ok(completed.downloads)
    }
}

#[async_trait]
impl<'a> Sink<'a> for SelectSink<'a> {
    fn begin(&mut self, shape: &Shape) -> Result<()> {
        self.programs = Some(Programs::of(shape, &self.columns));
        Ok(())
    }

    fn record(&mut self, slot: &mut Slot, joins: &Joins) -> Result<Vec<Command>> {
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

    fn done(&mut self, slot: &mut Slot, completed: Completed) -> Result<Verdict<'a>> {
        check_status(&completed.downloads[0])?;
        let rows = completed.downloads[1][1];
        let capacity = slot.header[arena::H_CAPACITY];
        if rows > capacity {
            self.capacity = rows.next_power_of_two().max(rows);
            return Ok(Verdict::Again);
        }
        if rows == 0 {
            return Ok(Verdict::Done);
        }
        let (runner, columns) = (self.runner, self.columns.clone());
        let tuples = Tuples { runner, columns, buffer: slot.own[1].clone(), capacity, rows };
        let source = Source {
            pipeline: self.pipeline.clone(),
            columns: self.columns.clone(),
            schema: self.schema.clone(),
            interners: runner.interners.clone(),
            chunk: slot.chunk.clone(),
            tables: self.tables.clone(),
        };
        let out = self.out;
        let emit = async move {
            let words = tuples.fetch().await?;
            let batch =
                task::blocking("taking a slot's rows", move || source.batch(&words, rows as usize));
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
