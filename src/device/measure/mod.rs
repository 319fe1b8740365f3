//! `thalweg bench device`: what an adapter and its driver give to kernels, copies and the host, by
//! small experiments that each answer one question of the engine's design. Nothing is kept; rates
//! that the engine goes by are those of `rates`.

mod clocks;
mod compile;
mod counters;
mod links;
mod memory;
pub(super) mod meter;
pub(super) mod programs;
pub mod staging;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::adapter;
use super::adapter::memories::Memories;
use super::gpu::{self, Gpu};
use super::player::{AdapterKind, Capabilities, Player};
use crate::config::Options;
use crate::error::DeviceError;
use crate::record::Program;
use meter::Meter;

/// What is asked of an adapter, in the order in which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Experiment {
    /// Whether kernels are slow to start or slow to run, and at which clocks.
    Clocks,
    /// What loads and stores get of the memory, beside the driver's command to copy.
    Memory,
    /// Uploads by the kind of host memory, and by how many threads write it.
    Staging,
    /// Where the time of the engine's own kernels goes. Measured by who has queries.
    Dispatches,
    /// Additions to counters, by how many meet at one.
    Atomics,
    /// Reads at random places, by the size of a table.
    Sectors,
    /// Whether uploads hide behind kernels.
    Overlap,
    /// What the driver takes to compile kernels.
    Compile,
}

impl Experiment {
    pub const ALL: [Self; 8] = [
        Self::Clocks,
        Self::Memory,
        Self::Staging,
        Self::Dispatches,
        Self::Atomics,
        Self::Sectors,
        Self::Overlap,
        Self::Compile,
    ];

    /// As JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clocks => "clocks",
            Self::Memory => "memory",
            Self::Staging => "staging",
            Self::Dispatches => "dispatches",
            Self::Atomics => "atomics",
            Self::Sectors => "sectors",
            Self::Overlap => "overlap",
            Self::Compile => "compile",
        }
    }
}

/// What is asked of the adapter: one number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Asked {
    pub experiment: Experiment,
    pub what: String,
    /// Which of several numbers of the same thing, where there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Sizes and numbers that it is measured with: `bytes`, `rows`, `threads`, `addresses`.
    pub at: BTreeMap<&'static str, u64>,
    pub unit: &'static str,
}

impl Asked {
    pub fn new(experiment: Experiment, what: impl Into<String>, unit: &'static str) -> Self {
        Self { experiment, what: what.into(), part: None, at: BTreeMap::new(), unit }
    }

    pub fn part(self, part: impl Into<String>) -> Self {
        Self { part: Some(part.into()), ..self }
    }

    pub fn at(mut self, name: &'static str, number: impl Into<u64>) -> Self {
        self.at.insert(name, number.into());
        self
    }
}

/// One number, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    #[serde(flatten)]
    pub asked: Asked,
    pub value: Option<f64>,
    /// The adapter that did it.
    pub ran_on: String,
    /// Why there is no value.
    pub missing: Option<String>,
}

/// Why there is no value of what an adapter cannot do.
pub const UNSUPPORTED: &str = "not supported by this adapter";

/// How large and how long experiments are.
#[derive(Debug, Clone, PartialEq)]
pub struct Effort {
    /// For one number.
    pub each: Duration,
    /// See `Meter`.
    pub warm: Duration,
    pub idle: Duration,
    /// Bytes of the buffers that are copied and read.
    pub bytes: Vec<u64>,
    /// Rows of four bytes that a kernel reads once, and `together` times in one submit.
    pub rows: Vec<u64>,
    pub together: u32,
    /// Bytes of the tables that are read at random, powers of two.
    pub tables: Vec<u64>,
    /// Workgroups that add to counters and read sectors.
    pub groups: u32,
    /// Bytes of an upload.
    pub piece_bytes: u64,
    /// Threads that write an upload.
    pub threads: Vec<usize>,
}

/// A buffer is no larger than this part of the device's memory; two are needed at once.
const PART_OF_MEMORY: u64 = 8;

/// What the device is taken to have where its driver does not say.
const UNKNOWN_MEMORY_BYTES: u64 = 4 << 30;

/// A buffer of a device in software is no larger: it is the host's memory, and as slow.
const SOFTWARE_BYTES: u64 = 256 << 20;

/// Bytes of a buffer at most, where two are measured at once.
pub(super) fn most_bytes(capabilities: &Capabilities) -> u64 {
    let memory = capabilities.memory_bytes.unwrap_or(UNKNOWN_MEMORY_BYTES);
    let most = capabilities.max_binding_bytes.min(memory / PART_OF_MEMORY);
    match capabilities.kind {
        AdapterKind::Software => most.min(SOFTWARE_BYTES),
        _ => most,
    }
}

/// Threads that compile kernels, beside one.
const COMPILERS: usize = 8;

impl Effort {
    /// About a minute on a GPU; less in software, which is slower than the sizes of a GPU allow.
    pub fn of(capabilities: &Capabilities) -> Self {
        let software = capabilities.kind == AdapterKind::Software;
        let most = most_bytes(capabilities);
        let fitting = |sizes: &[u64], unit: u64| -> Vec<u64> {
            sizes.iter().copied().filter(|size| size * unit <= most).collect()
        };
        let milliseconds = Duration::from_millis;
        Self {
            each: milliseconds(if software { 200 } else { 400 }),
            warm: milliseconds(if software { 50 } else { 300 }),
            idle: milliseconds(1000),
            bytes: fitting(&[4 << 20, 32 << 20, 128 << 20, 512 << 20, MOST_BYTES], 1),
            rows: fitting(&[1 << 20, 1 << 24, 1 << 27], 4),
            together: if software { 10 } else { 100 },
            tables: fitting(&[1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20, 1 << 30], 1),
            groups: if software { 256 } else { 4096 },
            piece_bytes: (32 << 20).min(most),
            threads: vec![1, 2, 4, 8],
        }
    }

    /// A fraction of a second: to see that all of it runs.
    pub fn small() -> Self {
        Self {
            each: Duration::ZERO,
            warm: Duration::ZERO,
            idle: Duration::from_millis(1),
            bytes: vec![1 << 16],
            rows: vec![1 << 10, 1 << 12],
            together: 3,
            tables: vec![1 << 12, 1 << 16],
            groups: 4,
            piece_bytes: 1 << 16,
            threads: vec![1, 2],
        }
    }
}

/// The largest buffer that is copied: just below what the binding of a buffer may be anywhere.
const MOST_BYTES: u64 = (2 << 30) - (1 << 20);

/// An adapter under measurement.
pub struct Bench {
    player: Arc<Gpu>,
    adapter: wgpu::Adapter,
    pub memories: Memories,
    pub effort: Effort,
    measured: Vec<Measurement>,
}

impl Bench {
    /// Opens the adapter that `options` name; `effort` is `Effort::of` it unless another is given.
    ///
    /// # Errors
    /// As `open`.
    pub fn open(options: &Options, effort: Option<Effort>) -> Result<Self, DeviceError> {
        let adapter = adapter::choose(options.adapter.as_deref())?;
        let player = gpu::open_shared(options, None)?;
        let memories = Memories::of(&adapter);
        let effort = effort.unwrap_or_else(|| Effort::of(player.capabilities()));
        Ok(Self { player, adapter, memories, effort, measured: Vec::new() })
    }

    /// What it is measured through.
    pub fn player(&self) -> Arc<dyn Player> {
        self.player.clone()
    }

    /// Does an experiment; `programs` are kernels to be compiled.
    ///
    /// # Errors
    /// Those that end the device. What it lacks is told in place of the number.
    pub async fn run(
        &mut self,
        experiment: Experiment,
        programs: &[Arc<Program>],
    ) -> Result<(), DeviceError> {
        match experiment {
            Experiment::Clocks => self.clocks().await,
            Experiment::Memory => self.memory().await,
            Experiment::Staging => self.staging().await,
            Experiment::Dispatches => Ok(()),
            Experiment::Atomics => self.atomics().await,
            Experiment::Sectors => self.sectors().await,
            Experiment::Overlap => self.overlap().await,
            Experiment::Compile => self.compile(programs, COMPILERS),
        }
    }

    /// All numbers so far.
    pub fn measured(&self) -> &[Measurement] {
        &self.measured
    }

    fn capabilities(&self) -> &Capabilities {
        self.player.capabilities()
    }

    fn meter(&self) -> Result<Meter<'_>, DeviceError> {
        let Effort { each, warm, idle, .. } = self.effort;
        Meter::new(&*self.player, each, warm, idle)
    }

    /// Notes a number; an error that does not end the device is noted in its place.
    ///
    /// # Errors
    /// The device is lost.
    pub fn note(
        &mut self,
        asked: Asked,
        value: Result<f64, DeviceError>,
    ) -> Result<(), DeviceError> {
        match value {
            Ok(value) => self.push(asked, Some(value), None),
            Err(error @ DeviceError::Lost(_)) => return Err(error),
            Err(error) => self.push(asked, None, Some(error.to_string())),
        }
        Ok(())
    }

    /// Notes why there is no number.
    pub fn missing(&mut self, asked: Asked, why: impl Into<String>) {
        self.push(asked, None, Some(why.into()));
    }

    fn push(&mut self, asked: Asked, value: Option<f64>, missing: Option<String>) {
        let ran_on = self.capabilities().name.clone();
        self.measured.push(Measurement { asked, value, ran_on, missing });
    }
}
