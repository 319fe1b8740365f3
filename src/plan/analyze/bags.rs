//! EXCEPT ALL and INTERSECT ALL count the copies of a row.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{NullEquality, Result};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::{
    Distinct, Expr, ExprFunctionExt, Join, JoinConstraint, JoinType, LogicalPlan,
    LogicalPlanBuilder, col,
};
use datafusion::optimizer::AnalyzerRule;

/// DataFusion plans both as a semi or an anti join over all columns, which keeps or drops all
/// copies of a row at once. Here each side numbers its copies, and the join is over the numbers
/// too: the first copy is taken off the first, the second off the second.
///
/// It stands behind the coercion of types, so that copies are those of the values compared.
#[derive(Debug)]
pub struct Bags;

impl AnalyzerRule for Bags {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let counted = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Join(join) if is_of_bags(&join) => counted(join).map(Transformed::yes),
            plan => Ok(Transformed::no(plan)),
        })?;
        Ok(counted.data)
    }

    fn name(&self) -> &str {
        "bags"
    }
}

/// The number of a copy, left and right.
const COPIES: [&str; 2] = ["__copy_left", "__copy_right"];

/// Whether a join stands for EXCEPT ALL or INTERSECT ALL. Nothing else is planned as a join in
/// which NULLs are equal before plans are optimized; without ALL, the left rows are distinct, and
/// there is nothing to count.
fn is_of_bags(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftAnti | JoinType::LeftSemi)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(Distinct::All(_)))
        && !join.on.iter().any(|(left, _)| *left == col(COPIES[0]))
}

fn counted(join: Join) -> Result<LogicalPlan> {
    let Join { left, right, mut on, join_type, null_equality, null_aware, .. } = join;
    let columns: Vec<Expr> = left.schema().columns().into_iter().map(Expr::Column).collect();
    let (lefts, rights) = on.iter().cloned().unzip();
    let left = numbered(left, lefts, COPIES[0])?;
    let right = numbered(right, rights, COPIES[1])?;
    on.push((col(COPIES[0]), col(COPIES[1])));
    let join = Join::try_new(
        left,
        right,
        on,
        None,
        join_type,
        JoinConstraint::On,
        null_equality,
        null_aware,
    )?;
    LogicalPlanBuilder::from(LogicalPlan::Join(join)).project(columns)?.build()
}

/// Rows with the number of each among those of the same values.
fn numbered(rows: Arc<LogicalPlan>, keys: Vec<Expr>, name: &str) -> Result<Arc<LogicalPlan>> {
    let number = row_number().partition_by(keys).build()?.alias(name);
    LogicalPlanBuilder::from(rows).window([number])?.build().map(Arc::new)
}
