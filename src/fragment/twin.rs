//! The CPU twins of the fused kernels: the same tuples from the same arenas, one after another.

use std::sync::Arc;

use super::arena::{self, H_ROWS, T_MARKS};
use super::join::{self, Lookup};
use super::key::Packing;
use super::spec::{Aggregation, Input, JoinKind, Key, Pipeline, Probe, Step, Table};
use super::text::Drive;
use super::values::{NIL, load};
use crate::expr::eval::{Env, LookupEntry, eval};
use crate::expr::ir::Expr;

/// A pipeline as its twins see it.
#[derive(Clone)]
pub struct TwinPipeline {
    pub pipeline: Arc<Pipeline>,
    pub tables: Arc<Vec<Table>>,
    pub drive: Drive,
}

/// The arenas of one dispatch.
pub struct Arenas<'a> {
    pub slot: &'a [u32],
    /// By table number; empty where the pipeline does not probe it.
    pub tables: Vec<&'a [u32]>,
    pub marks: &'a mut [u32],
    pub faults: u32,
    /// Tuples counted.
    pub tuples: u32,
}

/// The rows of one tuple.
#[derive(Clone)]
struct Tuple {
    row: u32,
    builds: Vec<u32>,
}

struct Row<'a> {
    job: &'a TwinPipeline,
    slot: &'a [u32],
    tables: &'a [&'a [u32]],
    tuple: &'a Tuple,
}

impl Env for Row<'_> {
    fn input(&self, index: usize) -> Option<u128> {
        match self.job.pipeline.inputs[index] {
            Input::Probed { table } => {
                Some(u128::from(self.job.drive.probed(&self.job.pipeline, table)))
            }
            Input::Slot(column) => {
                load(self.slot, column, &self.job.pipeline.columns[column], self.tuple.row)
            }
            Input::Table { table, column } => {
                let spec = &self.job.tables[table].columns[column];
                load(self.tables[table], column, spec, self.tuple.builds[table])
            }
        }
    }

    fn lookup(&self, table: usize, code: u32) -> LookupEntry {
        let spec = &self.job.pipeline.lookups[table];
        let at = self.slot[arena::lookups_at(self.job.pipeline.columns.len()) + table] as usize;
        let stride = self.slot[at] as usize;
        let word = |word: usize| self.slot[at + 1 + word * stride + code as usize];
        let value = (0..spec.rep.words()).fold(0, |v, w| v | (word(w) as u128) << (32 * w));
        let flags = word(spec.rep.words());
        LookupEntry { value, valid: flags & 1 == 1, failed: flags & 2 == 2 }
    }
}

/// What a sink may ask about a tuple.
pub struct Found<'a, 'b> {
    row: &'b Row<'a>,
    faults: &'b mut u32,
}

impl Found<'_, '_> {
    pub fn eval(&mut self, expr: &Expr) -> Option<u128> {
        eval(expr, self.row, self.faults)
    }

    /// The row of the slot (`None`) or of a table; `NIL` where there is none.
    pub fn row_of(&self, table: Option<usize>) -> u32 {
        table.map_or(self.row.tuple.row, |table| self.row.tuple.builds[table])
    }

    /// True if the aggregate's filter lets the tuple in.
    pub fn passes(&mut self, filter: &Option<Expr>) -> bool {
        filter.as_ref().is_none_or(|filter| self.eval(filter) == Some(1))
    }

    /// Updates all accumulators of one state.
    pub fn update(&mut self, aggregation: &Aggregation, state: &mut [u32]) {
        let mut at = 0;
        for fold in &aggregation.folds {
            let words = fold.acc.words();
            if self.passes(&fold.filter) {
                let value = match &fold.arg {
                    Some(arg) => self.eval(arg),
                    None => Some(1),
                };
                fold.acc.update(&mut state[at..at + words], value);
            }
            at += words;
        }
    }

    /// The packed limbs of the keys; `None` where they do not fit.
    pub fn limbs(&mut self, keys: &[Key], packing: &Packing) -> Option<Vec<u32>> {
        let values: Vec<_> = keys.iter().map(|key| self.eval(&key.expr)).collect();
        packing.pack(keys, &values)
    }
}

impl TwinPipeline {
    /// Rows that drive the kernel.
    pub fn row_count(&self, arenas: &Arenas<'_>) -> u32 {
        match self.drive {
            Drive::Slot => arenas.slot[H_ROWS],
            Drive::Tail(table) => arenas.tables[table][H_ROWS],
        }
    }

    /// Calls `sink` for each tuple of `row`, in the kernel's order.
    pub fn process(&self, arenas: &mut Arenas<'_>, row: u32, sink: &mut dyn FnMut(&mut Found)) {
        let mut tuple = Tuple { row, builds: vec![NIL; self.tables.len()] };
        let mut first = 0;
        if let Drive::Tail(table) = self.drive {
            tuple = Tuple { row: NIL, builds: vec![NIL; self.tables.len()] };
            tuple.builds[table] = row;
            first = self.pipeline.step_of(table).map_or(0, |at| at + 1);
            let semi = self
                .pipeline
                .probes()
                .any(|probe| probe.table == table && probe.kind == JoinKind::LeftSemi);
            let at = arenas.tables[table][T_MARKS] as usize + row as usize / 32;
            let marked = (arenas.marks[at] >> (row % 32)) & 1 == 1;
            if marked != semi {
                return;
            }
        }
        self.steps(arenas, &tuple, first, sink);
    }

    fn eval(&self, arenas: &mut Arenas<'_>, tuple: &Tuple, expr: &Expr) -> Option<u128> {
        let row = Row { job: self, slot: arenas.slot, tables: &arenas.tables, tuple };
        eval(expr, &row, &mut arenas.faults)
    }

    fn steps(
        &self,
        arenas: &mut Arenas<'_>,
        tuple: &Tuple,
        at: usize,
        sink: &mut dyn FnMut(&mut Found),
    ) {
        match self.pipeline.steps.get(at) {
            None => {
                let Arenas { slot, tables, faults, .. } = arenas;
                let row = Row { job: self, slot, tables, tuple };
                sink(&mut Found { row: &row, faults });
            }
            Some(Step::Filter(predicate)) => {
                if self.eval(arenas, tuple, predicate) == Some(1) {
                    self.steps(arenas, tuple, at + 1, sink);
                }
            }
            Some(Step::Probe(probe)) => self.probe(arenas, tuple, probe, at, sink),
        }
    }

    fn probe(
        &self,
        arenas: &mut Arenas<'_>,
        tuple: &Tuple,
        probe: &Probe,
        at: usize,
        sink: &mut dyn FnMut(&mut Found),
    ) {
        let keys: Vec<_> = probe.keys.iter().map(|key| self.eval(arenas, tuple, key)).collect();
        let matches = self.matches(arenas, tuple, probe, &keys);
        if probe.kind.marks() {
            let base = arenas.tables[probe.table][T_MARKS] as usize;
            for row in &matches {
                arenas.marks[base + *row as usize / 32] |= 1 << (row % 32);
            }
        }
        let mut next = tuple.clone();
        match probe.kind {
            JoinKind::LeftSemi | JoinKind::LeftAnti => {}
            JoinKind::RightSemi | JoinKind::RightAnti => {
                if matches.is_empty() == (probe.kind == JoinKind::RightAnti) {
                    self.steps(arenas, &next, at + 1, sink);
                }
            }
            JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => {
                for row in &matches {
                    next.builds[probe.table] = *row;
                    self.steps(arenas, &next, at + 1, sink);
                }
                if matches.is_empty() && matches!(probe.kind, JoinKind::Right | JoinKind::Full) {
                    next.builds[probe.table] = NIL;
                    self.steps(arenas, &next, at + 1, sink);
                }
            }
        }
    }

    /// Build rows that match, in the order of the index.
    fn matches(
        &self,
        arenas: &mut Arenas<'_>,
        tuple: &Tuple,
        probe: &Probe,
        keys: &[Option<u128>],
    ) -> Vec<u32> {
        if !probe.null_equals_null && keys.iter().any(Option::is_none) {
            return Vec::new();
        }
        let (words, table) = (arenas.tables[probe.table], &self.tables[probe.table]);
        let mut rows = join::find(words, table, Lookup::of(probe), keys);
        if let Some(residual) = &probe.residual {
            let mut tuple = tuple.clone();
            rows.retain(|row| {
                tuple.builds[probe.table] = *row;
                self.eval(arenas, &tuple, residual) == Some(1)
            });
        }
        rows
    }
}
