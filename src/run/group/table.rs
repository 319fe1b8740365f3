//! A group table on the device, and the programs that are played on it.

use std::sync::Arc;

use crate::fragment::compact::Entries;
use crate::kernel::group_hash::{Entry, Rounds};
use crate::kernel::{group_dense, group_hash, settle};
use crate::record::{Buffer, Program};

/// One dispatch of a slot's rounds.
#[derive(Clone)]
pub enum Step {
    Rows(Arc<Program>),
    Entries(Arc<Program>),
}

pub struct Table {
    pub buffer: Buffer,
    /// Entries, a power of two.
    pub entries: u32,
    /// How an entry holds its group.
    pub groups: Entries,
    /// Of a hash table.
    pub entry: Entry,
    pub entry_words: usize,
    /// Rows that were played on it, again where they were.
    pub rows: u64,
    /// True until the first slot's recording has cleared it.
    pub fresh: bool,
    pub steps: Vec<Step>,
    /// The same for rows that were put down; empty until there are any.
    pub replay: Vec<Step>,
}

impl Table {
    pub fn bytes(&self) -> u64 {
        table_bytes(self.entries, self.entry_words)
    }
}

/// Bytes of a table of so many entries.
pub fn table_bytes(entries: u32, entry_words: usize) -> u64 {
    4 * entries as u64 * entry_words as u64
}

/// The programs of all rounds, in order.
pub fn steps(rounds: &Rounds<'_>, numbered: bool, entry: Entry) -> Vec<Step> {
    let Rounds { shape, aggregation, .. } = rounds;
    let cells = rounds.cells();
    let sizes = if numbered { (1, 1 + cells.count) } else { (entry.head, entry.cells) };
    let mut steps = Vec::new();
    for round in 1..=cells.rounds(aggregation) {
        let mut variant = rounds.variant(round);
        steps.push(Step::Rows(if numbered {
            shape.program(&group_dense::KERNEL, &variant, || group_dense::program(rounds, round))
        } else {
            variant.push(u32::from(entry.identity));
            let make = || group_hash::program(rounds, entry, round);
            shape.program(&group_hash::KERNEL, &variant, make)
        }));
        let variant = [round, sizes.0 as u32, sizes.1 as u32];
        let settled = shape.program_if_any(&settle::KERNEL, &variant, || {
            settle::program(&shape.linker, aggregation, &cells, sizes, round)
        });
        steps.extend(settled.map(Step::Entries));
    }
    steps
}
