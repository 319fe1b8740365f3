//! Windows that overlap, in panes: a row counts once, in the slide that it falls into, and a window
//! that is final is put together from its slides (Li et al., "No Pane, No Gain", SIGMOD Record
//! 34(1), 2005).
//!
//! Only rows that are in time go here: such a row is in none of the windows that are out. A late
//! one is in some of its windows and not in others, and takes the way of single windows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::execution::TaskContext;

use super::window_tables::OpenWindows;
use crate::error::{Error, Result};
use crate::stream::exec::adaptive::{SlotPlan, run};
use crate::stream::exec::input::Slot;
use crate::stream::plan::window::columns::Edge;
use crate::stream::plan::window::panes::Hop;
use crate::stream::state::batch_size::{bytes, shrink};
use crate::stream::state::final_key::{Key, micros};
use crate::stream::state::size::{FEW_ROWS, Part, Size};
use crate::stream::state::spill::{Facts, Folder};

/// States of one pane.
#[derive(Debug, Default)]
struct Pane {
    part: Part,
    /// Of those in memory, and after they were last merged.
    rows: usize,
    bytes: usize,
    merged_rows: usize,
}

impl Pane {
    fn push(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        self.bytes += bytes(&batch);
        self.part.rows.push(batch);
    }

    fn take_rows(&mut self) -> Vec<RecordBatch> {
        (self.rows, self.bytes, self.merged_rows) = (0, 0, 0);
        std::mem::take(&mut self.part.rows)
    }

    fn size(&self) -> Size {
        let memory = Size { rows: self.rows, bytes: self.bytes, ..Size::default() };
        memory + Size::of_files(&self.part.spilled)
    }
}

/// The rows of an aggregate by panes.
pub struct Panes {
    /// What takes rows, and rows to states; without, states come.
    rows: Option<(OpenWindows, (Slot, SlotPlan))>,
    /// States by the start of their pane, in ticks of the times' type.
    sealed: BTreeMap<i64, Pane>,
    hop: Hop,
    /// The group columns that are times of the window.
    edges: Vec<(usize, Edge)>,
    key: Key,
    states: SchemaRef,
    /// Windows that are final at this time are out, in microseconds.
    out_us: i64,
}

impl Panes {
    /// `edges` are the times among the columns of the states, one at least, of which `key` is one.
    pub fn new(
        rows: Option<(OpenWindows, (Slot, SlotPlan))>,
        hop: Hop,
        edges: Vec<(usize, Edge)>,
        key: Key,
        states: SchemaRef,
    ) -> Self {
        Self { rows, sealed: BTreeMap::new(), hop, edges, key, states, out_us: i64::MIN }
    }

    /// Takes rows that are in time, or their states.
    pub async fn add(
        &mut self,
        rows: Vec<RecordBatch>,
        states: bool,
        task: &Arc<TaskContext>,
    ) -> Result<()> {
        let states = match &mut self.rows {
            Some((open, partial)) if !states => match open.update(rows)? {
                left if left.is_empty() => left,
                left => run(partial, left, &self.states, task).await?,
            },
            _ => rows,
        };
        self.seal(states)
    }

    /// Merges the states of panes that have twice as many as after the last time.
    pub async fn merge(
        &mut self,
        reduce: &(Slot, SlotPlan),
        task: &Arc<TaskContext>,
    ) -> Result<()> {
        for pane in self.sealed.values_mut() {
            if pane.rows > FEW_ROWS.max(2 * pane.merged_rows) {
                let merged = run(reduce, pane.take_rows(), &self.states, task).await?;
                merged.into_iter().for_each(|batch| pane.push(batch));
                pane.merged_rows = pane.rows;
            }
        }
        Ok(())
    }

    /// Takes the states of windows that are final at a time: of each group one row a pane, or
    /// more. Where there are more than so many rows, those of the first windows, and the time at
    /// which these are final.
    pub fn take_final(&mut self, clock_us: i64, rows: usize) -> Result<(Vec<RecordBatch>, i64)> {
        if self.due_us()?.is_none_or(|due| due > clock_us) {
            self.out_us = self.out_us.max(clock_us);
            return Ok((Vec::new(), clock_us));
        }
        if let Some((open, _)) = &mut self.rows {
            // No row that is in time falls into a pane that is over.
            let over = open.take_states(clock_us)?;
            self.seal(over)?;
        }
        let (mut states, mut count, mut reached) = (Vec::new(), 0, clock_us);
        let next = self.sealed.first_key_value().map(|(pane, _)| *pane);
        let mut next = next.map(|pane| self.first_of(pane)).transpose()?;
        while let Some(window) = next {
            let time = self.final_us(window)?;
            if time > clock_us {
                break;
            }
            if count > rows {
                reached = time - 1;
                break;
            }
            for (_, pane) in self.sealed.range(window..window.saturating_add(self.hop.size)) {
                for batch in pane.part.read()? {
                    count += batch.num_rows();
                    states.push(self.of_window(&batch, window)?);
                }
            }
            next = self.after(window);
        }
        self.out_us = self.out_us.max(reached);
        // A pane whose last window is out is not needed any more.
        while let Some((pane, _)) = self.sealed.first_key_value() {
            if self.final_us(*pane)? > self.out_us {
                break;
            }
            self.sealed.pop_first();
        }
        Ok((states, reached))
    }

    /// The states of all panes, and what else `restore` needs; tables are emptied into states.
    pub fn save(&mut self) -> Result<[Part; 2]> {
        if let Some((open, _)) = &mut self.rows {
            let states = open.take_states(i64::MAX)?;
            self.seal(states)?;
        }
        let (mut all, mut places) = (Part::default(), vec![self.out_us]);
        for (pane, Pane { part, .. }) in &self.sealed {
            all.rows.extend(part.rows.iter().cloned());
            all.spilled.extend(part.spilled.iter().cloned());
            places.extend(part.spilled.iter().map(|_| pane));
        }
        let places: ArrayRef = Arc::new(Int64Array::from(places));
        let places = RecordBatch::try_from_iter([("place", places)])?;
        Ok([all, vec![places].into()])
    }

    /// Takes what `save` gave.
    ///
    /// Errors: states without their places.
    pub fn restore(&mut self, mut saved: impl Iterator<Item = Part>) -> Result<()> {
        let all = saved.next().unwrap_or_default();
        self.seal(all.rows)?;
        let places = saved.next().unwrap_or_default().rows;
        let mut places = places
            .iter()
            .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().iter().copied());
        self.out_us = places.next().unwrap_or(i64::MIN);
        for segment in all.spilled {
            let Some(pane) = places.next() else {
                return Err(Error::Data("a saved pane without its place".to_string()));
            };
            self.sealed.entry(pane).or_default().part.spilled.push(segment);
        }
        Ok(())
    }

    /// When each pane in memory is needed next, and what it takes.
    pub fn weights(&self) -> Result<Vec<(i64, usize)>> {
        let open = self.rows.as_ref().map(|(open, _)| open.weights());
        let mut all = open.unwrap_or_default();
        for (start, pane) in self.sealed.iter().filter(|(_, pane)| pane.rows > 0) {
            all.push((self.final_us(self.first_of(*start)?)?, pane.bytes));
        }
        Ok(all)
    }

    /// Writes the panes to the disk that are needed at a time or after it.
    pub fn spill(&mut self, from_us: i64, folder: &Folder) -> Result<()> {
        if let Some((open, _)) = &mut self.rows {
            let states = open.take_states_from(from_us)?;
            self.seal(states)?;
        }
        let in_memory = self.sealed.iter().filter(|(_, pane)| pane.rows > 0);
        let starts: Vec<i64> = in_memory.map(|(start, _)| *start).collect();
        for start in starts {
            let first_us = self.final_us(self.first_of(start)?)?;
            let last_us = self.final_us(start)?;
            let Some(pane) = self.sealed.get_mut(&start) else { continue };
            if first_us < from_us {
                continue;
            }
            let facts = Facts { rows: pane.rows, first_us, last_us, ..Facts::default() };
            let rows = pane.part.rows.iter().map(shrink);
            let segment = folder.write(&self.states, rows, facts)?;
            pane.part.spilled.push(segment);
            pane.take_rows();
        }
        Ok(())
    }

    /// When the last window is final; `None` where there is none.
    pub fn latest_us(&self) -> Option<i64> {
        let sealed = self.sealed.last_key_value().map(|(start, _)| *start);
        let open = self.rows.as_ref().and_then(|(open, _)| self.start_of(open.last()?));
        sealed.max(open).and_then(|start| self.final_us(start).ok())
    }

    pub fn size(&self) -> Size {
        let open = self.rows.as_ref().map(|(open, _)| open.size()).unwrap_or_default();
        self.sealed.values().fold(open, |all, pane| all + pane.size())
    }

    /// When the first window is final that is not out.
    fn due_us(&self) -> Result<Option<i64>> {
        let sealed = self.sealed.first_key_value().map(|(start, _)| *start);
        let open = self.rows.as_ref().and_then(|(open, _)| self.start_of(open.first()?));
        let Some(pane) = sealed.into_iter().chain(open).min() else { return Ok(None) };
        self.final_us(self.first_of(pane)?).map(Some)
    }

    /// The start of the first window with a pane that is not out; of the last one, where all are.
    fn first_of(&self, pane: i64) -> Result<i64> {
        let first = pane.saturating_add(self.hop.step - self.hop.size);
        let out_for = i128::from(self.out_us) - i128::from(self.final_us(first)?);
        if out_for < 0 {
            return Ok(first);
        }
        let windows = out_for / i128::from(self.hop.us(self.hop.step).max(1)) + 1;
        let most = self.hop.size / self.hop.step - 1;
        let windows = i64::try_from(windows).unwrap_or(most).min(most);
        Ok(first.saturating_add(windows * self.hop.step))
    }

    /// The start of the next window after one that has a pane.
    fn after(&self, window: i64) -> Option<i64> {
        let next = window.checked_add(self.hop.step)?;
        let (pane, _) = self.sealed.range(next..).next()?;
        Some(next.max(pane.saturating_add(self.hop.step - self.hop.size)))
    }

    /// Puts states to their panes.
    fn seal(&mut self, states: Vec<RecordBatch>) -> Result<()> {
        for batch in states {
            let starts = self.starts(&batch)?;
            let mut rows: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
            for (row, start) in starts.values().iter().enumerate() {
                rows.entry(*start).or_default().push(row as u32);
            }
            if rows.len() == 1 {
                let start = rows.into_keys().next().unwrap_or_default();
                self.sealed.entry(start).or_default().push(batch);
                continue;
            }
            for (start, rows) in rows {
                let part = shrink(&take_record_batch(&batch, &UInt32Array::from(rows))?)?;
                self.sealed.entry(start).or_default().push(part);
            }
        }
        Ok(())
    }

    /// When a window is final, by its start.
    fn final_us(&self, start: i64) -> Result<i64> {
        let (column, edge) = self.edges[0];
        let tick = Int64Array::from(vec![self.hop.edge(edge, start, self.hop.size)]);
        let time = cast(&tick, self.states.field(column).data_type())?;
        let own = self.edges.iter().find(|(column, _)| *column == self.key.column);
        // The key's lag is that of its own edge: here they are told by another.
        let lag = match own {
            Some((_, own)) => self.hop.edge(*own, 0, self.hop.size),
            None => return Err(Error::Bug("the key of a window is none of its times".to_string())),
        };
        let lag = self.hop.us(lag - self.hop.edge(edge, 0, self.hop.size));
        let after = self.key.bound.lag_us.saturating_add(lag);
        Ok(micros(&time, after)?.value(0))
    }

    /// The start of the pane with these times, in the order of `edges`.
    fn start_of(&self, times: &[i64]) -> Option<i64> {
        let (_, edge) = self.edges.first()?;
        Some(times.first()? - self.hop.edge(*edge, 0, self.hop.step))
    }

    /// The start of each row's pane.
    fn starts(&self, batch: &RecordBatch) -> Result<Int64Array> {
        let (column, edge) = self.edges[0];
        let ticks = cast(batch.column(column), &DataType::Int64)?;
        let before = self.hop.edge(edge, 0, self.hop.step);
        let starts = ticks.as_primitive::<Int64Type>().iter().map(|tick| {
            let start = tick.and_then(|tick| tick.checked_sub(before));
            start.filter(|start| self.has_windows(*start)).ok_or_else(|| {
                let tick = tick.map_or_else(|| "NULL".to_string(), |tick| tick.to_string());
                let unit = self.hop.unit;
                Error::Data(format!("a window's bounds are out of range: time {tick} ({unit:?}s)"))
            })
        });
        Ok(Int64Array::from_iter_values(starts.collect::<Result<Vec<_>>>()?))
    }

    /// Whether the windows with a pane have bounds, as where each row is put into each of them.
    fn has_windows(&self, pane: i64) -> bool {
        let (first, last) = (self.hop.step - self.hop.size, self.hop.size);
        pane.checked_add(first).is_some() && pane.checked_add(last).is_some()
    }

    /// The states of a pane as those of a window.
    fn of_window(&self, batch: &RecordBatch, start: i64) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        for (column, edge) in &self.edges {
            let tick = self.hop.edge(*edge, start, self.hop.size);
            let ticks = Int64Array::from_value(tick, batch.num_rows());
            columns[*column] = cast(&ticks, self.states.field(*column).data_type())?;
        }
        Ok(RecordBatch::try_new(self.states.clone(), columns)?)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMicrosecondArray;
    use arrow::datatypes::TimeUnit;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::stream::state::final_key::Bound;
    use crate::stream::time::clock::Clock;

    const HOP: Hop = Hop { size: 30, step: 10, unit: TimeUnit::Microsecond };

    #[derive(Debug, Clone)]
    enum Step {
        /// Rows of these times, as far as they are in time.
        Add(Vec<i64>),
        Take(i64, usize),
        Spill(i64),
        Save,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let time = prop_oneof![9 => 0..300_i64, 1 => 100_000..100_100_i64];
        let step = prop_oneof![
            6 => prop::collection::vec(time, 1..9).prop_map(Step::Add),
            4 => (0..330_i64, 0..9_usize).prop_map(|(clock, rows)| Step::Take(clock, rows)),
            2 => (0..330_i64).prop_map(Step::Spill),
            1 => Just(Step::Save),
        ];
        prop::collection::vec(step, 0..40)
    }

    /// Windows by their end; each row of a state counts itself.
    fn panes() -> Panes {
        let bound = Bound { lag_us: 0, clock: Clock::Event, origin: 0 };
        let key = Key { column: 0, bound };
        Panes::new(None, HOP, vec![(0, Edge::End)], key, states(&[]).schema())
    }

    fn states(ends: &[i64]) -> RecordBatch {
        let ends: ArrayRef = Arc::new(TimestampMicrosecondArray::from(ends.to_vec()));
        RecordBatch::try_from_iter([("window_end", ends)]).unwrap()
    }

    fn check(steps: Vec<Step>) {
        let state = TempDir::new().unwrap();
        let folder = Folder::open(state.path()).unwrap();
        let mut panes = panes();
        let (mut out_us, mut want, mut got) = (i64::MIN, BTreeMap::new(), BTreeMap::new());
        for step in steps.into_iter().chain([Step::Take(i64::MAX, 1)]) {
            match step {
                Step::Add(times) => {
                    let ends = times.iter().map(|time| time / 10 * 10 + 10);
                    let ends: Vec<i64> = ends.filter(|end| *end > out_us).collect();
                    for end in &ends {
                        (0..3).for_each(|nth| *want.entry(end + nth * 10).or_insert(0) += 1);
                    }
                    panes.seal(vec![states(&ends)]).unwrap();
                }
                Step::Take(clock, rows) => {
                    let mut reached = i64::MIN;
                    while reached < clock {
                        let (states, next) = panes.take_final(clock, rows).unwrap();
                        assert!(next > reached && next <= clock);
                        for batch in states {
                            for end in micros(batch.column(0), 0).unwrap().values() {
                                assert!(*end > reached.max(out_us) && *end <= next, "{end}");
                                *got.entry(*end).or_insert(0) += 1;
                            }
                        }
                        reached = next;
                    }
                    out_us = out_us.max(clock);
                }
                Step::Spill(from_us) => panes.spill(from_us, &folder).unwrap(),
                Step::Save => {
                    let saved = panes.save().unwrap();
                    panes = self::panes();
                    panes.restore(saved.into_iter()).unwrap();
                }
            }
        }
        assert_eq!(got, want);
        assert_eq!(panes.size(), Size::default());
        let files = std::fs::read_dir(state.path().join("spill")).into_iter().flatten();
        assert_eq!(files.count(), 0, "files of nobody");
    }

    proptest! {
        #[test]
        fn windows_have_all_rows_of_their_panes_once(steps in steps()) {
            check(steps);
        }
    }
}
