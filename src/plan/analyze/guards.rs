//! CASE and AND guard what stands behind them, wherever plans are taken apart: see `guard`.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{AggregateFunction, Case};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, lit};
use datafusion::optimizer::AnalyzerRule;

use super::schemas::with_schemas;
use crate::plan::guard::{may_raise, of_join, ordered};

/// Binds what may raise to its guards before plans are optimized.
#[derive(Debug)]
pub struct Guards;

impl AnalyzerRule for Guards {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let bound = plan
            .transform_up_with_subqueries(|plan| expressions(plan)?.transform_data(conditions))?;
        with_schemas(bound)
    }

    fn name(&self) -> &str {
        "guards"
    }
}

/// Conditions whose parts may part ways: those over more than one table.
fn conditions(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Filter(mut filter) if !is_one_table(&filter.input)? => {
            let Some(predicate) = ordered(&filter.predicate, filter.input.schema(), true)? else {
                return Ok(Transformed::no(LogicalPlan::Filter(filter)));
            };
            filter.predicate = predicate;
            Ok(Transformed::yes(LogicalPlan::Filter(filter)))
        }
        LogicalPlan::Join(join) => of_join(join, true),
        plan => Ok(Transformed::no(plan)),
    }
}

/// Whether all conditions of a plan are put together before its one table.
fn is_one_table(plan: &LogicalPlan) -> Result<bool> {
    let other = plan.exists(|node| {
        Ok(!matches!(
            node,
            LogicalPlan::Projection(_)
                | LogicalPlan::Filter(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::Sort(_)
                | LogicalPlan::TableScan(_)
                | LogicalPlan::Values(_)
                | LogicalPlan::EmptyRelation(_)
        ))
    })?;
    Ok(!other)
}

fn expressions(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let bound = expr.transform_up(|node| match node {
            Expr::Case(case) if case.expr.is_none() => choice(case, &schema),
            Expr::AggregateFunction(function) => chosen(function, &schema),
            node => Ok(Transformed::no(node)),
        })?;
        Ok(bound.update_data(|expr| name.restore(expr)))
    })
}

/// `CASE WHEN a ..` with what may raise in it becomes `CASE true WHEN a ..`.
fn choice(mut case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let whole = Expr::Case(case.clone());
    if !may_raise(&whole, schema)? {
        return Ok(Transformed::no(whole));
    }
    case.expr = Some(Box::new(lit(true)));
    Ok(Transformed::yes(Expr::Case(case)))
}

/// The arguments of an aggregate function are evaluated only for rows that its FILTER takes.
fn chosen(mut function: AggregateFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Some(filter) = function.params.filter.clone() else {
        return Ok(Transformed::no(Expr::AggregateFunction(function)));
    };
    let mut changed = false;
    let keys = function.params.order_by.iter_mut().map(|key| &mut key.expr);
    for arg in function.params.args.iter_mut().chain(keys) {
        if may_raise(arg, schema)? {
            let branch = (Box::new(lit(true)), Box::new(arg.clone()));
            *arg = Expr::Case(Case::new(Some(filter.clone()), vec![branch], None));
            changed = true;
        }
    }
    let function = Expr::AggregateFunction(function);
    Ok(if changed { Transformed::yes(function) } else { Transformed::no(function) })
}
