//! The rows of a result that a screen has room for: its first and its last ones. The others are
//! counted and forgotten.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use super::cells::Rows;
use super::expanded;
use super::screen::{Look, Screen};
use super::table;
use crate::error::Result;

/// Takes all rows, keeps those to be shown.
pub struct Sample {
    schema: SchemaRef,
    look: Look,
    screen: Screen,
    /// Rows that are shown, at most.
    room: usize,
    first: Vec<RecordBatch>,
    first_rows: usize,
    last: VecDeque<RecordBatch>,
    last_rows: usize,
    rows: u64,
}

impl Sample {
    /// For results of this schema.
    pub fn new(schema: SchemaRef, look: Look, screen: Screen) -> Self {
        let room = match look.expanded {
            true => expanded::rows_of(screen, schema.fields().len()),
            false => table::rows_of(screen, look),
        };
        let (first, last) = (Vec::new(), VecDeque::new());
        Self { schema, look, screen, room, first, first_rows: 0, last, last_rows: 0, rows: 0 }
    }

    /// Takes the next rows.
    pub fn push(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        let taken = batch.num_rows().min(self.room - self.first_rows);
        if taken > 0 {
            self.first.push(batch.slice(0, taken));
            self.first_rows += taken;
        }
        let rest = batch.num_rows() - taken;
        if rest == 0 {
            return;
        }
        self.last.push_back(batch.slice(taken, rest));
        self.last_rows += rest;
        while let Some(oldest) = self.last.front()
            && self.last_rows - oldest.num_rows() >= self.room
        {
            self.last_rows -= oldest.num_rows();
            self.last.pop_front();
        }
    }

    /// Whether there are more rows than are shown.
    pub fn is_cut(&self) -> bool {
        self.rows > self.room as u64
    }

    /// All rows so far, to be shown in another way; only before rows were forgotten.
    pub fn take(&mut self) -> Vec<RecordBatch> {
        let mut batches = std::mem::take(&mut self.first);
        batches.extend(std::mem::take(&mut self.last));
        batches
    }

    /// What is shown.
    pub fn draw(self) -> Result<String> {
        // Where rows are left out, a line says so.
        let (top, bottom) = match self.is_cut() {
            true => (self.room / 2, (self.room - 1) / 2),
            false => (self.first_rows, 0),
        };
        let all = concat_batches(&self.schema, self.first.iter().chain(&self.last))?;
        let rows = Rows {
            top: all.slice(0, top),
            bottom: all.slice(all.num_rows() - bottom, bottom),
            count: self.rows,
        };
        match self.look.expanded {
            true => expanded::draw(&rows, self.screen),
            false => table::draw(&rows, self.look, self.screen),
        }
    }
}
