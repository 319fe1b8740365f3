//! How fast this machine's adapters are: measured through the player's own rings, kept in a file
//! of the user's cache folder with what it was measured on.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::measure::meter::{Meter, median};
use super::measure::{gb_s, most_bytes, programs};
use super::staging::{self, StagingRate};
use super::{AdapterKind, Capabilities, Player, adapter, gpu};
use crate::disk;
use crate::error::{DeviceError, Error, Result};
use crate::record::{Buffer, Command, Recording};

/// Bytes of one upload or download: large enough that its fixed cost is below a hundredth.
const PIECE_BYTES: u64 = 32 << 20;

/// Bytes of the buffers that are copied within the device: several times its cache.
const COPIED_BYTES: u64 = 512 << 20;

/// The same in software, whose cache is the host's.
const SOFTWARE_COPIED_BYTES: u64 = 64 << 20;

/// Each rate is taken over at least this time, and at least three pieces.
const MEASURE: Duration = Duration::from_millis(300);

/// Of uploads: there are several kinds, each by several threads.
const MEASURE_STAGING: Duration = Duration::from_millis(150);

/// How long a GPU must have nothing to do until its clocks are at rest.
const IDLE: Duration = Duration::from_secs(1);

/// Threads that write uploads.
const THREADS: [usize; 4] = [1, 2, 4, 8];

/// Round trips of which the middle one counts.
const ROUND_TRIPS: usize = 51;

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

/// Measures all adapters that open and keeps the results for `load`.
///
/// # Errors
/// Of the device that fails while it is measured, or of writing the file.
pub async fn calibrate() -> Result<Vec<Calibration>> {
    let mut calibrations = Vec::new();
    for adapter in adapter::all()? {
        let player = gpu::open_adapter(&adapter)?;
        let rates = measure(&*player).await?;
        calibrations.push(Calibration::new(player.capabilities(), rates));
    }
    store(&calibrations)?;
    Ok(calibrations)
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
    fn new(capabilities: &Capabilities, rates: Rates) -> Self {
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

fn store(calibrations: &[Calibration]) -> Result<()> {
    let path = cache_file().ok_or_else(|| {
        Error::User("nowhere to keep the rates: set XDG_CACHE_HOME or HOME to a folder".into())
    })?;
    let told = |error: std::io::Error| disk::failed(&path, error);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(told)?;
    }
    let text = serde_json::to_string_pretty(calibrations)
        .map_err(|error| Error::Bug(format!("rates as JSON: {error}")))?;
    disk::replace_cached(&path, text.as_bytes()).map_err(told)
}

/// Measures one player; takes some seconds.
pub async fn measure(player: &dyn Player) -> Result<Rates, DeviceError> {
    let piece = PIECE_BYTES.min(player.capabilities().max_binding_bytes);
    let staging = staging::measure(player, piece, &THREADS, MEASURE_STAGING).await?;
    let taken = staging::fastest(&staging);
    let upload = staging.iter().find(|rate| rate.kind == taken && rate.threads == 1);
    let a = player.buffer(piece, "measured")?;
    let (download_gb_s, round_trip_us) =
        (download(player, &a, piece).await?, round_trip(player, &a).await?);
    drop(a);
    let copies = copies(player).await?;
    Ok(Rates {
        upload_gb_s: upload.map_or(0.0, |rate| rate.upload_gb_s),
        download_gb_s,
        copy_gb_s: copies.kernel,
        round_trip_us,
        copy_command_gb_s: Some(copies.command),
        copy_cold_gb_s: Some(copies.cold),
        staging,
    })
}

async fn download(player: &dyn Player, from: &Buffer, bytes: u64) -> Result<f64, DeviceError> {
    let piece = || play(player, vec![Command::Download { buffer: from.clone(), range: 0..bytes }]);
    futures::future::try_join(piece(), piece()).await?;
    let began = Instant::now();
    let mut pieces = 0;
    while pieces < 4 || began.elapsed() < MEASURE {
        futures::future::try_join(piece(), piece()).await?;
        pieces += 2;
    }
    Ok(gb_s(pieces * bytes, began.elapsed()))
}

/// 10^9 bytes copied per second.
struct Copies {
    kernel: f64,
    command: f64,
    cold: f64,
}

/// By the device's clock where it has one, else by the host's over many copies.
async fn copies(player: &dyn Player) -> Result<Copies, DeviceError> {
    let (a, b) = large(player)?;
    let bytes = a.bytes;
    let kernel = || programs::copy(&a, &b);
    let command = || Command::Copy { from: a.clone(), from_at: 0, to: b.clone(), to_at: 0, bytes };
    // A GPU comes to its clocks by work; a software adapter has none, and copies slowly.
    let (warm, idle) = match player.capabilities().kind {
        AdapterKind::Software => (Duration::ZERO, Duration::ZERO),
        _ => (MEASURE, IDLE),
    };
    let meter = Meter::new(player, MEASURE, warm, idle)?;
    Ok(Copies {
        kernel: gb_s(bytes, meter.warm(kernel).await?),
        command: gb_s(bytes, meter.warm(command).await?),
        cold: gb_s(bytes, meter.cold(kernel).await?),
    })
}

/// Two buffers as large as they are wanted, or as there is memory for.
fn large(player: &dyn Player) -> Result<(Buffer, Buffer), DeviceError> {
    let capabilities = player.capabilities();
    let wanted = match capabilities.kind {
        AdapterKind::Software => SOFTWARE_COPIED_BYTES,
        _ => COPIED_BYTES,
    };
    let mut bytes = wanted.min(most_bytes(capabilities));
    loop {
        let both = player
            .buffer(bytes, "measured")
            .and_then(|a| Ok((a, player.buffer(bytes, "measured")?)));
        match both {
            Err(DeviceError::OutOfMemory { .. }) if bytes > PIECE_BYTES => bytes /= 2,
            both => return both,
        }
    }
}

async fn round_trip(player: &dyn Player, buffer: &Buffer) -> Result<f64, DeviceError> {
    let mut took = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        play(player, vec![Command::Download { buffer: buffer.clone(), range: 0..4 }]).await?;
        took.push(began.elapsed());
    }
    Ok(median(took).as_secs_f64() * 1e6)
}

async fn play(player: &dyn Player, commands: Vec<Command>) -> Result<(), DeviceError> {
    player.submit(Recording { label: "measure".into(), commands }).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{StagingKind, testing, twin};

    #[tokio::test]
    async fn rates_are_measured() {
        let Some(player) = testing::shared(None) else { return };
        let rates = measure(&*player).await.unwrap();
        println!("{rates:?}");
        let copies = [Some(rates.copy_gb_s), rates.copy_command_gb_s, rates.copy_cold_gb_s];
        let uploads = rates.staging.iter().map(|rate| Some(rate.upload_gb_s));
        let all = copies.into_iter().chain(uploads);
        for rate in all.chain([Some(rates.upload_gb_s), Some(rates.download_gb_s)]) {
            assert!(rate.is_some_and(|rate| rate > 0.001 && rate < 100_000.0), "{rates:?}");
        }
        let kinds = player.staging_kinds();
        assert_eq!(rates.staging.len(), THREADS.len() * kinds.len(), "{rates:?}");
        assert!(kinds.contains(&staging::fastest(&rates.staging)));
        assert!(rates.round_trip_us > 0.1 && rates.round_trip_us < 10_000_000.0, "{rates:?}");
    }

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
