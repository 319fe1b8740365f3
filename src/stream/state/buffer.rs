//! Rows that wait until their time is final: partial states of windows, or rows themselves.
//!
//! Where memory is short, those that are final last wait in files (`spill.rs`). Rows are numbered
//! in the order in which they came, so that they leave in it wherever they have waited.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, UInt32Array, UInt64Array};
use arrow::compute::{
    concat_batches, filter, filter_record_batch, interleave_record_batch, max, min, not, take,
    take_record_batch,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use arrow::record_batch::RecordBatch;

use super::batch_size::{bytes, shrink};
use super::final_key::Key;
use super::size::{Part, Size};
use super::spill::{Facts, Folder, Segment};
use crate::error::{Error, Result};

/// The column with the numbers of rows, in files.
const NUMBER: &str = "__thalweg_number";

/// Rows of a batch that is put together.
const BATCH_ROWS: usize = 8192;

/// What a segment takes in memory, about; and segments that are written at once, at most.
const SEGMENT_BYTES: usize = 4 << 20;
const MOST_SEGMENTS: usize = 256;

/// Into how many parts of a like size the times of what waits are told.
const QUANTILES: usize = 64;

/// Rows that are not final.
#[derive(Debug, Default)]
pub struct Held {
    memory: Vec<Rows>,
    /// Of those in memory.
    rows: usize,
    bytes: usize,
    /// When the first of them is final, and the last.
    earliest_us: Option<i64>,
    latest_us: Option<i64>,
    /// The number of the next row.
    next: u64,
    /// Rows on the disk, in the order in which they were written.
    spilled: Vec<Segment>,
}

/// Rows in memory with their numbers.
#[derive(Debug, Clone)]
struct Rows {
    batch: RecordBatch,
    /// The number of the first, where they follow one another. They are then in the order of the
    /// list, and none of the batch they came in is anywhere else.
    first: u64,
    /// Else of each.
    numbers: Option<UInt64Array>,
    bytes: usize,
}

impl Rows {
    fn new(batch: RecordBatch, first: u64, numbers: Option<UInt64Array>) -> Self {
        let bytes = bytes(&batch) + numbers.as_ref().map_or(0, |numbers| 8 * numbers.len());
        Self { batch, first, numbers, bytes }
    }

    fn numbers(&self) -> UInt64Array {
        let count = self.batch.num_rows() as u64;
        let follow = || UInt64Array::from_iter_values(self.first..self.first + count);
        self.numbers.clone().unwrap_or_else(follow)
    }

    fn filter(&self, wanted: &BooleanArray) -> Result<Self> {
        let numbers = self.numbers.as_ref().map(|numbers| filter(numbers, wanted)).transpose()?;
        let numbers = numbers.map(|numbers| numbers.as_primitive::<UInt64Type>().clone());
        let rows = shrink(&filter_record_batch(&self.batch, wanted)?)?;
        Ok(Self::new(rows, self.first, numbers))
    }

    /// Some of the rows and their numbers in one batch.
    fn numbered(&self, schema: &SchemaRef, rows: Option<&UInt32Array>) -> Result<RecordBatch> {
        let numbers: ArrayRef = Arc::new(self.numbers());
        let (batch, numbers) = match rows {
            Some(rows) => (take_record_batch(&self.batch, rows)?, take(&numbers, rows, None)?),
            None => (self.batch.clone(), numbers),
        };
        let columns = batch.columns().iter().cloned().chain([numbers]).collect();
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }

    /// What `numbered` has made; any other batch has no numbers.
    fn of(batch: &RecordBatch) -> Result<Option<Self>> {
        let Some((last, fields)) = batch.schema_ref().fields().split_last() else {
            return Ok(None);
        };
        if last.name() != NUMBER {
            return Ok(None);
        }
        let numbers = batch.column(fields.len()).as_primitive::<UInt64Type>().clone();
        let metadata = batch.schema_ref().metadata().clone();
        let schema = Arc::new(Schema::new_with_metadata(fields.to_vec(), metadata));
        let columns = batch.columns()[..fields.len()].to_vec();
        Ok(Some(Self::new(RecordBatch::try_new(schema, columns)?, 0, Some(numbers))))
    }
}

impl Held {
    /// How many there are, in memory and on the disk.
    pub fn size(&self) -> Size {
        let memory = Size { rows: self.rows, bytes: self.bytes, ..Size::default() };
        memory + Size::of_files(&self.spilled)
    }

    /// How many there are in memory.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Those in memory.
    pub fn batches(&self) -> Vec<RecordBatch> {
        self.memory.iter().map(|rows| rows.batch.clone()).collect()
    }

    /// When the last of them is final.
    pub fn latest_us(&self) -> Option<i64> {
        let spilled = self.spilled.iter().map(|segment| segment.facts.last_us).max();
        self.latest_us.max(spilled)
    }

    pub fn add(&mut self, key: &Key, batches: Vec<RecordBatch>) -> Result<()> {
        for batch in batches {
            let finals = key.finals(&batch)?;
            self.earliest_us = self.earliest_us.into_iter().chain(min(&finals)).min();
            self.latest_us = self.latest_us.max(max(&finals));
            self.push_next(batch);
        }
        Ok(())
    }

    fn push_next(&mut self, batch: RecordBatch) {
        let first = self.next;
        self.next += batch.num_rows() as u64;
        self.push(Rows::new(batch, first, None));
    }

    fn push(&mut self, rows: Rows) {
        self.rows += rows.batch.num_rows();
        self.bytes += rows.bytes;
        self.memory.push(rows);
    }

    fn take_memory(&mut self) -> Vec<Rows> {
        (self.rows, self.bytes) = (0, 0);
        std::mem::take(&mut self.memory)
    }

    /// Takes everything that is in memory, in the order in which it came, to be put back in another
    /// form.
    pub fn take_all(&mut self) -> Result<Vec<RecordBatch>> {
        in_order(self.take_memory())
    }

    /// Puts back what `take_all` took, in another form.
    pub fn put_back(&mut self, batches: Vec<RecordBatch>) {
        batches.into_iter().for_each(|batch| self.push_next(batch));
    }

    /// The latest time, not after a clock, until which so many rows come from the disk at most, or
    /// the rows of one file.
    pub fn reach(&self, clock: i64, rows: usize) -> i64 {
        let facts = self.spilled.iter().map(|segment| &segment.facts);
        let mut due: Vec<&Facts> = facts.filter(|facts| facts.first_us <= clock).collect();
        due.sort_unstable_by_key(|facts| facts.first_us);
        let mut sum = 0;
        for (nth, facts) in due.iter().enumerate() {
            sum += facts.rows;
            if sum > rows && nth > 0 && facts.first_us > due[0].first_us {
                return facts.first_us - 1;
            }
        }
        clock
    }

    /// Takes out the rows that are final at a time, in the order in which they came.
    pub fn take(&mut self, key: &Key, clock: i64) -> Result<Vec<RecordBatch>> {
        self.read(clock)?;
        if self.earliest_us.is_none_or(|earliest| earliest > clock) {
            return Ok(Vec::new());
        }
        let mut done = Vec::new();
        (self.earliest_us, self.latest_us) = (None, None);
        for rows in self.take_memory() {
            let finals = key.finals(&rows.batch)?;
            let is_done = BooleanArray::from_unary(&finals, |time| time <= clock);
            match is_done.true_count() {
                0 => self.push(rows),
                count if count == rows.batch.num_rows() => {
                    done.push(rows);
                    continue;
                }
                _ => {
                    done.push(rows.filter(&is_done)?);
                    self.push(rows.filter(&not(&is_done)?)?);
                }
            }
            for time in finals.values().iter().filter(|time| **time > clock) {
                self.earliest_us = Some(self.earliest_us.unwrap_or(i64::MAX).min(*time));
                self.latest_us = self.latest_us.max(Some(*time));
            }
        }
        in_order(done)
    }

    /// Brings the segments that have final rows back into memory.
    fn read(&mut self, clock: i64) -> Result<()> {
        if self.spilled.iter().all(|segment| segment.facts.first_us > clock) {
            return Ok(());
        }
        let is_due = |segment: &mut Segment| segment.facts.first_us <= clock;
        let due: Vec<Segment> = self.spilled.extract_if(.., is_due).collect();
        for Segment { facts, .. } in &due {
            self.earliest_us = self.earliest_us.into_iter().chain([facts.first_us]).min();
            self.latest_us = self.latest_us.max(Some(facts.last_us));
        }
        for segment in due {
            for batch in segment.read()? {
                let rows = Rows::of(&batch)?;
                self.push(rows.ok_or_else(|| Error::Bug("rows without numbers".to_string()))?);
            }
        }
        Ok(())
    }

    /// When rows in memory are final and what they take, in parts of a like size.
    pub fn weights(&self, key: &Key) -> Result<Vec<(i64, usize)>> {
        let mut finals = Vec::with_capacity(self.rows);
        for rows in &self.memory {
            finals.extend_from_slice(key.finals(&rows.batch)?.values());
        }
        finals.sort_unstable();
        let bytes = self.bytes.div_ceil(finals.len().max(1));
        let parts = finals.chunks(finals.len().div_ceil(QUANTILES).max(1));
        Ok(parts.map(|part| (part[0], bytes * part.len())).collect())
    }

    /// Writes the rows that are final at a time or after it to the disk.
    pub fn spill(&mut self, key: &Key, from_us: i64, folder: &Folder) -> Result<()> {
        if self.latest_us.is_none_or(|latest| latest < from_us) {
            return Ok(());
        }
        let (bytes, memory) = (self.bytes, self.take_memory());
        let all = memory.iter().map(|rows| key.finals(&rows.batch));
        let all = all.collect::<Result<Vec<_>>>()?;
        let mut late: Vec<i64> = all.iter().flat_map(|finals| finals.values()).copied().collect();
        late.retain(|time| *time >= from_us);
        late.sort_unstable();
        let count = (bytes / SEGMENT_BYTES).clamp(1, MOST_SEGMENTS);
        let mut begins: Vec<i64> =
            late.chunks(late.len().div_ceil(count).max(1)).map(|c| c[0]).collect();
        begins.dedup();
        let mut parts: Vec<Vec<(usize, Vec<u32>)>> = vec![Vec::new(); begins.len()];
        for (nth, finals) in all.iter().enumerate() {
            for (row, time) in finals.values().iter().enumerate().filter(|(_, t)| **t >= from_us) {
                let part = &mut parts[begins.partition_point(|begin| begin <= time) - 1];
                match part.last_mut() {
                    Some((last, rows)) if *last == nth => rows.push(row as u32),
                    _ => part.push((nth, vec![row as u32])),
                }
            }
        }
        for (nth, part) in parts.into_iter().enumerate() {
            let last = begins.get(nth + 1).map(|next| late.partition_point(|time| time < next) - 1);
            let last_us = late[last.unwrap_or(late.len() - 1)];
            self.spilled.push(write(&memory, part, (begins[nth], last_us), folder)?);
        }
        self.latest_us = None;
        for (rows, finals) in memory.into_iter().zip(all) {
            self.keep(rows, &finals, from_us)?;
        }
        if self.rows == 0 {
            self.earliest_us = None;
        }
        Ok(())
    }

    /// Keeps the rows in memory that are final before a time; the others are in files.
    fn keep(&mut self, rows: Rows, finals: &Int64Array, before_us: i64) -> Result<()> {
        let is_early = BooleanArray::from_unary(finals, |time| time < before_us);
        match is_early.true_count() {
            0 => return Ok(()),
            count if count == rows.batch.num_rows() => self.push(rows),
            _ => {
                let numbers = Some(rows.numbers());
                self.push(Rows { numbers, ..rows }.filter(&is_early)?);
            }
        }
        let early = finals.values().iter().copied().filter(|time| *time < before_us);
        self.latest_us = self.latest_us.max(early.max());
        Ok(())
    }

    /// All rows, from which `restore` makes the same state.
    pub fn save(&self) -> Result<Part> {
        let rows = match self.spilled.is_empty() && self.memory.iter().all(|r| r.numbers.is_none())
        {
            true => self.batches(),
            false => {
                let numbered =
                    |rows: &Rows| rows.numbered(&numbered(rows.batch.schema_ref()), None);
                self.memory.iter().map(numbered).collect::<Result<_>>()?
            }
        };
        Ok(Part { rows, spilled: self.spilled.clone() })
    }

    /// Takes what `save` gave.
    pub fn restore(&mut self, key: &Key, part: Part) -> Result<()> {
        for batch in part.rows {
            let Some(rows) = Rows::of(&batch)? else {
                self.add(key, vec![batch])?;
                continue;
            };
            let finals = key.finals(&rows.batch)?;
            self.earliest_us = self.earliest_us.into_iter().chain(min(&finals)).min();
            self.latest_us = self.latest_us.max(max(&finals));
            self.next = self.next.max(max(&rows.numbers()).map_or(0, |last| last + 1));
            self.push(rows);
        }
        let next = part.spilled.iter().map(|segment| segment.facts.next);
        self.next = next.fold(self.next, u64::max);
        self.spilled.extend(part.spilled);
        Ok(())
    }
}

/// With a column for the numbers of rows.
fn numbered(schema: &SchemaRef) -> SchemaRef {
    let number = Arc::new(Field::new(NUMBER, DataType::UInt64, false));
    let fields: Vec<_> = schema.fields().iter().cloned().chain([number]).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// Writes some rows of batches; `finals` is when the first and the last of them are final.
fn write(
    memory: &[Rows],
    part: Vec<(usize, Vec<u32>)>,
    finals: (i64, i64),
    folder: &Folder,
) -> Result<Segment> {
    let schema = numbered(memory[part[0].0].batch.schema_ref());
    let number = schema.fields().len() - 1;
    let (mut count, mut next) = (0, 0);
    let (mut batches, mut pieces, mut small) = (Vec::new(), Vec::new(), 0);
    for (nth, rows) in part {
        let rows = UInt32Array::from(rows);
        let piece = memory[nth].numbered(&schema, Some(&rows))?;
        let last = max(piece.column(number).as_primitive::<UInt64Type>());
        next = next.max(last.map_or(0, |last| last + 1));
        count += rows.len();
        small += rows.len();
        pieces.push(shrink(&piece)?);
        if small >= BATCH_ROWS {
            batches.push(concat_batches(&schema, &std::mem::take(&mut pieces))?);
            small = 0;
        }
    }
    if !pieces.is_empty() {
        batches.push(concat_batches(&schema, &pieces)?);
    }
    let (first_us, last_us) = finals;
    let facts = Facts { rows: count, first_us, last_us, next, bytes: 0, crc32: 0 };
    folder.write(&schema, batches.into_iter().map(Ok), facts)
}

/// The rows in the order of their numbers.
fn in_order(all: Vec<Rows>) -> Result<Vec<RecordBatch>> {
    let mut places = Vec::new();
    if all.iter().any(|rows| rows.numbers.is_some()) {
        for (nth, rows) in all.iter().enumerate() {
            let numbers = rows.numbers();
            places.extend(numbers.values().iter().enumerate().map(|(row, n)| (*n, (nth, row))));
        }
    }
    let batches: Vec<RecordBatch> = all.into_iter().map(|rows| rows.batch).collect();
    if places.is_sorted() {
        return Ok(batches);
    }
    places.sort_unstable();
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    let chunks = places.chunks(BATCH_ROWS).map(|chunk| {
        let places: Vec<(usize, usize)> = chunk.iter().map(|(_, place)| *place).collect();
        Ok(interleave_record_batch(&batches, &places)?)
    });
    chunks.collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{StringViewArray, TimestampMicrosecondArray};
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::stream::state::final_key::Bound;
    use crate::stream::time::clock::{Clock, Times};

    const KEY: Key = Key { column: 0, bound: Bound { lag_us: 7, clock: Clock::Event, origin: 0 } };

    #[derive(Debug, Clone)]
    enum Step {
        /// Rows of these times, in batches.
        Add(Vec<Vec<Option<i64>>>),
        Spill(i64),
        Take(i64),
        /// Everything in memory in another form, as where states are merged.
        Merge,
        Save,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let time = prop_oneof![9 => (0..100_i64).prop_map(Some), 1 => Just(None)];
        let batch = prop::collection::vec(time, 0..12);
        let step = prop_oneof![
            6 => prop::collection::vec(batch, 0..3).prop_map(Step::Add),
            4 => (0..110_i64).prop_map(Step::Spill),
            4 => (0..110_i64).prop_map(Step::Take),
            1 => Just(Step::Merge),
            1 => Just(Step::Save),
        ];
        prop::collection::vec(step, 0..40)
    }

    fn batch(times: &[Option<i64>], id: &mut u64) -> RecordBatch {
        let ids = times.iter().map(|_| {
            *id += 1;
            format!("row {id} with text that is longer than a view")
        });
        let ids: StringViewArray = ids.map(Some).collect();
        let times: TimestampMicrosecondArray = times.iter().copied().collect();
        let columns: [(_, ArrayRef, _); 2] =
            [("t", Arc::new(times), true), ("id", Arc::new(ids), true)];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    fn text(batches: &[RecordBatch]) -> Vec<String> {
        let ids = batches.iter().flat_map(|batch| batch.column(1).as_string_view().iter());
        ids.map(|id| id.unwrap().to_string()).collect()
    }

    fn at(event_us: i64) -> Times {
        Times { event_us, processing_us: 0 }
    }

    fn check(steps: Vec<Step>) {
        let state = TempDir::new().unwrap();
        let folder = Folder::open(state.path()).unwrap();
        let (mut plain, mut spilling) = (Held::default(), Held::default());
        let mut id = 0;
        for step in steps.into_iter().chain([Step::Take(1000)]) {
            match step {
                Step::Add(batches) => {
                    let batches: Vec<_> = batches.iter().map(|b| batch(b, &mut id)).collect();
                    plain.add(&KEY, batches.clone()).unwrap();
                    spilling.add(&KEY, batches).unwrap();
                }
                Step::Spill(from_us) => spilling.spill(&KEY, from_us, &folder).unwrap(),
                Step::Take(clock) => {
                    let want = text(&plain.take(&KEY, KEY.clock(&at(clock))).unwrap());
                    assert_eq!(text(&spilling.take(&KEY, KEY.clock(&at(clock))).unwrap()), want);
                }
                // In the order in which they came only where nothing is elsewhere.
                Step::Merge if spilling.spilled.is_empty() => {
                    let all = spilling.take_all().unwrap();
                    spilling.put_back(all);
                }
                Step::Merge => {}
                Step::Save => {
                    let part = spilling.save().unwrap();
                    spilling = Held::default();
                    spilling.restore(&KEY, part).unwrap();
                }
            }
            assert_eq!(spilling.size().rows, plain.size().rows);
            assert_eq!(spilling.latest_us(), plain.latest_us());
            let bytes = spilling.memory.iter().map(|rows| rows.bytes).sum::<usize>();
            assert_eq!(spilling.size().bytes, bytes);
        }
        drop(spilling);
        let files = std::fs::read_dir(state.path().join("spill")).into_iter().flatten();
        assert_eq!(files.count(), 0, "files of nobody");
    }

    proptest! {
        #[test]
        fn rows_leave_as_if_all_were_in_memory(steps in steps()) {
            check(steps);
        }
    }

    #[test]
    fn what_is_final_last_is_spilled_in_narrow_ranges() {
        let state = TempDir::new().unwrap();
        let folder = Folder::open(state.path()).unwrap();
        let mut held = Held::default();
        let times: Vec<_> = (0..1000).map(|n| Some(n * 7 % 1000)).collect();
        held.add(&KEY, vec![batch(&times, &mut 0)]).unwrap();
        let weights = held.weights(&KEY).unwrap();
        assert!(weights.len() <= QUANTILES && weights.is_sorted());
        assert!(weights.iter().map(|(_, bytes)| bytes).sum::<usize>() >= held.size().bytes);
        held.spill(&KEY, 507, &folder).unwrap();
        let size = held.size();
        assert_eq!((size.rows, size.spilled_rows, held.rows()), (1000, 500, 500));
        assert!(size.spilled_bytes > 0 && size.bytes < 100_000, "{size:?}");
        assert_eq!(held.take(&KEY, KEY.clock(&at(506))).unwrap().len(), 1);
        assert_eq!((held.size().spilled_rows, held.latest_us()), (500, Some(1006)));
    }

    /// One segment for each part of the memory, not one for all.
    #[test]
    fn much_state_is_spilled_in_several_segments() {
        let state = TempDir::new().unwrap();
        let folder = Folder::open(state.path()).unwrap();
        let mut held = Held::default();
        let rows = 3 * SEGMENT_BYTES as i64 / 16 / 4;
        let times: Vec<_> = (0..rows).map(Some).collect();
        held.add(&KEY, vec![batch(&times, &mut 0)]).unwrap();
        let segments = held.size().bytes / SEGMENT_BYTES;
        assert!(segments > 1, "too few rows");
        held.spill(&KEY, i64::MIN, &folder).unwrap();
        assert_eq!(held.spilled.len(), segments);
    }

    #[test]
    fn a_damaged_file_is_told_with_its_name() {
        let state = TempDir::new().unwrap();
        let folder = Folder::open(state.path()).unwrap();
        let damaged = |damage: &dyn Fn(&std::path::Path)| {
            let mut held = Held::default();
            held.add(&KEY, vec![batch(&[Some(1), Some(2)], &mut 0)]).unwrap();
            held.spill(&KEY, 0, &folder).unwrap();
            let files = std::fs::read_dir(state.path().join("spill")).unwrap();
            let file = files.map(|file| file.unwrap().path()).max().unwrap();
            damage(&file);
            let told = held.take(&KEY, KEY.clock(&at(100))).unwrap_err().to_string();
            assert!(told.contains(&file.display().to_string()), "{told}");
            assert!(told.contains("snapshots"), "{told}");
        };
        damaged(&|file| std::fs::remove_file(file).unwrap());
        damaged(&|file| std::fs::write(file, b"").unwrap());
        damaged(&|file| {
            let mut bytes = std::fs::read(file).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            std::fs::write(file, bytes).unwrap();
        });
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_with_its_name() {
        let state = TempDir::new().unwrap();
        let folder = Folder::open(state.path()).unwrap();
        std::fs::write(state.path().join("spill"), b"in the way").unwrap();
        let mut held = Held::default();
        held.add(&KEY, vec![batch(&[Some(1)], &mut 0)]).unwrap();
        let told = held.spill(&KEY, 0, &folder).unwrap_err().to_string();
        assert!(told.contains("spill") && told.contains("thalweg.state_memory"), "{told}");
    }
}
