//! The rows of the right side by key and time, and the lookup in them.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt32Array, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::{cast, interleave, interleave_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result as DfResult;

use crate::error::Result;
use crate::stream::equal::normal;
use crate::stream::state::batch_size::shrink;

/// Rows of a batch that is put together.
const BATCH_ROWS: usize = 8192;

/// Batches that are kept whatever their size; more are put together.
const FEW_BATCHES: usize = 64;

/// What an as-of join compares, by the places of columns.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Of the right rows.
    pub(in crate::stream) right: SchemaRef,
    /// Of the result: the columns of the left, then those of the right.
    pub(in crate::stream) output: SchemaRef,
    /// Columns that are equal, left and right, of the same type.
    pub(in crate::stream) keys: Vec<(usize, usize)>,
    /// The time of each side, of the same type.
    pub(in crate::stream) times: (usize, usize),
    /// Columns of the right that decide between rows of the same time.
    pub(in crate::stream) ties: Vec<usize>,
    /// Whether a right row of the left row's own time is none of its.
    pub(in crate::stream) before: bool,
    /// Whether left rows without a match are kept, with NULLs.
    pub(in crate::stream) outer: bool,
}

impl Spec {
    /// The type of both times.
    pub(in crate::stream) fn time(&self) -> &DataType {
        self.right.field(self.times.1).data_type()
    }

    /// A time in microseconds as ticks of the times; `None` where no stream has such times.
    fn ticks_of(&self, us: i64) -> Option<i64> {
        match self.time() {
            DataType::Timestamp(TimeUnit::Microsecond, _) => Some(us),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(us.saturating_mul(1_000)),
            _ => None,
        }
    }
}

/// A column of times in ticks.
fn ticks(column: &ArrayRef) -> Result<Int64Array> {
    Ok(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// Where a row is kept: its batch and its place there.
type Place = (u32, u32);

/// The versions of one key, by time.
#[derive(Debug, Default)]
struct Key {
    versions: BTreeMap<i64, Place>,
    /// When the first of them can go, as the queue has it.
    due: Option<i64>,
}

impl Key {
    /// The time of the second version: from then on the first is not asked for.
    fn second(&self) -> Option<i64> {
        self.versions.keys().nth(1).copied()
    }
}

/// The right rows that left rows may still ask for.
pub struct Versions {
    spec: Spec,
    /// Keys as bytes; none where all rows are of one key.
    converter: Option<RowConverter>,
    /// What decides between rows of the same time, as bytes; none where nothing does.
    ties: Option<RowConverter>,
    keys: HashMap<Arc<[u8]>, Key>,
    key_bytes: usize,
    /// When the first version of a key can go, for each that has two.
    due: BinaryHeap<Reverse<(i64, Arc<[u8]>)>>,
    /// The rows, among others that have gone, and what decides between them.
    batches: Vec<(RecordBatch, Option<Rows>)>,
    stored_rows: usize,
    rows: usize,
    /// Batches when they were last put together.
    compacted: usize,
}

impl std::fmt::Debug for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Versions").field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// The keys of a batch's rows.
struct KeyRows {
    rows: Option<Rows>,
    nulls: Option<NullBuffer>,
}

impl KeyRows {
    /// `None` where a key is NULL.
    fn get(&self, row: usize) -> Option<&[u8]> {
        match self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            true => None,
            false => Some(self.rows.as_ref().map_or(&[], |rows| rows.row(row).data())),
        }
    }
}

impl Versions {
    /// No rows yet.
    pub fn new(spec: Spec) -> Result<Self> {
        let converter = |columns: Vec<usize>| -> Result<Option<RowConverter>> {
            let field = |at: &usize| SortField::new(spec.right.field(*at).data_type().clone());
            match columns.is_empty() {
                true => Ok(None),
                false => Ok(Some(RowConverter::new(columns.iter().map(field).collect())?)),
            }
        };
        Ok(Self {
            converter: converter(spec.keys.iter().map(|(_, right)| *right).collect())?,
            ties: converter(spec.ties.clone())?,
            spec,
            keys: HashMap::new(),
            key_bytes: 0,
            due: BinaryHeap::new(),
            batches: Vec::new(),
            stored_rows: 0,
            rows: 0,
            compacted: 0,
        })
    }

    /// Takes right rows, in any order.
    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let times = ticks(batch.column(self.spec.times.1))?;
        let keys = self.keys_of(&batch, |(_, right)| right)?;
        let count = batch.num_rows();
        self.store(batch)?;
        let number = (self.batches.len() - 1) as u32;
        for row in 0..count {
            if let (Some(key), true) = (keys.get(row), times.is_valid(row)) {
                self.insert(key, times.value(row), (number, row as u32));
            }
        }
        Ok(())
    }

    fn store(&mut self, batch: RecordBatch) -> Result<()> {
        let ties = match &self.ties {
            Some(converter) => {
                let columns = self.spec.ties.iter().map(|at| batch.column(*at).clone());
                Some(converter.convert_columns(&columns.collect::<Vec<_>>())?)
            }
            None => None,
        };
        self.stored_rows += batch.num_rows();
        self.batches.push((batch, ties));
        Ok(())
    }

    fn insert(&mut self, bytes: &[u8], time: i64, place: Place) {
        let key = match self.keys.get_mut(bytes) {
            Some(key) => key,
            None => {
                self.key_bytes += bytes.len() + size_of::<(Arc<[u8]>, Key)>();
                self.keys.entry(bytes.into()).or_default()
            }
        };
        if let Some(known) = key.versions.get_mut(&time) {
            let ties = |(batch, row): Place| {
                self.batches[batch as usize].1.as_ref().map(|rows| rows.row(row as usize))
            };
            if ties(place) > ties(*known) {
                *known = place;
            }
            return;
        }
        key.versions.insert(time, place);
        self.rows += 1;
        if key.second() != key.due {
            self.wait(bytes);
        }
    }

    /// Notes when the first version of a key can go.
    fn wait(&mut self, bytes: &[u8]) {
        let Some((name, _)) = self.keys.get_key_value(bytes) else { return };
        let name = name.clone();
        let Some(key) = self.keys.get_mut(bytes) else { return };
        key.due = key.second();
        if let Some(due) = key.due {
            self.due.push(Reverse((due, name)));
        }
    }

    /// The key of each row; `of` tells the column of a side.
    fn keys_of(
        &self,
        batch: &RecordBatch,
        of: impl Fn((usize, usize)) -> usize,
    ) -> Result<KeyRows> {
        let Some(converter) = &self.converter else {
            return Ok(KeyRows { rows: None, nulls: None });
        };
        let columns = self.spec.keys.iter().map(|key| normal(batch.column(of(*key))));
        let columns: Vec<ArrayRef> = columns.collect::<DfResult<_>>()?;
        let nulls = columns.iter().map(|column| column.logical_nulls());
        let nulls = nulls.reduce(|one, other| NullBuffer::union(one.as_ref(), other.as_ref()));
        Ok(KeyRows { rows: Some(converter.convert_columns(&columns)?), nulls: nulls.flatten() })
    }

    fn find(&self, key: &[u8], time: i64) -> Option<Place> {
        let versions = &self.keys.get(key)?.versions;
        let mut older = match self.spec.before {
            true => versions.range(..time),
            false => versions.range(..=time),
        };
        older.next_back().map(|(_, place)| *place)
    }

    /// Left rows, each beside its right row.
    pub fn join(&self, left: &RecordBatch) -> Result<RecordBatch> {
        let times = ticks(left.column(self.spec.times.0))?;
        let keys = self.keys_of(left, |(left, _)| left)?;
        let nothing = (self.batches.len(), 0);
        let (mut kept, mut places) = (Vec::new(), Vec::new());
        for row in 0..left.num_rows() {
            let key = keys.get(row).filter(|_| times.is_valid(row));
            let found = key.and_then(|key| self.find(key, times.value(row)));
            if found.is_some() || self.spec.outer {
                kept.push(row as u32);
                places.push(found.map_or(nothing, |(b, row)| (b as usize, row as usize)));
            }
        }
        let mut columns = match kept.len() == left.num_rows() {
            true => left.columns().to_vec(),
            false => take_record_batch(left, &UInt32Array::from(kept))?.columns().to_vec(),
        };
        for (at, field) in self.spec.right.fields().iter().enumerate() {
            let null = new_null_array(field.data_type(), 1);
            let rows = self.batches.iter().map(|(batch, _)| batch.column(at).as_ref());
            let rows: Vec<&dyn Array> = rows.chain([null.as_ref()]).collect();
            columns.push(interleave(&rows, &places)?);
        }
        Ok(RecordBatch::try_new(self.spec.output.clone(), columns)?)
    }

    /// Forgets the rows that no left row after this time asks for: of each key all before the
    /// newest that is not after it.
    pub fn forget(&mut self, horizon_us: i64) -> Result<()> {
        let Some(until) = self.spec.ticks_of(horizon_us) else { return Ok(()) };
        while self.due.peek().is_some_and(|Reverse((due, _))| *due <= until) {
            let Some(Reverse((due, bytes))) = self.due.pop() else { break };
            let Some(key) = self.keys.get_mut(&bytes).filter(|key| key.due == Some(due)) else {
                continue;
            };
            if let Some((newest, _)) = key.versions.range(..=until).next_back() {
                let newest = *newest;
                let kept = key.versions.split_off(&newest);
                self.rows -= key.versions.len();
                key.versions = kept;
            }
            self.wait(&bytes);
        }
        self.compact()
    }

    /// Rows that are kept.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What they take, about.
    pub fn bytes(&self) -> usize {
        let bytes = |(batch, ties): &(RecordBatch, Option<Rows>)| {
            batch.get_array_memory_size() + ties.as_ref().map_or(0, Rows::size)
        };
        // Nodes of the trees are half full on the average.
        let index = 2 * self.rows * size_of::<(i64, Place)>();
        self.batches.iter().map(bytes).sum::<usize>() + index + self.key_bytes
    }

    /// The rows, from which `push` makes the same state.
    pub fn save(&self) -> Result<Vec<RecordBatch>> {
        let mut places: Vec<Place> =
            self.keys.values().flat_map(|key| key.versions.values().copied()).collect();
        places.sort_unstable();
        places.chunks(BATCH_ROWS).map(|places| self.gather(places)).collect()
    }

    fn gather(&self, places: &[Place]) -> Result<RecordBatch> {
        let batches: Vec<_> = self.batches.iter().map(|(batch, _)| batch).collect();
        let places = places.iter().map(|(batch, row)| (*batch as usize, *row as usize));
        Ok(interleave_record_batch(&batches, &places.collect::<Vec<_>>())?)
    }

    /// Lets go of rows that are forgotten, and puts small batches together.
    fn compact(&mut self) -> Result<()> {
        let sparse = self.stored_rows > BATCH_ROWS.max(2 * self.rows);
        let pieces = self.batches.len() > FEW_BATCHES + 2 * self.compacted;
        if !sparse && !pieces {
            return Ok(());
        }
        let versions = self.keys.values_mut().flat_map(|key| key.versions.values_mut());
        let mut versions: Vec<&mut Place> = versions.collect();
        versions.sort_unstable();
        let places: Vec<Place> = versions.iter().map(|place| **place).collect();
        for (at, place) in versions.into_iter().enumerate() {
            *place = ((at / BATCH_ROWS) as u32, (at % BATCH_ROWS) as u32);
        }
        let gathered = places.chunks(BATCH_ROWS).map(|places| shrink(&self.gather(places)?));
        let gathered = gathered.collect::<Result<Vec<_>>>()?;
        (self.batches, self.stored_rows) = (Vec::new(), 0);
        gathered.into_iter().try_for_each(|batch| self.store(batch))?;
        self.compacted = self.batches.len();
        Ok(())
    }
}
