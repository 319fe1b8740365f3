//! Opens a device on an adapter, with the pipelines that its driver has compiled before.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cache::{Cache, read};
use super::context::{Context, Health};
use crate::device::adapter;
use crate::device::adapter::quiet::quietly;
use crate::device::fault::Faults;
use crate::device::player::Tier;
use crate::device::rates;
use crate::error::DeviceError;

/// Numbers contexts, so that a buffer of one is never used with another.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

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

impl Cache {
    /// The cache of an adapter, with what the file has of it. `None` where the backend has none,
    /// there is nowhere to keep it, or `THALWEG_PIPELINE_CACHE=0`.
    pub fn open(context: &Context, info: &wgpu::AdapterInfo) -> Option<Self> {
        let off = std::env::var_os("THALWEG_PIPELINE_CACHE").is_some_and(|value| value == "0");
        if off || !context.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let key = wgpu::util::pipeline_cache_key(info)?;
        let plain = |char: char| if char.is_ascii_alphanumeric() { char } else { '_' };
        let driver: String = info.driver.chars().map(plain).collect();
        Self::at(context, rates::cache_folder()?.join(format!("{key}_{driver}.bin")))
    }

    /// The cache with what this file has of it.
    pub fn at(context: &Context, file: PathBuf) -> Option<Self> {
        let kept = match read(&file) {
            Ok(kept) => Some(kept),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::debug!(file = %file.display(), %error, "kept pipelines are not used");
                None
            }
        };
        let open = |data: Option<&[u8]>| {
            let label = Some("pipelines");
            let wanted = wgpu::PipelineCacheDescriptor { label, data, fallback: true };
            // SAFETY: the data are what `get_data` gave, by their checksum; wgpu leaves out what
            // another device or driver has given.
            context.validated(|| unsafe { context.device.create_pipeline_cache(&wanted) })
        };
        let opened = open(kept.as_deref()).or_else(|error| {
            tracing::debug!(file = %file.display(), %error, "kept pipelines are not used");
            open(None)
        });
        let handle = opened.ok()?;
        Some(Self::new(handle, file))
    }
}
