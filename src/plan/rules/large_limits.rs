//! The rule: ORDER BY with a large LIMIT or OFFSET is a sort, which spills to the disk, with a
//! limit above it. DataFusion keeps as many rows in memory as the limit says, however many.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::sorts::sort::SortExec;

/// Rows above which keeping the first of them is no cheaper than sorting all.
const MANY_ROWS: usize = 1 << 20;

/// Makes sorts with a large limit sorts without one.
#[derive(Debug)]
pub struct LargeLimits;

impl PhysicalOptimizerRule for LargeLimits {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(sort) = node.downcast_ref::<SortExec>() else {
                return Ok(Transformed::no(node));
            };
            let Some(rows) = sort.fetch().filter(|rows| *rows > MANY_ROWS) else {
                return Ok(Transformed::no(node));
            };
            let partitions = sort.preserve_partitioning();
            let all = SortExec::new(sort.expr().clone(), Arc::clone(sort.input()));
            let all = Arc::new(all.with_preserve_partitioning(partitions));
            let first: Arc<dyn ExecutionPlan> = match partitions {
                true => Arc::new(LocalLimitExec::new(all, rows)),
                false => Arc::new(GlobalLimitExec::new(all, 0, Some(rows))),
            };
            Ok(Transformed::yes(first))
        })
        .data()
    }

    fn name(&self) -> &str {
        "large_limits"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
