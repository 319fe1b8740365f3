//! Join tables: what keys and expressions need of a build side on the device, with an index of its
//! keys; its rows on the host where an output needs them.

mod layout;
pub mod state;
mod store;

use std::sync::Arc;

use arrow::array::{
    Array, ArrowNumericType, PrimitiveArray, RecordBatch, RecordBatchOptions,
    downcast_primitive_array,
};
use arrow::compute::{max, min};
use arrow::datatypes::ArrowNativeType;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use parking_lot::RwLock;
use tokio::sync::mpsc;

use super::encode::Rows;
use super::runner::Runner;
use super::stats::Stats;
use crate::config::WORKGROUP;
use crate::error::{DeviceError, Error, Result};
use crate::fragment::arena::{self, HEADER, Layout};
use crate::fragment::intern::Interner;
use crate::fragment::join::{Index, Lookup, Range};
use crate::fragment::spec::{Pipeline, Sink, Table};
use crate::fragment::text::Drive;
use crate::kernel::build;
use crate::kernel::link::programs::Place;
use crate::record::{Buffer, Command, Program, Recording};
use crate::task;
use layout::{code_range, layout};
use state::TableState;
use store::{Pieces, StoreSink, Stored};

impl Runner {
    /// Runs the build side's pipeline, and makes the index of its keys on the device.
    pub(super) async fn build_table(
        &self,
        number: usize,
        source: SendableRecordBatchStream,
        tables: &[TableState],
    ) -> Result<TableState> {
        let pipeline = Arc::new(self.fragment.tables[number].pipeline.clone());
        let marks_at = tables.last().map_or(0, TableState::marks_end);
        let state = if let Sink::Store { columns } = &pipeline.sink {
            let pieces = Arc::new(Pieces::default());
            let sink = Box::new(StoreSink::new(self, columns, pieces.clone()));
            let run = self.run_pipeline(number, pipeline.clone(), source, tables, sink);
            Box::pin(run).await?;
            let stored = self.assemble(number, &pieces).await?;
            let rows = stored.rows;
            let buffer = self.index_stored(number, stored, marks_at).await?;
            TableState { rows, batch: None, buffer, marks_at }
        } else {
            let batch = match pipeline.is_bare() {
                true => self.collect(&pipeline, source).await?,
                false => self.collect_pipeline(number, pipeline, source, tables).await?,
            };
            let buffer = self.upload_table(number, &batch, marks_at).await?;
            TableState { rows: batch.num_rows(), batch: Some(batch), buffer, marks_at }
        };
        Stats::add(&self.stats.build_rows, state.rows as u64);
        Ok(state)
    }

    /// Words of all tables' marks.
    pub(super) fn mark_words(&self, tables: &[TableState]) -> usize {
        tables.last().map_or(0, TableState::marks_end).max(1)
    }

    /// How the probe of a table looks its keys up.
    fn lookup(&self, number: usize) -> Option<Lookup> {
        self.fragment.probing(number).map(|(_, probe)| Lookup::of(probe))
    }

    /// The programs that make the index of a table, in their order.
    pub(super) fn build_programs(&self, number: usize) -> Vec<Arc<Program>> {
        let table = &self.fragment.tables[number];
        let Some(lookup) = self.lookup(number) else { return Vec::new() };
        let phases = if lookup.existence { 0..1 } else { 0..3 };
        let program = |phase: u32| {
            let (kernel, drive) = (build::KERNEL.name, Drive::Slot);
            let place = Place { pipeline: number, drive, kernel, variant: vec![phase] };
            self.programs.get(place, || build::program(&self.linker, table, lookup, phase))
        };
        phases.map(program).collect()
    }

    async fn collect_pipeline(
        &self,
        number: usize,
        pipeline: Arc<Pipeline>,
        source: SendableRecordBatchStream,
        tables: &[TableState],
    ) -> Result<RecordBatch> {
        let Sink::Select { schema, .. } = &pipeline.sink else {
            return Err(Error::Bug("a build side that does not select".into()));
        };
        let schema = schema.clone();
        let (send, mut receive) = mpsc::channel(4);
        let run = async move {
            // The sender goes with this future, which ends the loop below.
            let send = send;
            let sink = self.sink(&pipeline, tables, &send)?;
            self.run_pipeline(number, pipeline, source, tables, sink).await
        };
        let gather = async {
            let mut batches = Vec::new();
            while let Some(batch) = receive.recv().await {
                let batch = batch?;
                self.memory.keep(&batch)?;
                batches.push(batch);
            }
            Ok(batches)
        };
        // Where one fails, nobody waits for the other: the channel may be full.
        let ((), batches) = futures::try_join!(Box::pin(run), gather)?;
        self.memory.coalesce(&batches, &schema)
    }

    /// The output columns of a pipeline that does nothing else.
    async fn collect(
        &self,
        pipeline: &Pipeline,
        mut source: SendableRecordBatchStream,
    ) -> Result<RecordBatch> {
        let (Some(columns), Sink::Select { schema, .. }) =
            (pipeline.source_columns(), &pipeline.sink)
        else {
            return Err(Error::Bug("a build side that does not select".into()));
        };
        let mut batches = Vec::new();
        while let Some(batch) = source.next().await {
            let batch = batch?;
            let arrays = columns.iter().map(|column| batch.column(*column).clone()).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let batch = RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?;
            self.memory.keep(&batch)?;
            batches.push(batch);
        }
        self.memory.coalesce(&batches, schema)
    }

    /// A table of rows of the host.
    async fn upload_table(
        &self,
        number: usize,
        batch: &RecordBatch,
        marks_at: usize,
    ) -> Result<Buffer> {
        let table = &self.fragment.tables[number];
        let coded = task::blocking("encoding a join table", {
            let (spec, batch, interners) = (table.clone(), batch.clone(), self.interners.clone());
            move || {
                let rows = Rows::of(std::slice::from_ref(&batch));
                let strings = rows.code(&spec.columns, &interners)?;
                let layout = layout(&spec, batch.num_rows(), &rows.shapes(&spec.columns));
                let ranges = key_ranges(&spec, &batch, &interners);
                Ok((layout, ranges, strings))
            }
        });
        let (mut layout, ranges, strings) = coded.await?;
        let index = self.index(number, &mut layout, &ranges)?;
        let arena = self.table_arena(&layout, &index)?;
        let bytes = 4 * layout.words as u64;
        let mut staging = self.player.staging(bytes).await?;
        let (spec, batch) = (table.clone(), batch.clone());
        let header = header(&layout, &index, marks_at);
        let encoded = layout.clone();
        let staging = task::blocking("encoding a join table", move || {
            let words = staging.words();
            encoded.write_header(words, header);
            let rows = Rows::of(std::slice::from_ref(&batch));
            rows.write(&spec.columns, &strings, &encoded, words)?;
            Ok(staging)
        })
        .await?;
        Stats::add(&self.stats.bytes_up, bytes);
        let commands = vec![Command::Upload { from: staging, bytes, to: arena.clone(), at: 0 }];
        self.build_index(number, arena, &layout, &index, commands).await
    }

    /// A table whose columns are on the device.
    async fn index_stored(&self, number: usize, stored: Stored, marks_at: usize) -> Result<Buffer> {
        let Stored { mut layout, columns, ranges, .. } = stored;
        let index = self.index(number, &mut layout, &ranges)?;
        let arena = self.table_arena(&layout, &index)?;
        let header = layout.header_words(header(&layout, &index, marks_at));
        let (from_at, to_at, bytes) = (0, 0, 4 * layout.words as u64);
        let commands = vec![
            Command::Copy { from: columns, from_at, to: arena.clone(), to_at, bytes },
            self.upload(&header, &arena).await?,
        ];
        self.build_index(number, arena, &layout, &index, commands).await
    }

    /// The index of columns laid out so, whose fields go into their header.
    fn index(&self, number: usize, layout: &mut Layout, ranges: &[Range]) -> Result<Index> {
        let table = &self.fragment.tables[number];
        let Some(lookup) = self.lookup(number) else {
            return Err(Error::Bug("a join table that nothing probes".into()));
        };
        let limit = self.player.capabilities().max_binding_bytes as usize / 4;
        let most = limit.saturating_sub(layout.words);
        let index = Index::of(table, ranges, lookup, layout.rows, most);
        layout.parameters = index.parameters();
        Ok(index)
    }

    /// The buffer of a table: its columns, then its index.
    fn table_arena(&self, layout: &Layout, index: &Index) -> Result<Buffer> {
        let bytes = 4 * (layout.words + index.words()) as u64;
        self.check_table_bytes(layout.rows, bytes)?;
        Ok(self.player.buffer(bytes, "join table")?)
    }

    pub(super) fn check_table_bytes(&self, rows: usize, bytes: u64) -> Result<()> {
        let limit = self.player.capabilities().max_binding_bytes;
        if bytes <= limit {
            return Ok(());
        }
        let text =
            format!("a join's build side of {rows} rows takes {bytes} bytes, a binding {limit}");
        Err(DeviceError::TableFull(text).into())
    }

    /// Makes the index behind the columns, once the commands have brought them.
    async fn build_index(
        &self,
        number: usize,
        arena: Buffer,
        layout: &Layout,
        index: &Index,
        mut commands: Vec<Command>,
    ) -> Result<Buffer> {
        let bytes = 4 * index.words() as u64;
        let made = self.player.buffer(bytes, "index of a join table")?;
        commands.push(Command::Clear { buffer: made.clone(), range: 0..bytes });
        let slots = (index.slots as u32).div_ceil(WORKGROUP * build::ITEMS).max(1);
        let by_rows = (layout.rows as u32).div_ceil(WORKGROUP).clamp(1, 4096);
        for (phase, program) in self.build_programs(number).into_iter().enumerate() {
            let bindings = vec![arena.clone(), made.clone()];
            let groups = if phase == 1 { slots } else { by_rows };
            commands.push(Command::Dispatch { program, bindings, groups });
        }
        let copy = |to_at: u64, bytes: u64| {
            let (from, to) = (made.clone(), arena.clone());
            Command::Copy { from, from_at: 0, to, to_at, bytes }
        };
        commands.push(copy(4 * layout.words as u64, bytes));
        commands.push(copy(4 * arena::T_SEVERAL as u64, 4));
        let completed = self.player.submit(Recording { label: "build".into(), commands }).await?;
        self.stats.completed(&completed);
        Ok(arena)
    }
}

fn header(layout: &Layout, index: &Index, marks_at: usize) -> [u32; HEADER] {
    let mut header = [0; HEADER];
    index.write_header(&mut header, layout.words);
    header[arena::T_MARKS] = marks_at as u32;
    header
}

/// The ranges of a build side's keys: those of integers, and of codes.
fn key_ranges(table: &Table, batch: &RecordBatch, interners: &[RwLock<Interner>]) -> Vec<Range> {
    let of_key = |column: &usize| {
        let spec = &table.columns[*column];
        match spec.domain {
            Some(domain) => code_range(&interners[domain]),
            None => range(batch.column(spec.index).as_ref()),
        }
    };
    table.keys.iter().map(of_key).collect()
}

/// The least and the largest value of an array of integers, of whatever logical type, that fit 64
/// bits, signed.
fn range(array: &dyn Array) -> Range {
    fn of<T: ArrowNumericType>(array: &PrimitiveArray<T>) -> Range {
        min(array)?.to_i64().zip(max(array)?.to_i64())
    }
    downcast_primitive_array! {
        array => if array.data_type().is_floating() { None } else { of(array) },
        _ => None,
    }
}
