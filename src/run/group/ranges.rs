//! How many bits keys need: the ranges of the first slot's values, found on the device.

use std::sync::Arc;

use arrow::datatypes::Schema;

use super::{GroupSink, merge_state};
use crate::agg::{Acc, StateColumn};
use crate::error::Result;
use crate::fragment::arena;
use crate::fragment::key::{Packing, Range, has_range};
use crate::fragment::spec::{Aggregation, Fold};
use crate::kernel::reduce;
use crate::record::{Buffer, Command};
use crate::run::pipeline::{Joins, Slot, download_status};

/// The lot of a slot whose ranges are looked for.
pub const RANGES: usize = usize::MAX;

impl GroupSink<'_> {
    /// How the keys are packed; `None` where a slot of so many rows is to tell.
    pub(super) fn packing_for(&mut self, rows: u32) -> Option<Arc<Packing>> {
        let unknown = self.keys.iter().any(has_range) && rows >= self.runner.limits.range_rows;
        if self.packing.is_none() && !unknown {
            let packing = Packing::coded(&self.keys, &|domain| self.codes(domain));
            self.packing = Some(Arc::new(packing));
        }
        self.packing.clone()
    }

    /// The least and the largest value of each key that has a range.
    fn extremes(&self) -> Aggregation {
        let keys = self.keys.iter().filter(|key| has_range(key));
        let fold = |(key, max): (&crate::fragment::spec::Key, bool)| Fold {
            acc: Acc::Best { rep: key.expr.rep, max },
            arg: Some(key.expr.clone()),
            filter: None,
        };
        let folds = keys.flat_map(|key| [(key, false), (key, true)]).map(fold).collect();
        let (aggregates, schema) = (Vec::new(), Arc::new(Schema::empty()));
        Aggregation { folds, aggregates, partial: false, schema }
    }

    /// The commands that find the ranges of a slot's keys.
    pub(super) fn record_ranges(&self, slot: &mut Slot, joins: &Joins) -> Result<Vec<Command>> {
        let Some(shape) = &self.shape else { return Ok(Vec::new()) };
        let extremes = Arc::new(self.extremes());
        let groups = slot.header[arena::H_GROUPS];
        let bytes = 4 * groups as u64 * extremes.words() as u64;
        let partials: Buffer = self.runner.player.buffer(bytes, "ranges of keys")?;
        let bindings = joins.bind(slot, std::slice::from_ref(&partials));
        slot.lot = RANGES;
        slot.own = vec![partials.clone()];
        Ok(vec![
            Command::Dispatch { program: reduce::program(shape, &extremes), bindings, groups },
            download_status(slot),
            Command::Download { buffer: partials, range: 0..bytes },
        ])
    }

    /// Decides how keys are packed, by the ranges of a slot's workgroups.
    pub(super) fn narrow(&mut self, partials: &[u32]) -> Result<()> {
        let extremes = self.extremes();
        let mut state = vec![0; extremes.words()];
        for partial in partials.chunks_exact(state.len()) {
            merge_state(&extremes, &mut state, partial);
        }
        let columns = StateColumn::of_rows(&extremes.accs(), &state, state.len(), 0)?;
        let value = |column: &StateColumn| {
            let words = column.seen().next().flatten()?;
            Some(words.iter().rev().fold(0, |bits, word| bits << 32 | u128::from(*word)))
        };
        let mut found = columns.chunks_exact(2).map(|pair| value(&pair[0]).zip(value(&pair[1])));
        let range = |key| if has_range(key) { found.next().flatten() } else { None };
        let ranges: Vec<Range> = self.keys.iter().map(range).collect();
        let packing = Packing::narrow(&self.keys, &ranges, &|domain| self.codes(domain));
        self.packing = Some(Arc::new(packing));
        Ok(())
    }
}
