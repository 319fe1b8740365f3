//! Two threads per context, so that nothing blocks the async runtime: the submitter encodes and
//! submits recordings in the order they came, the poller waits for each and answers.
//!
//! ```text
//!  submit() ──► jobs ──► submitter ──► flights ──► poller ──► answer
//!                        encodes n+1   at most     waits for n,
//!                        meanwhile     three       copies downloads out
//! ```

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::context::{Context, Progress};
use super::encode::{Encoded, Encoding};
use super::pipeline::Pipelines;
use super::ring::{Readback, Readbacks, Ring};
use super::shelf::Shelf;
use super::stamps::{Clocks, Stamps};
use crate::device::caught::caught;
use crate::error::DeviceError;
use crate::record::{Completed, Recording, Words};
use crate::trace;

/// Flights between the two threads. One is with the poller, one waits here, and the submitter
/// holds one more while this is full: three submits in flight, enough to hide the host's part.
const FLIGHTS_WAITING: usize = 1;

/// How long one wait may take before the submit is said to be late, in the log. Long, since wgpu 30
/// panics where a wait times out while a submit on the other thread finds the queue empty
/// (`Device::maintain` compares an index it read before with what has ended since).
const WAIT: Duration = Duration::from_secs(30);

/// Waits of a submit until its device is taken for hung and given up: five minutes, when the
/// kernels of a slot take seconds even in software. Nothing waits for ever.
const WAITS_MAX: u32 = 10;

type Answer = oneshot::Sender<Result<Completed, DeviceError>>;

struct Job {
    recording: Recording,
    answer: Answer,
}

/// The jobs' end that a player holds. Dropped, it waits for both threads to end, so that the
/// device is not torn down behind the back of a process that is about to exit.
pub struct Submitter {
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Drop for Submitter {
    fn drop(&mut self) {
        // Without jobs to come the submitter ends, and without flights to come the poller.
        self.jobs.take();
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

impl Submitter {
    /// Starts both threads.
    pub fn start(
        context: &Arc<Context>,
        pipelines: &Arc<Pipelines>,
        ring: &Arc<Ring>,
    ) -> Result<Self, DeviceError> {
        let (jobs, next_job) = mpsc::channel::<Job>();
        let (flights, next_flight) = mpsc::sync_channel(FLIGHTS_WAITING);
        let crew = Crew {
            context: Arc::clone(context),
            pipelines: Arc::clone(pipelines),
            ring: Arc::clone(ring),
            readbacks: Arc::default(),
            clocks: Arc::default(),
            shelf: Arc::default(),
        };
        let poller = crew.clone();
        let threads = vec![
            spawn("thalweg-submit", move || crew.submit_all(&next_job, &flights))?,
            spawn("thalweg-poll", move || poller.answer_all(&next_flight))?,
        ];
        Ok(Self { jobs: Some(jobs), threads })
    }

    /// Takes a recording in, behind all that came before. The number of those that wait is
    /// bounded by the slots and staging buffers of who asks.
    pub fn enqueue(
        &self,
        recording: Recording,
    ) -> oneshot::Receiver<Result<Completed, DeviceError>> {
        let (answer, answered) = oneshot::channel();
        // Where no thread takes it, `answer` is dropped, and who waits for it hears of that.
        if let Some(jobs) = &self.jobs {
            jobs.send(Job { recording, answer }).ok();
        }
        answered
    }
}

fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, DeviceError> {
    thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .map_err(|error| DeviceError::Lost(format!("no thread '{name}' for it: {error}")))
}

/// What is told where a thread of the context is no more.
pub fn gone() -> DeviceError {
    DeviceError::Lost("its threads have ended".into())
}

/// A submit that the device works on.
struct Flight {
    label: String,
    index: wgpu::SubmissionIndex,
    /// Answers once the readback buffer is mapped; absent where nothing is read back.
    mapped: Option<mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>>,
    outcome: Outcome,
    answer: Answer,
}

/// What a submit leaves to be read.
struct Outcome {
    readback: Option<Readback>,
    /// Bytes of the readback buffer that answer each download.
    downloads: Vec<std::ops::Range<u64>>,
    stamps: Option<Stamps>,
    pipelines_made: u64,
}

/// What both threads share.
#[derive(Clone)]
struct Crew {
    context: Arc<Context>,
    pipelines: Arc<Pipelines>,
    ring: Arc<Ring>,
    readbacks: Arc<Readbacks>,
    clocks: Arc<Clocks>,
    shelf: Arc<Shelf>,
}

impl Crew {
    fn submit_all(&self, jobs: &mpsc::Receiver<Job>, flights: &mpsc::SyncSender<Flight>) {
        while let Ok(Job { recording, answer }) = jobs.recv() {
            let label = recording.label.clone();
            // naga panics on some kernels that it accepts: an error of ours like any other.
            let submitted = caught(|| self.submit(recording));
            match submitted.unwrap_or_else(|message| Err(self.panicked(&label, &message))) {
                Ok(in_flight) => {
                    let flight = in_flight(answer);
                    if let Err(mpsc::SendError(flight)) = flights.send(flight) {
                        flight.answer.send(Err(gone())).ok();
                    }
                }
                Err(error) => {
                    self.close_if_failed();
                    answer.send(Err(error)).ok();
                }
            }
        }
    }

    /// Encodes and submits; the flight lacks only who is to be answered.
    fn submit(
        &self,
        recording: Recording,
    ) -> Result<impl FnOnce(Answer) -> Flight + use<>, DeviceError> {
        let context = &*self.context;
        context.health.check()?;
        let Self { pipelines, readbacks, clocks, .. } = self;
        let mut encoding = Encoding { context, pipelines, readbacks, clocks, pipelines_made: 0 };
        let label = recording.label.clone();
        let span = trace::span(trace::Kind::Submit, &label);
        let encoded = context.validated(|| encoding.encode(recording)).and_then(|inner| inner);
        let Encoded { encoder, staged, readback, downloads, stamps, pipelines_made } =
            encoded.map_err(|error| in_recording(&label, error))?;
        for (buffer, home) in staged {
            let (mapped, mode) = (buffer.clone(), home.map_mode());
            encoder.map_buffer_on_submit(&buffer, mode, .., move |result| {
                // Dropped where mapping fails: a buffer of a lost device.
                if result.is_ok() {
                    home.welcome(mapped);
                }
            });
        }
        let mapped = readback.as_ref().map(|readback| {
            let (tell, told) = mpsc::channel();
            let buffer = &readback.buffer;
            encoder.map_buffer_on_submit(buffer, wgpu::MapMode::Read, .., move |result| {
                tell.send(result).ok();
            });
            told
        });
        let commands =
            context.validated(|| encoder.finish()).map_err(|error| in_recording(&label, error))?;
        if context.faults.loses_device() {
            context.health.fail(DeviceError::Lost("a planted fault".into()));
            context.device.destroy();
        }
        let index = context.validated(|| context.queue.submit([commands]))?;
        context.health.check()?;
        drop(span);
        let outcome = Outcome { readback, downloads, stamps, pipelines_made };
        Ok(move |answer| Flight { label, index, mapped, outcome, answer })
    }

    fn answer_all(&self, flights: &mpsc::Receiver<Flight>) {
        while let Ok(flight) = flights.recv() {
            let Flight { label, index, mapped, outcome, answer } = flight;
            let result = self.wait(&index, mapped.as_ref()).and_then(|()| {
                let done = Instant::now();
                let _span = trace::span(trace::Kind::Readback, &label);
                let completed = self.collect(outcome)?;
                let Completed { upload_ns, kernel_ns, download_ns, .. } = completed;
                let parts = [
                    (trace::Kind::Upload, upload_ns),
                    (trace::Kind::Kernel, kernel_ns),
                    (trace::Kind::Download, download_ns),
                ];
                trace::submitted(&label, done, parts);
                Ok(completed)
            });
            self.close_if_failed();
            answer.send(result).ok();
        }
    }

    /// Nothing is known of wgpu's state after a panic in it: the context is given up.
    fn panicked(&self, label: &str, message: &str) -> DeviceError {
        self.context.fail(DeviceError::Validation(format!("{label}: panicked: {message}")))
    }

    /// Wakes who waits for the ring of a context that failed: nobody may give memory back to it.
    fn close_if_failed(&self) {
        if self.context.health.check().is_err() {
            self.ring.close();
        }
    }

    /// Waits until the submit is done and its readback buffer, if any, is mapped.
    fn wait(
        &self,
        index: &wgpu::SubmissionIndex,
        mapped: Option<&mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>>,
    ) -> Result<(), DeviceError> {
        let mut waits = 1;
        while self.wait_once(index)? == Progress::Waiting {
            tracing::warn!(waits, seconds = WAIT.as_secs(), "a submit is still running");
            if waits == WAITS_MAX {
                let text = format!("it hangs: no end of a submit in {waits} x {WAIT:?}");
                return Err(self.context.fail(DeviceError::Lost(text)));
            }
            waits += 1;
        }
        let Some(mapped) = mapped else { return Ok(()) };
        // Another thread's poll may have taken the callback and be about to call it.
        match mapped.recv() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                self.context.health.check()?;
                Err(self
                    .context
                    .fail(DeviceError::Lost("a readback buffer stayed unmapped".into())))
            }
        }
    }

    fn wait_once(&self, index: &wgpu::SubmissionIndex) -> Result<Progress, DeviceError> {
        // What failed meanwhile is not waited for.
        self.context.health.check()?;
        if self.context.faults.hangs() {
            return Ok(Progress::Waiting);
        }
        let submission_index = Some(index.clone());
        let poll = wgpu::PollType::Wait { submission_index, timeout: Some(WAIT) };
        let progress = self.context.poll(poll)?;
        self.context.health.check()?;
        Ok(progress)
    }

    fn collect(&self, outcome: Outcome) -> Result<Completed, DeviceError> {
        let Outcome { readback, downloads, stamps, pipelines_made } = outcome;
        let mut completed = Completed { pipelines_made, ..Completed::default() };
        let Some(readback) = readback else { return Ok(completed) };
        let view = readback.buffer.get_mapped_range(..).map_err(|error| {
            DeviceError::Validation(format!("a readback buffer is not mapped: {error}"))
        })?;
        completed.downloads = downloads
            .iter()
            .map(|range| self.words(&view[range.start as usize..range.end as usize]))
            .collect();
        if let Some(stamps) = stamps {
            self.clocks.read(stamps, &view, &mut completed);
        }
        drop(view);
        readback.buffer.unmap();
        self.readbacks.give_back(readback);
        Ok(completed)
    }

    /// Mapped memory is aligned, so that this is one copy; were it not, the other way is as right.
    fn words(&self, mapped: &[u8]) -> Words {
        match bytemuck::try_cast_slice(mapped) {
            Ok(words) => self.shelf.copy(words),
            Err(_) => bytemuck::pod_collect_to_vec(mapped).into(),
        }
    }
}

fn in_recording(label: &str, error: DeviceError) -> DeviceError {
    match error {
        DeviceError::Validation(text) => DeviceError::Validation(format!("{label}: {text}")),
        other => other,
    }
}
