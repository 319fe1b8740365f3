//! Host memory that the device copies from and to. Uploads: a bounded ring of mapped buffers,
//! mapped again by the submit that copied from them. Downloads: buffers mapped for reading by the
//! submit that filled them; bounded by the submits in flight.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::context::Context;
use super::pool::{class_of, create, out_of_memory};
use crate::device::adapter::MAPPABLE_PRIMARY;
use crate::device::player::StagingKind;
use crate::error::DeviceError;

/// Staging memory out at once. Four slots of 64 MiB; more would only wait for the link.
pub const RING_BYTES: u64 = 256 << 20;

/// Requests up to this share one class and have a ring of their own: parameters and headers must
/// not wait behind the columns of others, least of all for who holds columns already.
pub const SMALL_BYTES: u64 = 64 << 10;

/// Small staging buffers out at once.
const SMALL_BUFFERS: usize = 256;

/// Bytes that one permit of the large ring stands for.
const PERMIT_BYTES: u64 = 4 << 10;

const PERMITS: usize = (RING_BYTES / PERMIT_BYTES) as usize;

/// Free readback buffers above this sum are dropped.
const MAX_FREE_READBACK_BYTES: u64 = 256 << 20;

/// How long fresh memory may take to be mapped, which waits for nothing that the device does.
const MAP_WAIT: Duration = Duration::from_secs(10);

/// The upload ring of one context.
pub struct Ring {
    context: Arc<Context>,
    /// Where uploads are written unless somebody asks for another kind.
    kind: Mutex<StagingKind>,
    /// Fair: who asked first is served first, so that a large request is not starved.
    large: Arc<Semaphore>,
    small: Arc<Semaphore>,
    free: Mutex<Free<Class>>,
}

/// A mapped staging buffer, out of the ring.
pub struct Lease {
    mapped: Option<Mapped>,
    home: Home,
}

struct Mapped {
    buffer: wgpu::Buffer,
    view: wgpu::BufferViewMut,
}

/// Start of a lease's memory; it can cross an await, which a bare pointer cannot.
pub struct Start(pub *mut u8);

// SAFETY: the memory belongs to the lease that comes with it, which may move between threads.
unsafe impl Send for Start {}

/// Where a staging buffer goes back to, and its share of the ring until then.
pub struct Home {
    ring: Arc<Ring>,
    class: Class,
    _permit: OwnedSemaphorePermit,
}

/// Which buffers stand for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Class {
    kind: StagingKind,
    bytes: u64,
}

impl Ring {
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let large = Arc::new(Semaphore::new(PERMITS));
        let small = Arc::new(Semaphore::new(SMALL_BUFFERS));
        let kind = Mutex::new(StagingKind::Portable);
        Arc::new(Self { context, kind, large, small, free: Mutex::default() })
    }

    /// Where uploads are written from now on.
    pub fn prefer(&self, kind: StagingKind) {
        *self.kind.lock() = kind;
    }

    /// Where uploads are written.
    pub fn kind(&self) -> StagingKind {
        *self.kind.lock()
    }

    /// Whether the device can be asked for this kind.
    pub fn offers(&self, kind: StagingKind) -> bool {
        match kind {
            StagingKind::Portable => true,
            StagingKind::HostCached => self.context.device.features().contains(MAPPABLE_PRIMARY),
        }
    }

    /// A mapped buffer of at least `bytes`, with the start of its memory. Waits while the ring is
    /// used up; a request above the whole ring waits until it is alone.
    pub async fn take(
        self: &Arc<Self>,
        kind: StagingKind,
        bytes: u64,
    ) -> Result<(Lease, Start), DeviceError> {
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
        let class = Class { kind, bytes: class };
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

    /// A fresh buffer, mapped.
    fn allocate(&self, class: Class) -> Result<wgpu::Buffer, DeviceError> {
        let usage = match class.kind {
            StagingKind::Portable => wgpu::BufferUsages::MAP_WRITE,
            StagingKind::HostCached => wgpu::BufferUsages::MAP_READ,
        };
        let wanted = wgpu::BufferDescriptor {
            label: Some("staging"),
            size: class.bytes,
            usage: usage | wgpu::BufferUsages::COPY_SRC,
            // Without MAP_WRITE, wgpu would map other memory than the buffer's own.
            mapped_at_creation: class.kind == StagingKind::Portable,
        };
        let created = match create(&self.context, &wanted) {
            Err(DeviceError::OutOfMemory { .. }) => {
                self.free.lock().clear();
                create(&self.context, &wanted)
            }
            created => created,
        };
        let buffer = created?;
        if !wanted.mapped_at_creation {
            self.map(&buffer, class.kind)?;
        }
        Ok(buffer)
    }

    /// Maps a buffer that no submit uses.
    fn map(&self, buffer: &wgpu::Buffer, kind: StagingKind) -> Result<(), DeviceError> {
        let (tell, told) = mpsc::channel();
        buffer.map_async(map_mode(kind), .., move |result| {
            tell.send(result).ok();
        });
        let begun = Instant::now();
        while begun.elapsed() < MAP_WAIT {
            self.context.poll(wgpu::PollType::Poll)?;
            // Another thread's poll may have taken the callback and be about to call it.
            match told.recv_timeout(Duration::from_millis(1)) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => {
                    self.context.health.check()?;
                    return Err(DeviceError::Validation(format!("staging memory: {error}")));
                }
                Err(_) => self.context.health.check()?,
            }
        }
        Err(DeviceError::Validation(format!("staging memory is not mapped in {MAP_WAIT:?}")))
    }
}

/// How memory of a kind is mapped to be written. The mode for reading is what brings cached memory;
/// wgpu hands a view for writing out all the same, which `Gpu` tests before it uses it.
fn map_mode(kind: StagingKind) -> wgpu::MapMode {
    match kind {
        StagingKind::Portable => wgpu::MapMode::Write,
        StagingKind::HostCached => wgpu::MapMode::Read,
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
    /// How the buffer is to be mapped again.
    pub fn map_mode(&self) -> wgpu::MapMode {
        map_mode(self.class.kind)
    }

    /// Takes the buffer back, mapped.
    pub fn welcome(self, buffer: wgpu::Buffer) {
        self.ring.free.lock().put(self.class, buffer, RING_BYTES);
    }
}

/// A buffer that a submit fills for the host to read.
pub struct Readback {
    pub buffer: wgpu::Buffer,
    class: u64,
}

/// The readback buffers of one context that are free.
#[derive(Default)]
pub struct Readbacks {
    free: Mutex<Free<u64>>,
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

/// Free buffers by what they stand for, the oldest first.
struct Free<K> {
    buffers: VecDeque<(K, wgpu::Buffer)>,
    bytes: u64,
}

impl<K> Default for Free<K> {
    fn default() -> Self {
        Self { buffers: VecDeque::new(), bytes: 0 }
    }
}

impl<K: PartialEq> Free<K> {
    fn take(&mut self, class: K) -> Option<wgpu::Buffer> {
        let at = self.buffers.iter().rposition(|(free, _)| *free == class)?;
        let (_, buffer) = self.buffers.remove(at)?;
        self.bytes -= buffer.size();
        Some(buffer)
    }

    /// Keeps `buffer`, dropping the oldest ones above `most` bytes.
    fn put(&mut self, class: K, buffer: wgpu::Buffer, most: u64) {
        self.bytes += buffer.size();
        self.buffers.push_back((class, buffer));
        while self.bytes > most {
            let Some((_, dropped)) = self.buffers.pop_front() else { break };
            self.bytes -= dropped.size();
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
