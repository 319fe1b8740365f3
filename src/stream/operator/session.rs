//! Session windows: rows of a key that come within a gap of each other.
//!
//! A row is the interval from its time to a gap later. It joins the sessions of its key that it
//! touches and that are open at it, by the watermark before it; it is late iff it joins none and
//! its own interval is over. A session that is closed never opens again. Rows count in the order
//! of their partition's log. Rows of two partitions belong together iff their intervals touch and
//! neither was over at the other: a rule without an order, so that sessions are a function of the
//! logs alone, whatever the cuts between batches.

mod key;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int32Array, Int64Array};
use arrow::compute::{cast, interleave_record_batch};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use async_trait::async_trait;
use datafusion::common::Result as DfResult;
use datafusion::execution::TaskContext;

use super::{Operator, RegionRows, only};
use crate::error::{Error, Result};
use crate::stream::equal::normal;
use crate::stream::log::partition::{OFFSET, PARTITION, WATERMARK};
use crate::stream::plan::window::columns::COLUMNS;
use crate::stream::state::batch_size::shrink;
use crate::stream::state::final_key::Bound;
use crate::stream::state::size::{Part, Size};
use crate::stream::time::clock::{Clock, Times};
use key::{Closed, Key, Row};

/// Rows of a batch that is given out.
const BATCH_ROWS: usize = 8192;

/// Batches that are kept whatever their size; more are put together.
const FEW_BATCHES: usize = 64;

/// What makes sessions of rows.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Of the rows.
    pub(in crate::stream) schema: SchemaRef,
    /// Of the rows with their windows.
    pub(in crate::stream) output: SchemaRef,
    pub(in crate::stream) time: usize,
    pub(in crate::stream) keys: Vec<usize>,
    /// In ticks of the window columns' type.
    pub(in crate::stream) gap: i64,
    /// Columns of the log; a table has none of them, and no row of it is late.
    pub(in crate::stream) partition: Option<usize>,
    pub(in crate::stream) offset: Option<usize>,
    pub(in crate::stream) watermark: Option<usize>,
}

impl Spec {
    /// Sessions by the time in one column, of the keys in others.
    ///
    /// Errors: a time that is no timestamp; a gap of no ticks, or of parts of one.
    pub fn new(schema: &SchemaRef, time: usize, keys: Vec<usize>, gap_ns: i64) -> Result<Self> {
        let DataType::Timestamp(unit, zone) = schema.field(time).data_type() else {
            let column = schema.field(time);
            let (name, is) = (column.name(), column.data_type());
            return Err(Error::user(format!("a session's time is a TIMESTAMP: {name} is {is}")));
        };
        // A window's last instant needs milliseconds.
        let unit = if *unit == TimeUnit::Second { TimeUnit::Millisecond } else { *unit };
        let window = DataType::Timestamp(unit, zone.clone());
        let tick_ns = 1_000_000_000 / per_second(unit);
        if gap_ns <= 0 || gap_ns % tick_ns != 0 {
            let message = format!("a session's gap is a whole number of {unit:?}s, one at least");
            return Err(Error::user(message));
        }
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        let windows = COLUMNS.map(|name| Arc::new(Field::new(name, window.clone(), false)));
        fields.extend(windows);
        Ok(Self {
            output: Arc::new(Schema::new(fields)),
            time,
            keys,
            gap: gap_ns / tick_ns,
            partition: schema.index_of(PARTITION).ok(),
            offset: schema.index_of(OFFSET).ok(),
            watermark: schema.index_of(WATERMARK).ok(),
            schema: schema.clone(),
        })
    }

    /// Of the rows that are given out: those of the rows taken, then the window's.
    pub fn output(&self) -> &SchemaRef {
        &self.output
    }

    /// Of the window columns.
    pub(in crate::stream) fn window(&self) -> &DataType {
        self.output.field(self.schema.fields().len()).data_type()
    }

    pub(in crate::stream) fn per_second(&self) -> i64 {
        match self.window() {
            DataType::Timestamp(unit, _) => per_second(*unit),
            _ => 1,
        }
    }

    /// A time in microseconds as ticks, rounded down.
    pub(in crate::stream) fn ticks(&self, us: i64) -> i64 {
        let ticks = i128::from(us) * i128::from(self.per_second());
        let ticks = ticks.div_euclid(1_000_000);
        i64::try_from(ticks).unwrap_or(if us < 0 { i64::MIN } else { i64::MAX })
    }

    /// Ticks in microseconds, rounded up.
    pub(in crate::stream) fn micros(&self, ticks: i64) -> i64 {
        let us = -(-i128::from(ticks) * 1_000_000).div_euclid(i128::from(self.per_second()));
        i64::try_from(us).unwrap_or(if ticks < 0 { i64::MIN } else { i64::MAX })
    }

    /// A column of times in ticks.
    pub(in crate::stream) fn times(
        &self,
        batch: &RecordBatch,
        column: usize,
    ) -> Result<Int64Array> {
        let column = cast(batch.column(column), self.window())?;
        Ok(cast(&column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
    }
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Start and end of a row's window, and where the row is kept.
type Placed = (i64, i64, (usize, usize));

/// The rows of the sessions that are not final yet.
pub struct Sessions {
    spec: Spec,
    /// Keys as bytes; none where all rows are of one key.
    converter: Option<RowConverter>,
    keys: HashMap<Arc<[u8]>, Key>,
    /// When the first session of a key may end, for each.
    due: BinaryHeap<Reverse<(i64, Arc<[u8]>)>>,
    /// The rows, among others that have gone.
    batches: Vec<RecordBatch>,
    stored_rows: usize,
    rows: usize,
    /// Batches when they were last put together.
    compacted: usize,
    /// Latest end of a session, in ticks.
    latest: i64,
    /// Rows that came when their session was over, or would have been.
    pub late: u64,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Sessions {
    /// No rows yet.
    pub fn new(spec: Spec) -> Result<Self> {
        let field = |key: &usize| SortField::new(spec.schema.field(*key).data_type().clone());
        let converter = match spec.keys.is_empty() {
            true => None,
            false => Some(RowConverter::new(spec.keys.iter().map(field).collect())?),
        };
        Ok(Self {
            spec,
            converter,
            keys: HashMap::new(),
            due: BinaryHeap::new(),
            batches: Vec::new(),
            stored_rows: 0,
            rows: 0,
            compacted: 0,
            latest: i64::MIN,
            late: 0,
        })
    }

    /// Takes the next rows: of each partition those that follow what was taken before, in any
    /// order where an offset tells theirs. Rows without a time are in no session.
    pub fn push(&mut self, rows: Vec<RecordBatch>) -> Result<()> {
        for batch in in_order(&self.spec, rows)? {
            self.take(batch)?;
        }
        self.compact()
    }

    fn take(&mut self, batch: RecordBatch) -> Result<()> {
        let times = self.spec.times(&batch, self.spec.time)?;
        let watermarks = self.spec.watermark.map(|at| self.spec.times(&batch, at)).transpose()?;
        let partitions = self.spec.partition.map(|at| integers(&batch, at)).transpose()?;
        let keys = match &self.converter {
            Some(converter) => {
                let columns = self.spec.keys.iter().map(|at| normal(batch.column(*at)));
                Some(converter.convert_columns(&columns.collect::<DfResult<Vec<_>>>()?)?)
            }
            None => None,
        };
        let (number, before) = (self.batches.len() as u32, self.rows);
        for row in 0..batch.num_rows() {
            if times.is_null(row) {
                continue;
            }
            let watermark = watermarks.as_ref().filter(|watermarks| watermarks.is_valid(row));
            let watermark = watermark.map_or(i64::MIN, |watermarks| watermarks.value(row));
            let partition = partitions.as_ref().map_or(0, |partitions| partitions.value(row));
            let Some(end) = times.value(row).checked_add(self.spec.gap) else {
                let time = times.value(row);
                return Err(Error::Data(format!("a session would end after all times: {time}")));
            };
            let new = Row { batch: number, row: row as u32, time: times.value(row), watermark };
            let key = keys.as_ref().map(|keys| keys.row(row));
            self.insert(key.as_ref().map_or(&[], |key| key.as_ref()), partition, new, end);
        }
        if self.rows > before {
            self.stored_rows += batch.num_rows();
            self.batches.push(batch);
        }
        Ok(())
    }

    fn insert(&mut self, bytes: &[u8], partition: i32, row: Row, end: i64) {
        let gap = self.spec.gap;
        let key = match self.keys.get_mut(bytes) {
            Some(key) => key,
            None if end <= row.watermark => {
                self.late += 1;
                return;
            }
            None => self.keys.entry(bytes.into()).or_default(),
        };
        if !key.insert(partition, row, gap) {
            self.late += 1;
            return;
        }
        self.rows += 1;
        self.latest = self.latest.max(end);
        if end < key.due {
            key.due = end;
            self.due.push(Reverse((end, bytes.into())));
        }
    }

    /// The rows of the sessions that are over by the minimum watermark of the partitions, with
    /// their windows: by the windows' ends and starts, then as in the log.
    pub fn close(&mut self, watermark_us: i64) -> Result<Vec<RecordBatch>> {
        let until = self.spec.ticks(watermark_us);
        let mut closed = Vec::new();
        while self.due.peek().is_some_and(|Reverse((due, _))| *due <= until) {
            let Some(Reverse((due, bytes))) = self.due.pop() else { break };
            let Some(key) = self.keys.get_mut(&bytes).filter(|key| key.due == due) else {
                continue;
            };
            key.close(until, &mut closed);
            if key.is_empty() {
                self.keys.remove(&bytes);
            } else {
                self.due.push(Reverse((key.due, bytes)));
            }
        }
        let order = |session: &Closed| (session.end, session.start, session.rows.first().copied());
        closed.sort_unstable_by_key(order);
        let rows = self.output(&closed)?;
        self.rows -= closed.iter().map(|session| session.rows.len()).sum::<usize>();
        drop(closed);
        self.compact()?;
        Ok(rows)
    }

    /// The rows of sessions with their windows.
    fn output(&self, closed: &[Closed]) -> Result<Vec<RecordBatch>> {
        let last = self.spec.per_second() / 1_000;
        let mut rows = closed.iter().flat_map(|session| {
            session.rows.iter().map(|(_, row)| (session.start, session.end, row.place()))
        });
        let mut out = Vec::new();
        loop {
            let chunk: Vec<_> = rows.by_ref().take(BATCH_ROWS).collect();
            if chunk.is_empty() {
                return Ok(out);
            }
            let places: Vec<_> = chunk.iter().map(|(.., place)| *place).collect();
            let taken = self.gather(&places)?;
            let mut columns = taken.columns().to_vec();
            let mut add = |of: fn(&Placed, i64) -> i64| -> Result<()> {
                let ticks = Int64Array::from_iter_values(chunk.iter().map(|row| of(row, last)));
                columns.push(cast(&ticks, self.spec.window())?);
                Ok(())
            };
            add(|(start, ..), _| *start)?;
            add(|(_, end, _), _| *end)?;
            add(|(_, end, _), last| end.saturating_sub(last))?;
            out.push(RecordBatch::try_new(self.spec.output.clone(), columns)?);
        }
    }

    fn gather(&self, places: &[(usize, usize)]) -> Result<RecordBatch> {
        let batches: Vec<_> = self.batches.iter().collect();
        Ok(interleave_record_batch(&batches, places)?)
    }

    /// The end of the last session that is open, in microseconds; `None` where there is none.
    pub fn open_until(&self) -> Option<i64> {
        // What has ended before the watermark ends before all that is open.
        (self.rows > 0).then(|| self.spec.micros(self.latest))
    }

    /// What they take.
    pub fn bytes(&self) -> usize {
        let batches: usize = self.batches.iter().map(RecordBatch::get_array_memory_size).sum();
        batches + self.rows * size_of::<Row>()
    }

    /// The rows of open sessions, from which `restore` makes the same state.
    pub fn save(&self) -> Result<Vec<RecordBatch>> {
        let mut rows: Vec<_> = self.keys.values().flat_map(Key::rows).collect();
        rows.sort_unstable();
        let chunks = rows
            .chunks(BATCH_ROWS)
            .map(|rows| self.gather(&rows.iter().map(|(_, row)| row.place()).collect::<Vec<_>>()));
        chunks.collect()
    }

    /// Takes what `save` gave. The sessions that these rows make again are theirs alone, as none
    /// of the rows that are gone was in one of them.
    pub fn restore(&mut self, rows: Vec<RecordBatch>) -> Result<()> {
        self.push(rows)
    }

    /// Forgets rows that have gone, and puts small batches together.
    fn compact(&mut self) -> Result<()> {
        if self.rows == 0 {
            self.batches.clear();
            (self.stored_rows, self.compacted) = (0, 0);
            return Ok(());
        }
        let sparse = self.stored_rows > BATCH_ROWS.max(2 * self.rows);
        let pieces = self.batches.len() > FEW_BATCHES + 2 * self.compacted;
        if !sparse && !pieces {
            return Ok(());
        }
        let mut rows: Vec<_> = self.keys.values_mut().flat_map(Key::rows_mut).collect();
        rows.sort_unstable();
        let places: Vec<_> = rows.iter().map(|row| row.place()).collect();
        for (at, row) in rows.into_iter().enumerate() {
            (row.batch, row.row) = ((at / BATCH_ROWS) as u32, (at % BATCH_ROWS) as u32);
        }
        let batches = places.chunks(BATCH_ROWS).map(|places| shrink(&self.gather(places)?));
        self.batches = batches.collect::<Result<_>>()?;
        (self.stored_rows, self.compacted) = (places.len(), self.batches.len());
        Ok(())
    }
}

/// Sessions of rows of a stream, closed by a clock.
pub struct SessionWindows {
    /// By which clock, and how far behind it.
    bound: Bound,
    sessions: Sessions,
}

impl SessionWindows {
    pub fn new(bound: Bound, sessions: Sessions) -> Self {
        Self { bound, sessions }
    }
}

#[async_trait]
impl Operator for SessionWindows {
    async fn advance(
        &mut self,
        inputs: Vec<RegionRows>,
        times: &Times,
        _task: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        self.sessions.push(only(inputs))?;
        self.sessions.close(times.of(self.bound.clock).saturating_sub(self.bound.lag_us))
    }

    fn open_until(&self, clock: Clock) -> Option<i64> {
        self.bound.until(self.sessions.open_until(), clock)
    }

    fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.sessions.late)
    }

    fn size(&self) -> Size {
        Size { rows: self.sessions.rows, bytes: self.sessions.bytes(), ..Size::default() }
    }

    fn parts(&self) -> usize {
        1
    }

    fn save(&mut self) -> Result<Vec<Part>> {
        Ok(vec![self.sessions.save()?.into()])
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        self.sessions.restore(parts.into_iter().flat_map(|part| part.rows).collect())
    }
}

fn integers(batch: &RecordBatch, column: usize) -> Result<Int32Array> {
    Ok(cast(batch.column(column), &DataType::Int32)?.as_primitive::<Int32Type>().clone())
}

/// The rows so that those of each partition follow by their offsets; where there are none, as
/// they came.
fn in_order(spec: &Spec, batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    let Some(offset) = spec.offset else { return Ok(batches) };
    let mut places = Vec::new();
    let (mut latest, mut ordered) = (HashMap::new(), true);
    for (number, batch) in batches.iter().enumerate() {
        let offsets = cast(batch.column(offset), &DataType::Int64)?;
        let offsets = offsets.as_primitive::<Int64Type>();
        let partitions = spec.partition.map(|at| integers(batch, at)).transpose()?;
        for row in 0..batch.num_rows() {
            let partition = partitions.as_ref().map_or(0, |partitions| partitions.value(row));
            let offset = offsets.value(row);
            let before = latest.insert(partition, offset);
            ordered &= before.is_none_or(|before| before <= offset);
            places.push((partition, offset, number, row));
        }
    }
    if ordered {
        return Ok(batches);
    }
    places.sort_unstable();
    let all: Vec<_> = batches.iter().collect();
    let chunks = places.chunks(BATCH_ROWS).map(|places| {
        let places: Vec<_> = places.iter().map(|(.., number, row)| (*number, *row)).collect();
        Ok(interleave_record_batch(&all, &places)?)
    });
    chunks.collect()
}
