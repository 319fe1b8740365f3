//! One opened device: handles, health, planted faults. Everything made from a context dies with
//! it; a lost one is never mended, a new one is opened instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::adapter;
use super::cache::Cache;
use super::fault::Faults;
use super::quiet::quietly;
use super::{Capabilities, Tier};
use crate::error::DeviceError;
use crate::task;

/// Numbers contexts, so that a buffer of one is never used with another.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A device, its queue and what is known of them.
pub(super) struct Context {
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
    /// Opens a device on `adapter` with the features of `tier` and the adapter's own limits.
    pub fn open(adapter: &wgpu::Adapter, tier: Tier) -> Result<Self, DeviceError> {
        let info = adapter.get_info();
        let features = adapter::features_to_open(adapter, tier);
        let limits = adapter.limits();
        let wanted = wgpu::DeviceDescriptor {
            label: Some("thalweg"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: wgpu::ExperimentalFeatures::disabled(),
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        };
        let opened = quietly(|| pollster::block_on(adapter.request_device(&wanted)));
        let (device, queue) = opened.map_err(|error| {
            DeviceError::Lost(format!("adapter '{}' cannot be opened: {error}", info.name))
        })?;
        let health = Arc::new(Health::default());
        watch(&device, &health);
        let mut context = Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            capabilities: adapter::capabilities(adapter, tier),
            timestamps: features.contains(adapter::TIMESTAMPS),
            checked: std::env::var_os("THALWEG_CHECKED").is_some_and(|value| value == "1"),
            max_groups_per_dimension: limits.max_compute_workgroups_per_dimension,
            faults: Faults::default(),
            cache: None,
            health,
            device,
            queue,
        };
        context.cache = Cache::open(&context, &info);
        Ok(context)
    }

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
pub(super) enum Progress {
    Reached,
    Waiting,
}

/// The first fatal error of a context; a loss outranks the validation errors it causes.
#[derive(Default)]
pub(super) struct Health {
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

/// Has wgpu tell `health` of the loss and of errors that no scope caught (its default: a panic).
fn watch(device: &wgpu::Device, health: &Arc<Health>) {
    let told = Arc::clone(health);
    device.set_device_lost_callback(move |reason, message| {
        // A device that we drop is not lost.
        if reason != wgpu::DeviceLostReason::Destroyed {
            told.fail(DeviceError::Lost(message));
        }
    });
    let told = Arc::clone(health);
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
        told.fail(match error {
            wgpu::Error::OutOfMemory { .. } => {
                DeviceError::OutOfMemory { what: "internal memory of the driver".into(), bytes: 0 }
            }
            other => DeviceError::Validation(other.to_string()),
        });
    }));
}

/// Runs `work`; a panic in it is returned as its message, and not printed: whoever runs a query
/// must not read of our threads.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let result = task::quietly(work);
    result.map_err(|payload| match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => payload
            .downcast::<&str>()
            .map_or_else(|_| "the driver reported it in a wait".into(), |text| text.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(caught(|| 5), Ok(5));
        let lost = "lost";
        assert_eq!(caught(|| panic!("device {lost}")), Err::<(), _>("device lost".into()));
        assert_eq!(caught(|| panic!("in words")), Err::<(), _>("in words".into()));
    }

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
