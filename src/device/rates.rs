//! How fast this machine's adapters are: measured through the player's own rings, kept in a file
//! of the user's cache folder with what it was measured on.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::future::ready;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::{AdapterKind, Capabilities, Player, adapter, gpu};
use crate::error::{DeviceError, Error, Result};
use crate::record::{Buffer, Command, Recording};

/// Bytes of one upload or download: large enough that its fixed cost is below a hundredth.
const PIECE_BYTES: u64 = 32 << 20;

/// Uploads under way at once, as the scheduler has them: one is written, one is copied.
const PIECES_AT_ONCE: usize = 3;

/// Each rate is taken over at least this time, and at least three pieces.
const MEASURE: Duration = Duration::from_millis(300);

/// Round trips of which the middle one counts.
const ROUND_TRIPS: usize = 51;

/// What was measured of one adapter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Host to device, 10^9 bytes per second: written to staging memory by one thread, copied.
    pub upload_gb_s: f64,
    /// Device to host, 10^9 bytes per second, out of mapped memory into the host's own.
    pub download_gb_s: f64,
    /// 10^9 bytes copied per second within device memory; each is read once and written once.
    pub copy_gb_s: f64,
    /// Microseconds from a submit of next to nothing to its answer, the median.
    pub round_trip_us: f64,
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
    let told = |error: std::io::Error| Error::User(format!("{}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(told)?;
    }
    let text = serde_json::to_string_pretty(calibrations)
        .map_err(|error| Error::Bug(format!("rates as JSON: {error}")))?;
    // Under another name first: who reads meanwhile sees the old rates or the new ones.
    let fresh = path.with_extension("json.new");
    std::fs::write(&fresh, text).map_err(told)?;
    std::fs::rename(&fresh, &path).map_err(told)
}

/// Measures one player; takes a second or two.
pub async fn measure(player: &dyn Player) -> Result<Rates, DeviceError> {
    let piece = PIECE_BYTES.min(player.capabilities().max_binding_bytes);
    let (a, b) = (player.buffer(piece, "measured")?, player.buffer(piece, "measured")?);
    Ok(Rates {
        upload_gb_s: upload(player, &a, piece).await?,
        download_gb_s: download(player, &a, piece).await?,
        copy_gb_s: copy(player, &a, &b, piece).await?,
        round_trip_us: round_trip(player, &a).await?,
    })
}

async fn upload(player: &dyn Player, to: &Buffer, bytes: u64) -> Result<f64, DeviceError> {
    let words: Vec<u32> = (0..bytes as u32 / 4).collect();
    let piece = async || {
        let mut from = player.staging(bytes).await?;
        from.words()[..words.len()].copy_from_slice(&words);
        let commands = vec![Command::Upload { from, bytes, to: to.clone(), at: 0 }];
        play(player, commands).await
    };
    // Fills the ring, and the driver's pages with it.
    futures::future::try_join_all((0..PIECES_AT_ONCE).map(|_| piece())).await?;
    let began = Instant::now();
    let pieces = stream::iter(0..)
        .take_while(|n| ready(*n < PIECES_AT_ONCE || began.elapsed() < MEASURE))
        .map(|_| piece())
        .buffered(PIECES_AT_ONCE)
        .try_fold(0, |pieces, ()| ready(Ok(pieces + 1)))
        .await?;
    Ok(rate(pieces * bytes, began.elapsed()))
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
    Ok(rate(pieces * bytes, began.elapsed()))
}

/// By the device's clock where it has one, else by the host's over many copies.
async fn copy(player: &dyn Player, a: &Buffer, b: &Buffer, bytes: u64) -> Result<f64, DeviceError> {
    let there_and_back = |times: u64| {
        let copy = |from: &Buffer, to: &Buffer| Command::Copy {
            from: from.clone(),
            from_at: 0,
            to: to.clone(),
            to_at: 0,
            bytes,
        };
        (0..times).flat_map(|_| [copy(a, b), copy(b, a)]).collect::<Vec<_>>()
    };
    // A software adapter copies at the speed of the host; a GPU needs many for a steady clock.
    let times = match player.capabilities().kind {
        AdapterKind::Software => 2,
        _ => 64,
    };
    play(player, there_and_back(1)).await?;
    let began = Instant::now();
    let mut commands = there_and_back(times);
    commands.push(Command::Download { buffer: a.clone(), range: 0..4 });
    let recording = Recording { label: "measure".into(), commands };
    let kernel_ns = player.submit(recording).await?.kernel_ns;
    let took = match kernel_ns {
        0 => began.elapsed(),
        ns => Duration::from_nanos(ns),
    };
    Ok(rate(times * 2 * bytes, took))
}

async fn round_trip(player: &dyn Player, buffer: &Buffer) -> Result<f64, DeviceError> {
    let mut took = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        play(player, vec![Command::Download { buffer: buffer.clone(), range: 0..4 }]).await?;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    Ok(took[ROUND_TRIPS / 2].as_secs_f64() * 1e6)
}

async fn play(player: &dyn Player, commands: Vec<Command>) -> Result<(), DeviceError> {
    player.submit(Recording { label: "measure".into(), commands }).await.map(drop)
}

/// 10^9 bytes per second.
fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64().max(1e-9) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{testing, twin};

    #[tokio::test]
    async fn rates_are_measured() {
        let Some(player) = testing::shared(None) else { return };
        let rates = measure(&*player).await.unwrap();
        println!("{rates:?}");
        let Rates { upload_gb_s, download_gb_s, copy_gb_s, round_trip_us } = rates;
        for rate in [upload_gb_s, download_gb_s, copy_gb_s] {
            assert!(rate > 0.001 && rate < 100_000.0, "{rates:?}");
        }
        assert!(round_trip_us > 0.1 && round_trip_us < 10_000_000.0, "{rates:?}");
    }

    #[test]
    fn rates_hold_for_their_adapter_and_driver_only() {
        let measured_on = twin::capabilities();
        let rates =
            Rates { upload_gb_s: 1.0, download_gb_s: 2.0, copy_gb_s: 3.0, round_trip_us: 4.5 };
        let calibration = Calibration::new(&measured_on, rates);
        assert!(calibration.is_of(&measured_on));
        let newer = Capabilities { driver: "2.0".into(), ..measured_on.clone() };
        assert!(!calibration.is_of(&newer));
        let text = serde_json::to_string(&[&calibration]).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Calibration>>(&text).unwrap(), [calibration]);
    }
}
