//! Intervals as keys of order, groups and windows: by their spans, as they are compared.
//!
//! A group of equal intervals shows the one of fewest months, then days: the values of a group may
//! be written in different ways, and a date moved by them differs.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunctionParams};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, SortExpr, when,
};
use datafusion::optimizer::AnalyzerRule;

use super::schemas::visible;
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
        LogicalPlan::Distinct(Distinct::On(mut on)) => {
            let mut changed = on.sort_expr.as_mut().is_some_and(|keys| by_span(keys, &schema));
            for key in &mut on.on_expr {
                if let Some(span) = spanned(key, &schema) {
                    *key = span;
                    changed = true;
                }
            }
            let on = LogicalPlan::Distinct(Distinct::On(on));
            Ok(if changed { Transformed::yes(on) } else { Transformed::no(on) })
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

/// Spans in the place of keys.
fn with_spans(expr: Expr, keys: &[Expr], schema: &DFSchema) -> Result<Expr> {
    let replaced = expr.transform_down(|expr| {
        let span = if keys.contains(&expr) { spanned(&expr, schema) } else { None };
        Ok(match span {
            // What is below a key is no key.
            Some(span) => Transformed::new(span, true, TreeNodeRecursion::Jump),
            None => Transformed::no(expr),
        })
    })?;
    Ok(replaced.data)
}

/// Groups by spans, with an interval of each group in the place of the key.
fn groups(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let Aggregate { input, group_expr, aggr_expr, schema, .. } = &aggregate;
    let inside = input.schema();
    let all: Vec<Expr> = grouping_set_to_exprlist(group_expr)?.into_iter().cloned().collect();
    let is_key: Vec<bool> = all.iter().map(|key| spanned(key, inside).is_some()).collect();
    let keys = all.into_iter().zip(&is_key).filter(|(_, is_key)| **is_key);
    let keys: Vec<Expr> = keys.map(|(key, _)| key).collect();
    if keys.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let sets = matches!(group_expr.first(), Some(Expr::GroupingSet(_)));
    let spans = group_expr.iter().map(|expr| with_spans(expr.clone(), &keys, inside));
    // It asks for a key by name.
    let is_grouping = |call: &Expr| match call {
        Expr::AggregateFunction(call) => call.func.name() == "grouping",
        _ => false,
    };
    let asks = aggr_expr.iter().any(is_grouping);
    let calls = aggr_expr.iter().map(|call| match is_grouping(call) {
        true => {
            let name = NamePreserver::new_for_projection().save(call);
            Ok(name.restore(with_spans(call.clone(), &keys, inside)?))
        }
        false => Ok(call.clone()),
    });
    let shown = keys
        .iter()
        .enumerate()
        .map(|(at, key)| Ok(crate::agg::udaf::min(key.clone()).alias(format!("__interval_{at}"))));
    let calls = calls.chain(shown).collect::<Result<Vec<_>>>()?;
    let spans = spans.collect::<Result<Vec<_>>>()?;
    let plan = Aggregate::try_new(Arc::clone(input), spans, calls)?;
    let columns = plan.schema.columns();
    let column = |at: usize| Expr::Column(columns[at].clone());
    let mut shown = columns.len() - keys.len();
    let mut exprs = Vec::with_capacity(schema.fields().len());
    for (at, (qualifier, field)) in schema.iter().enumerate() {
        // What tells the sets apart is resolved later, below this projection, if it is asked for.
        if asks && field.name() == Aggregate::INTERNAL_GROUPING_ID {
            continue;
        }
        let value = match is_key.get(at) {
            Some(true) => {
                let value = column(shown);
                shown += 1;
                match sets {
                    true => when(column(at).is_not_null(), value).end()?,
                    false => value,
                }
            }
            _ => column(at),
        };
        exprs.push(value.alias_qualified(qualifier.cloned(), field.name()));
    }
    let plan = LogicalPlanBuilder::new(LogicalPlan::Aggregate(plan)).project(exprs)?.build()?;
    Ok(Transformed::yes(plan))
}
