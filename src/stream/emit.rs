//! When results are given out: `EMIT ..` behind a query.

/// The emission of a continuous query; a batch gives out everything at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// Once, when it is final; then after a delay in microseconds of event time.
    Close { delay_us: i64 },
    /// Whenever it has changed.
    Update,
    /// What has changed, every so many microseconds of processing time.
    Periodic { every_us: i64 },
    /// As rows come: changes of an aggregate, and all else when it is final.
    Changes,
}

impl Default for Emit {
    fn default() -> Self {
        Self::Close { delay_us: 0 }
    }
}
