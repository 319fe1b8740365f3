//! A whole subtree as one fragment.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;

use super::{Lowered, Lowering, aggregate};
use crate::device::FloatExactness;
use crate::error::Declined;
use crate::fragment::spec::Sink;

/// Lowers the subtree: an aggregate, a join, a filter, or a projection of one.
pub fn fragment(
    plan: &Arc<dyn ExecutionPlan>,
    floats: FloatExactness,
) -> Result<Lowered, Declined> {
    let mut lowering =
        Lowering { floats, sources: Vec::new(), tables: Vec::new(), domains: Vec::new() };
    let (stage, sink) = match aggregate::lower(&mut lowering, plan)? {
        Some(done) => done,
        None => {
            let mut stage = lowering.stage(plan)?;
            if stage.steps.is_empty() {
                return Err(Declined::new("nothing to do for the device"));
            }
            let outputs = lowering.outputs(&mut stage)?;
            let schema = stage.output.clone();
            (stage, Sink::Select { outputs, schema })
        }
    };
    lowering.finish(stage, sink)
}
