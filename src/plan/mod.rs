//! SQL to plans: the session, our rule's place among DataFusion's, the device node.

mod aggregate;
mod analyze;
mod beside;
mod by_name;
mod date_bin;
mod describe;
mod exec;
pub mod files;
mod floats;
mod functions;
pub mod guard;
mod in_order;
mod large_limits;
mod lower;
mod measured;
pub mod memory;
mod options;
mod place;
mod rule;
mod scans;
mod session;
mod zoned_types;

pub use beside::beside;
pub use date_bin::date_bin;
pub use exec::{CpuExec, DeviceExec, played_by};
pub use functions::dates::is_unit;
pub use measured::Measured;
pub use options::SqlOptions;
pub use place::{Decision, Side};
pub use rule::for_each_side;
pub use session::{session, session_with};

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;

/// What was decided about the parts of a plan.
pub fn decisions(plan: &Arc<dyn ExecutionPlan>) -> Vec<Decision> {
    let own = plan.downcast_ref::<DeviceExec>().map(DeviceExec::decision);
    let own = own.or_else(|| plan.downcast_ref::<CpuExec>().map(CpuExec::decision));
    let below = plan.children().into_iter().flat_map(decisions);
    own.cloned().into_iter().chain(below).collect()
}
