//! Rows from tuples: computed columns from the kernel's words, all others taken on the host.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::{interleave, take};
use arrow::datatypes::SchemaRef;

use parking_lot::Mutex;

use super::chunk::Chunk;
use super::column;
use super::table::TableState;
use crate::error::{Error, Result};
use crate::expr::ir::Expr;
use crate::fragment::intern::Interner;
use crate::fragment::spec::{Output, Pipeline, Sink};
use crate::fragment::twin::NIL;
use crate::kernel::select::{self, Columns};

/// What of each tuple a selection writes, for its outputs.
pub fn columns(outputs: &[Output]) -> Columns {
    let mut columns = Columns::default();
    let mut need = |row: Option<usize>| {
        if !columns.rows.contains(&row) {
            columns.rows.push(row);
        }
    };
    for output in outputs {
        match output {
            Output::Source(_) => need(None),
            Output::Table { table, .. } => need(Some(*table)),
            Output::Computed { .. } => {}
        }
    }
    let computed = outputs.iter().filter_map(|output| match output {
        Output::Computed { expr, .. } => Some(expr.clone()),
        _ => None,
    });
    columns.computed = computed.collect::<Vec<Expr>>();
    columns
}

/// Where the rows of one slot's tuples come from.
pub struct Source {
    pub pipeline: Arc<Pipeline>,
    pub columns: Arc<Columns>,
    pub schema: SchemaRef,
    pub interners: Arc<Vec<Mutex<Interner>>>,
    pub chunk: Arc<Chunk>,
    pub tables: Arc<[TableState]>,
}

impl Source {
    /// The output rows of `rows` tuples: `words` as the kernel wrote them, column after column.
    pub fn batch(&self, words: &[u32], rows: usize) -> Result<RecordBatch> {
        let Sink::Select { outputs, .. } = &self.pipeline.sink else {
            return Err(Error::Bug("rows of a pipeline that does not select".into()));
        };
        let ids = |table: Option<usize>| {
            let at = self.columns.rows.iter().position(|row| *row == table).unwrap_or(0);
            &words[at * rows..(at + 1) * rows]
        };
        let mut arrays: Vec<ArrayRef> = Vec::new();
        let mut first = self.columns.rows.len();
        for (output, field) in outputs.iter().zip(self.schema.fields()) {
            arrays.push(match output {
                Output::Source(index) => {
                    take_source(&self.chunk, *index, ids(None), field.data_type())?
                }
                Output::Table { table, column } => {
                    take_table(self.tables[*table].batch.column(*column), ids(Some(*table)))?
                }
                Output::Computed { expr, data_type, domain } => {
                    let bits = select::read(expr.rep, words, rows, first, rows);
                    first += expr.rep.words() + 1;
                    match domain {
                        Some(domain) => {
                            let codes: Vec<u32> =
                                bits.iter().map(|bits| bits.unwrap_or(0) as u32).collect();
                            self.interners[*domain].lock().decode(&codes, data_type)?
                        }
                        None => column::from_bits(&bits, data_type)?,
                    }
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?)
    }
}

fn take_table(array: &ArrayRef, ids: &[u32]) -> Result<ArrayRef> {
    let indices: UInt32Array = ids.iter().map(|id| (*id != NIL).then_some(*id)).collect();
    Ok(take(array, &indices, None)?)
}

/// Takes rows of a chunk, whose numbers count through its batches.
fn take_source(
    chunk: &Chunk,
    index: usize,
    ids: &[u32],
    data_type: &arrow::datatypes::DataType,
) -> Result<ArrayRef> {
    if ids.iter().all(|id| *id == NIL) {
        return Ok(new_null_array(data_type, ids.len()));
    }
    let arrays: Vec<&dyn arrow::array::Array> =
        chunk.batches.iter().map(|batch| batch.column(index).as_ref()).collect();
    let mut starts = Vec::with_capacity(arrays.len());
    let mut start = 0;
    for array in &arrays {
        starts.push(start);
        start += array.len() as u32;
    }
    let place = |id: &u32| {
        let batch = starts.partition_point(|start| start <= id) - 1;
        (batch, (id - starts[batch]) as usize)
    };
    if arrays.len() == 1 {
        return Ok(take(arrays[0], &UInt32Array::from(ids.to_vec()), None)?);
    }
    let places: Vec<(usize, usize)> = ids.iter().map(place).collect();
    Ok(interleave(&arrays, &places)?)
}
