//! One pipeline, slot by slot: while one slot computes, the next is encoded and the one after is
//! decoded. Then the tails: what outer and semi joins still owe of their build sides.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};

use super::chunk::{self, Chunk, Encoded};
use super::lookup::{self, Lookups};
use super::runner::Runner;
use super::sink::{Joins, STATUS_BYTES, Sink, Slot, Verdict, stride_groups};
use super::table::state::TableState;
use crate::error::{Error, Result};
use crate::fault;
use crate::fragment::arena::{self, HEADER};
use crate::fragment::spec::{Pipeline, Step};
use crate::fragment::text::Drive;
use crate::kernel::Shape;
use crate::record::{Buffer, Command, Completed, Recording};
use crate::schedule::{self, Action, Event, Schedule};
use crate::trace;

/// What ended, with what it brought.
enum Ended {
    Pulled(usize, chunk::Chunks, Option<Result<Chunk>>),
    Encoded(usize, Result<Encoded>),
    Completed(usize, Result<Completed>),
    Emitted(usize, Result<()>),
}

type Work<'a> = BoxFuture<'a, (Ended, Option<Box<dyn Sink<'a> + 'a>>)>;

/// A slot of the ring, by what it holds.
enum Held {
    Nothing,
    Chunk(Arc<Chunk>),
    Encoded(Arc<Chunk>, Encoded),
    Slot(Box<Slot>, Option<Completed>),
}

/// One run of one pipeline. The schedule says what is to be done; this does it.
struct Driver<'a> {
    runner: &'a Runner,
    number: usize,
    pipeline: Arc<Pipeline>,
    lookups: Lookups,
    /// Away while it makes room and a slot is played again.
    sink: Option<Box<dyn Sink<'a> + 'a>>,
    joins: Arc<Joins>,
    /// Away while a chunk is pulled.
    chunks: Option<chunk::Chunks>,
    held: Vec<Held>,
    /// Submits that wait for the sink.
    waiting: VecDeque<usize>,
    under_way: FuturesUnordered<Work<'a>>,
    /// Rows that drive a tail; `None` for the slots' own.
    tail_rows: Option<u32>,
    error: Option<Error>,
}

impl Runner {
    /// Runs a pipeline, of which this is the number, to its end.
    pub(super) async fn run_pipeline<'a>(
        &'a self,
        number: usize,
        pipeline: Arc<Pipeline>,
        source: SendableRecordBatchStream,
        tables: &[TableState],
        sink: Box<dyn Sink<'a> + 'a>,
    ) -> Result<()> {
        let joins = self.joins(&pipeline, tables)?;
        let lookups = lookup::lookup_states(&pipeline);
        let mut driver = Driver {
            runner: self,
            number,
            pipeline,
            lookups,
            sink: Some(sink),
            joins: Arc::new(joins),
            chunks: None,
            held: Vec::new(),
            waiting: VecDeque::new(),
            under_way: FuturesUnordered::new(),
            tail_rows: None,
            error: None,
        };
        driver.run(source, tables).await
    }

    fn joins(&self, pipeline: &Pipeline, tables: &[TableState]) -> Result<Joins> {
        let mut joins = Joins::default();
        for probe in pipeline.probes() {
            joins.buffers.push(tables[probe.table].buffer.clone());
        }
        if pipeline.probes().any(|probe| probe.kind.marks()) {
            joins.buffers.push(self.player.buffer(4 * self.mark_words(tables) as u64, "marks")?);
        }
        Ok(joins)
    }

    pub(super) fn shape(&self, number: usize, pipeline: &Arc<Pipeline>, drive: Drive) -> Shape {
        Shape {
            number,
            pipeline: pipeline.clone(),
            tables: Arc::new(self.fragment.tables.clone()),
            drive,
            linker: self.linker.clone(),
            programs: self.programs.clone(),
        }
    }
}

impl<'a> Driver<'a> {
    async fn run(
        &mut self,
        source: SendableRecordBatchStream,
        tables: &[TableState],
    ) -> Result<()> {
        if let Some(marks) = self.marks() {
            let range = 0..marks.bytes;
            let commands = vec![Command::Clear { buffer: marks, range }];
            self.runner.player.submit(Recording { label: "marks".into(), commands }).await?;
        }
        let rows_max = self.runner.slot_rows(&self.pipeline);
        self.drive(Drive::Slot, chunk::gather(source, rows_max), None).await?;
        for step in self.pipeline.clone().steps.iter() {
            let Step::Probe(probe) = step else { continue };
            let rows = tables[probe.table].rows as u32;
            if probe.kind.marks() && rows > 0 {
                let drive = Drive::Tail(probe.table);
                self.drive(drive, chunk::one_empty(), Some(rows)).await?;
            }
        }
        match &mut self.sink {
            Some(sink) => sink.finish().await,
            None => Err(Error::Bug("a pipeline ended while a slot of it was emitted".into())),
        }
    }

    fn marks(&self) -> Option<Buffer> {
        let any = self.pipeline.probes().any(|probe| probe.kind.marks());
        any.then(|| self.joins.buffers.last().cloned()).flatten()
    }

    /// Plays all chunks, as many at a time as the ring has slots.
    async fn drive(
        &mut self,
        drive: Drive,
        chunks: chunk::Chunks,
        tail_rows: Option<u32>,
    ) -> Result<()> {
        if let Some(sink) = &mut self.sink {
            sink.begin(&self.runner.shape(self.number, &self.pipeline, drive))?;
        }
        self.chunks = Some(chunks);
        self.tail_rows = tail_rows;
        let slots = self.runner.limits.in_flight;
        self.held = (0..slots.max(1)).map(|_| Held::Nothing).collect();
        let (mut schedule, mut actions) = Schedule::new(slots);
        loop {
            for action in std::mem::take(&mut actions) {
                match action {
                    Action::Pull(slot) => self.pull(slot),
                    Action::Encode(slot) => self.encode(slot),
                    Action::Submit(slot) => self.waiting.push_back(slot),
                    Action::Emit(slot) => self.emit(slot),
                    Action::Drain => {}
                    Action::Finish => return self.error.take().map_or(Ok(()), Err),
                }
            }
            let event = match self.submit_waiting(schedule.has_failed()) {
                Some(failed) => Event::Failed(failed),
                None => self.next_event().await?,
            };
            let unexpected = |error: schedule::Unexpected| Error::Bug(error.to_string());
            actions = schedule.on(event).map_err(unexpected)?;
        }
    }

    async fn next_event(&mut self) -> Result<Event> {
        let Some((ended, sink)) = self.under_way.next().await else {
            return Err(Error::Bug("a schedule with nothing under way".into()));
        };
        if sink.is_some() {
            self.sink = sink;
        }
        Ok(self.ended(ended))
    }

    fn pull(&mut self, slot: usize) {
        let Some(mut chunks) = self.chunks.take() else { return };
        self.held[slot] = Held::Nothing;
        let work = async move {
            let span = trace::span(trace::Kind::Decode, "chunk");
            let chunk = chunks.next().await;
            drop(span);
            fault::held().await;
            (Ended::Pulled(slot, chunks, chunk), None)
        };
        self.under_way.push(work.boxed());
    }

    fn encode(&mut self, slot: usize) {
        let Held::Chunk(chunk) = &self.held[slot] else { return };
        let (runner, chunk) = (self.runner, chunk.clone());
        let (pipeline, lookups) = (self.pipeline.clone(), self.lookups.clone());
        let header = header(self.tail_rows.unwrap_or(chunk.rows as u32));
        let work = async move {
            let span = trace::span(trace::Kind::Encode, "slot");
            let encoded = runner.encode(&pipeline, &lookups, &chunk, header).await;
            drop(span);
            fault::held().await;
            (Ended::Encoded(slot, encoded), None)
        };
        self.under_way.push(work.boxed());
    }

    /// Submits what waits, if the sink is at hand; a slot whose recording failed, or that is not
    /// submitted any more because another one failed.
    fn submit_waiting(&mut self, failed: bool) -> Option<usize> {
        while failed || self.sink.is_some() {
            let slot = self.waiting.pop_front()?;
            if failed {
                return Some(slot);
            }
            if let Err(error) = self.submit(slot) {
                self.error.get_or_insert(error);
                return Some(slot);
            }
        }
        None
    }

    fn submit(&mut self, number: usize) -> Result<()> {
        let Held::Encoded(chunk, encoded) =
            std::mem::replace(&mut self.held[number], Held::Nothing)
        else {
            return Err(Error::Bug("a slot submitted before it was encoded".into()));
        };
        let bytes = 4 * encoded.words as u64;
        let player = &self.runner.player;
        let buffer = player.buffer(bytes, "slot")?;
        let status = player.buffer(STATUS_BYTES, "status")?;
        let rows = self.tail_rows.unwrap_or(chunk.rows as u32);
        let header = encoded.header;
        let (own, lot, spilled) = (Vec::new(), 0, None);
        let mut slot = Box::new(Slot { chunk, buffer, status, rows, header, own, lot, spilled });
        let Some(sink) = &mut self.sink else {
            return Err(Error::Bug("a slot submitted while its sink is away".into()));
        };
        let recorded = sink.record(&mut slot, &self.joins)?;
        let mut staging = encoded.staging;
        staging.words()[..HEADER].copy_from_slice(&slot.header);
        let upload = Command::Upload { from: staging, bytes, to: slot.buffer.clone(), at: 0 };
        let mut playing = play(self.runner, &slot, upload, recorded).boxed();
        self.held[number] = Held::Slot(slot, None);
        // The first poll puts the recording in the device's queue: slots stay in order.
        let ready = (&mut playing).now_or_never();
        let work = async move {
            let completed = match ready {
                Some(completed) => completed,
                None => playing.await,
            };
            fault::held().await;
            (Ended::Completed(number, completed), None)
        };
        self.under_way.push(work.boxed());
        Ok(())
    }

    fn emit(&mut self, number: usize) {
        let Held::Slot(mut slot, Some(completed)) =
            std::mem::replace(&mut self.held[number], Held::Nothing)
        else {
            return;
        };
        let Some(mut sink) = self.sink.take() else { return };
        let verdict = sink.done(&mut slot, completed);
        let (runner, joins) = (self.runner, self.joins.clone());
        let work = if let Ok(Verdict::Again) = verdict {
            async move {
                let done = play_again(runner, sink.as_mut(), &joins, &mut slot).await;
                (Ended::Emitted(number, done), Some(sink))
            }
            .boxed()
        } else {
            self.sink = Some(sink);
            async move { (Ended::Emitted(number, emitted(verdict).await), None) }.boxed()
        };
        self.under_way.push(work);
    }

    /// Keeps what was brought; the event it means.
    fn ended(&mut self, ended: Ended) -> Event {
        let (slot, result) = match ended {
            Ended::Pulled(slot, chunks, chunk) => {
                self.chunks = Some(chunks);
                match chunk {
                    None => return Event::InputEnded,
                    Some(Ok(chunk)) => {
                        self.held[slot] = Held::Chunk(Arc::new(chunk));
                        return Event::BatchPulled;
                    }
                    Some(Err(error)) => (slot, error),
                }
            }
            Ended::Encoded(slot, Ok(encoded)) => {
                let held = std::mem::replace(&mut self.held[slot], Held::Nothing);
                if let Held::Chunk(chunk) = held {
                    self.held[slot] = Held::Encoded(chunk, encoded);
                }
                return Event::Encoded(slot);
            }
            Ended::Completed(slot, Ok(completed)) => {
                self.runner.stats.completed(&completed);
                if let Held::Slot(_, answer) = &mut self.held[slot] {
                    *answer = Some(completed);
                }
                return Event::Completed(slot);
            }
            Ended::Emitted(slot, Ok(())) => return Event::Emitted(slot),
            Ended::Encoded(slot, Err(error)) => (slot, error),
            Ended::Completed(slot, Err(error)) => (slot, error),
            Ended::Emitted(slot, Err(error)) => (slot, error),
        };
        self.error.get_or_insert(result);
        Event::Failed(slot)
    }
}
/// Plays a slot's commands as one submit.
fn play<'a>(
    runner: &'a Runner,
    slot: &Slot,
    upload: Command,
    recorded: Vec<Command>,
) -> impl Future<Output = Result<Completed>> + Send + use<'a> {
    let clear = Command::Clear { buffer: slot.status.clone(), range: 0..STATUS_BYTES };
    let mut commands = vec![upload, clear];
    commands.extend(recorded);
    let recording = Recording { label: "slot".into(), commands };
    async move { Ok(runner.player.submit(recording).await?) }
}

/// Emits what a verdict has to emit.
async fn emitted(verdict: Result<Verdict<'_>>) -> Result<()> {
    let span = trace::span(trace::Kind::Emit, "slot");
    fault::point("emit");
    let done = match verdict {
        Ok(Verdict::Emit(rows)) => rows.await,
        other => other.map(|_| ()),
    };
    drop(span);
    fault::held().await;
    done
}

/// Plays a slot again, as often as the sink asks, and emits it.
async fn play_again<'a>(
    runner: &Runner,
    sink: &mut (dyn Sink<'a> + 'a),
    joins: &Joins,
    slot: &mut Slot,
) -> Result<()> {
    loop {
        sink.make_room(slot).await?;
        fault::held().await;
        let recorded = sink.record(slot, joins)?;
        let upload = runner.upload(&slot.header, &slot.buffer).await?;
        let completed = play(runner, slot, upload, recorded).await?;
        runner.stats.completed(&completed);
        match sink.done(slot, completed) {
            Ok(Verdict::Again) => {}
            verdict => return emitted(verdict).await,
        }
    }
}

/// The fixed words of a slot's arena.
fn header(rows: u32) -> [u32; HEADER] {
    let mut header = [0; HEADER];
    header[arena::H_GROUPS] = stride_groups(rows);
    header
}
