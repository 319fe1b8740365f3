//! Device memory by size class, kept for reuse and counted. Buffers are dropped, never destroyed:
//! `destroy` would wait for a poll that is under way on another thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::context::Context;
use crate::device::player::MemoryUse;
use crate::error::DeviceError;

/// Smallest class: below it, the driver's own bookkeeping costs more than the memory.
const MIN_CLASS_BYTES: u64 = 256;

/// Free buffers above this sum go back to the driver. As much as a few slots of a large query.
const MAX_CACHED_BYTES: u64 = 2 << 30;

/// How long a request without memory may wait for the submits under way, which hold some.
const TRIM_WAIT: Duration = Duration::from_secs(2);

/// Each power of two is cut into this many classes: at most a fifth of a buffer is unused.
const STEPS_PER_DOUBLING: u64 = 4;

/// The size class of a request: the next quarter step of a power of two.
pub fn class_of(bytes: u64) -> u64 {
    let bytes = bytes.max(MIN_CLASS_BYTES);
    let step = (bytes.next_power_of_two() / 2 / STEPS_PER_DOUBLING).max(MIN_CLASS_BYTES / 4);
    bytes.next_multiple_of(step)
}

/// The buffers of one context.
pub struct Pool {
    context: Arc<Context>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free: BTreeMap<u64, Vec<wgpu::Buffer>>,
    used: MemoryUse,
}

/// A buffer of the pool, given back when dropped. Work that still runs on it does not matter:
/// whoever gets it next comes later on the same queue.
pub struct Pooled {
    pub buffer: wgpu::Buffer,
    pub bytes: u64,
    pool: Arc<Pool>,
}

impl Pooled {
    /// The context that the buffer belongs to.
    pub fn context_id(&self) -> u64 {
        self.pool.context.id
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.give_back(self.bytes, self.buffer.clone());
    }
}

impl Pool {
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        Arc::new(Self { context, state: Mutex::default() })
    }

    pub fn memory_use(&self) -> MemoryUse {
        self.state.lock().used
    }

    /// A buffer that can be bound, copied and read as indirect arguments.
    ///
    /// # Errors
    /// `TableFull` above the binding limit, `OutOfMemory`, and the context's own error.
    pub fn take(self: &Arc<Self>, bytes: u64, what: &str) -> Result<Pooled, DeviceError> {
        self.context.health.check()?;
        let most = self.context.capabilities.max_binding_bytes;
        if bytes > most {
            return Err(DeviceError::TableFull(format!(
                "{what} needs {bytes} bytes, one buffer of this adapter holds {most}"
            )));
        }
        let class = class_of(bytes).min(most);
        if self.context.faults.fails_allocation() {
            return Err(out_of_memory(what, class));
        }
        let reused = self.state.lock().reuse(class);
        let buffer = match reused {
            Some(buffer) => buffer,
            None => self.allocate(class, what)?,
        };
        let mut state = self.state.lock();
        state.used.in_use_bytes += class;
        state.used.peak_bytes = state.used.peak_bytes.max(state.used.in_use_bytes);
        drop(state);
        Ok(Pooled { buffer, bytes: class, pool: Arc::clone(self) })
    }

    /// Asks the driver; where it has no more, gives it the free buffers back and asks again.
    fn allocate(&self, class: u64, what: &str) -> Result<wgpu::Buffer, DeviceError> {
        let wanted = wgpu::BufferDescriptor {
            label: Some(what),
            size: class,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST
                | wgpu::BufferUsages::INDIRECT,
            mapped_at_creation: false,
        };
        let mut created = match self.context.faults.squeezes_allocation() {
            true => Err(out_of_memory(what, class)),
            false => create(&self.context, &wanted),
        };
        if matches!(created, Err(DeviceError::OutOfMemory { .. })) {
            self.trim();
            created = create(&self.context, &wanted);
        }
        let buffer = created?;
        self.state.lock().used.allocations += 1;
        Ok(buffer)
    }

    /// Gives all free buffers back to the driver.
    pub fn trim(&self) {
        let mut state = self.state.lock();
        let free = std::mem::take(&mut state.free);
        state.used.cached_bytes = 0;
        drop(state);
        drop(free);
        // The driver gets the memory when the last submit that used it is done.
        let done = wgpu::PollType::Wait { submission_index: None, timeout: Some(TRIM_WAIT) };
        self.context.poll(done).ok();
    }

    fn give_back(&self, class: u64, buffer: wgpu::Buffer) {
        let mut state = self.state.lock();
        state.used.in_use_bytes -= class;
        let usable = self.context.health.check().is_ok();
        if usable && state.used.cached_bytes + class <= MAX_CACHED_BYTES {
            state.used.cached_bytes += class;
            state.free.entry(class).or_default().push(buffer);
        }
    }
}

impl State {
    fn reuse(&mut self, class: u64) -> Option<wgpu::Buffer> {
        let buffer = self.free.get_mut(&class)?.pop()?;
        self.used.cached_bytes -= class;
        Some(buffer)
    }
}

/// Creates a buffer, telling out-of-memory as a value. The error scope belongs to this thread.
pub fn create(
    context: &Context,
    wanted: &wgpu::BufferDescriptor<'_>,
) -> Result<wgpu::Buffer, DeviceError> {
    let scope = context.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let created = context.validated(|| context.device.create_buffer(wanted));
    match pollster::block_on(scope.pop()) {
        Some(_) => Err(out_of_memory(wanted.label.unwrap_or("a buffer"), wanted.size)),
        None => created,
    }
}

pub fn out_of_memory(what: &str, bytes: u64) -> DeviceError {
    DeviceError::OutOfMemory { what: what.to_string(), bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_the_request_and_waste_little() {
        for bytes in (0..100_000).chain([1 << 30, (1 << 30) + 1, 3_000_000_001]) {
            let class = class_of(bytes);
            assert!(class >= bytes && class.is_multiple_of(4), "{bytes} -> {class}");
            assert!(bytes < 1024 || class - bytes <= class / 4, "{bytes} -> {class}");
            assert_eq!(class_of(class), class, "a class is its own");
        }
        assert_eq!(class_of(1), 256);
        assert_eq!(class_of(1025), 1280);
        assert_eq!(class_of(1 << 20), 1 << 20);
    }
}
