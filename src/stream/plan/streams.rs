//! The streams that a plan reads.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;

use super::subquery;
use crate::error::Result;
use crate::stream::log::definition::Stream;
use crate::stream::log::table::StreamTable;

/// The streams that a plan reads, each once.
pub fn streams(plan: &LogicalPlan) -> Result<Vec<Arc<Stream>>> {
    let mut streams: Vec<Arc<Stream>> = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = StreamTable::of(&scan.source)
            && !streams.iter().any(|known| known.name == table.stream.name)
        {
            streams.push(table.stream.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(streams)
}

/// Whether a plan reads any.
pub fn reads_stream(plan: &LogicalPlan) -> Result<bool> {
    Ok(subquery::reads_stream(plan)?)
}
