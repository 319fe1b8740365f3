//! One opened device: handles, health, planted faults. Everything made from a context dies with
//! it; a lost one is never mended, a new one is opened instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::cache::Cache;
use crate::device::caught::caught;
use crate::device::fault::Faults;
use crate::device::player::Capabilities;
use crate::error::DeviceError;

/// A device, its queue and what is known of them.
pub struct Context {
    pub id: u64,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    /// All but `floats`, which the probe fills.
    pub capabilities: Capabilities,
    /// Copies and dispatches can be stamped inside one encoder.
    pub timestamps: bool,
    /// Keep naga's bounds checks and loop bounds in our kernels (`THALWEG_CHECKED=1`).
    pub checked: bool,
    pub max_groups_per_dimension: u32,
    /// What the driver compiled before, and will have compiled.
    pub cache: Option<Cache>,
    pub health: Arc<Health>,
    pub faults: Faults,
}

impl Context {
    /// Runs `work` and returns the first error it raised, by wgpu's checks or in the driver, as a
    /// value. Error scopes are kept per thread: `work` must neither await nor hand over to
    /// another thread.
    pub fn validated<T>(&self, work: impl FnOnce() -> T) -> Result<T, DeviceError> {
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = work();
        let validation = pollster::block_on(validation.pop());
        match validation.or(pollster::block_on(internal.pop())) {
            None => Ok(value),
            Some(error) => {
                // On a lost device every use is invalid: ask for the loss first.
                self.poll(wgpu::PollType::Poll).ok();
                self.health.check()?;
                Err(DeviceError::Validation(error.to_string()))
            }
        }
    }

    /// `Device::poll`, which panics where the device is lost during a wait: told as `Lost`.
    pub fn poll(&self, poll: wgpu::PollType) -> Result<Progress, DeviceError> {
        match caught(|| self.device.poll(poll)) {
            Ok(Ok(_)) => Ok(Progress::Reached),
            Ok(Err(wgpu::PollError::Timeout)) => Ok(Progress::Waiting),
            Ok(Err(error)) => Err(self.fail(DeviceError::Lost(error.to_string()))),
            Err(message) => Err(self.fail(DeviceError::Lost(message))),
        }
    }

    /// Records a fatal error and returns what is to be told from now on.
    pub fn fail(&self, error: DeviceError) -> DeviceError {
        self.health.fail(error.clone());
        self.health.check().err().unwrap_or(error)
    }
}

/// What a wait came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Reached,
    Waiting,
}

/// The first fatal error of a context; a loss outranks the validation errors it causes.
#[derive(Default)]
pub struct Health {
    failed: AtomicBool,
    error: Mutex<Option<DeviceError>>,
}

impl Health {
    pub fn check(&self) -> Result<(), DeviceError> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        match &*self.error.lock() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    pub fn fail(&self, error: DeviceError) {
        let mut first = self.error.lock();
        let outranks =
            matches!(error, DeviceError::Lost(_)) && !matches!(*first, Some(DeviceError::Lost(_)));
        if first.is_none() || outranks {
            tracing::error!(%error, "the device context is unusable from now on");
            *first = Some(error);
        }
        self.failed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_outranks_what_it_causes() {
        let health = Health::default();
        assert_eq!(health.check(), Ok(()));
        health.fail(DeviceError::Validation("first".into()));
        health.fail(DeviceError::Validation("second".into()));
        assert_eq!(health.check(), Err(DeviceError::Validation("first".into())));
        health.fail(DeviceError::Lost("gone".into()));
        health.fail(DeviceError::Lost("again".into()));
        assert_eq!(health.check(), Err(DeviceError::Lost("gone".into())));
    }
}
