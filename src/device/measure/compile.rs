//! What compiling takes: on one thread and on many, and with what another process has kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Asked, Bench, Experiment, UNSUPPORTED};
use crate::device::gpu::cache::Cache;
use crate::device::gpu::context::Context;
use crate::device::gpu::pipeline::compile;
use crate::device::player::Player;
use crate::error::DeviceError;
use crate::record::{Code, Program};

impl Bench {
    /// Compiles kernels that no driver has seen before.
    pub(super) fn compile(
        &mut self,
        programs: &[Arc<Program>],
        most_threads: usize,
    ) -> Result<(), DeviceError> {
        let file = Kept::new();
        for threads in [1, most_threads] {
            let fresh: Vec<Program> =
                programs.iter().filter_map(|program| salted(program)).collect();
            let asked = |what: &str| {
                let asked = Asked::new(Experiment::Compile, what, "ms");
                asked.at("threads", threads as u64).at("kernels", fresh.len() as u64)
            };
            let each = |took: Duration| took.as_secs_f64() * 1e3 / fresh.len().max(1) as f64;
            let took = self.compiled(&fresh, threads, None);
            self.note(asked("a kernel, not seen before"), took.map(each))?;
            let kept = asked("a kernel, kept by another process");
            match self.kept(&file.0, threads, programs) {
                Ok(None) => self.missing(kept, UNSUPPORTED),
                Ok(Some(took)) => self.note(kept, Ok(each(took)))?,
                Err(error) => self.note(kept, Err(error))?,
            }
        }
        Ok(())
    }

    /// Compiles them on a device of its own, keeps them, and compiles them on another.
    fn kept(
        &self,
        file: &Path,
        threads: usize,
        programs: &[Arc<Program>],
    ) -> Result<Option<Duration>, DeviceError> {
        let fresh: Vec<Program> = programs.iter().filter_map(|program| salted(program)).collect();
        let mut context = self.context()?;
        if !context.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return Ok(None);
        }
        std::fs::remove_file(file).ok(); // of the round before
        context.cache = Cache::at(&context, file.to_path_buf());
        compile_all(&context, &fresh, threads)?;
        if let Some(cache) = &context.cache {
            cache.save();
        }
        self.compiled(&fresh, threads, Some(file)).map(Some)
    }

    fn compiled(
        &self,
        programs: &[Program],
        threads: usize,
        kept: Option<&Path>,
    ) -> Result<Duration, DeviceError> {
        let mut context = self.context()?;
        context.cache = kept.and_then(|file| Cache::at(&context, file.to_path_buf()));
        compile_all(&context, programs, threads)
    }

    /// A device that has compiled nothing.
    fn context(&self) -> Result<Context, DeviceError> {
        let mut context = Context::open(&self.adapter, self.player.capabilities().tier)?;
        context.cache = None;
        Ok(context)
    }
}

/// Compiles all, each by the first of the threads that has nothing to do.
fn compile_all(
    context: &Context,
    programs: &[Program],
    threads: usize,
) -> Result<Duration, DeviceError> {
    let next = AtomicUsize::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let work = || {
            while let Some(program) = programs.get(next.fetch_add(1, Ordering::Relaxed)) {
                compile(context, program)?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = |_| DeviceError::Validation("a thread that compiles has panicked".into());
        threads.into_iter().try_for_each(|thread| thread.join().map_err(ended)?)
    })?;
    Ok(began.elapsed())
}

/// The program with a statement that no driver has compiled before; `None` where none of its
/// bindings is one that can be written to word by word.
fn salted(program: &Program) -> Option<Program> {
    static SALT: AtomicUsize = AtomicUsize::new(0);
    let wgsl = &program.code.wgsl;
    let (name, atomic) = writable(wgsl)?;
    let body = wgsl.find("fn main(")?;
    let body = body + wgsl[body..].find('{')? + 1;
    // Another one in each process, too.
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos() as u32;
    let salt = now.wrapping_mul(2_654_435_761) ^ SALT.fetch_add(1, Ordering::Relaxed) as u32;
    let write = match atomic {
        true => format!("atomicStore(&{name}[0], {salt}u);"),
        false => format!("{name}[0] = {salt}u;"),
    };
    let text = format!(
        "{} if (arrayLength(&{name}) == {salt}u) {{ {write} }}{}",
        &wgsl[..body],
        &wgsl[body..]
    );
    Some(Program {
        label: program.label.clone(),
        code: Arc::new(Code::new(text, program.code.bindings.clone())),
        parts: program.parts.clone(),
        twin: program.twin.clone(),
    })
}

/// The first binding of words that can be written to, and whether they are atomic.
fn writable(wgsl: &str) -> Option<(&str, bool)> {
    wgsl.split("var<storage, read_write>").skip(1).find_map(|rest| {
        let (name, rest) = rest.split_once(':')?;
        let declared = rest.split(';').next()?.trim();
        let atomic = match declared {
            "array<u32>" => false,
            "array<atomic<u32>>" => true,
            _ => return None,
        };
        Some((name.trim(), atomic))
    })
}

/// A file that is gone when the experiment is over.
struct Kept(PathBuf);

impl Kept {
    fn new() -> Self {
        let name = format!("thalweg-bench-device-{}.bin", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok(); // there may be none
    }
}
