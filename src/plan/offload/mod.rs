//! Which parts of a plan the device runs: the rule that places them, what becomes of a subtree as a
//! fragment, and the nodes that stand for it.

mod describe;
pub mod dictionaries;
pub mod exec;
mod lower;
pub mod measured;
pub mod place;
pub mod rule;
mod scans;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

/// How many rows a plan gives, as far as that is known.
fn known_rows(plan: &dyn ExecutionPlan) -> Option<u64> {
    let found = StatisticsContext::new().compute(plan, &StatisticsArgs::new()).ok()?;
    found.num_rows.get_value().map(|rows| *rows as u64)
}
