//! The CPU player: recordings over host memory, each dispatch done by its program's twin. What
//! kernels are checked against, and what runs where no adapter is; never meant to be fast.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, mpsc};

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::caught::caught;
use super::check;
use super::fault::{Fault, Faults};
use super::player::{AdapterKind, Capabilities, FloatExactness, MemoryUse, Player, Tier};
use crate::error::DeviceError;
use crate::record::{Bound, Buffer, Command, Completed, Program, Recording, Staging};
use crate::trace;

/// What fresh memory holds. A kernel that reads what nobody wrote should be seen to.
const POISON: u32 = 0xDEAD_BEEF;

/// A CPU player with the capabilities of a large GPU of the highest tier.
pub fn twin() -> Arc<dyn Player> {
    twin_with(capabilities())
}

/// A CPU player of the given tier and limits.
pub fn twin_with(capabilities: Capabilities) -> Arc<Twin> {
    let (jobs, next_job) = mpsc::channel::<Job>();
    // Without a thread the channel closes, and each submit is answered with that.
    std::thread::Builder::new()
        .name("thalweg-twin".into())
        .spawn(move || {
            while let Ok(Job { recording, answer }) = next_job.recv() {
                answer.send(play(recording)).ok();
            }
        })
        .ok();
    let memory = Arc::default();
    Arc::new(Twin { capabilities, jobs, memory, faults: Faults::default() })
}

/// What `twin` claims to have: the starting point for narrower ones.
pub fn capabilities() -> Capabilities {
    Capabilities {
        name: "twin".into(),
        backend: "twin".into(),
        driver: String::new(),
        kind: AdapterKind::Software,
        tier: Tier::T4,
        max_binding_bytes: (1 << 31) - 256,
        max_buffer_bytes: (1 << 31) - 256,
        max_bindings: 29,
        max_workgroup_bytes: 32 << 10,
        memory_bytes: None,
        floats: FloatExactness {
            f32_add_mul: true,
            f32_div: true,
            f32_sqrt: true,
            f32_nan_bits: true,
            f64_add_mul: true,
            f64_div: true,
            f64_sqrt: true,
            f64_nan_bits: true,
        },
    }
}

/// The CPU player.
pub struct Twin {
    capabilities: Capabilities,
    jobs: mpsc::Sender<Job>,
    memory: Arc<Mutex<MemoryUse>>,
    faults: Faults,
}

struct Job {
    recording: Recording,
    answer: oneshot::Sender<Result<Completed, DeviceError>>,
}

/// Device memory, here a vector of words.
struct Memory {
    words: Mutex<Vec<u32>>,
    used: Arc<Mutex<MemoryUse>>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        let bytes = self.words.get_mut().len() as u64 * 4;
        self.used.lock().in_use_bytes -= bytes;
    }
}

/// Staging memory; `Staging::pointer` points into it.
struct Staged(Vec<u32>);

impl Twin {
    /// Plants a fault in this player: `OutOfMemory` only, it has no device to lose.
    pub fn inject(&self, fault: Fault) {
        self.faults.plant(fault);
    }

    fn refuse(&self, what: &str, bytes: u64) -> Result<(), DeviceError> {
        if self.faults.fails_allocation() {
            return Err(DeviceError::OutOfMemory { what: what.into(), bytes });
        }
        Ok(())
    }
}

#[async_trait]
impl Player for Twin {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn memory_use(&self) -> MemoryUse {
        *self.memory.lock()
    }

    fn buffer(&self, bytes: u64, what: &str) -> Result<Buffer, DeviceError> {
        let most = self.capabilities.max_binding_bytes;
        if bytes > most {
            return Err(DeviceError::TableFull(format!(
                "{what} needs {bytes} bytes, one buffer of this player holds {most}"
            )));
        }
        let bytes = bytes.max(4).next_multiple_of(4);
        self.refuse(what, bytes)?;
        let words = Mutex::new(vec![POISON; bytes as usize / 4]);
        let mut used = self.memory.lock();
        used.in_use_bytes += bytes;
        used.peak_bytes = used.peak_bytes.max(used.in_use_bytes);
        used.allocations += 1;
        drop(used);
        let memory = Memory { words, used: Arc::clone(&self.memory) };
        Ok(Buffer { bytes, handle: Arc::new(memory) })
    }

    async fn staging(&self, bytes: u64) -> Result<Staging, DeviceError> {
        let bytes = bytes.next_multiple_of(4);
        self.refuse("staging", bytes)?;
        let mut staged = Staged(vec![POISON; bytes as usize / 4]);
        let pointer = staged.0.as_mut_ptr().cast();
        Ok(Staging { bytes, pointer, handle: Box::new(staged) })
    }

    // Written out, not `async`, as the GPU's: queued when the call returns.
    fn submit<'a, 'b>(
        &'a self,
        recording: Recording,
    ) -> Pin<Box<dyn Future<Output = Result<Completed, DeviceError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let queued = check::check(&recording, &self.capabilities).map(|()| {
            let (answer, answered) = oneshot::channel();
            // A closed channel drops `answer`, which `answered` then tells.
            self.jobs.send(Job { recording, answer }).ok();
            answered
        });
        Box::pin(async move {
            queued?.await.unwrap_or_else(|_| Err(DeviceError::Lost("the twin's thread".into())))
        })
    }
}

fn play(recording: Recording) -> Result<Completed, DeviceError> {
    let mut completed = Completed::default();
    for command in recording.commands {
        match command {
            Command::Upload { from, bytes, to, at } => {
                let staged =
                    from.handle.downcast_ref::<Staged>().ok_or_else(|| foreign("staging"))?;
                let count = bytes as usize / 4;
                words(&to)?[at as usize / 4..][..count].copy_from_slice(&staged.0[..count]);
            }
            Command::Clear { buffer, range } => words(&buffer)?[span(&range)].fill(0),
            Command::Copy { from, from_at, to, to_at, bytes } => {
                let source = words(&from)?;
                let target = &mut words(&to)?[span(&(to_at..to_at + bytes))];
                target.copy_from_slice(&source[span(&(from_at..from_at + bytes))]);
            }
            Command::Dispatch { program, bindings, groups } => {
                dispatch(&program, &bindings, groups)?;
            }
            Command::Download { buffer, range } => {
                completed.downloads.push(words(&buffer)?[span(&range)].to_vec().into());
            }
        }
    }
    Ok(completed)
}

fn dispatch(program: &Program, bindings: &[Buffer], groups: u32) -> Result<(), DeviceError> {
    if groups == 0 {
        return Ok(());
    }
    let _span = trace::span(trace::Kind::Twin, &program.label);
    // No buffer is bound twice (`check`), so that none is locked twice.
    let mut locked = bindings.iter().map(words).collect::<Result<Vec<_>, _>>()?;
    let buffers = locked.iter_mut().map(|guard| guard.as_mut_slice()).collect();
    let mut bound = Bound { buffers, groups };
    // A twin that indexes out of bounds is a mistake of ours, not of who runs the query.
    caught(|| (program.twin)(&mut bound)).unwrap_or_else(|message| {
        let label = &program.label;
        Err(DeviceError::Validation(format!("the twin of '{label}' panicked: {message}")))
    })
}

fn words(buffer: &Buffer) -> Result<MutexGuard<'_, Vec<u32>>, DeviceError> {
    let memory = buffer.handle.downcast_ref::<Memory>().ok_or_else(|| foreign("buffer"))?;
    Ok(memory.words.lock())
}

fn span(range: &std::ops::Range<u64>) -> std::ops::Range<usize> {
    range.start as usize / 4..range.end as usize / 4
}

fn foreign(what: &str) -> DeviceError {
    DeviceError::Validation(format!("a {what} of another player in a recording of the twin"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::{program, recording};
    use crate::record::Access;

    #[tokio::test]
    async fn fresh_memory_is_poison_and_counted() {
        let player = twin_with(capabilities());
        let buffer = player.buffer(6, "a").unwrap();
        assert_eq!((buffer.bytes, player.memory_use().in_use_bytes), (8, 8));
        let commands = vec![Command::Download { buffer, range: 0..8 }];
        let completed = player.submit(recording("read", commands)).await.unwrap();
        assert_eq!(completed.downloads, [[POISON, POISON]]);
        drop(completed);
        assert_eq!(player.memory_use().in_use_bytes, 0);
    }

    #[tokio::test]
    async fn a_twin_that_fails_or_panics_is_an_error() {
        let player = twin();
        let buffer = player.buffer(4, "a").unwrap();
        let raise = program("raise", "", &[Access::ReadWrite], |_| {
            Err(DeviceError::Row("division by zero".into()))
        });
        let crash = program("crash", "", &[Access::ReadWrite], |bound| {
            bound.buffers[0][1] = 0;
            Ok(())
        });
        for (program, told) in [(raise, "division by zero"), (crash, "twin of 'crash' panicked")] {
            let bindings = vec![buffer.clone()];
            let commands = vec![Command::Dispatch { program, bindings, groups: 1 }];
            let error = player.submit(recording("bad", commands)).await.unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    #[tokio::test]
    async fn limits_are_as_asked() {
        let limits = Capabilities { tier: Tier::T0, max_binding_bytes: 1024, ..capabilities() };
        let player = twin_with(limits);
        assert_eq!(player.capabilities().tier, Tier::T0);
        assert!(matches!(player.buffer(1028, "big"), Err(DeviceError::TableFull(_))));
        player.inject(Fault::OutOfMemory { nth: 1 });
        assert!(matches!(player.buffer(8, "small"), Err(DeviceError::OutOfMemory { .. })));
        assert!(player.buffer(8, "small").is_ok());
    }
}
