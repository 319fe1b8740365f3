//! Selections of nothing but rows of the source: a bit for each row comes back, and the rows are
//! filtered where they are.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{FilterBuilder, concat_batches};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::future::FutureExt;

use super::{Joins, Sink, Slot, Verdict, check_status, download_status};
use crate::error::{Error, Result};
use crate::fragment::spec::Pipeline;
use crate::kernel::{Shape, mark};
use crate::record::{Command, Completed, Program, Words};
use crate::run::chunk::Chunk;
use crate::run::column;
use crate::run::runner::{Runner, Sender};
use crate::task;

/// Sends the rows that pass.
pub struct MarkSink<'a> {
    runner: &'a Runner,
    /// Columns of the source that are put out.
    columns: Arc<[usize]>,
    schema: SchemaRef,
    program: Option<Arc<Program>>,
    out: &'a Sender,
}

impl<'a> MarkSink<'a> {
    pub fn new(
        runner: &'a Runner,
        columns: Vec<usize>,
        schema: &SchemaRef,
        out: &'a Sender,
    ) -> Self {
        let (columns, schema) = (columns.into(), schema.clone());
        Self { runner, columns, schema, program: None, out }
    }
}

/// The program that marks the rows of a pipeline.
pub fn program(shape: &Shape) -> Arc<Program> {
    shape.program(&mark::KERNEL, &[], || mark::program(shape))
}

/// The columns of the source that a pipeline puts out, where a bit tells all of a row: nothing is
/// computed, and no join gives a row more than once, or one of its own.
pub fn columns(pipeline: &Pipeline) -> Option<Vec<usize>> {
    let columns = pipeline.source_columns()?;
    pipeline.probes().all(|probe| !probe.kind.shows_build()).then_some(columns)
}

#[async_trait]
impl<'a> Sink<'a> for MarkSink<'a> {
    fn begin(&mut self, shape: &Shape) -> Result<()> {
        self.program = Some(program(shape));
        Ok(())
    }

    fn record(&mut self, slot: &mut Slot, joins: &Joins) -> Result<Vec<Command>> {
        let Some(program) = self.program.clone() else { return Ok(vec![]) };
        let bytes = 4 * u64::from(slot.rows.div_ceil(32).max(1));
        let bits = self.runner.player.buffer(bytes, "bits of rows")?;
        let bindings = joins.bind(slot, std::slice::from_ref(&bits));
        let groups = slot.rows.div_ceil(mark::TILE).max(1);
        Ok(vec![
            Command::Dispatch { program, bindings, groups },
            download_status(slot),
            Command::Download { buffer: bits, range: 0..bytes },
        ])
    }

    fn done(&mut self, slot: &mut Slot, mut completed: Completed) -> Result<Verdict<'a>> {
        check_status(&completed.downloads[0])?;
        let Some(bits) = completed.downloads.pop() else {
            return Err(Error::Bug("a slot's rows were not marked".into()));
        };
        let (chunk, columns) = (slot.chunk.clone(), self.columns.clone());
        let (schema, out) = (self.schema.clone(), self.out);
        let emit = async move {
            let taken = task::blocking("taking a slot's rows", move || {
                passing(&chunk, bits, &columns, &schema)
            });
            if let Some(batch) = taken.await? {
                // Nobody listens any more: the rows are not wanted.
                let _ = out.send(Ok(batch)).await;
            }
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

/// The rows of a chunk whose bit is set, in their order.
fn passing(
    chunk: &Chunk,
    bits: Words,
    columns: &[usize],
    schema: &SchemaRef,
) -> Result<Option<RecordBatch>> {
    let bits = BooleanBuffer::new(column::buffer(bits), 0, chunk.rows);
    let mut parts = Vec::new();
    let mut start = 0;
    for batch in &chunk.batches {
        let passes = bits.slice(start, batch.num_rows());
        start += batch.num_rows();
        let count = passes.count_set_bits();
        if count == 0 {
            continue;
        }
        let arrays = columns.iter().map(|column| batch.column(*column));
        let arrays: Vec<ArrayRef> = if count == batch.num_rows() {
            arrays.cloned().collect()
        } else {
            let filter = FilterBuilder::new(&BooleanArray::new(passes, None)).optimize().build();
            arrays.map(|array| filter.filter(array.as_ref())).collect::<Result<_, _>>()?
        };
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        parts.push(RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?);
    }
    match parts.len() {
        0 => Ok(None),
        1 => Ok(parts.pop()),
        _ => Ok(Some(concat_batches(schema, &parts)?)),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn rows_come_in_their_order_by_their_bits() {
        let batch = |rows: std::ops::Range<i64>| {
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows));
            RecordBatch::try_from_iter([("a", numbers.clone()), ("b", numbers)]).unwrap()
        };
        let batches = vec![batch(0..33), batch(33..33), batch(33..40), batch(40..70)];
        let schema = batches[0].project(&[1]).unwrap().schema();
        let chunk = Chunk { batches, rows: 70 };
        let tests: [fn(i64) -> bool; 5] =
            [|_| true, |_| false, |row| row % 3 == 0, |row| row == 69, |row| row >= 40];
        for passes in tests {
            let mut words = vec![0u32; 3];
            let rows: Vec<i64> = (0..70).filter(|row| passes(*row)).collect();
            rows.iter().for_each(|row| words[*row as usize / 32] |= 1 << (row % 32));
            // What is behind the last row is nobody's.
            words[2] |= 1 << 31;
            let found = passing(&chunk, words.into(), &[1], &schema).unwrap();
            let found = found.map_or(Vec::new(), |batch| {
                batch.column(0).as_primitive::<Int64Type>().values().to_vec()
            });
            assert_eq!(found, rows);
        }
    }
}
