//! Intervals as keys of order, groups and windows: by their spans, as they are compared.
//!
//! A group of equal intervals shows the one of fewest months, then days: the values of a group may
//! be written in different ways, and a date moved by them differs.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunctionParams};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, SortExpr, when,
};
use datafusion::optimizer::AnalyzerRule;

use super::operands::visible;
use crate::plan::functions::intervals::span;

/// Puts spans in the place of intervals where their order or equality counts.
#[derive(Debug)]
pub struct Intervals;

impl AnalyzerRule for Intervals {
    fn name(&self) -> &str {
        "intervals"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(in_node)?.data)
    }
}

fn in_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = visible(&node)?;
    let is_interval = |field: &Arc<arrow::datatypes::Field>| is_interval(field.data_type());
    let fields = schema.fields().iter();
    // Intervals are rare: nothing is looked at where there are none.
    if !fields.chain(node.schema().fields()).any(is_interval) {
        return Ok(Transformed::no(node));
    }
    let names = NamePreserver::new(&node);
    let node = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let mended = expr.transform_up(|expr| inside(expr, &schema))?;
        Ok(mended.update_data(|expr| name.restore(expr)))
    })?;
    node.transform_data(|node| match node {
        LogicalPlan::Sort(mut sort) => {
            let changed = by_span(&mut sort.expr, &schema);
            let sort = LogicalPlan::Sort(sort);
            Ok(if changed { Transformed::yes(sort) } else { Transformed::no(sort) })
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let columns = input.schema().columns().into_iter().map(Expr::Column).collect();
            let distinct = Aggregate::try_new(input, columns, vec![])?;
            Ok(Transformed::yes(groups(distinct)?.data))
        }
        LogicalPlan::Aggregate(aggregate) => groups(aggregate),
        other => Ok(Transformed::no(other)),
    })
}

fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_))
}

/// The span of an interval; `None` for everything else.
fn spanned(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let data_type = expr.get_type(schema).ok().filter(is_interval)?;
    Some(span(expr.clone(), &data_type))
}

fn by_span(keys: &mut [SortExpr], schema: &DFSchema) -> bool {
    let mut changed = false;
    for key in keys {
        if let Some(span) = spanned(&key.expr, schema) {
            key.expr = span;
            changed = true;
        }
    }
    changed
}

/// Keys inside of calls of aggregates and window functions.
fn inside(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let changed = match &mut expr {
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            let counts = params.distinct && func.name() == "count";
            let mut changed = by_span(&mut params.order_by, schema);
            for arg in params.args.iter_mut().filter(|_| counts) {
                if let Some(span) = spanned(arg, schema) {
                    *arg = span;
                    changed = true;
                }
            }
            changed
        }
        Expr::WindowFunction(window) => {
            let WindowFunctionParams { partition_by, order_by, .. } = &mut window.params;
            let mut changed = by_span(order_by, schema);
            for key in partition_by {
                if let Some(span) = spanned(key, schema) {
                    *key = span;
                    changed = true;
                }
            }
            changed
        }
        _ => false,
    };
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

/// Groups by spans, with an interval of each group in the place of the key.
fn groups(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let Aggregate { input, group_expr, aggr_expr, schema, .. } = &aggregate;
    let keys = grouping_set_to_exprlist(group_expr)?;
    let keys: Vec<Option<Expr>> =
        keys.into_iter().map(|key| spanned(key, input.schema()).map(|_| key.clone())).collect();
    if keys.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let sets = matches!(group_expr.first(), Some(Expr::GroupingSet(_)));
    let is_key = |expr: &Expr| keys.iter().flatten().any(|key| key == expr);
    let spans = group_expr.iter().map(|expr| {
        let replace = |expr: Expr| match is_key(&expr) {
            true => match spanned(&expr, input.schema()) {
                // What is below the key is no key.
                Some(span) => Ok(Transformed::new(
                    span,
                    true,
                    datafusion::common::tree_node::TreeNodeRecursion::Jump,
                )),
                None => Ok(Transformed::no(expr)),
            },
            false => Ok(Transformed::no(expr)),
        };
        expr.clone().transform_down(replace).map(|found| found.data)
    });
    let spans = spans.collect::<Result<Vec<_>>>()?;
    let shown = keys
        .iter()
        .flatten()
        .enumerate()
        .map(|(at, key)| crate::agg::udaf::min(key.clone()).alias(format!("__interval_{at}")));
    let calls: Vec<Expr> = aggr_expr.iter().cloned().chain(shown).collect();
    let plan = LogicalPlanBuilder::new_from_arc(Arc::clone(input));
    let plan = Aggregate::try_new(plan.build()?.into(), spans, calls)?;
    let columns = plan.schema.columns();
    let column = |at: usize| Expr::Column(columns[at].clone());
    let first = columns.len() - keys.iter().flatten().count();
    let mut intervals = 0;
    let mut exprs = Vec::with_capacity(schema.fields().len());
    for (at, (qualifier, field)) in schema.iter().enumerate() {
        let value = match keys.get(at) {
            Some(Some(_)) => {
                intervals += 1;
                let value = column(first + intervals - 1);
                match sets {
                    true => when(column(at).is_not_null(), value).end()?,
                    false => value,
                }
            }
            _ => column(at),
        };
        let name = Column::new(qualifier.cloned(), field.name());
        exprs.push(value.alias_qualified(name.relation, name.name));
    }
    let plan = LogicalPlanBuilder::new(LogicalPlan::Aggregate(plan)).project(exprs)?.build()?;
    Ok(Transformed::yes(plan))
}
