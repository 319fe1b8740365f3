//! What plays recordings, whatever it is: what it can do, which memory it has.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::DeviceError;
use crate::record::{Buffer, Completed, Program, Recording, Staging};

/// What an adapter can do, as plain values.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Capabilities {
    /// Adapter's name, as the driver tells it.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`; `twin` for the CPU player.
    pub backend: String,
    pub driver: String,
    pub kind: AdapterKind,
    pub tier: Tier,
    pub max_binding_bytes: u64,
    pub max_buffer_bytes: u64,
    /// Storage buffers one kernel may bind.
    pub max_bindings: u32,
    pub max_workgroup_bytes: u32,
    /// Of the device's own memory, where the driver tells.
    pub memory_bytes: Option<u64>,
    pub floats: FloatExactness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    Discrete,
    Integrated,
    /// A rasteriser on the CPU: right, never fast.
    Software,
    Other,
}

/// What the shader language offers here; each tier has all that is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum Tier {
    /// 32-bit words and atomics only.
    T0,
    /// Subgroup operations.
    T1,
    /// 64-bit integers.
    T2,
    /// 64-bit integer atomics.
    T3,
    /// 64-bit floats.
    T4,
}

/// Which elementwise float operations this adapter computes exactly as IEEE 754 asks (rounding,
/// subnormals, no contraction), by a probe at start-up. IEEE leaves the bits of a NaN open, so
/// these are told apart: total order sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct FloatExactness {
    pub f32_add_mul: bool,
    pub f32_div: bool,
    pub f32_sqrt: bool,
    /// Where a result is NaN, its sign and payload are the host's.
    pub f32_nan_bits: bool,
    pub f64_add_mul: bool,
    pub f64_div: bool,
    pub f64_sqrt: bool,
    pub f64_nan_bits: bool,
}

/// Bytes of device memory by use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct MemoryUse {
    pub in_use_bytes: u64,
    /// Free, kept for reuse.
    pub cached_bytes: u64,
    /// Highest `in_use_bytes` so far.
    pub peak_bytes: u64,
    /// Buffers the driver was asked for so far; the others were reused.
    pub allocations: u64,
}

/// Where staging memory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StagingKind {
    /// What every adapter gives for writing. With a card that shows all of its memory to the host
    /// this lies in the card's memory, and each store crosses the link.
    Portable,
    /// Cached memory of the host, which the device copies from. Only Vulkan gives it.
    HostCached,
}

impl StagingKind {
    pub const ALL: [Self; 2] = [Self::Portable, Self::HostCached];
}

impl fmt::Display for StagingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::HostCached => "host cached",
        })
    }
}

/// Plays recordings: the GPU, or the CPU with twins.
#[async_trait]
pub trait Player: Send + Sync {
    fn capabilities(&self) -> &Capabilities;

    /// Device memory by use, for reports and metrics.
    fn memory_use(&self) -> MemoryUse;

    /// Makes these programs ready beside whatever else goes on, where that takes time: a submit
    /// that comes to one waits for it, and tells of its error.
    fn compile_ahead(&self, _: Vec<Arc<Program>>) {}

    /// Device memory of at least `bytes` bytes (rounded up to a size class). Its content is
    /// whatever its last user left there.
    fn buffer(&self, bytes: u64, what: &str) -> Result<Buffer, DeviceError>;

    /// Host memory to write an upload into; waits while the ring is used up. Who holds some and
    /// waits for more must submit first what it holds, as nothing else gives it back; up to 64 KiB
    /// (headers, parameters) do not count.
    async fn staging(&self, bytes: u64) -> Result<Staging, DeviceError>;

    /// The kinds of staging memory that this player can be asked for.
    fn staging_kinds(&self) -> Vec<StagingKind> {
        vec![StagingKind::Portable]
    }

    /// As `staging`, of a kind that is among `staging_kinds`: for who measures them.
    async fn staging_of(&self, _: StagingKind, bytes: u64) -> Result<Staging, DeviceError> {
        self.staging(bytes).await
    }

    /// Plays a recording as one submit; resolves when all of it is done. May be called again
    /// before that: recordings run in the order of the calls.
    async fn submit(&self, recording: Recording) -> Result<Completed, DeviceError>;
}
