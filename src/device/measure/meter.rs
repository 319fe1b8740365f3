//! How long commands take: many of them in a submit, submit after submit, by the device's own clock
//! where it has one.

use std::time::{Duration, Instant};

use crate::device::player::Player;
use crate::error::DeviceError;
use crate::record::{Buffer, Command, Recording};

/// Commands of one submit at most, whose end is waited for: no driver's watchdog minds.
const REPEATS: u32 = 512;

/// Submits of which the median counts, at least.
const SUBMITS: usize = 3;

/// Times commands on one player.
pub struct Meter<'a> {
    pub player: &'a dyn Player,
    /// How long to repeat a command for one number.
    pub each: Duration,
    /// For how long the device must have worked before its clocks are taken to be at their height.
    pub warm: Duration,
    /// For how long it must have done nothing before they are taken to be at their lowest.
    pub idle: Duration,
    /// What is read back with every submit, so that stamps come with it: four bytes.
    pub told: Buffer,
}

impl<'a> Meter<'a> {
    pub fn new(
        player: &'a dyn Player,
        each: Duration,
        warm: Duration,
        idle: Duration,
    ) -> Result<Self, DeviceError> {
        let told = player.buffer(4, "measured")?;
        Ok(Self { player, each, warm, idle, told })
    }

    /// What the command takes on a device that is at work.
    pub async fn warm(&self, command: impl Fn() -> Command) -> Result<Duration, DeviceError> {
        // Compiles, and touches the memory.
        self.submit(1, &command).await?;
        let began = Instant::now();
        let mut repeats = 1;
        let mut took = self.submit(repeats, &command).await?;
        let enough = self.each / 2 / SUBMITS as u32;
        while began.elapsed() < self.warm || (took < enough && repeats < REPEATS) {
            let one = (took.as_secs_f64() / f64::from(repeats)).max(1e-9);
            // The first ones tell little of what follows: grown by steps.
            let most = (4 * repeats).min(REPEATS);
            repeats = ((enough.as_secs_f64() / one) as u32).clamp(1, most);
            took = self.submit(repeats, &command).await?;
        }
        let began = Instant::now();
        let mut all = vec![took];
        while all.len() < SUBMITS || began.elapsed() < self.each / 2 {
            all.push(self.submit(repeats, &command).await?);
        }
        Ok(median(all) / repeats)
    }

    /// What the command takes so many times in one submit on a device that is at work: all of them.
    pub async fn together(
        &self,
        repeats: u32,
        command: impl Fn() -> Command,
    ) -> Result<Duration, DeviceError> {
        let began = Instant::now();
        let mut all = Vec::new();
        while all.len() < SUBMITS || began.elapsed() < self.warm {
            all.push(self.submit(repeats, &command).await?);
            let late = began.elapsed() > 4 * self.each + self.warm;
            if late {
                break;
            }
        }
        // Without those of the time of warming up.
        Ok(median(all.split_off(all.len().saturating_sub(SUBMITS))))
    }

    /// What the command takes, once, on a device that has had nothing to do.
    pub async fn cold(&self, command: impl Fn() -> Command) -> Result<Duration, DeviceError> {
        // Compiled before.
        self.submit(1, &command).await?;
        tokio::time::sleep(self.idle).await;
        self.submit(1, &command).await
    }

    async fn submit(
        &self,
        repeats: u32,
        command: &impl Fn() -> Command,
    ) -> Result<Duration, DeviceError> {
        let mut commands: Vec<Command> = (0..repeats).map(|_| command()).collect();
        commands.push(Command::Download { buffer: self.told.clone(), range: 0..4 });
        let began = Instant::now();
        let recording = Recording { label: "measure".into(), commands };
        let kernel_ns = self.player.submit(recording).await?.kernel_ns;
        Ok(match kernel_ns {
            0 => began.elapsed(),
            ns => Duration::from_nanos(ns),
        })
    }
}

pub fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// 10^9 bytes, or things, a second.
pub fn gb_s(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(1e-9) / 1e9
}

/// Microseconds.
pub fn us(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6
}
