//! Host memory that the device copies from and to. Uploads: a bounded ring of mapped buffers,
//! mapped again by the submit that copied from them. Downloads: buffers mapped for reading by the
//! submit that filled them; bounded by the submits in flight.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::context::Context;
use super::pool::{class_of, create, out_of_memory};
use crate::error::DeviceError;

/// Staging memory out at once. Four slots of 64 MiB; more would only wait for the link.
pub(super) const RING_BYTES: u64 = 256 << 20;

/// Requests up to this share one class and have a ring of their own: parameters and headers must
/// not wait behind the columns of others, least of all for who holds columns already.
pub(super) const SMALL_BYTES: u64 = 64 << 10;

/// Small staging buffers out at once.
const SMALL_BUFFERS: usize = 256;

/// Bytes that one permit of the large ring stands for.
const PERMIT_BYTES: u64 = 4 << 10;

const PERMITS: usize = (RING_BYTES / PERMIT_BYTES) as usize;

/// Free readback buffers above this sum are dropped.
const MAX_FREE_READBACK_BYTES: u64 = 256 << 20;

/// The upload ring of one context.
pub(super) struct Ring {
    context: Arc<Context>,
    /// Fair: who asked first is served first, so that a large request is not starved.
    large: Arc<Semaphore>,
    small: Arc<Semaphore>,
    free: Mutex<Free>,
}

/// A mapped staging buffer, out of the ring.
pub(super) struct Lease {
    mapped: Option<Mapped>,
    home: Home,
}

struct Mapped {
    buffer: wgpu::Buffer,
    view: wgpu::BufferViewMut,
}

/// Start of a lease's memory; it can cross an await, which a bare pointer cannot.
pub(super) struct Start(pub *mut u8);

// SAFETY: the memory belongs to the lease that comes with it, which may move between threads.
unsafe impl Send for Start {}

/// Where a staging buffer goes back to, and its share of the ring until then.
pub(super) struct Home {
    ring: Arc<Ring>,
    class: u64,
    _permit: OwnedSemaphorePermit,
}

impl Ring {
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let large = Arc::new(Semaphore::new(PERMITS));
        let small = Arc::new(Semaphore::new(SMALL_BUFFERS));
        Arc::new(Self { context, large, small, free: Mutex::default() })
    }

    /// A mapped buffer of at least `bytes`, with the start of its memory. Waits while the ring is
    /// used up; a request above the whole ring waits until it is alone.
    pub async fn take(self: &Arc<Self>, bytes: u64) -> Result<(Lease, Start), DeviceError> {
        let most = self.context.capabilities.max_buffer_bytes;
        if bytes > most {
            return Err(DeviceError::Validation(format!(
                "an upload of {bytes} bytes in one piece, at most {most} here"
            )));
        }
        let class = class_of(bytes.max(SMALL_BYTES)).min(most);
        let (permits, wanted) = match class {
            ..=SMALL_BYTES => (&self.small, 1),
            _ => (&self.large, class.div_ceil(PERMIT_BYTES).min(PERMITS as u64) as u32),
        };
        let permit = match Arc::clone(permits).acquire_many_owned(wanted).await {
            Ok(permit) => permit,
            Err(_) => return Err(self.context.fail(DeviceError::Lost("its ring closed".into()))),
        };
        self.context.health.check()?;
        if self.context.faults.fails_allocation() {
            return Err(out_of_memory("staging", class));
        }
        let reused = self.free.lock().take(class);
        let buffer = match reused {
            Some(buffer) => buffer,
            None => self.allocate(class)?,
        };
        let mut view = buffer.get_mapped_range_mut(..).map_err(|error| {
            DeviceError::Validation(format!("staging memory is not mapped: {error}"))
        })?;
        let start = Start(view.slice(..).as_raw_element_ptr().as_ptr());
        let home = Home { ring: Arc::clone(self), class, _permit: permit };
        Ok((Lease { mapped: Some(Mapped { buffer, view }), home }, start))
    }

    /// Wakes those who wait, on a context that will serve nobody any more.
    pub fn close(&self) {
        self.large.close();
        self.small.close();
    }

    fn allocate(&self, class: u64) -> Result<wgpu::Buffer, DeviceError> {
        let wanted = wgpu::BufferDescriptor {
            label: Some("staging"),
            size: class,
            usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        };
        match create(&self.context, &wanted) {
            Err(DeviceError::OutOfMemory { .. }) => {
                self.free.lock().clear();
                create(&self.context, &wanted)
            }
            created => created,
        }
    }
}

impl Lease {
    /// Ends the writing; the buffer can be copied from, and goes home when mapped again.
    pub fn unmap(mut self) -> Option<(wgpu::Buffer, Home)> {
        let Mapped { buffer, view } = self.mapped.take()?;
        drop(view);
        buffer.unmap();
        Some((buffer, self.home))
    }
}

impl Home {
    /// Takes the buffer back, mapped.
    pub fn welcome(self, buffer: wgpu::Buffer) {
        self.ring.free.lock().put(self.class, buffer, RING_BYTES);
    }
}

/// A buffer that a submit fills for the host to read.
pub(super) struct Readback {
    pub buffer: wgpu::Buffer,
    class: u64,
}

/// The readback buffers of one context that are free.
#[derive(Default)]
pub(super) struct Readbacks {
    free: Mutex<Free>,
}

impl Readbacks {
    pub fn take(&self, context: &Context, bytes: u64) -> Result<Readback, DeviceError> {
        let most = context.capabilities.max_buffer_bytes;
        if bytes > most {
            return Err(DeviceError::Validation(format!(
                "downloads of {bytes} bytes in one recording, at most {most} here"
            )));
        }
        let class = class_of(bytes).min(most);
        if let Some(buffer) = self.free.lock().take(class) {
            return Ok(Readback { buffer, class });
        }
        let wanted = wgpu::BufferDescriptor {
            label: Some("readback"),
            size: class,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        Ok(Readback { buffer: create(context, &wanted)?, class })
    }

    /// Takes a buffer back, not mapped.
    pub fn give_back(&self, readback: Readback) {
        self.free.lock().put(readback.class, readback.buffer, MAX_FREE_READBACK_BYTES);
    }
}

/// Free buffers, the oldest first.
#[derive(Default)]
struct Free {
    buffers: std::collections::VecDeque<(u64, wgpu::Buffer)>,
    bytes: u64,
}

impl Free {
    fn take(&mut self, class: u64) -> Option<wgpu::Buffer> {
        let at = self.buffers.iter().rposition(|(free, _)| *free == class)?;
        self.bytes -= class;
        self.buffers.remove(at).map(|(_, buffer)| buffer)
    }

    /// Keeps `buffer`, dropping the oldest ones above `most` bytes.
    fn put(&mut self, class: u64, buffer: wgpu::Buffer, most: u64) {
        self.buffers.push_back((class, buffer));
        self.bytes += class;
        while self.bytes > most {
            let Some((dropped, _)) = self.buffers.pop_front() else { break };
            self.bytes -= dropped;
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
