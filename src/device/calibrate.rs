//! Measures how fast adapters are, through the player's own rings.

use std::time::{Duration, Instant};

use super::measure::meter::{Meter, gb_s, median};
use super::measure::staging;
use super::measure::{most_bytes, programs};
use super::player::{AdapterKind, Player};
use super::rates::{Calibration, Rates, store};
use super::{adapter, gpu};
use crate::error::{DeviceError, Result};
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
    use crate::device::testing;

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
}
