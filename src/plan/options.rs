//! The SQL options `thalweg.*`: what a session was opened with, and what `SET` makes of it.

use datafusion::common::config::{ConfigExtension, ConfigOptions};
use datafusion::common::extensions_options;

use super::memory::{bytes, machine_memory};
use super::offload::measured::Choosing;
use crate::config::{DeviceChoice, Options};
use crate::run::SlotLimits;

extensions_options! {
    /// Options of a session.
    pub struct SqlOptions {
        /// `auto`, `gpu` or `cpu`: which side fragments run on.
        pub device: String, default = "auto".to_string()
        /// How `auto` chooses for each batch of a stream: `measured`, by what batches before have
        /// taken, or `alternating`, each side after the other, a software adapter too.
        pub auto: String, default = "measured".to_string()
        /// With `gpu`: a filter, aggregate or join that cannot run on the device is an error.
        pub strict: bool, default = false
        /// Part of the name of the adapter to use; empty takes the best one.
        pub adapter: String, default = String::new()
        /// `exact`: float sums are reproducible; `fast`: DataFusion's own.
        pub float_sum: String, default = "exact".to_string()
        /// `round`: quotients and averages of decimals are rounded half away from zero;
        /// `truncate`: digits that the type does not hold are cut, as DataFusion does it.
        pub decimal_division: String, default = "round".to_string()
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
        /// Bytes that all queries of the session hold in memory at most, such as `4GB`; what sorts,
        /// groups and joins need above waits on the disk where it can. `auto`: three quarters of
        /// the machine's memory.
        pub memory: String, default = "auto".to_string()
        /// Bytes of state that all queries of a pipeline keep in memory, such as `512MB`; what is
        /// above waits on the disk. `auto`: a quarter of the machine's memory.
        pub state_memory: String, default = "auto".to_string()
    }
}

/// Of state, where the machine does not tell how much memory it has.
const STATE_MEMORY: usize = 2 << 30;

/// Of queries, where it does not.
const MEMORY: usize = 8 << 30;

impl ConfigExtension for SqlOptions {
    const PREFIX: &'static str = "thalweg";
}

impl SqlOptions {
    pub fn new(options: &Options) -> Self {
        Self {
            device: options.device.to_string(),
            strict: options.strict,
            adapter: options.adapter.clone().unwrap_or_default(),
            memory: options.memory.map_or("auto".to_string(), |bytes| bytes.to_string()),
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

    /// Errors: a word that is none of both ways.
    pub fn choosing(&self) -> Result<Choosing, String> {
        self.auto.parse()
    }

    /// Whether quotients and averages of decimals are rounded.
    ///
    /// Errors: a word that is none of both ways.
    pub fn rounds_decimals(&self) -> Result<bool, String> {
        match self.decimal_division.as_str() {
            "round" => Ok(true),
            "truncate" => Ok(false),
            other => Err(format!("thalweg.decimal_division = '{other}': round or truncate")),
        }
    }

    /// Bytes that all queries of the session hold in memory at most.
    ///
    /// Errors: what is no number of bytes.
    pub fn memory(&self) -> Result<usize, String> {
        let auto = || machine_memory().map_or(MEMORY, |bytes| bytes / 4 * 3);
        size("memory", &self.memory, auto)
    }

    /// Bytes of state that all queries of a pipeline keep in memory.
    ///
    /// Errors: what is no number of bytes.
    pub fn state_memory(&self) -> Result<usize, String> {
        let auto = || machine_memory().map_or(STATE_MEMORY, |bytes| bytes / 4);
        size("state_memory", &self.state_memory, auto)
    }

    pub fn limits(&self) -> SlotLimits {
        let limits = SlotLimits::default();
        let few = u32::try_from(self.slot_rows / 4).unwrap_or(u32::MAX);
        SlotLimits {
            rows: self.slot_rows.max(1),
            group_entries: (self.group_entries.clamp(1, 1 << 26) as u32).next_power_of_two(),
            // Small slots have few groups too.
            range_rows: limits.range_rows.min(few),
            whole_table_bytes: limits.whole_table_bytes.min(4 * self.slot_rows as u64),
            ..limits
        }
    }

    /// What a player is opened with.
    pub fn player_options(&self) -> Options {
        Options {
            device: self.device().unwrap_or_default(),
            strict: self.strict,
            adapter: (!self.adapter.is_empty()).then(|| self.adapter.clone()),
            trace: None,
            memory: None,
        }
    }
}

/// What an option of this name says, or what the machine gives.
fn size(name: &str, text: &str, auto: impl Fn() -> usize) -> Result<usize, String> {
    match text.trim().eq_ignore_ascii_case("auto") {
        true => Ok(auto()),
        false => bytes(text).ok_or_else(|| {
            format!(
                "thalweg.{name} = '{text}': a number of bytes is wanted, such as 536870912, 512MB \
                 or 2GiB, or auto"
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_of_bytes() {
        let of = |text: &str| {
            SqlOptions { state_memory: text.to_string(), ..SqlOptions::default() }.state_memory()
        };
        assert_eq!(of("1000"), Ok(1000));
        assert_eq!(of(" 2 GiB"), Ok(2 << 30));
        let error = of("1 XB").unwrap_err();
        assert!(error.contains("1 XB") && error.contains("512MB"), "{error}");
        assert!(of("auto").unwrap() > 1 << 26);
        let queries = SqlOptions::default().memory().unwrap();
        assert!(queries > of("auto").unwrap() * 2, "{queries}");
    }
}
