//! Which adapters there are, which one is taken, and what it can do.

pub mod memories;
pub mod probe;
pub mod quiet;

use parking_lot::Mutex;

use super::player::{AdapterKind, Capabilities, FloatExactness, Tier};
use crate::error::DeviceError;
use memories::Memories;
use quiet::quietly;

/// What stamps copies and dispatches inside one encoder.
pub(super) const TIMESTAMPS: wgpu::Features =
    wgpu::Features::TIMESTAMP_QUERY.union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS);

/// What lets staging lie in cached memory of the host.
pub(super) const MAPPABLE_PRIMARY: wgpu::Features = wgpu::Features::MAPPABLE_PRIMARY_BUFFERS;

/// Wanted on every tier where the adapter has it: nothing a kernel can see.
const UNSEEN: wgpu::Features = TIMESTAMPS.union(wgpu::Features::PIPELINE_CACHE);

/// Tiers above T0, in order, with what each adds.
const ADDED: [(Tier, wgpu::Features); 4] = [
    (Tier::T1, wgpu::Features::SUBGROUP),
    (Tier::T2, wgpu::Features::SHADER_INT64),
    (Tier::T3, wgpu::Features::SHADER_INT64_ATOMIC_ALL_OPS),
    (Tier::T4, wgpu::Features::SHADER_F64),
];

/// A binding stays below this: wgpu 30 computes with 32-bit offsets on Metal, and other backends
/// already stop at 2^31 - 1.
const MAX_BINDING_BYTES: u64 = (1 << 31) - 256;

/// Buffer and binding sizes are told in multiples of this, the portable binding alignment.
const ALIGNMENT: u64 = 256;

/// The features of a tier and of all below it.
pub(super) fn features_of(tier: Tier) -> wgpu::Features {
    ADDED
        .iter()
        .filter(|(added, _)| *added <= tier)
        .fold(wgpu::Features::empty(), |all, (_, features)| all | *features)
}

/// What an adapter is opened with for a tier.
pub(super) fn features_to_open(adapter: &wgpu::Adapter, tier: Tier) -> wgpu::Features {
    let wanted = match adapter.get_info().backend {
        // Elsewhere the feature gives memory of other kinds.
        wgpu::Backend::Vulkan => UNSEEN | MAPPABLE_PRIMARY,
        _ => UNSEEN,
    };
    adapter.features() & (features_of(tier) | wanted)
}

/// The highest tier all of whose features are there.
pub(super) fn tier_of(features: wgpu::Features) -> Tier {
    ADDED
        .iter()
        .take_while(|(_, needed)| features.contains(*needed))
        .last()
        .map_or(Tier::T0, |(tier, _)| *tier)
}

/// The tier to open an adapter with: `wanted`, else the one that `THALWEG_TIER` names, else the
/// adapter's own.
pub(super) fn tier_to_open(
    adapter: &wgpu::Adapter,
    wanted: Option<Tier>,
) -> Result<Tier, DeviceError> {
    let has = tier_of(adapter.features());
    let wanted = match (wanted, std::env::var("THALWEG_TIER")) {
        (Some(tier), _) => tier,
        (None, Ok(text)) => parse_tier(&text)?,
        (None, Err(_)) => has,
    };
    if wanted > has {
        let name = adapter.get_info().name;
        return Err(DeviceError::NoAdapter(format!(
            "tier {wanted:?} was asked for, but '{name}' has {has:?} at most"
        )));
    }
    Ok(wanted)
}

fn parse_tier(text: &str) -> Result<Tier, DeviceError> {
    match text.trim().to_ascii_uppercase().as_str() {
        "T0" => Ok(Tier::T0),
        "T1" => Ok(Tier::T1),
        "T2" => Ok(Tier::T2),
        "T3" => Ok(Tier::T3),
        "T4" => Ok(Tier::T4),
        _ => Err(DeviceError::NoAdapter(format!("THALWEG_TIER is '{text}': T0, T1, T2, T3 or T4"))),
    }
}

/// The adapters of the process, once looked for: it takes the drivers tens of milliseconds.
static FOUND: Mutex<Option<Vec<wgpu::Adapter>>> = Mutex::new(None);

/// Forgets the adapters, so that the next one who asks has the drivers asked again.
pub(super) fn look_again() {
    FOUND.lock().take();
}

/// All adapters, the preferred ones first: discrete, integrated, others, software.
pub(super) fn all() -> Result<Vec<wgpu::Adapter>, DeviceError> {
    let mut found = FOUND.lock();
    if let Some(adapters) = &*found {
        return Ok(adapters.clone());
    }
    let backends = backends()?;
    let mut adapters =
        quietly(|| pollster::block_on(new_instance(backends).enumerate_adapters(backends)));
    adapters.sort_by_key(|adapter| match kind(adapter.get_info().device_type) {
        AdapterKind::Discrete => 0,
        AdapterKind::Integrated => 1,
        AdapterKind::Other => 2,
        AdapterKind::Software => 3,
    });
    Ok(found.insert(adapters).clone())
}

/// The preferred adapter whose name holds `name`, in any case.
pub(super) fn choose(name: Option<&str>) -> Result<wgpu::Adapter, DeviceError> {
    let adapters = all()?;
    let present: Vec<String> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
    let wanted = name.map(str::to_lowercase);
    adapters
        .into_iter()
        .find(|adapter| match &wanted {
            Some(part) => adapter.get_info().name.to_lowercase().contains(part),
            None => true,
        })
        .ok_or_else(|| {
            DeviceError::NoAdapter(match name {
                Some(name) if !present.is_empty() => {
                    format!("none is named '{name}'; there is: {}", present.join(", "))
                }
                _ => "no Vulkan, Metal or DX12 driver offers one (on Linux without a GPU, \
                      mesa-vulkan-drivers brings a software one)"
                    .into(),
            })
        })
}

fn new_instance(backends: wgpu::Backends) -> wgpu::Instance {
    let mut wanted = wgpu::InstanceDescriptor::new_without_display_handle();
    wanted.backends = backends;
    // The default would put a hidden validating dispatch before each indirect one; the
    // environment (WGPU_VALIDATION=1) can still ask for the validation layer.
    wanted.flags = wgpu::InstanceFlags::empty().with_env();
    wanted.memory_budget_thresholds.for_resource_creation = Some(90);
    wgpu::Instance::new(wanted)
}

/// All backends, or the one that `THALWEG_BACKEND` names.
fn backends() -> Result<wgpu::Backends, DeviceError> {
    let Ok(text) = std::env::var("THALWEG_BACKEND") else { return Ok(wgpu::Backends::all()) };
    match text.to_ascii_lowercase().as_str() {
        "vulkan" => Ok(wgpu::Backends::VULKAN),
        "metal" => Ok(wgpu::Backends::METAL),
        "dx12" => Ok(wgpu::Backends::DX12),
        _ => Err(DeviceError::NoAdapter(format!(
            "THALWEG_BACKEND is '{text}': vulkan, metal or dx12"
        ))),
    }
}

fn kind(kind: wgpu::DeviceType) -> AdapterKind {
    match kind {
        wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
        wgpu::DeviceType::Cpu => AdapterKind::Software,
        wgpu::DeviceType::VirtualGpu | wgpu::DeviceType::Other => AdapterKind::Other,
    }
}

/// What tells one adapter of a machine from the others.
pub(super) fn identity(info: &wgpu::AdapterInfo) -> String {
    format!("{}/{}/{}", info.backend, info.name, info.device_pci_bus_id)
}

/// An adapter's capabilities when opened with `tier`; floats are left to the probe.
pub(super) fn capabilities(adapter: &wgpu::Adapter, tier: Tier) -> Capabilities {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let aligned = |bytes: u64| bytes / ALIGNMENT * ALIGNMENT;
    Capabilities {
        name: info.name.clone(),
        backend: info.backend.to_string(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        kind: kind(info.device_type),
        tier,
        max_binding_bytes: aligned(
            limits
                .max_storage_buffer_binding_size
                .min(limits.max_buffer_size)
                .min(MAX_BINDING_BYTES),
        ),
        max_buffer_bytes: aligned(limits.max_buffer_size),
        max_bindings: limits.max_storage_buffers_per_shader_stage,
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        memory_bytes: Memories::of(adapter).device_bytes(),
        floats: FloatExactness::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_has_all_below_it() {
        let t3 = features_of(Tier::T3);
        assert_eq!(tier_of(t3), Tier::T3);
        assert_eq!(tier_of(t3 | wgpu::Features::SHADER_F64), Tier::T4);
        assert_eq!(tier_of(t3 - wgpu::Features::SHADER_INT64), Tier::T1);
        assert_eq!(tier_of(wgpu::Features::all() - wgpu::Features::SUBGROUP), Tier::T0);
    }

    #[test]
    fn tiers_by_name() {
        assert_eq!(parse_tier("t2"), Ok(Tier::T2));
        assert!(parse_tier("T9").unwrap_err().to_string().contains("T9"));
    }
}
