//! Rows on their way: those that are processed together, and those of an epoch.

use std::collections::BTreeMap;
use std::time::Instant;

use arrow::record_batch::RecordBatch;

use crate::stream::log::partition::LogRows;
use crate::stream::progress::Steps;

/// Rows that are processed together.
#[derive(Default)]
pub(super) struct Batch {
    pub rows: BTreeMap<String, Vec<LogRows>>,
    /// Records, those that are malformed included: an epoch is theirs too.
    pub count: usize,
    pub late: u64,
}

/// What is read and not committed.
#[derive(Default)]
pub(in crate::stream) struct Epoch {
    /// Rows of streams that are stored.
    pub(in crate::stream) rows: BTreeMap<String, Vec<RecordBatch>>,
    /// Records, those that are malformed included.
    pub(in crate::stream) count: usize,
    pub(in crate::stream) late: u64,
    pub(in crate::stream) time_us: i64,
    pub(super) begun: Option<Instant>,
    /// Rows of each stream.
    pub(in crate::stream) counts: BTreeMap<String, u64>,
    /// Versions of the tables beside the streams.
    pub(super) tables: BTreeMap<String, i64>,
    pub(in crate::stream) steps: Steps,
}
