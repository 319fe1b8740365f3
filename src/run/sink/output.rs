//! Rows from tuples: computed columns from the kernel's words, all others taken on the host.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, SchemaRef};

use parking_lot::RwLock;

use crate::error::{Error, Result};
use crate::expr::ir::Expr;
use crate::fragment::intern::Interner;
use crate::fragment::spec::{Output, Pipeline, Sink};
use crate::fragment::values::NIL;
use crate::kernel::select::Columns;
use crate::record::Words;
use crate::run::chunk::Chunk;
use crate::run::column;
use crate::run::table::state::TableState;

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
    pub interners: Arc<Vec<RwLock<Interner>>>,
    pub chunk: Arc<Chunk>,
    pub tables: Arc<[TableState]>,
}

impl Source {
    /// The output rows of `rows` tuples: `words` of each column, in the order of
    /// [`Columns::places`].
    pub fn batch(&self, mut words: Vec<Words>, rows: usize) -> Result<RecordBatch> {
        let Sink::Select { outputs, .. } = &self.pipeline.sink else {
            return Err(Error::Bug("rows of a pipeline that does not select".into()));
        };
        let mut computed = words.split_off(self.columns.rows.len().min(words.len())).into_iter();
        let ids = |table: Option<usize>| -> &[u32] {
            let at = self.columns.rows.iter().position(|row| *row == table);
            at.map_or(&[], |at| &words[at])
        };
        let batches = &self.chunk.batches;
        let picks = Picks::of(ids(None), batches)?;
        let mut arrays: Vec<ArrayRef> = Vec::new();
        for (output, field) in outputs.iter().zip(self.schema.fields()) {
            arrays.push(match output {
                Output::Source(column) => picks.take(batches, *column, field.data_type())?,
                Output::Table { table, column } => {
                    let Some(rows) = &self.tables[*table].batch else {
                        return Err(Error::Bug(
                            "rows of a table that is on the device only".into(),
                        ));
                    };
                    take_table(rows.column(*column), ids(Some(*table)))?
                }
                Output::Computed { expr, data_type, domain } => {
                    let Some(values) = computed.next() else {
                        return Err(Error::Bug("a computed column that was not written".into()));
                    };
                    let valid = expr.nullable.then(|| computed.next().unwrap_or_default());
                    match domain {
                        Some(domain) => {
                            let codes = column::codes(&values, valid.as_deref());
                            self.interners[*domain].read().decode(&codes, data_type)?
                        }
                        None => {
                            let words = expr.rep.words();
                            column::from_words(values, words, valid.as_deref(), data_type)?
                        }
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

/// Rows of one batch.
enum Picked {
    Run(Range<usize>),
    Rows(UInt32Array),
}

impl Picked {
    /// `ids` ascend; the batch is at `start` among the chunk's rows.
    fn of(ids: &[u32], start: u32) -> Self {
        let (first, last) = (ids[0] - start, ids[ids.len() - 1] - start);
        let run = (last - first) as usize + 1 == ids.len()
            && ids.iter().zip(ids[0]..).all(|(id, next)| *id == next);
        if run {
            return Self::Run(first as usize..last as usize + 1);
        }
        Self::Rows(ids.iter().map(|id| id - start).collect::<Vec<u32>>().into())
    }
}

/// The source's rows of a slot's tuples, by batch of its chunk.
///
/// Tuples come in the order of the rows that drive the kernel: the ids of source rows ascend, a
/// row that a join multiplied several times in a row. In a tail none of them has a source row.
struct Picks {
    parts: Vec<(usize, Picked)>,
    rows: usize,
}

impl Picks {
    fn of(ids: &[u32], batches: &[RecordBatch]) -> Result<Self> {
        let mut picks = Self { parts: Vec::new(), rows: ids.len() };
        if !ids.is_sorted() {
            return Err(Error::Bug("rows of a slot are not in the source's order".into()));
        }
        if ids.first().is_none_or(|id| *id == NIL) {
            return Ok(picks);
        }
        let (mut rest, mut start) = (ids, 0);
        for (number, batch) in batches.iter().enumerate() {
            let end = start + batch.num_rows() as u32;
            let (here, behind) = rest.split_at(rest.partition_point(|id| *id < end));
            if !here.is_empty() {
                picks.parts.push((number, Picked::of(here, start)));
            }
            (rest, start) = (behind, end);
        }
        if let Some(id) = rest.first() {
            return Err(Error::Bug(format!("row {id} of a slot of {start} rows")));
        }
        Ok(picks)
    }

    fn take(
        &self,
        batches: &[RecordBatch],
        column: usize,
        data_type: &DataType,
    ) -> Result<ArrayRef> {
        let part = |(batch, picked): &(usize, Picked)| -> Result<ArrayRef> {
            let array = batches[*batch].column(column);
            Ok(match picked {
                Picked::Run(rows) => array.slice(rows.start, rows.len()),
                Picked::Rows(rows) => take(array, rows, None)?,
            })
        };
        let parts = self.parts.iter().map(part).collect::<Result<Vec<_>>>()?;
        match parts.as_slice() {
            [] => Ok(new_null_array(data_type, self.rows)),
            [one] => Ok(one.clone()),
            many => {
                let many: Vec<&dyn Array> = many.iter().map(|array| array.as_ref()).collect();
                Ok(concat(&many)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array, StringArray};

    use super::*;

    /// Batches of 3, 0 and 4 rows, numbered through from 0; row 2 is NULL.
    fn batches() -> Vec<RecordBatch> {
        let batch = |rows: Range<i64>| {
            let numbers: Int64Array = rows.clone().map(|row| (row != 2).then_some(row)).collect();
            let texts: StringArray = rows.map(|row| Some(format!("row {row}"))).collect();
            let columns: [(&str, ArrayRef); 2] = [("n", Arc::new(numbers)), ("s", Arc::new(texts))];
            RecordBatch::try_from_iter(columns).unwrap()
        };
        vec![batch(0..3), batch(3..3), batch(3..7)]
    }

    fn taken(ids: &[u32]) -> (Vec<Option<i64>>, Vec<Option<String>>) {
        let batches = batches();
        let picks = Picks::of(ids, &batches).unwrap();
        let numbers = picks.take(&batches, 0, &DataType::Int64).unwrap();
        let texts = picks.take(&batches, 1, &DataType::Utf8).unwrap();
        let numbers = numbers.as_primitive::<arrow::datatypes::Int64Type>().iter().collect();
        let texts = texts.as_string::<i32>().iter().map(|text| text.map(String::from)).collect();
        (numbers, texts)
    }

    #[test]
    fn rows_are_those_that_the_ids_name() {
        let cases: [&[u32]; 8] = [
            &[0, 1, 2, 3, 4, 5, 6],
            &[0, 2, 5],
            &[1, 1, 1, 2, 3, 3, 6],
            &[2, 2, 4, 4],
            &[3],
            &[0, 0, 2],
            &[5, 6],
            &[6, 6],
        ];
        for ids in cases {
            let (numbers, texts) = taken(ids);
            let expected = ids.iter().map(|id| (*id != 2).then_some(*id as i64));
            assert_eq!(numbers, expected.collect::<Vec<_>>(), "{ids:?}");
            let expected = ids.iter().map(|id| Some(format!("row {id}")));
            assert_eq!(texts, expected.collect::<Vec<_>>(), "{ids:?}");
        }
    }

    #[test]
    fn tuples_without_a_source_row_are_null() {
        assert_eq!(taken(&[NIL, NIL]), (vec![None, None], vec![None, None]));
        assert_eq!(taken(&[]), (vec![], vec![]));
    }

    #[test]
    fn ids_out_of_order_or_behind_the_end_are_a_bug() {
        for ids in [&[1u32, 0][..], &[6, 7], &[NIL, 0], &[3, NIL]] {
            assert!(matches!(Picks::of(ids, &batches()), Err(Error::Bug(_))), "{ids:?}");
        }
    }

    #[test]
    fn neighbours_are_sliced() {
        let batches = batches();
        let picks = Picks::of(&[0, 1, 2, 4, 5], &batches).unwrap();
        assert!(picks.parts.iter().all(|(_, picked)| matches!(picked, Picked::Run(_))));
        let picks = Picks::of(&[0, 0, 2], &batches).unwrap();
        assert!(matches!(picks.parts[0], (0, Picked::Rows(_))));
    }
}
