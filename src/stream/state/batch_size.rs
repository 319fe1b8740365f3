//! What rows take in memory, and rows without what they need not take.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericByteViewArray};
use arrow::datatypes::ByteViewType;
use arrow::record_batch::RecordBatch;

use crate::error::Result;

/// What the rows of a batch take; batches that are parts of one another's memory count their own.
pub fn bytes(batch: &RecordBatch) -> usize {
    let of = |column: &ArrayRef| {
        let text = column.as_string_view_opt().map(|views| views.total_buffer_bytes_used());
        let binary = || column.as_binary_view_opt().map(|views| views.total_buffer_bytes_used());
        let rows = column.to_data().get_slice_memory_size();
        rows.unwrap_or_else(|_| column.get_array_memory_size()) + text.or_else(binary).unwrap_or(0)
    };
    batch.columns().iter().map(of).sum()
}

/// Without the text of rows that have gone, where that is more than what is left.
pub fn shrink(batch: &RecordBatch) -> Result<RecordBatch> {
    fn gone<T: ByteViewType>(views: &GenericByteViewArray<T>) -> bool {
        let all = views.data_buffers().iter().map(|buffer| buffer.len()).sum::<usize>();
        all > 2 * views.total_buffer_bytes_used()
    }
    let columns = batch.columns().iter().map(|column| -> ArrayRef {
        if let Some(text) = column.as_string_view_opt().filter(|views| gone(views)) {
            return Arc::new(text.gc());
        }
        match column.as_binary_view_opt().filter(|views| gone(views)) {
            Some(views) => Arc::new(views.gc()),
            None => column.clone(),
        }
    });
    Ok(RecordBatch::try_new(batch.schema(), columns.collect())?)
}
