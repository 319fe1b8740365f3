//! How fast this machine's adapters are, as `calibrate` has measured it, kept in a file of the
//! user's cache folder with what it was measured on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::measure::staging::StagingRate;
use super::player::Capabilities;
use crate::disk;
use crate::error::{Error, Result};

/// What was measured of one adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Host to device, 10^9 bytes per second: written to staging memory of the kind that is taken,
    /// by one thread, and copied.
    pub upload_gb_s: f64,
    /// Device to host, 10^9 bytes per second, out of mapped memory into the host's own.
    pub download_gb_s: f64,
    /// 10^9 bytes copied per second within device memory by a kernel, on a device at work; each is
    /// read once and written once. Kernels that stream over columns get no more.
    pub copy_gb_s: f64,
    /// Microseconds from a submit of next to nothing to its answer, the median.
    pub round_trip_us: f64,
    /// As `copy_gb_s`, by the driver's command. `None` in files of before.
    #[serde(default)]
    pub copy_command_gb_s: Option<f64>,
    /// As `copy_gb_s`, by a device that had nothing to do for a second.
    #[serde(default)]
    pub copy_cold_gb_s: Option<f64>,
    /// Uploads by kinds of staging memory and by threads.
    #[serde(default)]
    pub staging: Vec<StagingRate>,
}

/// Rates with what they were measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    pub adapter: String,
    pub backend: String,
    /// Rates hold for this driver only.
    pub driver: String,
    /// When, in UTC, as RFC 3339.
    pub date: String,
    pub rates: Rates,
}

/// The rates kept for this adapter and driver, if any were measured on this machine.
pub fn load(capabilities: &Capabilities) -> Option<Calibration> {
    let text = std::fs::read_to_string(cache_file()?).ok()?;
    let kept: Vec<Calibration> = serde_json::from_str(&text)
        .inspect_err(|error| tracing::warn!(%error, "the file of calibrated rates is not valid"))
        .ok()?;
    kept.into_iter().find(|calibration| calibration.is_of(capabilities))
}

/// Where rates are kept: `rates.json` in the cache folder.
pub fn cache_file() -> Option<PathBuf> {
    Some(cache_folder()?.join("rates.json"))
}

/// Where things are kept that can be made again: `thalweg` in `XDG_CACHE_HOME` or `~/.cache`, on
/// Windows in `LOCALAPPDATA`. None where the environment names no such folder.
pub(super) fn cache_folder() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = if cfg!(windows) {
        folder("LOCALAPPDATA")
    } else {
        folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))
    };
    cache.map(|cache| cache.join("thalweg"))
}

impl Calibration {
    /// Of an adapter that was measured just now.
    pub fn new(capabilities: &Capabilities, rates: Rates) -> Self {
        Self {
            adapter: capabilities.name.clone(),
            backend: capabilities.backend.clone(),
            driver: capabilities.driver.clone(),
            date: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            rates,
        }
    }

    fn is_of(&self, capabilities: &Capabilities) -> bool {
        self.adapter == capabilities.name
            && self.backend == capabilities.backend
            && self.driver == capabilities.driver
    }
}

/// Keeps rates in place of those of before.
///
/// # Errors
/// There is no folder for them, or they cannot be written.
pub(super) fn store(calibrations: &[Calibration]) -> Result<()> {
    let path = cache_file().ok_or_else(|| {
        Error::user("nowhere to keep the rates: set XDG_CACHE_HOME or HOME to a folder")
    })?;
    let told = |error: std::io::Error| disk::failed(&path, error);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(told)?;
    }
    let text = serde_json::to_string_pretty(calibrations)
        .map_err(|error| Error::Bug(format!("rates as JSON: {error}")))?;
    disk::replace_cached(&path, text.as_bytes()).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::measure::staging;
    use crate::device::{StagingKind, twin};

    fn some() -> Rates {
        let kind = StagingKind::HostCached;
        let staging =
            StagingRate { kind, threads: 4, upload_gb_s: 40.0, write_gb_s: 1.0, copy_gb_s: None };
        Rates {
            upload_gb_s: 1.0,
            download_gb_s: 2.0,
            copy_gb_s: 3.0,
            round_trip_us: 4.5,
            copy_command_gb_s: Some(2.5),
            copy_cold_gb_s: None,
            staging: vec![staging],
        }
    }

    #[test]
    fn rates_hold_for_their_adapter_and_driver_only() {
        let measured_on = twin::capabilities();
        let calibration = Calibration::new(&measured_on, some());
        assert!(calibration.is_of(&measured_on));
        let newer = Capabilities { driver: "2.0".into(), ..measured_on.clone() };
        assert!(!calibration.is_of(&newer));
        let text = serde_json::to_string(&[&calibration]).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Calibration>>(&text).unwrap(), [calibration]);
    }

    #[test]
    fn files_of_before_are_read() {
        let before = r#"{"upload_gb_s": 1.0, "download_gb_s": 2.0, "copy_gb_s": 3.0,
            "round_trip_us": 4.5}"#;
        let expected = Rates { copy_command_gb_s: None, staging: Vec::new(), ..some() };
        assert_eq!(serde_json::from_str::<Rates>(before).unwrap(), expected);
        assert_eq!(staging::fastest(&expected.staging), StagingKind::Portable);
    }
}
