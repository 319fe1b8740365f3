//! Players that play on another one, and look at what passes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use super::player::{Capabilities, MemoryUse, Player, StagingKind};
use crate::error::DeviceError;
use crate::record::{Buffer, Completed, Program, Recording, Staging};

/// The answer to a submit, to come.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Completed, DeviceError>> + Send + 'a>>;

/// A player around another: memory is the other's.
pub trait Around: Send + Sync {
    fn inner(&self) -> &Arc<dyn Player>;

    /// `Player::submit`. Not `async`: all is queued when the call returns.
    fn play(&self, recording: Recording) -> Answer<'_>;

    /// `Player::compile_ahead`.
    fn ahead(&self, programs: Vec<Arc<Program>>) {
        self.inner().compile_ahead(programs);
    }
}

#[async_trait]
impl<P: Around> Player for P {
    fn capabilities(&self) -> &Capabilities {
        self.inner().capabilities()
    }

    fn memory_use(&self) -> MemoryUse {
        self.inner().memory_use()
    }

    fn compile_ahead(&self, programs: Vec<Arc<Program>>) {
        self.ahead(programs);
    }

    fn buffer(&self, bytes: u64, what: &str) -> Result<Buffer, DeviceError> {
        self.inner().buffer(bytes, what)
    }

    async fn staging(&self, bytes: u64) -> Result<Staging, DeviceError> {
        self.inner().staging(bytes).await
    }

    fn staging_kinds(&self) -> Vec<StagingKind> {
        self.inner().staging_kinds()
    }

    async fn staging_of(&self, kind: StagingKind, bytes: u64) -> Result<Staging, DeviceError> {
        self.inner().staging_of(kind, bytes).await
    }

    fn submit<'a, 'b>(&'a self, recording: Recording) -> Answer<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        self.play(recording)
    }
}
