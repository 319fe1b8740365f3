//! Selection: what passes, slot by slot, in the order of the source.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::future::FutureExt;

use super::output::Source;
use super::{Joins, Sink, Slot, Verdict, check_status, download_status};
use crate::error::{DeviceError, Result};
use crate::fragment::arena;
use crate::fragment::spec::Pipeline;
use crate::kernel::select::{self, COUNTS_HEADER, Columns, Phase, Place, TILE};
use crate::kernel::{Shape, scan};
use crate::record::{Buffer, Command, Completed, Program, Recording, Words};
use crate::run::runner::{Runner, Sender};
use crate::run::table::state::TableState;
use crate::task;

/// One dispatch of a slot.
enum Step {
    /// A workgroup a tile of rows.
    Tiles(Arc<Program>),
    /// One workgroup over the counts of all tiles.
    Counts(Arc<Program>),
}

/// Who puts the tuples in the order of their rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The device, which counts them before it writes them.
    OnDevice,
    /// The host that takes them: the device writes them tile by tile, as tiles get done.
    OnHost,
}

impl Order {
    /// What is dispatched for a slot, in this order.
    fn steps(self, shape: &Shape, columns: &Arc<Columns>) -> Vec<Step> {
        let phase = |phase: Phase| {
            let make = || select::program(shape, columns, phase);
            shape.program(&select::KERNEL, &[phase as u32], make)
        };
        let tiles = |phase_of| Step::Tiles(phase(phase_of));
        let scan = || shape.program(&scan::KERNEL, &[], || scan::program(&shape.linker));
        match self {
            Order::OnDevice => {
                vec![tiles(Phase::Count), Step::Counts(scan()), tiles(Phase::Write)]
            }
            Order::OnHost => vec![tiles(Phase::OnePass)],
        }
    }

    /// The programs of all steps.
    pub fn programs(self, shape: &Shape, columns: &Arc<Columns>) -> Vec<Arc<Program>> {
        let steps = self.steps(shape, columns).into_iter();
        steps.map(|(Step::Tiles(program) | Step::Counts(program))| program).collect()
    }

    /// Words that a tile has in the buffer of counts.
    fn words(self) -> u64 {
        match self {
            Order::OnDevice => 1,
            Order::OnHost => 2,
        }
    }
}

/// The kernels of a selection: the tuples of a slot that pass, on the device.
pub struct Selection<'a> {
    runner: &'a Runner,
    columns: Arc<Columns>,
    order: Order,
    steps: Vec<Step>,
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

/// The tuples of one slot, on the device.
pub struct Tuples {
    columns: Arc<Columns>,
    pub buffer: Buffer,
    pub capacity: u32,
    pub rows: u32,
    /// Where each tile's tuples start and how many they are, two words a tile; empty where they
    /// are in order.
    tiles: Words,
}

impl<'a> Selection<'a> {
    pub fn new(runner: &'a Runner, columns: Arc<Columns>, order: Order) -> Self {
        Self { runner, columns, order, steps: Vec::new(), capacity: 0 }
    }

    /// Prepares the steps for slots, or for a tail.
    pub fn begin(&mut self, shape: &Shape) {
        self.steps = self.order.steps(shape, &self.columns);
    }

    /// The commands after the slot's upload.
    pub fn record(&mut self, slot: &mut Slot, joins: &Joins) -> Result<Vec<Command>> {
        let tiles = slot.rows.div_ceil(TILE);
        let limit = self.runner.player.capabilities().max_binding_bytes;
        let words = self.columns.words().max(1) as u64;
        let most = (limit / (4 * words)).min(u32::MAX as u64) as u32;
        // Columns start at 16 bytes.
        self.capacity = self.capacity.max(slot.rows.max(1)).next_multiple_of(4);
        if self.capacity > most {
            let text = format!("{} joined rows of one slot", self.capacity);
            return Err(DeviceError::TableFull(text).into());
        }
        slot.header[arena::H_CAPACITY] = self.capacity;
        let counts_bytes = 4 * (COUNTS_HEADER as u64 + self.order.words() * tiles as u64);
        let counts = self.runner.player.buffer(counts_bytes, "tile counts")?;
        let bytes = 4 * words * self.capacity as u64;
        let out = self.runner.player.buffer(bytes, "tuples")?;
        let bindings = joins.bind(slot, &[counts.clone(), out.clone()]);
        slot.own = vec![counts.clone(), out];
        let dispatch = |step: &Step| {
            let (program, bindings, groups) = match step {
                Step::Tiles(program) => (program.clone(), bindings.clone(), tiles.max(1)),
                Step::Counts(program) => (program.clone(), vec![counts.clone()], 1),
            };
            Command::Dispatch { program, bindings, groups }
        };
        let mut commands: Vec<Command> = self.steps.iter().map(dispatch).collect();
        let range = match self.order {
            Order::OnDevice => 0..4 * COUNTS_HEADER as u64,
            Order::OnHost => 4 * COUNTS_HEADER as u64..counts_bytes,
        };
        commands.extend([download_status(slot), Command::Download { buffer: counts, range }]);
        Ok(commands)
    }

    /// Takes in a slot's answer.
    pub fn done(&mut self, slot: &Slot, mut completed: Completed) -> Result<Found> {
        check_status(&completed.downloads[0])?;
        let (rows, tiles) = match self.order {
            Order::OnDevice => (completed.downloads[1][1], Words::default()),
            Order::OnHost => (completed.downloads[0][2], completed.downloads.swap_remove(1)),
        };
        let capacity = slot.header[arena::H_CAPACITY];
        if rows > capacity {
            self.capacity = rows.next_power_of_two().max(rows);
            return Ok(Found::TooMany);
        }
        if rows == 0 {
            return Ok(Found::None);
        }
        let (columns, buffer) = (self.columns.clone(), slot.own[1].clone());
        Ok(Found::Tuples(Tuples { columns, buffer, capacity, rows, tiles }))
    }
}

impl Tuples {
    /// Brings them to the host: the words of each column, in the order of [`Columns::places`].
    async fn fetch(&self, runner: &Runner) -> Result<Vec<Words>> {
        let column = |place: Place| {
            let at = 4 * place.first as u64 * u64::from(self.capacity);
            let range = at..at + 4 * place.words as u64 * u64::from(self.rows);
            Command::Download { buffer: self.buffer.clone(), range }
        };
        let commands: Vec<Command> = self.columns.places().into_iter().map(column).collect();
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let completed = runner.player.submit(Recording { label: "fetch".into(), commands }).await?;
        runner.stats.completed(&completed);
        Ok(completed.downloads)
    }

    /// The words of columns in the order of the rows.
    fn ordered(&self, columns: Vec<Words>) -> Vec<Words> {
        let tiles = self.tiles.chunks_exact(2).map(|tile| (tile[0] as usize, tile[1] as usize));
        let tiles: Vec<(usize, usize)> = tiles.filter(|(_, tuples)| *tuples > 0).collect();
        if tiles.is_sorted() {
            return columns;
        }
        let order = |(column, place): (Words, Place)| {
            let mut words = Vec::with_capacity(column.len());
            for (start, tuples) in &tiles {
                words.extend_from_slice(&column[start * place.words..][..tuples * place.words]);
            }
            Words::from(words)
        };
        columns.into_iter().zip(self.columns.places()).map(order).collect()
    }

    /// The same in a buffer of their size, where they fill less than half of theirs.
    pub async fn shrunk(self, runner: &Runner) -> Result<Self> {
        let words = self.columns.words() as u64;
        let capacity = self.rows.next_multiple_of(4);
        if capacity > self.capacity / 2 || words == 0 {
            return Ok(self);
        }
        let to = runner.player.buffer(4 * u64::from(capacity) * words, "tuples")?;
        let copy = |place: Place| Command::Copy {
            from: self.buffer.clone(),
            from_at: 4 * place.first as u64 * u64::from(self.capacity),
            to: to.clone(),
            to_at: 4 * place.first as u64 * u64::from(capacity),
            bytes: 4 * place.words as u64 * u64::from(self.rows),
        };
        let commands = self.columns.places().into_iter().map(copy).collect();
        runner.player.submit(Recording { label: "shrink".into(), commands }).await?;
        Ok(Self { buffer: to, capacity, ..self })
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
        let selection = Selection::new(runner, columns, Order::OnHost);
        let schema = schema.clone();
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
        let tuples = match self.selection.done(slot, completed)? {
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
            let take = move || source.batch(tuples.ordered(words), rows);
            let batch = task::blocking("taking a slot's rows", take);
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
