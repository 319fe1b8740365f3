//! The memory that an adapter has, as its driver tells: only Vulkan's do.

use serde::Serialize;

/// What a driver says of an adapter's memory; empty where it says nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Memories {
    pub heaps: Vec<Heap>,
    pub types: Vec<Type>,
}

/// A piece of memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Heap {
    pub bytes: u64,
    /// It is the device's own, not the host's.
    pub device_local: bool,
}

/// How memory of a heap can be had.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Type {
    pub heap: u32,
    pub device_local: bool,
    pub host_visible: bool,
    pub host_coherent: bool,
    pub host_cached: bool,
}

impl Memories {
    /// Bytes of the device's largest heap.
    pub fn device_bytes(&self) -> Option<u64> {
        self.heaps.iter().filter(|heap| heap.device_local).map(|heap| heap.bytes).max()
    }

    #[cfg(not(target_vendor = "apple"))]
    pub fn of(adapter: &wgpu::Adapter) -> Self {
        /// Bits of `VkMemoryPropertyFlags` in their order.
        const LOCAL: u32 = 1;
        const VISIBLE: u32 = 2;
        const COHERENT: u32 = 4;
        const CACHED: u32 = 8;
        // SAFETY: nothing is made, changed or destroyed by it.
        let vulkan = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() };
        let Some(vulkan) = vulkan else { return Self::default() };
        let instance = vulkan.shared_instance().raw_instance();
        // SAFETY: the physical device is one of this instance, which the adapter keeps.
        let told =
            unsafe { instance.get_physical_device_memory_properties(vulkan.raw_physical_device()) };
        let heaps = told.memory_heaps.iter().take(told.memory_heap_count as usize);
        let types = told.memory_types.iter().take(told.memory_type_count as usize);
        Self {
            heaps: heaps
                .map(|heap| Heap {
                    bytes: heap.size,
                    device_local: heap.flags.as_raw() & LOCAL != 0,
                })
                .collect(),
            types: types
                .map(|of| {
                    let has = |flag| of.property_flags.as_raw() & flag != 0;
                    Type {
                        heap: of.heap_index,
                        device_local: has(LOCAL),
                        host_visible: has(VISIBLE),
                        host_coherent: has(COHERENT),
                        host_cached: has(CACHED),
                    }
                })
                .collect(),
        }
    }

    #[cfg(target_vendor = "apple")]
    pub fn of(_: &wgpu::Adapter) -> Self {
        Self::default()
    }
}
