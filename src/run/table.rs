//! Join tables: the rows of a build side on the host, its keys and columns on the device.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::encode::Rows;
use super::lookup::Lookups;
use super::{Runner, Stats, chunk};
use crate::config::WORKGROUP;
use crate::error::{DeviceError, Error, Result};
use crate::fragment::arena::{self, HEADER, Layout};
use crate::fragment::spec::{Pipeline, Probe, Sink, Store};
use crate::fragment::text::Drive;
use crate::kernel::build;
use crate::kernel::programs::Place;
use crate::record::{Buffer, Command, Program, Recording};
use crate::task;

/// A built table.
#[derive(Clone)]
pub struct TableState {
    /// The build side's rows.
    pub batch: RecordBatch,
    pub buffer: Buffer,
    /// Where its marks start, in words of the fragment's marks.
    pub marks_at: usize,
}

impl Runner {
    /// Runs the build side's pipeline, keeps its rows, and chains them on the device.
    pub(super) async fn build_table(
        &self,
        number: usize,
        source: SendableRecordBatchStream,
        tables: &[TableState],
    ) -> Result<TableState> {
        let table = &self.fragment.tables[number];
        let pipeline = Arc::new(table.pipeline.clone());
        let batch = if pipeline.is_bare() {
            collect(&pipeline, source).await?
        } else {
            self.collect_pipeline(number, pipeline, source, tables).await?
        };
        Stats::add(&self.stats.build_rows, batch.num_rows() as u64);
        let last = tables.last();
        let marks_at = last.map_or(0, |table| table.marks_at + table.batch.num_rows().div_ceil(32));
        let buffer = self.upload_table(number, &batch, marks_at).await?;
        Ok(TableState { batch, buffer, marks_at })
    }

    /// Words of all tables' marks.
    pub(super) fn mark_words(&self, tables: &[TableState]) -> usize {
        tables.last().map_or(0, |t| t.marks_at + t.batch.num_rows().div_ceil(32)).max(1)
    }

    fn null_equals_null(&self, number: usize) -> bool {
        let mut pipelines = self.fragment.tables.iter().map(|table| &table.pipeline);
        let probes = |pipeline: &Pipeline| {
            pipeline.probes().find(|probe: &&Probe| probe.table == number).cloned()
        };
        let found = pipelines.find_map(probes).or_else(|| probes(&self.fragment.main));
        found.is_some_and(|probe| probe.null_equals_null)
    }

    /// The program that chains the rows of a table.
    pub(super) fn build_program(&self, number: usize) -> Arc<Program> {
        let table = &self.fragment.tables[number];
        let (kernel, drive) = (build::KERNEL.name, Drive::Slot);
        let place = Place { pipeline: number, drive, kernel, variant: Vec::new() };
        let make = || build::program(&self.linker, table, self.null_equals_null(number));
        self.programs.get(place, make)
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
        let mut batches = Vec::new();
        let run = async move {
            // The sender goes with this future, which ends the loop below.
            let send = send;
            self.run_pipeline(number, pipeline, source, tables, &send).await
        };
        let gather = async {
            while let Some(batch) = receive.recv().await {
                batches.push(batch?);
            }
            Ok::<_, Error>(())
        };
        let (ran, gathered) = futures::join!(Box::pin(run), gather);
        ran?;
        gathered?;
        chunk::coalesce(&batches, &schema)
    }

    async fn upload_table(
        &self,
        number: usize,
        batch: &RecordBatch,
        marks_at: usize,
    ) -> Result<Buffer> {
        let table = &self.fragment.tables[number];
        let rows = batch.num_rows();
        let coded = task::blocking("encoding a join table", {
            let (spec, batch, interners) = (table.clone(), batch.clone(), self.interners.clone());
            move || {
                let rows = Rows::of(std::slice::from_ref(&batch));
                let strings = rows.code(&spec.columns, &interners)?;
                Ok((table_layout(&rows.shapes(&spec.columns), batch.num_rows(), marks_at), strings))
            }
        });
        let ((layout, header), strings) = coded.await?;
        let bytes = 4 * layout.words as u64;
        let limit = self.player.capabilities().max_binding_bytes;
        if bytes > limit {
            return Err(DeviceError::TableFull(format!(
                "a join's build side of {rows} rows takes {bytes} bytes, a binding {limit}"
            ))
            .into());
        }
        let buffer = self.player.buffer(bytes, "join table")?;
        let mut staging = self.player.staging(bytes).await?;
        let (spec, batch) = (table.clone(), batch.clone());
        let heads = header[arena::H_HEADS] as u64;
        let data = 4 * heads;
        let staging = task::blocking("encoding a join table", move || {
            let words = staging.words();
            layout.write_header(words, header);
            let rows = Rows::of(std::slice::from_ref(&batch));
            rows.write(&spec.columns, &strings, &layout, words)?;
            Ok(staging)
        })
        .await?;
        Stats::add(&self.stats.bytes_up, data);
        let program = self.build_program(number);
        let groups = (rows as u32).div_ceil(WORKGROUP).clamp(1, 4096);
        let commands = vec![
            Command::Clear { buffer: buffer.clone(), range: data..bytes },
            Command::Upload { from: staging, bytes: data, to: buffer.clone(), at: 0 },
            Command::Dispatch { program, bindings: vec![buffer.clone()], groups },
        ];
        let completed = self.player.submit(Recording { label: "build".into(), commands }).await?;
        self.stats.completed(&completed);
        Ok(buffer)
    }
}

/// Columns first, then the bucket heads (at least as many as rows), then the links.
fn table_layout(shapes: &[(Store, bool)], rows: usize, marks_at: usize) -> (Layout, [u32; HEADER]) {
    let mut layout = Layout::new(rows, shapes, &[], &[]);
    let buckets = rows.next_power_of_two().max(16);
    let mut header = [0; HEADER];
    header[arena::H_ROWS] = rows as u32;
    header[arena::H_MASK] = buckets as u32 - 1;
    header[arena::H_HEADS] = layout.words as u32;
    header[arena::H_NEXT] = (layout.words + buckets) as u32;
    header[4] = marks_at as u32;
    layout.words += buckets + rows;
    (layout, header)
}

/// The output columns of a pipeline that does nothing else.
async fn collect(pipeline: &Pipeline, source: SendableRecordBatchStream) -> Result<RecordBatch> {
    let Sink::Select { outputs, schema } = &pipeline.sink else {
        return Err(Error::Bug("a build side that does not select".into()));
    };
    let columns: Vec<usize> = outputs
        .iter()
        .filter_map(|output| match output {
            crate::fragment::spec::Output::Source(column) => Some(*column),
            _ => None,
        })
        .collect();
    let mut batches = Vec::new();
    let mut source = source;
    while let Some(batch) = source.next().await {
        let batch = batch?;
        let arrays = columns.iter().map(|column| batch.column(*column).clone()).collect();
        let options =
            arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        batches.push(RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?);
    }
    chunk::coalesce(&batches, schema)
}

/// Lookup states for a pipeline, nothing evaluated yet.
pub(super) fn lookup_states(pipeline: &Pipeline) -> Lookups {
    Arc::new(Mutex::new(pipeline.lookups.iter().map(|_| Default::default()).collect()))
}
