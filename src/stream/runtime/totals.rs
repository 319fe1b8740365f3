//! What a run has done, in numbers.

use std::collections::BTreeSet;

use super::epoch::Epoch;

/// What a run of a pipeline has read and given, earlier runs left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows of all streams, those that are malformed included.
    pub read: u64,
    /// Those that were added to the tables behind streams.
    pub stored: u64,
    /// Those that came when the watermark had passed their time.
    pub late: u64,
    /// Those that are malformed.
    pub rejected: u64,
    /// Rows that queries have given to their sinks.
    pub results: u64,
    /// Where parts of the queries ran: `cpu`, `gpu`.
    pub sides: BTreeSet<String>,
}

impl Totals {
    /// Adds what was recorded of the streams.
    pub(in crate::stream) fn add(&mut self, epoch: &Epoch) {
        self.read += epoch.count as u64;
        self.late += epoch.late;
        let stored = epoch.rows.values().flatten();
        self.stored += stored.map(|batch| batch.num_rows() as u64).sum::<u64>();
    }
}
