//! Build sides that are filtered, joined and computed on the device, and stay there: the tuples of
//! each slot are put aside, then made the columns of a join table.

use std::sync::Arc;

use arrow::datatypes::Schema;
use async_trait::async_trait;
use futures::future::FutureExt;
use parking_lot::Mutex;

use super::layout::{code_range, layout};
use crate::config::WORKGROUP;
use crate::error::{Error, Result};
use crate::expr::ir::{Expr, Rep};
use crate::fragment::arena::{self, HEADER, Layout};
use crate::fragment::join::Range;
use crate::fragment::spec::{ArenaColumn, Input, Key, Pipeline, Sink as SinkSpec, Table};
use crate::fragment::text::Drive;
use crate::kernel::link::programs::Place;
use crate::kernel::select::Columns;
use crate::kernel::{Shape, append};
use crate::record::{Buffer, Command, Completed, Program, Recording};
use crate::run::ranges;
use crate::run::runner::Runner;
use crate::run::sink::select::{Found, Order, Selection, Tuples};
use crate::run::sink::{Joins, STATUS_BYTES, Sink, Slot, Verdict, check_status, stride_groups};

/// The tuples of the slots, in their order; `None` while they are on their way.
#[derive(Default)]
pub struct Pieces(Mutex<Vec<Option<Tuples>>>);

/// Puts the tuples of each slot aside.
pub struct StoreSink<'a> {
    runner: &'a Runner,
    selection: Selection<'a>,
    pieces: Arc<Pieces>,
}

impl<'a> StoreSink<'a> {
    pub fn new(runner: &'a Runner, columns: &[Expr], pieces: Arc<Pieces>) -> Self {
        let columns = Arc::new(Columns::computed(columns));
        let selection = Selection::new(runner, columns, Order::OnDevice);
        Self { runner, selection, pieces }
    }
}

#[async_trait]
impl<'a> Sink<'a> for StoreSink<'a> {
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
        let (runner, pieces) = (self.runner, self.pieces.clone());
        let number = {
            let mut pieces = pieces.0.lock();
            pieces.push(None);
            pieces.len() - 1
        };
        let emit = async move {
            let tuples = tuples.shrunk(runner).await?;
            pieces.0.lock()[number] = Some(tuples);
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

/// The columns of a build side in device memory, behind a header.
pub struct Stored {
    pub rows: usize,
    pub layout: Layout,
    pub columns: Buffer,
    pub ranges: Vec<Range>,
}

impl Runner {
    /// Makes the columns of a table from what its pipeline has put aside.
    pub(super) async fn assemble(&self, number: usize, pieces: &Pieces) -> Result<Stored> {
        let table = &self.fragment.tables[number];
        let pieces: Option<Vec<Tuples>> = pieces.0.lock().drain(..).collect();
        let Some(pieces) = pieces else {
            return Err(Error::Bug("a build side ended before all its tuples were there".into()));
        };
        let rows: usize = pieces.iter().map(|piece| piece.rows as usize).sum();
        let layout = stored_layout(table, rows);
        let bytes = 4 * layout.words as u64;
        self.check_table_bytes(rows, bytes)?;
        let columns = self.player.buffer(bytes, "columns of a join table")?;
        let mut header = [0; HEADER];
        header[arena::H_ROWS] = rows as u32;
        header[arena::H_GROUPS] = stride_groups(rows as u32);
        let mut commands = vec![
            Command::Clear { buffer: columns.clone(), range: 0..bytes },
            self.upload(&layout.header_words(header), &columns).await?,
        ];
        let mut first = 0;
        for piece in &pieces {
            let mut places = vec![piece.rows, piece.capacity, first];
            let offsets = layout.columns.iter();
            places.extend(offsets.flat_map(|(values, bits)| [*values as u32, *bits as u32]));
            let size = 4 * places.len() as u64;
            let (places, upload) = self.sent(&places, size, "places of columns").await?;
            let bindings = vec![piece.buffer.clone(), places, columns.clone()];
            let (program, groups) = (self.append_program(number), piece.rows.div_ceil(WORKGROUP));
            commands.extend([upload, Command::Dispatch { program, bindings, groups }]);
            first += piece.rows;
        }
        let ranges = self.key_ranges_of(number, &columns, header, commands).await?;
        Ok(Stored { rows, layout, columns, ranges })
    }

    /// Runs the commands that fill the columns, then finds the ranges of the keys.
    async fn key_ranges_of(
        &self,
        number: usize,
        columns: &Buffer,
        header: [u32; HEADER],
        mut commands: Vec<Command>,
    ) -> Result<Vec<Range>> {
        let table = &self.fragment.tables[number];
        let keys = keys(table);
        let program = self.ranges_program(number);
        if let Some(program) = &program {
            let status = self.player.buffer(STATUS_BYTES, "status")?;
            let groups = header[arena::H_GROUPS];
            let bytes = 4 * u64::from(groups) * ranges::extremes(&keys).words() as u64;
            let partials = self.player.buffer(bytes, "ranges of keys")?;
            let bindings = vec![columns.clone(), status.clone(), partials.clone()];
            commands.extend([
                Command::Clear { buffer: status.clone(), range: 0..STATUS_BYTES },
                Command::Dispatch { program: program.clone(), bindings, groups },
                Command::Download { buffer: status, range: 0..STATUS_BYTES },
                Command::Download { buffer: partials, range: 0..bytes },
            ]);
        }
        let completed = self.player.submit(Recording { label: "columns".into(), commands }).await?;
        self.stats.completed(&completed);
        let mut found = vec![None; keys.len()];
        if let [status, partials] = completed.downloads.as_slice() {
            check_status(status)?;
            found = ranges::read(&keys, partials)?;
        }
        let range = |(key, found): (&Key, ranges::Extremes)| match (key.domain, found) {
            (Some(domain), _) => code_range(&self.interners[domain]),
            (None, Some((least, most))) => {
                signed(key.expr.rep, least).zip(signed(key.expr.rep, most))
            }
            (None, None) => None,
        };
        Ok(keys.iter().zip(found).map(range).collect())
    }

    pub(super) fn append_program(&self, number: usize) -> Arc<Program> {
        let Table { pipeline, columns, .. } = &self.fragment.tables[number];
        let written = match &pipeline.sink {
            SinkSpec::Store { columns } => Columns::computed(columns).computed_places(),
            _ => Vec::new(),
        };
        let kernel = append::KERNEL.name;
        let place = Place { pipeline: number, drive: Drive::Slot, kernel, variant: Vec::new() };
        self.programs.get(place, || append::program(&self.linker, columns, written.clone()))
    }

    /// The program that finds the ranges of a table's keys in its columns, if any has one.
    pub(super) fn ranges_program(&self, number: usize) -> Option<Arc<Program>> {
        let table = &self.fragment.tables[number];
        let keys = keys(table);
        if !keys.iter().any(ranges::has_range) {
            return None;
        }
        let pipeline = Arc::new(Pipeline {
            source: 0,
            schema: Arc::new(Schema::empty()),
            columns: table.columns.clone(),
            inputs: (0..table.columns.len()).map(Input::Slot).collect(),
            lookups: Vec::new(),
            steps: Vec::new(),
            sink: SinkSpec::Reduce(ranges::extremes(&keys)),
        });
        Some(ranges::program(&self.shape(number, &pipeline, Drive::Slot), &keys))
    }

    /// The programs of a stored build side, but for those of its slots.
    pub(in crate::run) fn store_programs(&self, number: usize) -> Vec<Arc<Program>> {
        std::iter::once(self.append_program(number)).chain(self.ranges_program(number)).collect()
    }
}

/// The layout of columns whose rows come from slots of the device: all that may have NULLs have
/// bits for them.
fn stored_layout(table: &Table, rows: usize) -> Layout {
    let shape = |column: &ArenaColumn| (column.store, column.nullable && column.domain.is_none());
    let shapes: Vec<_> = table.columns.iter().map(shape).collect();
    layout(table, rows, &shapes)
}

/// A table's key columns, as keys over its arena.
fn keys(table: &Table) -> Vec<Key> {
    let key = |column: &usize| {
        let spec = &table.columns[*column];
        Key {
            expr: Expr::input(*column, spec.rep, spec.nullable),
            data_type: spec.data_type.clone(),
            domain: spec.domain,
        }
    };
    table.keys.iter().map(key).collect()
}

/// An integer of a representation as a signed number, if it is one.
fn signed(rep: Rep, bits: u128) -> Option<i64> {
    match rep {
        Rep::I32 => Some(i64::from(bits as u32 as i32)),
        Rep::I64 => Some(bits as u64 as i64),
        _ => i64::try_from(bits).ok(),
    }
}
