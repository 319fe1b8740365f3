//! The GPU player: recordings on a wgpu queue. Opened players are shared by the whole process; a
//! lost one is replaced at the next `open`.

pub(super) mod cache;
mod compiler;
pub(super) mod context;
mod encode;
mod open;
pub(super) mod pipeline;
pub(super) mod pool;
pub(super) mod ring;
mod shelf;
mod stamps;
mod submit;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::adapter::{self, probe};
use super::fault::Fault;
use super::measure::staging;
use super::player::{Capabilities, MemoryUse, Player, StagingKind, Tier};
use super::{check, rates};
use crate::config::Options;
use crate::error::DeviceError;
use crate::record::{Buffer, Completed, Program, Recording, Staging};
use compiler::Compiler;
use context::Context;
use pool::Pool;
use ring::Ring;
use submit::Submitter;

/// One opened adapter.
pub struct Gpu {
    context: Arc<Context>,
    pool: Arc<Pool>,
    ring: Arc<Ring>,
    submitter: Submitter,
    compiler: Compiler,
    capabilities: Capabilities,
}

/// The players of this process by adapter and tier.
static OPENED: Mutex<Option<Opened>> = Mutex::new(None);

type Opened = HashMap<(String, Tier), Arc<Gpu>>;

/// The player for the adapter that `options` name, else the preferred one: discrete before
/// integrated before software. Opened once per process and again after a loss.
///
/// The environment: `THALWEG_BACKEND` (`vulkan`, `metal`, `dx12`) and `THALWEG_TIER` (`T0` to
/// `T4`) narrow the choice, `THALWEG_CHECKED=1` keeps naga's bounds checks in every kernel,
/// `THALWEG_FAULT` plants faults (see `fault`).
///
/// # Errors
/// `NoAdapter` where none fits, or the tier is above the adapter's; `Lost` where it fails to open.
pub fn open(options: &Options) -> Result<Arc<dyn Player>, DeviceError> {
    open_with_tier(options, None)
}

/// As `open`, with features masked down to `tier`.
pub fn open_with_tier(
    options: &Options,
    tier: Option<Tier>,
) -> Result<Arc<dyn Player>, DeviceError> {
    Ok(open_shared(options, tier)?)
}

/// As `open_with_tier`, not shared with anybody else in the process: for tests that plant faults.
pub fn open_alone(options: &Options, tier: Option<Tier>) -> Result<Arc<Gpu>, DeviceError> {
    let adapter = adapter::choose(options.adapter.as_deref())?;
    let tier = adapter::tier_to_open(&adapter, tier)?;
    Gpu::new(&adapter, tier)
}

/// Plants a fault in the player that `options` name, which all of the process share.
///
/// # Errors
/// As `open`.
pub fn plant(options: &Options, fault: Fault) -> Result<(), DeviceError> {
    open_shared(options, None)?.inject(fault);
    Ok(())
}

pub(super) fn open_shared(options: &Options, tier: Option<Tier>) -> Result<Arc<Gpu>, DeviceError> {
    let adapter = adapter::choose(options.adapter.as_deref())?;
    let tier = adapter::tier_to_open(&adapter, tier)?;
    open_once(&adapter, tier)
}

/// The player of an adapter, with the tier of the environment or its own.
pub(super) fn open_adapter(adapter: &wgpu::Adapter) -> Result<Arc<Gpu>, DeviceError> {
    open_once(adapter, adapter::tier_to_open(adapter, None)?)
}

/// The process's player of this adapter and tier, made where there is none or a lost one.
fn open_once(adapter: &wgpu::Adapter, tier: Tier) -> Result<Arc<Gpu>, DeviceError> {
    let identity = adapter::identity(&adapter.get_info());
    // Held while opening, so that nobody opens the same one twice.
    let mut opened = OPENED.lock();
    let opened = opened.get_or_insert_default();
    let key = (identity.clone(), tier);
    if let Some(player) = opened.get(&key)
        && player.context.health.check().is_ok()
    {
        return Ok(Arc::clone(player));
    }
    let player = Gpu::new(adapter, tier).or_else(|error| {
        // After a loss the adapter itself may have gone stale: ask the drivers again.
        tracing::warn!(%error, "looking for the adapter again");
        adapter::look_again();
        let again = adapter::all()?
            .into_iter()
            .find(|adapter| adapter::identity(&adapter.get_info()) == identity);
        match again {
            Some(adapter) => Gpu::new(&adapter, tier),
            None => Err(error),
        }
    })?;
    opened.insert(key, Arc::clone(&player));
    Ok(player)
}

/// Before the process ends: waits for what the players of the process compile, which drivers do not
/// survive, and keeps it for the next process. Players go on as before, but compile nothing ahead.
pub fn finish() {
    let opened = OPENED.lock();
    for player in opened.iter().flat_map(HashMap::values) {
        player.compiler.close();
    }
}

impl Gpu {
    fn new(adapter: &wgpu::Adapter, tier: Tier) -> Result<Arc<Self>, DeviceError> {
        let context = Arc::new(Context::open(adapter, tier)?);
        let ring = Ring::new(Arc::clone(&context));
        let pipelines = Arc::default();
        let compiler = Compiler::new(&context, &pipelines);
        let submitter = Submitter::start(&context, &pipelines, &ring)?;
        let pool = Pool::new(Arc::clone(&context));
        let capabilities = context.capabilities.clone();
        let mut player = Self { context, pool, ring, submitter, compiler, capabilities };
        // While nobody else waits for the ring: this blocks. A device that cannot do it once is
        // not one to hand out.
        player.capabilities.floats = pollster::block_on(probe::probe(&player, tier))?;
        player.choose_staging();
        player.context.faults.plant_from_env();
        Ok(Arc::new(player))
    }

    async fn staged(&self, kind: StagingKind, bytes: u64) -> Result<Staging, DeviceError> {
        self.context.health.check()?;
        let bytes = bytes.next_multiple_of(4);
        let (lease, pointer) = self.ring.take(kind, bytes).await?;
        Ok(Staging { bytes, pointer: pointer.0, handle: Box::new(lease) })
    }

    /// Has uploads written where a calibration found them fastest, if that works here.
    fn choose_staging(&self) {
        let Some(kept) = rates::load(&self.capabilities) else { return };
        let kind = staging::fastest(&kept.rates.staging);
        if kind == StagingKind::Portable || !self.ring.offers(kind) {
            return;
        }
        // As the probe: while nobody else waits for the ring.
        match pollster::block_on(staging::works(self, kind)) {
            Ok(true) => self.ring.prefer(kind),
            Ok(false) => tracing::warn!(%kind, "staging memory gives other words than written"),
            Err(error) => tracing::warn!(%kind, %error, "staging memory is not used"),
        }
    }

    /// Has uploads written into this kind of memory from now on.
    #[cfg(test)]
    pub(super) fn prefer_staging(&self, kind: StagingKind) {
        self.ring.prefer(kind);
    }

    /// Plants a fault in this player.
    pub fn inject(&self, fault: Fault) {
        self.context.faults.plant(fault);
    }
}

#[async_trait]
impl Player for Gpu {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn memory_use(&self) -> MemoryUse {
        self.pool.memory_use()
    }

    fn compile_ahead(&self, programs: Vec<Arc<Program>>) {
        self.compiler.ahead(programs);
    }

    fn buffer(&self, bytes: u64, what: &str) -> Result<Buffer, DeviceError> {
        let pooled = self.pool.take(bytes, what)?;
        Ok(Buffer { bytes: pooled.bytes, handle: Arc::new(pooled) })
    }

    async fn staging(&self, bytes: u64) -> Result<Staging, DeviceError> {
        self.staged(self.ring.kind(), bytes).await
    }

    fn staging_kinds(&self) -> Vec<StagingKind> {
        let offered = |kind: &StagingKind| self.ring.offers(*kind);
        let mut kinds: Vec<_> = StagingKind::ALL.into_iter().filter(offered).collect();
        kinds.retain(|kind| pollster::block_on(staging::works(self, *kind)).unwrap_or(false));
        kinds
    }

    async fn staging_of(&self, kind: StagingKind, bytes: u64) -> Result<Staging, DeviceError> {
        self.staged(kind, bytes).await
    }

    // Written out, not `async`: the recording is in the queue when the call returns, so that the
    // order of the calls holds whenever the futures are polled.
    fn submit<'a, 'b>(
        &'a self,
        recording: Recording,
    ) -> Pin<Box<dyn Future<Output = Result<Completed, DeviceError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let queued = check::check(&recording, &self.context.capabilities)
            .map(|()| self.submitter.enqueue(recording));
        Box::pin(async move { queued?.await.unwrap_or_else(|_| Err(submit::gone())) })
    }
}
