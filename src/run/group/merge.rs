//! Groups on the host: of small tables, and of several that are merged.

use std::collections::HashMap;

use arrow::array::ArrayRef;

use super::sink::GroupSink;
use super::table::Table;
use crate::agg::StateColumn;
use crate::error::{Error, Result};
use crate::fragment::key::Packing;
use crate::fragment::spec::Aggregation;
use crate::record::{Command, Recording};
use crate::run::aggregate::{aggregate_columns, merge_state};
use crate::run::column;

/// Limbs of the keys and states, one group after another.
#[derive(Default)]
pub struct Groups {
    limbs: Vec<u32>,
    states: Vec<u32>,
    pub count: usize,
    /// Built when a second table's groups arrive.
    index: Option<HashMap<Box<[u32]>, usize>>,
}

impl Groups {
    fn add(&mut self, aggregation: &Aggregation, limbs: &[u32], state: &[u32]) {
        let found = self.index.as_ref().and_then(|index| index.get(limbs).copied());
        if let Some(group) = found {
            let at = group * state.len();
            merge_state(aggregation, &mut self.states[at..at + state.len()], state);
            return;
        }
        if let Some(index) = &mut self.index {
            index.insert(limbs.into(), self.count);
        }
        self.limbs.extend_from_slice(limbs);
        self.states.extend_from_slice(state);
        self.count += 1;
    }

    /// Before a second table: finds the groups of the first.
    fn index(&mut self, limbs: usize) {
        if self.index.is_none() && self.count > 0 {
            let keys = self.limbs.chunks_exact(limbs).enumerate();
            self.index = Some(keys.map(|(group, key)| (key.into(), group)).collect());
        }
    }
}

impl GroupSink<'_> {
    /// Brings a whole table down and adds its groups.
    pub(super) async fn merge(&self, table: &Table, groups: &mut Groups) -> Result<()> {
        let download = Command::Download { buffer: table.buffer.clone(), range: 0..table.bytes() };
        let recording = Recording { label: "groups".into(), commands: vec![download] };
        let completed = self.runner.player.submit(recording).await?;
        self.runner.stats.completed(&completed);
        let full = Packing::full(&self.keys);
        groups.index(full.limbs());
        let cells = self.cells();
        let head = table.groups.head() * cells.words;
        let entries = completed.downloads[0].chunks_exact(table.entry_words);
        for (number, entry) in entries.enumerate().filter(|(_, entry)| entry[0] != 0) {
            let values = table.groups.keys(&self.keys, number, entry);
            let limbs = full.pack(&self.keys, &values);
            let limbs = limbs.ok_or_else(|| Error::Bug("a group whose keys do not fit".into()))?;
            let states = cells.read(&self.aggregation, &entry[head..]);
            groups.add(&self.aggregation, &limbs, &states);
        }
        Ok(())
    }

    /// Output columns of groups on the host.
    pub(super) fn arrays(&self, groups: &Groups) -> Result<Vec<ArrayRef>> {
        let full = Packing::full(&self.keys);
        let mut columns: Vec<Vec<Option<u128>>> =
            self.keys.iter().map(|_| Vec::with_capacity(groups.count)).collect();
        for limbs in groups.limbs.chunks_exact(full.limbs()) {
            for (column, value) in columns.iter_mut().zip(full.unpack(&self.keys, limbs)) {
                column.push(value);
            }
        }
        let arrays = self.keys.iter().zip(columns).map(|(key, bits)| match key.domain {
            Some(domain) => {
                let codes: Vec<u32> = bits.iter().map(|b| b.unwrap_or(0) as u32).collect();
                self.runner.interners[domain].read().decode(&codes, &key.data_type)
            }
            None => column::from_bits(&bits, &key.data_type),
        });
        let mut arrays = arrays.collect::<Result<Vec<_>>>()?;
        let accs = self.aggregation.accs();
        let states = StateColumn::of_rows(&accs, &groups.states, self.aggregation.words(), 0)?;
        arrays.extend(aggregate_columns(&self.aggregation, &states)?);
        Ok(arrays)
    }
}
