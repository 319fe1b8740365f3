//! Subqueries beside streams, as joins: EXISTS, IN and their negations over a stream are semi and
//! anti joins, with the same rules for late rows; scalar subqueries over tables are joins with one
//! row.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, LogicalPlanBuilder, Subquery};
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::{OptimizerConfig, OptimizerContext, OptimizerRule};

use crate::stream::log::table::StreamTable;

/// Names that the rule of DataFusion gives are numbered from here on, so that they are none of
/// those that it gives when a plan is optimized.
const FIRST_NAME: usize = 1000;

/// The subquery of an expression that has one.
pub fn of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery) => Some(subquery),
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(within) => Some(&within.subquery),
        Expr::SetComparison(comparison) => Some(&comparison.subquery),
        _ => None,
    }
}

/// Whether a plan asks for columns of what is around it.
pub fn depends(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| Ok(node.contains_outer_reference()))
}

/// Whether a plan reads a stream, in a subquery perhaps.
pub fn reads_stream(plan: &LogicalPlan) -> Result<bool> {
    let mut reads = false;
    plan.apply_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = node else { return Ok(TreeNodeRecursion::Continue) };
        reads |= StreamTable::of(&scan.source).is_some();
        Ok(if reads { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(reads)
}

/// Which subqueries become joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Streams,
    Tables,
}

impl Over {
    fn reads(self, subquery: &LogicalPlan) -> Result<bool> {
        Ok((self == Self::Streams) == reads_stream(subquery)?)
    }

    fn asks(self, expr: &Expr) -> bool {
        let wanted = |expr: &Expr| match expr {
            Expr::Exists(Exists { subquery, .. })
            | Expr::InSubquery(InSubquery { subquery, .. }) => self.reads(&subquery.subquery),
            _ => Ok(false),
        };
        expr.exists(wanted).unwrap_or(false)
    }
}

/// The plan with EXISTS and IN of filters, and LATERAL subqueries, as joins, where DataFusion can
/// make them such.
pub fn joined(plan: LogicalPlan, over: Over) -> Result<LogicalPlan> {
    let config = OptimizerContext::new();
    config.alias_generator().update_min_id(FIRST_NAME);
    let rule = DecorrelatePredicateSubquery::new();
    let lateral = DecorrelateLateralJoin::new();
    let joined = plan.transform_up_with_subqueries(|node| {
        let filter = match node {
            LogicalPlan::Filter(filter) => filter,
            LogicalPlan::Join(join) => {
                let depends = depends(&join.right)?
                    && reads_stream(&join.left)?
                    && over.reads(&join.right)?;
                let join = LogicalPlan::Join(join);
                return match depends {
                    true => lateral.rewrite(join, &config),
                    false => Ok(Transformed::no(join)),
                };
            }
            node => return Ok(Transformed::no(node)),
        };
        if !over.asks(&filter.predicate) || !reads_stream(&filter.input)? {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        }
        let parts = split_conjunction_owned(filter.predicate);
        let (asked, others): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| over.asks(part));
        let input = match conjunction(others) {
            Some(others) => Arc::new(LogicalPlan::Filter(Filter::try_new(others, filter.input)?)),
            None => filter.input,
        };
        let asked = asked.into_iter().map(|part| {
            let named = part.transform_up(named)?.data;
            match over {
                Over::Streams => without_not_in(named, &input),
                Over::Tables => Ok(named),
            }
        });
        let Some(asked) = conjunction(asked.collect::<Result<Vec<_>>>()?) else {
            return Ok(Transformed::no(Arc::unwrap_or_clone(input)));
        };
        let filter = LogicalPlan::Filter(Filter::try_new(asked, input)?);
        Ok(Transformed::yes(rule.rewrite(filter, &config)?.data))
    })?;
    Ok(joined.data)
}

/// `x IN (SELECT y ..)` with another name for `y`: columns of windows have no table before their
/// names, so that those of both sides would be the same.
fn named(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::InSubquery(mut within) = expr else { return Ok(Transformed::no(expr)) };
    let columns = within.subquery.subquery.schema().columns();
    let [column] = columns.as_slice() else {
        return Ok(Transformed::no(Expr::InSubquery(within))); // which is an error
    };
    let column = Expr::Column(column.clone()).alias("__in");
    let rows = Arc::unwrap_or_clone(within.subquery.subquery);
    let rows = LogicalPlanBuilder::from(rows).project([column])?.build()?;
    within.subquery.subquery = Arc::new(rows);
    Ok(Transformed::yes(Expr::InSubquery(within)))
}

/// `x NOT IN (SELECT y ..)` of a subquery that depends on the row as NOT EXISTS: no row may have a
/// `y` of which `x = y` is true or NULL.
fn without_not_in(part: Expr, input: &LogicalPlan) -> Result<Expr> {
    let within = match part {
        Expr::InSubquery(within) if within.negated => within,
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(within) if !within.negated => within,
            other => return Ok(Expr::Not(Box::new(other))),
        },
        other => return Ok(other),
    };
    let columns = within.subquery.subquery.schema().columns();
    let ([found], false) = (columns.as_slice(), within.subquery.outer_ref_columns.is_empty())
    else {
        return Ok(Expr::InSubquery(InSubquery { negated: true, ..within }));
    };
    let mut outer = within.subquery.outer_ref_columns;
    let wanted = within.expr.transform_up(|expr| {
        let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
        let Ok((table, field)) = input.schema().qualified_field_from_column(column) else {
            return Ok(Transformed::no(expr));
        };
        let column = Column::new(table.cloned(), field.name());
        let expr = Expr::OuterReferenceColumn(Arc::clone(field), column);
        outer.push(expr.clone());
        Ok(Transformed::yes(expr))
    })?;
    let same = Expr::IsNotFalse(Box::new(wanted.data.eq(Expr::Column(found.clone()))));
    let rows = Filter::try_new(same, within.subquery.subquery)?;
    let subquery = Subquery {
        subquery: Arc::new(LogicalPlan::Filter(rows)),
        outer_ref_columns: outer,
        spans: within.subquery.spans,
    };
    Ok(Expr::Exists(Exists { subquery, negated: true }))
}

/// The plan of a continuous query with each scalar subquery over tables that does not depend on
/// the row as a join with its one row, which is read when tables are.
pub fn scalars_joined(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut count = 0;
    let joined = plan.transform_up(|node| {
        let mut any = false;
        for expr in node.expressions() {
            any |= expr.exists(|expr| Ok(constant(expr)?.is_some()))?;
        }
        if !any || node.inputs().is_empty() || !reads_stream(&node)? {
            return Ok(Transformed::no(node));
        }
        Ok(Transformed::yes(with_scalars(node, &mut count)?))
    })?;
    Ok(joined.data)
}

/// A scalar subquery over tables that does not depend on the row.
fn constant(expr: &Expr) -> Result<Option<&Subquery>> {
    let Expr::ScalarSubquery(subquery) = expr else { return Ok(None) };
    let own = subquery.outer_ref_columns.is_empty() && !reads_stream(&subquery.subquery)?;
    Ok(own.then_some(subquery))
}

fn with_scalars(mut node: LogicalPlan, count: &mut usize) -> Result<LogicalPlan> {
    let shown: Vec<Expr> = node.schema().columns().into_iter().map(Expr::Column).collect();
    if let LogicalPlan::Filter(filter) = node {
        // What else is asked stays at its place, which may make a join of what is below.
        let parts = split_conjunction_owned(filter.predicate);
        let has = |part: &Expr| part.exists(|expr| Ok(constant(expr)?.is_some())).unwrap_or(false);
        let (asked, others): (Vec<_>, Vec<_>) = parts.into_iter().partition(has);
        let input = match conjunction(others) {
            Some(others) => Arc::new(LogicalPlan::Filter(Filter::try_new(others, filter.input)?)),
            None => filter.input,
        };
        let Some(asked) = conjunction(asked) else { return Ok(Arc::unwrap_or_clone(input)) };
        node = LogicalPlan::Filter(Filter::try_new(asked, input)?);
    }
    let mut inputs: Vec<LogicalPlan> = node.inputs().into_iter().cloned().collect();
    let names = NamePreserver::new(&node);
    let mut leaves = Vec::new();
    let expressions = node.expressions().into_iter().map(|expr| {
        let name = names.save(&expr);
        let replaced = expr.transform_up(|expr| {
            let Some(subquery) = constant(&expr)? else { return Ok(Transformed::no(expr)) };
            let table = format!("__scalar_{count}");
            *count += 1;
            // One row, NULL where there is none; an error where there are several.
            let value = Expr::ScalarSubquery(subquery.clone()).alias("value");
            let leaf = LogicalPlanBuilder::empty(true).project([value])?.alias(table.as_str())?;
            leaves.push(leaf.build()?);
            Ok(Transformed::yes(Expr::Column(Column::new(Some(table), "value"))))
        })?;
        Ok(name.restore(replaced.data))
    });
    let expressions = expressions.collect::<Result<Vec<_>>>()?;
    for leaf in leaves {
        let first = LogicalPlanBuilder::from(inputs[0].clone()).cross_join(leaf)?;
        inputs[0] = first.build()?;
    }
    let node = node.with_new_exprs(expressions, inputs)?;
    match node.schema().fields().len() > shown.len() {
        true => LogicalPlanBuilder::from(node).project(shown)?.build(),
        false => Ok(node),
    }
}
