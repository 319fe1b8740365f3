//! A column and its CAST, and aggregates over one column, one of them with a CAST, are two columns.
//!
//! DataFusion leaves a CAST out of the names of expressions, so that `v` and `CAST(v AS DOUBLE)`
//! have one name and cannot stand in one plan. A statement that cannot be planned for that is
//! planned again with the casts in the names; all others keep the names that they have. So is one
//! that has a column twice, as `SELECT *, v` does: the second one is `v_1`.

use std::future::Future;
use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, Result, SchemaError};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawWindowExpr,
};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    self, Ident, Query, SelectItem, SetExpr, VisitorMut, visit_expressions,
};

use crate::error::foreign::datafusion::is_of_one_name;
use crate::sql::parse;

tokio::task_local! {
    /// Set while a statement is planned with casts in names.
    static APART: ();
}

/// Plans a statement, once more with the casts in names where names collide.
pub async fn planned<F>(
    mut statement: Statement,
    plan: impl Fn(Statement) -> F,
) -> Result<LogicalPlan>
where
    F: Future<Output = Result<LogicalPlan>>,
{
    match plan(statement.clone()).await {
        Err(error) if collide(&error) => {
            let _ = parse::visit(&mut statement, &mut Columns);
            APART.scope((), plan(statement)).await
        }
        done => done,
    }
}

/// Names the columns of queries that have a CAST as the statement has them, and numbers those that
/// come again.
struct Columns;

impl VisitorMut for Columns {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        name_columns(&mut query.body);
        ControlFlow::Continue(())
    }
}

fn name_columns(body: &mut SetExpr) {
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::SetOperation { left, right, .. } => {
            name_columns(left);
            return name_columns(right);
        }
        _ => return,
    };
    let all = |item: &SelectItem| {
        matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
    };
    let starred = select.projection.iter().any(all);
    let mut met: Vec<ast::Expr> = Vec::new();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let column = column_name(expr);
        // A column beside `*` is likely one of those.
        let before = usize::from(starred && column.is_some());
        let times = before + met.iter().filter(|other| may_be_same(expr, other)).count();
        let name = match (times, column) {
            (0, _) if has_cast(expr) => Some(expr.to_string()),
            (0, _) => None,
            (times, Some(column)) => Some(format!("{column}_{times}")),
            (times, None) => Some(format!("{expr}_{times}")),
        };
        met.push(expr.clone());
        if let Some(name) = name {
            let alias = Ident::with_quote('"', name);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// The name of a column that stands alone.
fn column_name(expr: &ast::Expr) -> Option<&str> {
    match expr {
        ast::Expr::Identifier(name) => Some(&name.value),
        ast::Expr::CompoundIdentifier(parts) => parts.last().map(|name| name.value.as_str()),
        _ => None,
    }
}

/// Whether two expressions are the same, or columns of which one does not say its table.
fn may_be_same(one: &ast::Expr, other: &ast::Expr) -> bool {
    let bare = |expr: &ast::Expr| matches!(expr, ast::Expr::Identifier(_));
    let named = column_name(one).is_some() && column_name(one) == column_name(other);
    one == other || (named && (bare(one) || bare(other)))
}

fn has_cast(expr: &ast::Expr) -> bool {
    let found = visit_expressions(expr, |expr| match expr {
        ast::Expr::Cast { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

fn collide(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::SchemaError(error, _) => {
            matches!(**error, SchemaError::DuplicateUnqualifiedField { .. })
        }
        DataFusionError::Plan(text) => is_of_one_name(text),
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
