//! Aggregates on the host: states merged, finished to columns, and sent on.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use super::runner::Sender;
use crate::agg::StateColumn;
use crate::error::Result;
use crate::fragment::spec::Aggregation;

/// Rows of a batch that is sent on.
const BATCH_ROWS: usize = 1 << 16;

/// Merges the states of all folds of one group into another.
pub fn merge_state(aggregation: &Aggregation, into: &mut [u32], from: &[u32]) {
    let mut at = 0;
    for fold in &aggregation.folds {
        let words = fold.acc.words();
        fold.acc.merge(&mut into[at..at + words], &from[at..at + words]);
        at += words;
    }
}

/// Output columns of all aggregates, from the states of their accumulators.
pub fn aggregate_columns(
    aggregation: &Aggregation,
    mut states: &[StateColumn],
) -> Result<Vec<ArrayRef>> {
    let mut arrays = Vec::new();
    for aggregate in &aggregation.aggregates {
        let (own, rest) = states.split_at(aggregate.columns().len().min(states.len()));
        states = rest;
        if aggregation.partial {
            arrays.extend(aggregate.partial(own)?);
        } else {
            arrays.push(aggregate.finish(own)?);
        }
    }
    Ok(arrays)
}

/// Sends rows on, in batches.
pub async fn send(
    out: &Sender,
    schema: &SchemaRef,
    arrays: Vec<ArrayRef>,
    rows: usize,
) -> Result<()> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?;
    for start in (0..rows).step_by(BATCH_ROWS) {
        let part = batch.slice(start, BATCH_ROWS.min(rows - start));
        if out.send(Ok(part)).await.is_err() {
            break;
        }
    }
    Ok(())
}
