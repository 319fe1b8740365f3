//! The clocks that a query goes by.

/// The clocks behind the rows of an epoch, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The minimum watermark over the partitions of the query's streams.
    pub event_us: i64,
    /// When the epoch is processed (UTC).
    pub processing_us: i64,
}

impl Times {
    /// The time that a clock shows.
    pub fn of(&self, clock: Clock) -> i64 {
        match clock {
            Clock::Event => self.event_us,
            Clock::Processing => self.processing_us,
        }
    }
}

/// Which clock a column follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The watermark.
    Event,
    /// The time at which rows are processed.
    Processing,
}

/// Microseconds since 1970 (UTC).
pub fn now_us() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
