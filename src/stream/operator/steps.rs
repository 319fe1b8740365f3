//! The steps of an aggregate, each a plan over slots.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::ExecutionPlan;

use crate::error::{Error, Result};
use crate::stream::exec::adaptive::SlotPlan;
use crate::stream::exec::input::{Slot, SlotExec};

/// An aggregate in its three steps.
pub struct Steps {
    /// Rows to states.
    pub partial: SlotPlan,
    /// States to fewer states: one row per group.
    pub reduce: (Slot, SlotPlan),
    /// States to result rows.
    pub finish: (Slot, SlotPlan),
    /// Of the states.
    pub states: SchemaRef,
    /// How many columns of the states are groups.
    pub groups: usize,
    /// Where rows become groups on the CPU.
    pub rows: Option<Rows>,
}

impl Steps {
    /// The index of a group among the columns of the states.
    pub fn group(&self, name: &str) -> Result<usize> {
        let named = |at: &usize| self.states.field(*at).name() == name;
        (0..self.groups)
            .find(named)
            .ok_or_else(|| Error::Bug(format!("the group column {name} is not in the states")))
    }
}

/// The rows of an aggregate before they are groups.
pub struct Rows {
    /// What they come from.
    pub plan: SlotPlan,
    /// Rows to states.
    pub partial: (Slot, SlotPlan),
    /// The aggregate's rows to result rows.
    pub above: (Slot, SlotPlan),
    /// The aggregate.
    pub aggregate: Arc<dyn ExecutionPlan>,
}

/// A leaf and the slot that it reads.
pub fn filled(schema: &SchemaRef, what: &str) -> Result<(Slot, Arc<dyn ExecutionPlan>)> {
    let slot = Slot::default();
    let leaf = SlotExec::new(slot.clone(), schema.clone(), None, what.to_string())?;
    Ok((slot, Arc::new(leaf)))
}
