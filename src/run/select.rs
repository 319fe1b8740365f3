//! Selection: what passes, slot by slot, in the order of the source.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use super::output;
use super::pipeline::{Joins, Sink, Slot, Verdict, check_status, download_status};
use super::table::TableState;
use super::{Runner, Sender};
use crate::error::{DeviceError, Result};
use crate::fragment::arena;
use crate::fragment::spec::{Pipeline, Sink as SinkSpec};
use crate::kernel::select::{self, COUNTS_HEADER, Columns, TILE};
use crate::kernel::{Shape, scan};
use crate::record::{Buffer, Command, Completed, Program, Recording, Words};

pub struct SelectSink<'a> {
    runner: &'a Runner,
    pipeline: Arc<Pipeline>,
    columns: Arc<Columns>,
    schema: SchemaRef,
    tables: &'a [TableState],
    programs: Option<(Arc<Program>, Arc<Program>)>,
    scan: Arc<Program>,
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
        tables: &'a [TableState],
        out: &'a Sender,
    ) -> Self {
        let scan = scan::program(&runner.linker);
        let schema = schema.clone();
        Self { runner, pipeline, columns, schema, tables, programs: None, scan, capacity: 0, out }
    }

    /// The tuples of the slot, word by word.
    async fn fetch(&self, out: &Buffer, capacity: u32, rows: u32) -> Result<Vec<Words>> {
        if rows == 0 || self.columns.words() == 0 {
            return Ok(Vec::new());
        }
        let mut recording = Recording { label: "fetch".into(), commands: vec![] };
        for word in 0..self.columns.words() as u64 {
            let at = 4 * word * capacity as u64;
            let range = at..at + 4 * rows as u64;
            recording.commands.push(Command::Download { buffer: out.clone(), range });
        }
        let completed = self.runner.player.submit(recording).await?;
        self.runner.stats.completed(&completed);
        Ok(completed.downloads)
    }
}

#[async_trait]
impl Sink for SelectSink<'_> {
    fn begin(&mut self, shape: &Shape) -> Result<()> {
        let count = select::program(shape, &self.columns, 0);
        let write = select::program(shape, &self.columns, 1);
        self.programs = Some((count, write));
        Ok(())
    }

    fn record(&mut self, slot: &mut Slot, joins: &Joins) -> Result<Vec<Command>> {
        let Some((count, write)) = self.programs.clone() else { return Ok(vec![]) };
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
            dispatch(&self.scan, &vec![counts.clone()], 1),
            dispatch(&write, &bindings, tiles.max(1)),
            download_status(slot),
            Command::Download { buffer: counts, range: 0..4 * COUNTS_HEADER as u64 },
        ])
    }

    async fn done(&mut self, slot: &Slot, completed: Completed) -> Result<Verdict> {
        check_status(&completed.downloads[0])?;
        let total = completed.downloads[1][1];
        let capacity = slot.header[arena::H_CAPACITY];
        if total > capacity {
            self.capacity = total.next_power_of_two().max(total);
            return Ok(Verdict::Again);
        }
        let words = self.fetch(&slot.own[1], capacity, total).await?;
        let SinkSpec::Select { outputs, .. } = &self.pipeline.sink else {
            return Ok(Verdict::Done);
        };
        let rows = total as usize;
        let tuples = output::Tuples { columns: &self.columns, words: &words, rows };
        if rows > 0 {
            let batch = self.runner.output_batch(
                outputs,
                &self.schema,
                &tuples,
                &slot.chunk,
                self.tables,
            )?;
            // Nobody listens any more: the rows are not wanted.
            let _ = self.out.send(Ok(batch)).await;
        }
        Ok(Verdict::Done)
    }

    async fn make_room(&mut self, _: &Slot) -> Result<()> {
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
