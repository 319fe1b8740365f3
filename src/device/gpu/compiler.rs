//! Pipelines compiled ahead of their use, several at a time, on threads of the context.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::context::Context;
use super::pipeline::{Entry, Pipelines};
use crate::device::caught::caught;
use crate::error::DeviceError;
use crate::record::Program;
use crate::task::Thread;

/// Threads at most; a query has ten or so pipelines, and rows are decoded meanwhile.
const MAX_THREADS: usize = 8;

/// The end that a player holds. Dropped, it waits for what is being compiled, and forgets the rest.
pub struct Compiler {
    shared: Arc<Shared>,
    threads: Mutex<Vec<Thread<()>>>,
    max_threads: usize,
}

struct Shared {
    context: Arc<Context>,
    pipelines: Arc<Pipelines>,
    queue: Mutex<Queue>,
    /// There is more to do, or nothing any more.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Arc<Program>, Arc<Entry>)>,
    /// Threads that compile.
    busy: usize,
    closed: bool,
}

impl Compiler {
    /// Threads start when there is work for them.
    pub fn new(context: &Arc<Context>, pipelines: &Arc<Pipelines>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (context, pipelines) = (Arc::clone(context), Arc::clone(pipelines));
        let (queue, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { context, pipelines, queue, changed });
        Self { shared, threads: Mutex::default(), max_threads: cores.min(MAX_THREADS) }
    }

    /// Compiles what is not known yet. Errors come out where the pipelines are used.
    pub fn ahead(&self, programs: Vec<Arc<Program>>) {
        let unknown = programs.into_iter().filter_map(|program| {
            let entry = self.shared.pipelines.enter(&program)?;
            Some((program, entry))
        });
        let unknown: Vec<_> = unknown.collect();
        let mut threads = self.threads.lock();
        let mut queue = self.shared.queue.lock();
        if unknown.is_empty() || queue.closed {
            return;
        }
        queue.waiting.extend(unknown);
        let wanted = (queue.waiting.len() + queue.busy).min(self.max_threads);
        drop(queue);
        self.shared.changed.notify_all();
        for _ in threads.len()..wanted {
            let shared = Arc::clone(&self.shared);
            match Thread::spawn("thalweg-compile", move || shared.work()) {
                Ok(thread) => threads.push(thread),
                // Who uses the pipelines compiles them.
                Err(error) => tracing::debug!(%error, "no thread to compile ahead"),
            }
        }
    }

    /// Ends the threads, and keeps what was compiled for the next process; from now on pipelines
    /// are compiled where they are used.
    pub fn close(&self) {
        let mut queue = self.shared.queue.lock();
        queue.closed = true;
        queue.waiting.clear();
        drop(queue);
        self.shared.changed.notify_all();
        for thread in self.threads.lock().drain(..) {
            if let Err(error) = thread.join() {
                tracing::debug!(%error, "compiling ahead");
            }
        }
        self.shared.save();
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn work(&self) {
        while let Some((program, entry)) = self.next() {
            // naga panics on some kernels that it accepts; an error is told where it is used.
            if let Err(message) = caught(|| entry.make(&self.context, &program)) {
                let text = format!("{}: panicked: {message}", program.label);
                self.context.fail(DeviceError::Validation(text));
            }
            if self.is_last() {
                self.save();
            }
        }
    }

    /// Keeps what was compiled for the next process.
    fn save(&self) {
        if let Some(cache) = &self.context.cache {
            cache.save();
        }
    }

    /// The caller has compiled: whether nobody else does, and nothing waits.
    fn is_last(&self) -> bool {
        let mut queue = self.queue.lock();
        queue.busy -= 1;
        queue.busy == 0 && queue.waiting.is_empty()
    }

    /// What is to be compiled next; `None` where that is nothing for ever.
    fn next(&self) -> Option<(Arc<Program>, Arc<Entry>)> {
        let mut queue = self.queue.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(next) = queue.waiting.pop_front() {
                queue.busy += 1;
                return Some(next);
            }
            self.changed.wait(&mut queue);
        }
    }
}
