//! The columns of a result that tell its rows apart.

use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};

use super::refuse::missing;
use crate::error::{Error, Result};

/// The columns of the result that tell the groups of the topmost aggregate apart, where rows
/// change.
pub fn upsert_keys(plan: &LogicalPlan) -> Result<Vec<String>> {
    let (groups, places) = group_columns(plan, false)?;
    keys(plan, groups, &places)
}

/// The same where each row is final.
pub fn group_keys(plan: &LogicalPlan) -> Result<Vec<String>> {
    let (groups, places) = group_columns(plan, true)?;
    keys(plan, groups, &places)
}

fn keys(plan: &LogicalPlan, groups: usize, places: &[Option<usize>]) -> Result<Vec<String>> {
    let schema = plan.schema();
    let place = |group: usize| places.iter().position(|place| *place == Some(group));
    let keys = (0..groups).map(|group| Some(schema.field(place(group)?).name().clone()));
    keys.collect::<Option<Vec<String>>>().ok_or_else(|| {
        Error::user(
            "EMIT ON UPDATE: a row that is given out again replaces the one with the same groups, \
             so SELECT every column of GROUP BY",
        )
    })
}

/// How many groups the topmost aggregate has, and which of them each column is.
fn group_columns(plan: &LogicalPlan, is_final: bool) -> Result<(usize, Vec<Option<usize>>)> {
    match plan {
        LogicalPlan::Aggregate(node) => {
            let groups = node.group_expr.len();
            let columns = 0..node.schema.fields().len();
            Ok((groups, columns.map(|at| (at < groups).then_some(at)).collect()))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let groups = input.schema().fields().len();
            Ok((groups, (0..groups).map(Some).collect()))
        }
        LogicalPlan::SubqueryAlias(node) => group_columns(&node.input, is_final),
        LogicalPlan::Projection(node) => {
            let (groups, below) = group_columns(&node.input, is_final)?;
            let place = |expr: &Expr| match expr.clone().unalias() {
                Expr::Column(column) => {
                    below[node.input.schema().maybe_index_of_column(&column)?]
                }
                _ => None,
            };
            Ok((groups, node.expr.iter().map(place).collect()))
        }
        LogicalPlan::Filter(node) if is_final => group_columns(&node.input, is_final),
        LogicalPlan::Filter(_) => Err(missing(
            "HAVING with EMIT ON UPDATE",
            "a group that no longer passes would need a retraction; filter when reading",
        )),
        other => Err(missing(
            format_args!("EMIT ON UPDATE over {}", other.display()),
            "it gives out again the rows of one aggregate",
        )),
    }
}

/// Whether a query gives out the rows of an aggregate.
pub fn changes(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => true,
        LogicalPlan::SubqueryAlias(node) => changes(&node.input),
        LogicalPlan::Projection(node) => changes(&node.input),
        LogicalPlan::Filter(node) => changes(&node.input),
        _ => false,
    }
}
