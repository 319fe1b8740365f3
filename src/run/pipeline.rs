//! One pipeline, slot by slot: while one slot computes, the next is encoded and the one after is
//! decoded. Then the tails: what outer and semi joins still owe of their build sides.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use arrow::error::ArrowError;
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use futures::future::{BoxFuture, FutureExt};

use super::chunk::{self, Chunk};
use super::table::{self, TableState};
use super::{Runner, Sender, group, output};
use crate::error::{DeviceError, Error, Result};
use crate::expr::ir::Fault;
use crate::fragment::arena::{self, HEADER};
use crate::fragment::spec::{Pipeline, Sink as SinkSpec, Step};
use crate::fragment::text::Drive;
use crate::kernel::select::{COUNTS_HEADER, Columns, TILE};
use crate::kernel::{Shape, reduce, scan, select};
use crate::record::{Buffer, Command, Completed, Program, Recording};

/// Bytes of a slot's status: faults, overflow, two spare.
const STATUS_BYTES: u64 = 16;

/// One slot on the device.
pub struct Slot {
    pub chunk: Arc<Chunk>,
    pub buffer: Buffer,
    pub status: Buffer,
    /// Rows that drive the kernels: the chunk's, or a table's in its tail.
    pub rows: u32,
    pub header: [u32; HEADER],
    /// What the sink keeps with the slot.
    pub own: Vec<Buffer>,
}

/// What became of a slot.
pub enum Verdict {
    Done,
    /// Nothing was applied, of this slot and of all after it: make room and play them again.
    Again,
}

/// The end of a pipeline: which kernels run for a slot, and what happens with their answer.
#[async_trait]
pub trait Sink: Send {
    /// Prepares the programs for slots, or for a tail.
    fn begin(&mut self, shape: &Shape) -> Result<()>;

    /// The commands after the slot's upload; the first download is the status. `None` asks to
    /// make room first.
    fn record(&mut self, slot: &mut Slot, joins: &Joins) -> Result<Option<Vec<Command>>>;

    async fn done(&mut self, slot: &Slot, completed: Completed) -> Result<Verdict>;

    async fn make_room(&mut self) -> Result<()>;

    /// After the last slot and the last tail.
    async fn finish(&mut self) -> Result<()>;
}

/// The bindings that joins add to every kernel.
#[derive(Clone, Default)]
pub struct Joins {
    pub buffers: Vec<Buffer>,
}

impl Joins {
    /// All bindings of a fused kernel.
    pub fn bind(&self, slot: &Slot, own: &[Buffer]) -> Vec<Buffer> {
        let mut all = vec![slot.buffer.clone(), slot.status.clone()];
        all.extend(own.iter().cloned());
        all.extend(self.buffers.iter().cloned());
        all
    }
}

/// Workgroups for kernels that stride over the rows: enough to fill any GPU, few enough that each
/// invocation folds several rows before it merges.
pub fn stride_groups(rows: u32) -> u32 {
    rows.div_ceil(256 * 8).clamp(1, 1024)
}

/// The download of a slot's status.
pub fn download_status(slot: &Slot) -> Command {
    Command::Download { buffer: slot.status.clone(), range: 0..STATUS_BYTES }
}

/// Errors that rows raised, as DataFusion words them; a chain or table that was too long.
pub fn check_status(status: &[u32]) -> Result<()> {
    let raised = |fault: Fault| status[0] & (1 << fault as u32) != 0;
    if raised(Fault::DivideByZero) {
        return Err(ArrowError::DivideByZero.into());
    }
    if raised(Fault::ArithmeticOverflow) {
        let text = "a row's result does not fit its type (raised on the device)";
        return Err(ArrowError::ArithmeticOverflow(text.into()).into());
    }
    if raised(Fault::CastOverflow) {
        let text = "a row's value does not fit the type it is cast to (raised on the device)";
        return Err(ArrowError::CastError(text.into()).into());
    }
    if raised(Fault::Lookup) {
        let text = "an expression over a string failed for a value that a row holds";
        return Err(ArrowError::ComputeError(text.into()).into());
    }
    if status[1] != 0 {
        let text = "a join key has more duplicates than a kernel may follow".to_string();
        return Err(DeviceError::TableFull(text).into());
    }
    Ok(())
}

type Playing<'a> = BoxFuture<'a, Result<Completed, DeviceError>>;

struct InFlight<'a> {
    slot: Slot,
    playing: Playing<'a>,
    ready: Option<Result<Completed, DeviceError>>,
}

impl<'a> InFlight<'a> {
    /// Starts playing: the first poll puts the recording in the queue.
    async fn start(slot: Slot, mut playing: Playing<'a>) -> Self {
        let ready = futures::poll!(Pin::new(&mut playing));
        let ready = match ready {
            std::task::Poll::Ready(result) => Some(result),
            std::task::Poll::Pending => None,
        };
        Self { slot, playing, ready }
    }

    async fn finish(self) -> (Slot, Result<Completed, DeviceError>) {
        let result = match self.ready {
            Some(result) => result,
            None => self.playing.await,
        };
        (self.slot, result)
    }
}

/// One run of one pipeline.
struct Driver<'a> {
    runner: &'a Runner,
    sink: Box<dyn Sink + 'a>,
    joins: Joins,
    in_flight: VecDeque<InFlight<'a>>,
}

impl Runner {
    /// Runs a pipeline to its end; rows go to `out`.
    pub(super) async fn run_pipeline(
        &self,
        pipeline: Arc<Pipeline>,
        source: SendableRecordBatchStream,
        tables: &[TableState],
        out: &Sender,
    ) -> Result<()> {
        let joins = self.joins(&pipeline, tables)?;
        let sink: Box<dyn Sink + '_> = match &pipeline.sink {
            SinkSpec::Select { outputs, schema } => {
                let columns = Arc::new(output::columns(outputs));
                Box::new(SelectSink::new(self, pipeline.clone(), columns, schema, tables, out))
            }
            SinkSpec::Reduce(aggregation) => {
                Box::new(ReduceSink::new(self, Arc::new(aggregation.clone()), out))
            }
            SinkSpec::Group { keys, aggregation } => Box::new(group::GroupSink::new(
                self,
                Arc::new(keys.clone()),
                Arc::new(aggregation.clone()),
                out,
            )),
        };
        let mut driver = Driver { runner: self, sink, joins, in_flight: VecDeque::new() };
        driver.run(&pipeline, source, tables).await
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

    pub(super) fn shape(&self, pipeline: &Arc<Pipeline>, drive: Drive) -> Shape {
        Shape {
            pipeline: pipeline.clone(),
            tables: Arc::new(self.fragment.tables.clone()),
            drive,
            linker: self.linker.clone(),
        }
    }
}

impl<'a> Driver<'a> {
    async fn run(
        &mut self,
        pipeline: &Arc<Pipeline>,
        source: SendableRecordBatchStream,
        tables: &[TableState],
    ) -> Result<()> {
        if let Some(marks) = self.marks(pipeline) {
            let range = 0..marks.bytes;
            let commands = vec![Command::Clear { buffer: marks, range }];
            self.runner.player.submit(Recording { label: "marks".into(), commands }).await?;
        }
        let lookups = table::lookup_states(pipeline);
        self.sink.begin(&self.runner.shape(pipeline, Drive::Slot))?;
        let mut chunks = chunk::gather(source, self.runner.slot_rows(pipeline));
        while let Some(chunk) = chunks.recv().await {
            let chunk = Arc::new(chunk?);
            let rows = chunk.rows as u32;
            let encoded = self.runner.encode(pipeline, &lookups, &chunk, header(rows)).await?;
            self.play(chunk, encoded, rows).await?;
        }
        self.drain().await?;
        for step in &pipeline.steps {
            let Step::Probe(probe) = step else { continue };
            let rows = tables[probe.table].batch.num_rows() as u32;
            if !probe.kind.marks() || rows == 0 {
                continue;
            }
            self.sink.begin(&self.runner.shape(pipeline, Drive::Tail(probe.table)))?;
            let chunk = table::empty_chunk();
            let encoded = self.runner.encode(pipeline, &lookups, &chunk, header(rows)).await?;
            self.play(chunk, encoded, rows).await?;
            self.drain().await?;
        }
        self.sink.finish().await
    }

    fn marks(&self, pipeline: &Pipeline) -> Option<Buffer> {
        let any = pipeline.probes().any(|probe| probe.kind.marks());
        any.then(|| self.joins.buffers.last().cloned()).flatten()
    }

    async fn play(&mut self, chunk: Arc<Chunk>, encoded: chunk::Encoded, rows: u32) -> Result<()> {
        let bytes = 4 * encoded.words as u64;
        let buffer = self.runner.player.buffer(bytes, "slot")?;
        let status = self.runner.player.buffer(STATUS_BYTES, "status")?;
        let header = encoded.header;
        let mut slot = Slot { chunk, buffer: buffer.clone(), status, rows, header, own: vec![] };
        let mut commands =
            vec![Command::Upload { from: encoded.staging, bytes, to: buffer, at: 0 }];
        let recorded = match self.sink.record(&mut slot, &self.joins)? {
            Some(recorded) => recorded,
            None => {
                self.drain().await?;
                self.sink.make_room().await?;
                let recorded = self.sink.record(&mut slot, &self.joins)?;
                recorded.ok_or_else(|| Error::Bug("a sink without room after making it".into()))?
            }
        };
        if slot.header != header {
            commands.push(Self::write_header(self.runner, &slot).await?);
        }
        self.enqueue(slot, commands, recorded).await?;
        while self.in_flight.len() >= self.runner.limits.in_flight {
            self.finish_one().await?;
        }
        Ok(())
    }

    /// Uploads the header once more, where a sink has changed it.
    async fn write_header(runner: &Runner, slot: &Slot) -> Result<Command> {
        let bytes = 4 * HEADER as u64;
        let mut staging = runner.player.staging(bytes).await?;
        staging.words()[..HEADER].copy_from_slice(&slot.header);
        Ok(Command::Upload { from: staging, bytes, to: slot.buffer.clone(), at: 0 })
    }

    async fn enqueue(
        &mut self,
        slot: Slot,
        mut commands: Vec<Command>,
        recorded: Vec<Command>,
    ) -> Result<()> {
        let range = 0..STATUS_BYTES;
        commands.push(Command::Clear { buffer: slot.status.clone(), range });
        commands.extend(recorded);
        let player = &self.runner.player;
        let recording = Recording { label: "slot".into(), commands };
        let playing = async move { player.submit(recording).await }.boxed();
        self.in_flight.push_back(InFlight::start(slot, playing).await);
        Ok(())
    }

    async fn finish_one(&mut self) -> Result<()> {
        let Some(first) = self.in_flight.pop_front() else { return Ok(()) };
        let (slot, completed) = first.finish().await;
        let completed = completed?;
        self.runner.stats.completed(&completed);
        match self.sink.done(&slot, completed).await? {
            Verdict::Done => Ok(()),
            Verdict::Again => self.play_again(slot).await,
        }
    }

    /// Makes room, then plays a refused slot and all that were queued behind it once more.
    async fn play_again(&mut self, first: Slot) -> Result<()> {
        let mut refused = vec![first];
        while let Some(next) = self.in_flight.pop_front() {
            let (slot, completed) = next.finish().await;
            self.runner.stats.completed(&completed?);
            refused.push(slot);
        }
        self.sink.make_room().await?;
        for mut slot in refused {
            let recorded = match self.sink.record(&mut slot, &self.joins)? {
                Some(recorded) => recorded,
                None => return Err(Error::Bug("no room for a slot played again".into())),
            };
            let header = Self::write_header(self.runner, &slot).await?;
            self.enqueue(slot, vec![header], recorded).await?;
        }
        Ok(())
    }

    async fn drain(&mut self) -> Result<()> {
        while !self.in_flight.is_empty() {
            self.finish_one().await?;
        }
        Ok(())
    }
}

/// The fixed words of a slot's arena.
fn header(rows: u32) -> [u32; HEADER] {
    let mut header = [0; HEADER];
    header[arena::H_GROUPS] = stride_groups(rows);
    header
}

// ---------------------------------------------------------------------------------- reduce

struct ReduceSink<'a> {
    runner: &'a Runner,
    aggregation: Arc<crate::fragment::spec::Aggregation>,
    state: Vec<u32>,
    program: Option<Arc<Program>>,
    out: &'a Sender,
}

impl<'a> ReduceSink<'a> {
    fn new(
        runner: &'a Runner,
        aggregation: Arc<crate::fragment::spec::Aggregation>,
        out: &'a Sender,
    ) -> Self {
        let state = vec![0; aggregation.words()];
        Self { runner, aggregation, state, program: None, out }
    }
}

#[async_trait]
impl Sink for ReduceSink<'_> {
    fn begin(&mut self, shape: &Shape) -> Result<()> {
        self.program = Some(reduce::program(shape, &self.aggregation));
        Ok(())
    }

    fn record(&mut self, slot: &mut Slot, joins: &Joins) -> Result<Option<Vec<Command>>> {
        let Some(program) = self.program.clone() else { return Ok(None) };
        let groups = slot.header[arena::H_GROUPS];
        let bytes = 4 * (groups as u64) * self.state.len().max(1) as u64;
        let partials = self.runner.player.buffer(bytes, "partials")?;
        let bindings = joins.bind(slot, std::slice::from_ref(&partials));
        slot.own = vec![partials.clone()];
        Ok(Some(vec![
            Command::Dispatch { program, bindings, groups },
            download_status(slot),
            Command::Download { buffer: partials, range: 0..bytes },
        ]))
    }

    async fn done(&mut self, _: &Slot, completed: Completed) -> Result<Verdict> {
        check_status(&completed.downloads[0])?;
        for partial in completed.downloads[1].chunks_exact(self.state.len().max(1)) {
            group::merge_state(&self.aggregation, &mut self.state, partial);
        }
        Ok(Verdict::Done)
    }

    async fn make_room(&mut self) -> Result<()> {
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        let arrays = group::aggregate_columns(&self.aggregation, &self.state, 1)?;
        group::send(self.out, &self.aggregation.schema, arrays, 1).await
    }
}

// ---------------------------------------------------------------------------------- select

struct SelectSink<'a> {
    runner: &'a Runner,
    pipeline: Arc<Pipeline>,
    columns: Arc<Columns>,
    schema: arrow::datatypes::SchemaRef,
    tables: &'a [TableState],
    programs: Option<(Arc<Program>, Arc<Program>)>,
    scan: Arc<Program>,
    /// Tuples of the next slot's output; grows where a join multiplies rows.
    capacity: u32,
    out: &'a Sender,
}

impl<'a> SelectSink<'a> {
    fn new(
        runner: &'a Runner,
        pipeline: Arc<Pipeline>,
        columns: Arc<Columns>,
        schema: &arrow::datatypes::SchemaRef,
        tables: &'a [TableState],
        out: &'a Sender,
    ) -> Self {
        let scan = scan::program(&runner.linker);
        let schema = schema.clone();
        Self { runner, pipeline, columns, schema, tables, programs: None, scan, capacity: 0, out }
    }

    /// The tuples of the slot, brought to the host without the gaps between columns.
    async fn fetch(&self, out: &Buffer, capacity: u32, rows: u32) -> Result<Vec<u32>> {
        if rows == 0 || self.columns.words() == 0 {
            return Ok(Vec::new());
        }
        let mut recording = Recording { label: "fetch".into(), commands: vec![] };
        for word in 0..self.columns.words() as u64 {
            let at = 4 * word * capacity as u64;
            let range = at..at + 4 * rows as u64;
            recording.commands.push(Command::Download { buffer: out.clone(), range });
        }
        let completed = self.runner.player.submit(recording).await?;
        self.runner.stats.completed(&completed);
        Ok(completed.downloads.concat())
    }
}

#[async_trait]
impl Sink for SelectSink<'_> {
    fn begin(&mut self, shape: &Shape) -> Result<()> {
        let count = select::program(shape, &self.columns, 0);
        let write = select::program(shape, &self.columns, 1);
        self.programs = Some((count, write));
        Ok(())
    }

    fn record(&mut self, slot: &mut Slot, joins: &Joins) -> Result<Option<Vec<Command>>> {
        let Some((count, write)) = self.programs.clone() else { return Ok(None) };
        let tiles = slot.rows.div_ceil(TILE);
        let limit = self.runner.player.capabilities().max_binding_bytes;
        let words = self.columns.words().max(1) as u64;
        let most = (limit / (4 * words)).min(u32::MAX as u64) as u32;
        self.capacity = self.capacity.max(slot.rows.max(1));
        if self.capacity > most {
            let text = format!("{} joined rows of one slot", self.capacity);
            return Err(DeviceError::TableFull(text).into());
        }
        slot.header[arena::H_CAPACITY] = self.capacity;
        let counts_bytes = 4 * (COUNTS_HEADER as u64 + tiles as u64);
        let counts = self.runner.player.buffer(counts_bytes, "tile counts")?;
        let bytes = 4 * words * self.capacity as u64;
        let out = self.runner.player.buffer(bytes, "tuples")?;
        let bindings = joins.bind(slot, &[counts.clone(), out.clone()]);
        slot.own = vec![counts.clone(), out];
        let dispatch = |program: &Arc<Program>, bindings: &Vec<Buffer>, groups| Command::Dispatch {
            program: program.clone(),
            bindings: bindings.clone(),
            groups,
        };
        Ok(Some(vec![
            dispatch(&count, &bindings, tiles.max(1)),
            dispatch(&self.scan, &vec![counts.clone()], 1),
            dispatch(&write, &bindings, tiles.max(1)),
            download_status(slot),
            Command::Download { buffer: counts, range: 0..4 * COUNTS_HEADER as u64 },
        ]))
    }

    async fn done(&mut self, slot: &Slot, completed: Completed) -> Result<Verdict> {
        check_status(&completed.downloads[0])?;
        let total = completed.downloads[1][1];
        let capacity = slot.header[arena::H_CAPACITY];
        if total > capacity {
            self.capacity = total.next_power_of_two().max(total);
            return Ok(Verdict::Again);
        }
        let words = self.fetch(&slot.own[1], capacity, total).await?;
        let SinkSpec::Select { outputs, .. } = &self.pipeline.sink else {
            return Ok(Verdict::Done);
        };
        let rows = total as usize;
        let tuples = output::Tuples { columns: &self.columns, words: &words, rows };
        if rows > 0 {
            let batch = self.runner.output_batch(
                outputs,
                &self.schema,
                &tuples,
                &slot.chunk,
                self.tables,
            )?;
            // Nobody listens any more: the rows are not wanted.
            let _ = self.out.send(Ok(batch)).await;
        }
        Ok(Verdict::Done)
    }

    async fn make_room(&mut self) -> Result<()> {
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
