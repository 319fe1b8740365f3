//! A join table as pipelines find it.

use arrow::array::RecordBatch;

use crate::record::Buffer;

/// A built table.
#[derive(Clone)]
pub struct TableState {
    pub rows: usize,
    /// The build side's rows, where an output needs them.
    pub batch: Option<RecordBatch>,
    pub buffer: Buffer,
    /// Where its marks start, in words of the fragment's marks.
    pub marks_at: usize,
}

impl TableState {
    pub(super) fn marks_end(&self) -> usize {
        self.marks_at + self.rows.div_ceil(32)
    }
}
