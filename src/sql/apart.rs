//! Aggregates over one column, one of them with a CAST, are two columns.
//!
//! DataFusion leaves a CAST out of the names of expressions, so that `sum(v)` and `sum(CAST(v AS
//! DOUBLE))` have one name and cannot stand in one plan. A statement that cannot be planned for
//! that is planned again with the casts in the names; all others keep the names that they have.

use std::future::Future;

use datafusion::common::{DataFusionError, Result, SchemaError};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawWindowExpr,
};
use datafusion::logical_expr::{Expr, LogicalPlan};

tokio::task_local! {
    /// Set while a statement is planned with casts in names.
    static APART: ();
}

/// Plans a statement, once more with the casts in names where names collide.
pub async fn planned<F>(plan: impl Fn() -> F) -> Result<LogicalPlan>
where
    F: Future<Output = Result<LogicalPlan>>,
{
    match plan().await {
        Err(error) if collide(&error) => APART.scope((), plan()).await,
        done => done,
    }
}

fn collide(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::SchemaError(error, _) => {
            matches!(**error, SchemaError::DuplicateUnqualifiedField { .. })
        }
        DataFusionError::Plan(text) => text.contains("require unique expression names"),
        _ => false,
    }
}

/// Names the casts of arguments.
#[derive(Debug)]
pub struct Apart;

impl ExprPlanner for Apart {
    fn plan_aggregate(&self, mut raw: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        let keys = raw.order_by.iter_mut().map(|key| &mut key.expr);
        name(raw.args.iter_mut().chain(keys).chain(raw.filter.as_deref_mut()));
        Ok(PlannerResult::Original(raw))
    }

    fn plan_window(&self, mut raw: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        let keys = raw.order_by.iter_mut().map(|key| &mut key.expr);
        let keys = keys.chain(raw.partition_by.iter_mut());
        name(raw.args.iter_mut().chain(keys).chain(raw.filter.as_deref_mut()));
        Ok(PlannerResult::Original(raw))
    }
}

fn name<'a>(exprs: impl Iterator<Item = &'a mut Expr>) {
    if APART.try_with(|()| ()).is_err() {
        return;
    }
    for expr in exprs {
        let casts = |expr: &Expr| Ok(matches!(expr, Expr::Cast(_) | Expr::TryCast(_)));
        if datafusion::common::tree_node::TreeNode::exists(expr, casts).unwrap_or(false) {
            let name = expr.to_string();
            *expr = std::mem::take(expr).alias(name);
        }
    }
}
