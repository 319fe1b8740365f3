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

use super::Size;
use super::groups::OpenWindows;
use super::held::{Key, micros};
use crate::error::{Error, Result};
use crate::stream::hop::Hop;
use crate::stream::slot::{Slot, SlotPlan, run};
use crate::stream::window::Bound as Edge;

/// The rows of an aggregate by panes.
pub struct Panes {
    /// What takes rows, and rows to states; without, states come.
    rows: Option<(OpenWindows, (Slot, SlotPlan))>,
    /// States by the start of their pane, in ticks of the times' type.
    sealed: BTreeMap<i64, Vec<RecordBatch>>,
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

    /// Takes rows or states that are in time.
    pub async fn add(&mut self, rows: Vec<RecordBatch>, task: &Arc<TaskContext>) -> Result<()> {
        let states = match &mut self.rows {
            Some((open, partial)) => match open.update(rows)? {
                left if left.is_empty() => left,
                left => run(partial, left, &self.states, task).await?,
            },
            None => rows,
        };
        self.seal(states)
    }

    /// Takes the states of windows that are final at a time: of each group one row a pane.
    pub fn take_final(&mut self, clock_us: i64) -> Result<Vec<RecordBatch>> {
        if self.due_us()?.is_none_or(|due| due > clock_us) {
            self.out_us = self.out_us.max(clock_us);
            return Ok(Vec::new());
        }
        let states = self.between(self.out_us, clock_us)?;
        self.out_us = self.out_us.max(clock_us);
        // A pane whose last window is out is not needed any more.
        let last = |start: &i64| self.final_us(*start).map(|time| time > clock_us);
        let mut gone = Vec::new();
        for start in self.sealed.keys() {
            if !last(start)? {
                gone.push(*start);
            }
        }
        gone.iter().for_each(|start| drop(self.sealed.remove(start)));
        Ok(states)
    }

    /// Takes the states of all windows that are not out.
    pub fn take_all(&mut self) -> Result<Vec<RecordBatch>> {
        let states = self.between(self.out_us, i64::MAX)?;
        self.sealed.clear();
        Ok(states)
    }

    /// When the last window is final; `None` where there is none.
    pub fn latest_us(&self) -> Option<i64> {
        let sealed = self.sealed.last_key_value().map(|(start, _)| *start);
        let open = self.rows.as_ref().and_then(|(open, _)| self.start_of(open.last()?));
        sealed.max(open).and_then(|start| self.final_us(start).ok())
    }

    pub fn size(&self) -> Size {
        let of = |batch: &RecordBatch| Size {
            rows: batch.num_rows(),
            bytes: batch.get_array_memory_size(),
        };
        let open = self.rows.as_ref().map(|(open, _)| open.size()).unwrap_or_default();
        self.sealed
            .values()
            .flatten()
            .map(of)
            .fold(open, |all, one| Size { rows: all.rows + one.rows, bytes: all.bytes + one.bytes })
    }

    /// When the first window is final that is not out.
    fn due_us(&self) -> Result<Option<i64>> {
        let sealed = self.sealed.first_key_value().map(|(start, _)| *start);
        let open = self.rows.as_ref().and_then(|(open, _)| self.start_of(open.first()?));
        let Some(start) = sealed.into_iter().chain(open).min() else { return Ok(None) };
        let mut window = start.saturating_add(self.hop.step - self.hop.size);
        while self.final_us(window)? <= self.out_us && window < start {
            window += self.hop.step;
        }
        self.final_us(window).map(Some)
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
                let part = take_record_batch(&batch, &UInt32Array::from(rows))?;
                self.sealed.entry(start).or_default().push(part);
            }
        }
        Ok(())
    }

    /// The states of windows that are final after a time and not after another.
    fn between(&mut self, after_us: i64, until_us: i64) -> Result<Vec<RecordBatch>> {
        if let Some((open, _)) = &mut self.rows {
            // No row that is in time falls into a pane that is over.
            let over = open.take_states(until_us)?;
            self.seal(over)?;
        }
        let mut states = Vec::new();
        for (pane, batches) in &self.sealed {
            let mut start = pane + self.hop.step - self.hop.size;
            while start <= *pane {
                let time = self.final_us(start)?;
                if time > after_us && time <= until_us {
                    for batch in batches {
                        states.push(self.of_window(batch, start)?);
                    }
                }
                start += self.hop.step;
            }
        }
        Ok(states)
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
        let after = self.key.bound.lag_us.saturating_add(self.key.delay_us).saturating_add(lag);
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
        let starts = ticks.as_primitive::<Int64Type>().values().iter().map(|tick| tick - before);
        Ok(Int64Array::from_iter_values(starts))
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
