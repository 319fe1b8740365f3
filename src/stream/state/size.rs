//! Parts of a query's state: what they hold and how much that is.

use arrow::record_batch::RecordBatch;

use super::spill::Segment;
use crate::error::Result;

/// Rows and bytes that a query keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// In memory and on the disk.
    pub rows: usize,
    /// In memory.
    pub bytes: usize,
    /// On the disk.
    pub spilled_rows: usize,
    pub spilled_bytes: u64,
}

impl Size {
    /// Of rows that are on the disk only.
    pub fn of_files(spilled: &[Segment]) -> Self {
        let rows = spilled.iter().map(|segment| segment.facts.rows).sum();
        let bytes = spilled.iter().map(|segment| segment.facts.bytes).sum();
        Self { rows, bytes: 0, spilled_rows: rows, spilled_bytes: bytes }
    }
}

impl std::ops::Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            bytes: self.bytes + other.bytes,
            spilled_rows: self.spilled_rows + other.spilled_rows,
            spilled_bytes: self.spilled_bytes + other.spilled_bytes,
        }
    }
}

/// Rows of a part of a query's state: those in memory, and files.
#[derive(Debug, Clone, Default)]
pub struct Part {
    pub rows: Vec<RecordBatch>,
    pub spilled: Vec<Segment>,
}

impl Part {
    /// All rows; those of files are read.
    pub fn read(&self) -> Result<Vec<RecordBatch>> {
        let mut all = self.rows.clone();
        for segment in &self.spilled {
            all.extend(segment.read()?);
        }
        Ok(all)
    }
}

impl From<Vec<RecordBatch>> for Part {
    fn from(rows: Vec<RecordBatch>) -> Self {
        Self { rows, spilled: Vec::new() }
    }
}

/// Rows above this many are not brought to results at once where some are final before others.
pub(in crate::stream) const MANY_ROWS: usize = 1 << 20;

/// States below this many rows are not worth merging.
pub const FEW_ROWS: usize = 4096;
