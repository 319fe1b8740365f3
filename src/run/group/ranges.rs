//! How many bits the keys of groups need, by the first slot's values.

use std::sync::Arc;

use super::sink::GroupSink;
use super::table::{Step, steps};
use crate::error::Result;
use crate::expr::ir::Rep;
use crate::fragment::arena;
use crate::fragment::key::{Packing, has_range};
use crate::fragment::spec::{Aggregation, Key};
use crate::kernel::Shape;
use crate::kernel::group_hash::Rounds;
use crate::record::{Buffer, Command, Program};
use crate::run::ranges;
use crate::run::sink::{Joins, Slot, download_status};

/// The lot of a slot whose ranges are looked for.
pub const RANGES: usize = usize::MAX;

/// The programs that slots will be given, as far as that is known before there are rows: the ranges
/// of integers and the number of strings tell how keys are packed.
pub fn programs_ahead(
    shape: &Shape,
    keys: &Arc<Vec<Key>>,
    aggregation: &Arc<Aggregation>,
) -> Vec<Arc<Program>> {
    if keys.iter().any(has_range) {
        return vec![ranges::program(shape, keys)];
    }
    if keys.iter().all(|key| key.expr.rep == Rep::B1 || key.domain.is_some()) {
        return Vec::new();
    }
    let packing = &Arc::new(Packing::full(keys));
    let rounds = Rounds { shape, keys, aggregation, packing, replay: false };
    let steps = steps(&rounds, false, rounds.entry()).into_iter();
    steps.map(|(Step::Rows(program) | Step::Entries(program))| program).collect()
}

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

    /// The commands that find the ranges of a slot's keys.
    pub(super) fn record_ranges(&self, slot: &mut Slot, joins: &Joins) -> Result<Vec<Command>> {
        let Some(shape) = &self.shape else { return Ok(Vec::new()) };
        let extremes = ranges::extremes(&self.keys);
        let groups = slot.header[arena::H_GROUPS];
        let bytes = 4 * groups as u64 * extremes.words() as u64;
        let partials: Buffer = self.runner.player.buffer(bytes, "ranges of keys")?;
        let bindings = joins.bind(slot, std::slice::from_ref(&partials));
        slot.lot = RANGES;
        slot.own = vec![partials.clone()];
        Ok(vec![
            Command::Dispatch { program: ranges::program(shape, &self.keys), bindings, groups },
            download_status(slot),
            Command::Download { buffer: partials, range: 0..bytes },
        ])
    }

    /// Decides how keys are packed, by the ranges of a slot's workgroups.
    pub(super) fn narrow(&mut self, partials: &[u32]) -> Result<()> {
        let ranges = ranges::read(&self.keys, partials)?;
        let packing = Packing::narrow(&self.keys, &ranges, &|domain| self.codes(domain));
        self.packing = Some(Arc::new(packing));
        Ok(())
    }
}
