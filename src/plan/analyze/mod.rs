//! Rules over logical plans: where DataFusion gives an answer that the SQL standard, the format of
//! a file and other engines agree is wrong, a rule here gives the right one on both sides.
//!
//! One file a rule. `docs/differences.md` lists them; `tests/it/differences` holds the right
//! answers, and fails when DataFusion has mended a fault, so that its rule can go.

mod bags;
mod decimals;
mod float_sums;
mod floats;
mod guards;
mod intervals;
mod null_partitions;
pub mod operands;
mod schemas;
mod zones;

use std::sync::Arc;

use datafusion::optimizer::AnalyzerRule;

pub use operands::OperandPlanner;

type Rule = Arc<dyn AnalyzerRule + Send + Sync>;

/// Rules that see a plan as it was written, before operands are cast to common types.
pub fn before_coercion() -> Vec<Rule> {
    vec![Arc::new(operands::Operands), Arc::new(intervals::Intervals)]
}

/// Rules that see operands of common types.
pub fn after_coercion() -> Vec<Rule> {
    vec![
        Arc::new(float_sums::FloatSums),
        Arc::new(decimals::Decimals),
        Arc::new(zones::Zones),
        Arc::new(null_partitions::NullPartitions),
        Arc::new(floats::Floats),
        Arc::new(bags::Bags),
        // Last: what the others put in may raise as well.
        Arc::new(guards::Guards),
    ]
}
