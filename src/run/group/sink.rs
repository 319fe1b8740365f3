//! What a grouped aggregation keeps from slot to slot.

use std::sync::Arc;

use super::table::Table;
use crate::fragment::key::Packing;
use crate::fragment::spec::{Aggregation, Key};
use crate::kernel::Shape;
use crate::run::runner::{Runner, Sender};
use crate::run::stats::Stats;

pub struct GroupSink<'a> {
    pub(super) runner: &'a Runner,
    pub(super) keys: Arc<Vec<Key>>,
    pub(super) aggregation: Arc<Aggregation>,
    pub(super) shape: Option<Shape>,
    /// How keys are packed; `None` until their ranges are known.
    pub(super) packing: Option<Arc<Packing>>,
    pub(super) table: Option<Table>,
    /// Tables that take in no more rows: their groups are merged with the others' on the host.
    pub(super) retired: Vec<Table>,
    /// Number of the table that slots are played on now.
    pub(super) lot: usize,
    /// Entries of the next hash table.
    pub(super) entries: u32,
    pub(super) out: &'a Sender,
}

impl<'a> GroupSink<'a> {
    pub fn new(
        runner: &'a Runner,
        keys: Arc<Vec<Key>>,
        aggregation: Arc<Aggregation>,
        out: &'a Sender,
    ) -> Self {
        let entries = runner.limits.group_entries;
        Self {
            runner,
            keys,
            aggregation,
            shape: None,
            packing: None,
            table: None,
            retired: Vec::new(),
            lot: 0,
            entries,
            out,
        }
    }

    /// Codes of a domain so far, NULL's included.
    pub(super) fn codes(&self, domain: usize) -> u32 {
        self.runner.interners[domain].read().len() as u32 + 1
    }

    /// Puts the table aside; the next slot gets a new one.
    pub(super) fn retire(&mut self) {
        Stats::add(&self.runner.stats.table_flushes, 1);
        self.lot += 1;
        self.retired.extend(self.table.take());
    }
}
