//! `thalweg.float_sum`.

use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::AnalyzerRule;

use crate::agg::udaf::{Change, changed};
use crate::plan::options::SqlOptions;

/// With `thalweg.float_sum = 'fast'`, DataFusion's own float sums instead of the reproducible ones.
#[derive(Debug)]
pub struct FloatSums;

impl AnalyzerRule for FloatSums {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        match SqlOptions::of(config).float_sum.as_str() {
            "exact" => Ok(plan),
            "fast" => changed(plan, Change::FastFloats),
            other => Err(DataFusionError::Configuration(format!(
                "thalweg.float_sum = '{other}': exact or fast"
            ))),
        }
    }

    fn name(&self) -> &str {
        "float_sums"
    }
}
