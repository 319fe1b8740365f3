//! Device timestamps around the runs of equal commands of one recording.

use parking_lot::Mutex;

use super::context::Context;
use crate::record::Completed;

/// Stamps per recording; runs above it count into the last one. Recordings have three, seldom
/// more than ten.
const MAX_RUNS: usize = 62;

/// What a run of commands does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Upload,
    Kernel,
    Download,
}

/// Queries of one context that are free. At most as many as submits are in flight are made.
#[derive(Default)]
pub struct Clocks {
    free: Mutex<Vec<Clock>>,
}

/// Queries for one recording, and where the device writes their values.
struct Clock {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
}

/// The runs of a recording and the queries that time them: query i at the start of run i, one
/// more at the end of all.
pub struct Stamps {
    clock: Clock,
    /// First step of each run, with its kind; then the number of steps.
    runs: Vec<(usize, Kind)>,
    steps: usize,
    /// Where the stamps are in the readback buffer.
    at: u64,
    ns_per_tick: f64,
}

impl Clocks {
    /// Stamps for steps of these kinds; none where the device has no timestamps or there is
    /// nothing to time.
    pub fn stamps(&self, context: &Context, kinds: impl Iterator<Item = Kind>) -> Option<Stamps> {
        if !context.timestamps {
            return None;
        }
        let (runs, steps) = runs_of(kinds);
        if runs.is_empty() {
            return None;
        }
        let free = self.free.lock().pop();
        let clock = free.unwrap_or_else(|| Clock::new(&context.device));
        let ns_per_tick = f64::from(context.queue.get_timestamp_period());
        Some(Stamps { clock, runs, steps, at: 0, ns_per_tick })
    }

    /// Adds up the runs' times by kind, from the mapped readback buffer.
    pub fn read(&self, stamps: Stamps, mapped: &[u8], completed: &mut Completed) {
        stamps.read(mapped, completed);
        self.free.lock().push(stamps.clock);
    }
}

impl Clock {
    fn new(device: &wgpu::Device) -> Self {
        let count = MAX_RUNS as u32 + 1;
        let set = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("stamps"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let resolved = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("stamps"),
            size: u64::from(count) * 8,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Self { set, resolved }
    }
}

impl Stamps {
    pub fn bytes(&self) -> u64 {
        (self.runs.len() as u64 + 1) * 8
    }

    /// Writes the stamp that belongs before `step`, if one does; after the last step, the end.
    pub fn write(&self, encoder: &mut wgpu::CommandEncoder, step: usize) {
        let query = match self.runs.iter().position(|(first, _)| *first == step) {
            Some(run) => run,
            None if step == self.steps => self.runs.len(),
            None => return,
        };
        encoder.write_timestamp(&self.clock.set, query as u32);
    }

    /// Copies the stamps into the readback buffer at byte `at`.
    pub fn resolve(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        readback: &wgpu::Buffer,
        at: u64,
    ) {
        self.at = at;
        let count = self.runs.len() as u32 + 1;
        let Clock { set, resolved } = &self.clock;
        encoder.resolve_query_set(set, 0..count, resolved, 0);
        encoder.copy_buffer_to_buffer(resolved, 0, readback, at, self.bytes());
    }

    fn read(&self, mapped: &[u8], completed: &mut Completed) {
        let start = self.at as usize;
        let ticks: Vec<u64> =
            bytemuck::pod_collect_to_vec(&mapped[start..start + self.bytes() as usize]);
        for ((_, kind), pair) in self.runs.iter().zip(ticks.windows(2)) {
            // A wrapped or reordered counter gives nothing rather than centuries.
            let ns = pair[1].saturating_sub(pair[0]) as f64 * self.ns_per_tick;
            let sum = match kind {
                Kind::Upload => &mut completed.upload_ns,
                Kind::Kernel => &mut completed.kernel_ns,
                Kind::Download => &mut completed.download_ns,
            };
            *sum += ns as u64;
        }
    }
}

/// The first step and the kind of each run, and the number of steps.
fn runs_of(kinds: impl Iterator<Item = Kind>) -> (Vec<(usize, Kind)>, usize) {
    let mut runs: Vec<(usize, Kind)> = Vec::new();
    let mut steps = 0;
    for kind in kinds {
        if runs.len() < MAX_RUNS && runs.last().is_none_or(|(_, last)| *last != kind) {
            runs.push((steps, kind));
        }
        steps += 1;
    }
    (runs, steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_equal_commands() {
        use Kind::{Download, Kernel, Upload};
        let (runs, steps) = runs_of([Upload, Upload, Kernel, Kernel, Download].into_iter());
        assert_eq!(runs, [(0, Upload), (2, Kernel), (4, Download)]);
        assert_eq!(steps, 5);
        let (runs, _) = runs_of((0..1000).map(|i| if i % 2 == 0 { Upload } else { Kernel }));
        assert_eq!(runs.len(), MAX_RUNS);
    }
}
