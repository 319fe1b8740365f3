//! What is to happen on a device, as data: buffers, uploads, dispatches, downloads. Who does it is
//! `device`: the GPU plays a recording on a queue, the CPU player plays the same one with twins.

use std::any::Any;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use crate::error::DeviceError;

/// How a kernel uses one of its bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    Read,
    ReadWrite,
    /// Read-only, the buffer of that number among those given once more, by elements of another
    /// width. It is not given itself: players bind it.
    View(u8),
}

/// Device memory. Clones share it; the last one dropped gives it back to the pool.
#[derive(Clone)]
pub struct Buffer {
    /// Usable bytes, a multiple of four.
    pub bytes: u64,
    /// What the player that made it keeps there.
    pub handle: Arc<dyn Any + Send + Sync>,
}

/// Host memory from which a device can copy, handed out by a player's ring.
pub struct Staging {
    pub bytes: u64,
    /// Start of `bytes` writable bytes. Possibly write-combined memory: write it in order, never
    /// read it.
    pub pointer: *mut u8,
    /// What the player that made it keeps there.
    pub handle: Box<dyn Any + Send>,
}

// SAFETY: `pointer` is owned by the handle, which moves with it; no other thread writes there.
unsafe impl Send for Staging {}

impl Staging {
    /// The staging memory as words, to be written and not read.
    pub fn words(&mut self) -> &mut [u32] {
        // SAFETY: `pointer` is valid for `bytes`, aligned to at least four, owned by `self`.
        unsafe {
            std::slice::from_raw_parts_mut(self.pointer.cast::<u32>(), self.bytes as usize / 4)
        }
    }
}

/// The buffers of one dispatch, as the twin sees them.
pub struct Bound<'a> {
    /// In the order of the bindings; none aliases another.
    pub buffers: Vec<&'a mut [u32]>,
    /// Workgroups dispatched.
    pub groups: u32,
}

/// The CPU twin of a kernel: the same work on the same bindings.
pub type Twin = Arc<dyn Fn(&mut Bound<'_>) -> Result<(), DeviceError> + Send + Sync>;

/// What a pipeline is made of; those of the same code are one. Hashed once, when it is made.
#[derive(Debug, Eq)]
pub struct Code {
    /// The linked WGSL; entry point `main`.
    pub wgsl: String,
    /// All in bind group 0; the index is the position.
    pub bindings: Vec<Access>,
    hash: u64,
}

impl Code {
    /// Buffers that are given: views are not.
    pub fn buffers(&self) -> usize {
        self.bindings.iter().filter(|access| !matches!(access, Access::View(_))).count()
    }

    pub fn new(wgsl: String, bindings: Vec<Access>) -> Self {
        let mut hasher = DefaultHasher::new();
        (&wgsl, &bindings).hash(&mut hasher);
        Self { hash: hasher.finish(), wgsl, bindings }
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.bindings == other.bindings && self.wgsl == other.wgsl
    }
}

impl Hash for Code {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A kernel linked for one tier: the text, what it binds, its twin. Pipelines are kept by code.
pub struct Program {
    /// For GPU labels, traces and errors, such as `group_hash<round 1>`.
    pub label: String,
    pub code: Arc<Code>,
    /// First line (from 1) of each part in the text, with the part's name, in order: see `link`.
    pub parts: Vec<(usize, String)>,
    pub twin: Twin,
}

/// The file and line of a line (from 1) of linked text, by its `Program::parts`:
/// `shaders/lib/grid.wgsl:14`, or `<predicate>:2` for a part that no file holds.
pub fn place(parts: &[(usize, String)], line: usize) -> String {
    match parts.iter().rev().find(|(first, _)| *first <= line) {
        Some((first, name)) => {
            let line = line - first + 1;
            if name.starts_with('<') {
                format!("{name}:{line}")
            } else {
                format!("shaders/{name}.wgsl:{line}")
            }
        }
        None => format!("linked text:{line}"),
    }
}

/// One step of a recording. Steps take effect in their order, on each player alike; a recording
/// that lists its uploads first and its downloads last is the one whose stages can be timed apart.
pub enum Command {
    /// Copies the first `bytes` of a staging buffer; the ring gets it back when the copy is done.
    Upload {
        from: Staging,
        bytes: u64,
        to: Buffer,
        at: u64,
    },
    /// Sets a range of bytes (multiples of four) to zero.
    Clear {
        buffer: Buffer,
        range: Range<u64>,
    },
    Copy {
        from: Buffer,
        from_at: u64,
        to: Buffer,
        to_at: u64,
        bytes: u64,
    },
    /// Runs `groups` workgroups, laid out by the player in two dimensions where one is too short:
    /// kernels compute the flat index through `lib/grid`.
    Dispatch {
        program: Arc<Program>,
        bindings: Vec<Buffer>,
        groups: u32,
    },
    /// Brings a range of bytes (multiples of four) to the host; answered in order.
    Download {
        buffer: Buffer,
        range: Range<u64>,
    },
}

/// One submit's worth of commands.
#[derive(Default)]
pub struct Recording {
    pub label: String,
    pub commands: Vec<Command>,
}

/// Words brought to the host. Their memory goes home when they are dropped.
#[derive(Default)]
pub struct Words {
    words: Vec<u32>,
    home: Option<Arc<dyn Home>>,
}

/// Where the memory of words goes that nobody reads any more.
pub trait Home: Send + Sync {
    fn welcome(&self, memory: Vec<u32>);
}

impl Words {
    pub fn of(words: Vec<u32>, home: Arc<dyn Home>) -> Self {
        Self { words, home: Some(home) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.welcome(std::mem::take(&mut self.words));
        }
    }
}

impl From<Vec<u32>> for Words {
    fn from(words: Vec<u32>) -> Self {
        Self { words, home: None }
    }
}

impl std::ops::Deref for Words {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.words
    }
}

impl std::borrow::Borrow<[u32]> for Words {
    fn borrow(&self) -> &[u32] {
        &self.words
    }
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.words.fmt(f)
    }
}

impl<T: AsRef<[u32]>> PartialEq<T> for Words {
    fn eq(&self, other: &T) -> bool {
        self.words == other.as_ref()
    }
}

/// What came of a recording.
#[derive(Debug, Default)]
pub struct Completed {
    /// One entry per `Download`, in order.
    pub downloads: Vec<Words>,
    /// Device time of all copies to the device, of all dispatches, and of all copies back,
    /// in nanoseconds; zero where the device has no timestamps.
    pub upload_ns: u64,
    pub kernel_ns: u64,
    pub download_ns: u64,
    /// Pipelines that the device compiled, and this was the first to use.
    pub pipelines_made: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_told_by_its_text_and_its_bindings() {
        let hash = |code: &Code| {
            let mut hasher = DefaultHasher::new();
            code.hash(&mut hasher);
            hasher.finish()
        };
        let code = |text: &str, access| Code::new(text.into(), vec![access]);
        let one = code("a", Access::Read);
        assert_eq!((&one, hash(&one)), (&code("a", Access::Read), hash(&code("a", Access::Read))));
        for other in [code("b", Access::Read), code("a", Access::ReadWrite)] {
            assert_ne!(one, other);
            assert_ne!(hash(&one), hash(&other));
        }
        // Two texts of one hash are two all the same.
        let twin = Code { hash: one.hash, ..code("b", Access::Read) };
        assert_ne!(one, twin);
    }
}
