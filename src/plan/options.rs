//! The SQL options `thalweg.*`: what a session was opened with, and what `SET` makes of it.

use datafusion::common::config::{ConfigExtension, ConfigOptions};
use datafusion::common::extensions_options;

use crate::config::{DeviceChoice, Options};
use crate::run::SlotLimits;

extensions_options! {
    /// Options of a session.
    pub struct SqlOptions {
        /// `auto`, `gpu` or `cpu`: which side fragments run on.
        pub device: String, default = "auto".to_string()
        /// With `gpu`: a filter, aggregate or join that cannot run on the device is an error.
        pub strict: bool, default = false
        /// Part of the name of the adapter to use; empty takes the best one.
        pub adapter: String, default = String::new()
        /// `exact`: float sums are reproducible; `fast`: DataFusion's own.
        pub float_sum: String, default = "exact".to_string()
        /// Rows of a slot at most.
        pub slot_rows: usize, default = SlotLimits::default().rows
        /// Entries a group table starts with (rounded up to a power of two).
        pub group_entries: usize, default = SlotLimits::default().group_entries as usize
        /// Name of the pipeline whose tables and state are meant.
        pub pipeline: String, default = String::new()
        /// Rows of a stream that queries are given at once, at most.
        pub batch_rows: usize, default = 65_536
        /// Rows of a streaming epoch at most.
        pub epoch_rows: usize, default = 1_048_576
        /// How long an epoch lasts at most before it is committed, in milliseconds.
        pub epoch_ms: u64, default = 1000
        /// How long rows of a live stream wait for more before they are processed, in milliseconds.
        pub latency_ms: u64, default = 5
        /// How often the state of queries is written to the disk, in milliseconds.
        pub snapshot_ms: u64, default = 10_000
        /// Epochs that the state folder records one by one; older ones are merged.
        pub journal_epochs: usize, default = 1000
    }
}

impl ConfigExtension for SqlOptions {
    const PREFIX: &'static str = "thalweg";
}

impl SqlOptions {
    pub fn new(options: &Options) -> Self {
        Self {
            device: options.device.to_string(),
            strict: options.strict,
            adapter: options.adapter.clone().unwrap_or_default(),
            ..Self::default()
        }
    }

    /// The options in force.
    pub fn of(config: &ConfigOptions) -> Self {
        config.extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Errors: a word that is no device, naming those that are.
    pub fn device(&self) -> Result<DeviceChoice, String> {
        self.device.parse()
    }

    pub fn limits(&self) -> SlotLimits {
        SlotLimits {
            rows: self.slot_rows.max(1),
            group_entries: (self.group_entries.clamp(1, 1 << 26) as u32).next_power_of_two(),
            ..SlotLimits::default()
        }
    }

    /// What a player is opened with.
    pub fn player_options(&self) -> Options {
        Options {
            device: self.device().unwrap_or_default(),
            strict: self.strict,
            adapter: (!self.adapter.is_empty()).then(|| self.adapter.clone()),
            trace: None,
        }
    }
}
