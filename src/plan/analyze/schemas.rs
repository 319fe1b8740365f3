//! Schemas of plans whose expressions are changed.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{LogicalPlan, TableScan};

/// The columns that the expressions of a node may name.
pub fn visible(node: &LogicalPlan) -> Result<DFSchema> {
    let mut schema = merge_schema(&node.inputs());
    if let LogicalPlan::TableScan(TableScan { table_name, source, .. }) = node {
        schema.merge(&DFSchema::try_from_qualified_schema(table_name.clone(), &source.schema())?);
    }
    Ok(schema)
}

/// A plan whose nodes know the schemas of their changed inputs.
pub fn with_schemas(changed: Transformed<LogicalPlan>) -> Result<LogicalPlan> {
    if !changed.transformed {
        return Ok(changed.data);
    }
    let computed = |plan: LogicalPlan| plan.recompute_schema().map(Transformed::yes);
    Ok(changed.data.transform_up_with_subqueries(computed)?.data)
}
