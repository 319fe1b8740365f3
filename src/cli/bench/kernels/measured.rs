//! What one query took on either side.

use std::time::Duration;

use super::cases::Case;

/// One query over so many rows.
pub struct Measured {
    pub case: &'static Case,
    pub rows: u64,
    pub cpu: Duration,
    pub gpu: Duration,
    /// Of the device's own clock; zero where it has none.
    pub kernels: Duration,
    /// What ran it beside the CPU: the adapter, or why it did not.
    pub ran_on: String,
}

impl Measured {
    /// Millions of rows a second.
    pub fn rate(&self, time: Duration) -> f64 {
        self.rows as f64 / 1e6 / time.as_secs_f64().max(1e-9)
    }

    /// Part of what a copy within the device's memory reads and writes in the time of the kernels.
    pub fn bandwidth(&self, copy_gb_s: f64) -> Option<f64> {
        let read = (self.case.bytes * self.rows) as f64 / 1e9 / self.kernels.as_secs_f64();
        (!self.kernels.is_zero()).then_some(read / (2.0 * copy_gb_s))
    }
}
