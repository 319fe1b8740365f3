//! Operands brought to common types before DataFusion does it: see `comparable` and `dates`.
//!
//! The same is done twice. `OperandPlanner` sees operators as SQL is planned, where the type of an
//! expression is asked for (a column of a subquery, a view) and where DataFusion refuses what it
//! has no common type for. `Operands` sees whole plans, with what is no binary operator: BETWEEN,
//! IN, CASE, joins, unions.

pub mod binary;
mod comparable;
mod dates;
mod expanded;
pub mod operand;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinConstraint, Result, ScalarValue};
use datafusion::logical_expr::expr::{Case, InSubquery, ScalarFunction, SetComparison};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator,
    Subquery, Union, binary_expr, lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::schemas::visible;
use binary::{binary, is_arithmetic, is_comparison, pair};
use comparable::{common, concerns};
use expanded::expanded;
use operand::{Mended, Operand, Purpose};

/// Functions that answer one of their arguments.
const CHOICES: [&str; 7] = ["coalesce", "nvl", "ifnull", "nvl2", "greatest", "least", "nullif"];

/// Intervals that GREATEST and LEAST compare at most, besides the first: each step writes what is
/// best so far twice.
const MOST_INTERVALS: usize = 6;

/// Sees binary operators while SQL is planned.
#[derive(Debug)]
pub struct OperandPlanner;

impl ExprPlanner for OperandPlanner {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let (Some(op), Ok(left), Ok(right)) =
            (operator(&expr.op), expr.left.get_type(schema), expr.right.get_type(schema))
        else {
            return Ok(PlannerResult::Original(expr));
        };
        // Other comparisons have a type anyway: they stay as they were written for now.
        let time = |of: &DataType| matches!(of, DataType::Time32(_) | DataType::Time64(_));
        if is_comparison(op) && !(time(&left) && time(&right)) {
            return Ok(PlannerResult::Original(expr));
        }
        let left = Operand::new(expr.left.clone(), left);
        let right = Operand::new(expr.right.clone(), right);
        Ok(match binary(left, op, right) {
            Some(planned) => PlannerResult::Planned(planned),
            None => PlannerResult::Original(expr),
        })
    }
}

fn operator(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::Modulo => Operator::Modulo,
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        _ => return None,
    })
}

/// Sees whole plans.
#[derive(Debug)]
pub struct Operands;

impl AnalyzerRule for Operands {
    fn name(&self) -> &str {
        "operands"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(in_node)?.data)
    }
}

fn in_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = visible(&node)?;
    let names = NamePreserver::new(&node);
    let node = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let mended = expr.transform_up(|expr| mend(expr, &schema))?;
        Ok(mended.update_data(|expr| name.restore(expr)))
    })?;
    let node = node.transform_data(|node| match node {
        LogicalPlan::Join(join) => on(join),
        LogicalPlan::Union(union) => branches(union),
        other => Ok(Transformed::no(other)),
    })?;
    if !node.transformed {
        return Ok(node);
    }
    node.map_data(|node| node.recompute_schema())
}

fn mend(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let of = |exprs: &[&Expr], purpose| together(exprs, purpose, schema);
    let mended = match &expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let operands = match is_arithmetic(*op) || is_comparison(*op) {
                true => operands(&[left, right], schema),
                false => None,
            };
            let pair = operands.and_then(|pair| <[Operand; 2]>::try_from(pair).ok());
            pair.and_then(|[left, right]| binary(left, *op, right))
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            of(&[expr, low, high], Purpose::Compare).and_then(|mended| {
                let [expr, low, high] = <[Expr; 3]>::try_from(mended).ok()?.map(Box::new);
                Some(Expr::Between(Between::new(expr, *negated, low, high)))
            })
        }
        Expr::InList(list) => {
            let all: Vec<&Expr> = std::iter::once(&*list.expr).chain(&list.list).collect();
            of(&all, Purpose::Compare).map(|mut mended| {
                let value = mended.remove(0);
                value.in_list(mended, list.negated)
            })
        }
        Expr::Case(case) => in_case(case, &of),
        Expr::ScalarFunction(function) => {
            expanded(function, schema).or_else(|| in_function(function, &of, schema))
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            in_subquery(expr, subquery, schema)?.map(|(expr, subquery)| {
                Expr::InSubquery(InSubquery::new(Box::new(expr), subquery, *negated))
            })
        }
        Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
            in_subquery(expr, subquery, schema)?.map(|(expr, subquery)| {
                let quantifier = *quantifier;
                Expr::SetComparison(SetComparison::new(Box::new(expr), subquery, *op, quantifier))
            })
        }
        _ => None,
    };
    Ok(match mended {
        Some(mended) => Transformed::yes(mended),
        None => Transformed::no(expr),
    })
}

/// Expressions with their types; `None` where there is nothing to mend, or a type is not known:
/// DataFusion says why.
fn operands(exprs: &[&Expr], schema: &DFSchema) -> Option<Vec<Operand>> {
    let types = exprs.iter().map(|expr| expr.get_type(schema).ok());
    let types = types.collect::<Option<Vec<_>>>()?;
    // Copies are made only of what may need it: a chain of operators would be copied at each one.
    if !concerns(types.iter()) {
        return None;
    }
    let exprs = exprs.iter().map(|expr| (*expr).clone());
    Some(exprs.zip(types).map(|(expr, data_type)| Operand::new(expr, data_type)).collect())
}

fn together(exprs: &[&Expr], purpose: Purpose, schema: &DFSchema) -> Mended {
    common(&operands(exprs, schema)?, purpose)
}

type Mend<'a> = dyn Fn(&[&Expr], Purpose) -> Mended + 'a;

/// The base of a CASE with what it is compared with, and the values that it chooses from.
fn in_case(case: &Case, of: &Mend<'_>) -> Option<Expr> {
    let (mut mended, mut changed) = (case.clone(), false);
    if let Some(base) = &case.expr {
        let whens = case.when_then_expr.iter().map(|(when, _)| &**when);
        let all: Vec<&Expr> = std::iter::once(&**base).chain(whens).collect();
        if let Some(all) = of(&all, Purpose::Compare) {
            let mut all = all.into_iter().map(Box::new);
            mended.expr = all.next();
            for ((when, _), new) in mended.when_then_expr.iter_mut().zip(all) {
                *when = new;
            }
            changed = true;
        }
    }
    let thens = case.when_then_expr.iter().map(|(_, then)| &**then);
    let all: Vec<&Expr> = thens.chain(case.else_expr.as_deref()).collect();
    if let Some(all) = of(&all, Purpose::Choose) {
        let mut all = all.into_iter().map(Box::new);
        for ((_, then), new) in mended.when_then_expr.iter_mut().zip(&mut all) {
            *then = new;
        }
        mended.else_expr = all.next();
        changed = true;
    }
    changed.then_some(Expr::Case(mended))
}

fn in_function(function: &ScalarFunction, of: &Mend<'_>, schema: &DFSchema) -> Option<Expr> {
    let name = function.name();
    if !CHOICES.contains(&name) {
        return None;
    }
    let args: Vec<&Expr> = function.args.iter().collect();
    // NULLIF answers its first argument, by a comparison.
    if name == "nullif"
        && let [value, other] = args[..]
    {
        let [left, right] = pair(of(&[value, other], Purpose::Compare)?)?;
        let equal = binary_expr(left, Operator::Eq, right);
        let branch = (Box::new(equal), Box::new(lit(ScalarValue::Null)));
        return Some(Expr::Case(Case::new(None, vec![branch], Some(Box::new(value.clone())))));
    }
    let is_interval = |arg: &&Expr| matches!(arg.get_type(schema), Ok(DataType::Interval(_)));
    if matches!(name, "greatest" | "least") && args.iter().any(is_interval) {
        return best_interval(&args, name == "greatest", of);
    }
    let skipped = usize::from(name == "nvl2").min(args.len());
    let mended = of(&args[skipped..], Purpose::Choose)?;
    let args = function.args[..skipped].iter().cloned().chain(mended).collect();
    Some(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&function.func), args)))
}

/// The longest interval of some, or the shortest, by comparisons; NULLs do not count.
fn best_interval(args: &[&Expr], longest: bool, of: &Mend<'_>) -> Option<Expr> {
    let (first, others) = args.split_first()?;
    if others.is_empty() || others.len() > MOST_INTERVALS {
        return None;
    }
    let boxed = |expr: &Expr| Box::new(expr.clone());
    let op = if longest { Operator::GtEq } else { Operator::LtEq };
    let mut best = (*first).clone();
    for other in others {
        let [left, right] = pair(of(&[&best, other], Purpose::Compare)?)?;
        let keeps = (*other).clone().is_null().or(binary_expr(left, op, right));
        best = Expr::Case(Case::new(
            None,
            vec![(Box::new(keeps), Box::new(best))],
            Some(boxed(other)),
        ));
    }
    Some(best)
}

/// A value and the column of a subquery that it is compared with.
fn in_subquery(
    value: &Expr,
    subquery: &Subquery,
    schema: &DFSchema,
) -> Result<Option<(Expr, Subquery)>> {
    let (plan, Ok(data_type)) = (&subquery.subquery, value.get_type(schema)) else {
        return Ok(None);
    };
    let (qualifier, field) = plan.schema().qualified_field(0);
    let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
    let column = Operand::new(column, field.data_type().clone());
    let value = Operand::new(value.clone(), data_type);
    let Some([value, column]) = common(&[value, column], Purpose::Compare).and_then(pair) else {
        return Ok(None);
    };
    let column = column.alias(field.name());
    let plan = LogicalPlanBuilder::new_from_arc(Arc::clone(plan)).project([column])?.build()?;
    Ok(Some((value, subquery.with_plan(Arc::new(plan)))))
}

/// The pairs of keys of a join.
fn on(mut join: Join) -> Result<Transformed<LogicalPlan>> {
    let mut changed = false;
    for (left, right) in &mut join.on {
        let (Ok(left_type), Ok(right_type)) =
            (left.get_type(join.left.schema()), right.get_type(join.right.schema()))
        else {
            continue;
        };
        let operands =
            [Operand::new(left.clone(), left_type), Operand::new(right.clone(), right_type)];
        if let Some(mended) = common(&operands, Purpose::Compare).and_then(pair) {
            [*left, *right] = mended;
            changed = true;
        }
    }
    if changed {
        // The keys of USING would have to be columns; which columns there are is known by now.
        join.join_constraint = JoinConstraint::On;
    }
    let join = LogicalPlan::Join(join);
    Ok(if changed { Transformed::yes(join) } else { Transformed::no(join) })
}

/// The inputs of a union, column by column.
fn branches(union: Union) -> Result<Transformed<LogicalPlan>> {
    let mut inputs: Vec<Vec<Expr>> = union
        .inputs
        .iter()
        .map(|input| input.schema().columns().into_iter().map(Expr::Column).collect())
        .collect();
    let mut changed = false;
    let columns = inputs.iter().map(Vec::len).min().unwrap_or(0);
    for at in 0..columns {
        let operands = inputs.iter().zip(&union.inputs).map(|(exprs, input)| {
            Operand::new(exprs[at].clone(), input.schema().field(at).data_type().clone())
        });
        if let Some(mended) = common(&operands.collect::<Vec<_>>(), Purpose::Choose) {
            for ((exprs, new), input) in inputs.iter_mut().zip(mended).zip(&union.inputs) {
                let (qualifier, field) = input.schema().qualified_field(at);
                exprs[at] = new.alias_qualified(qualifier.cloned(), field.name());
            }
            changed = true;
        }
    }
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let mended = union.inputs.iter().zip(inputs).map(|(input, exprs)| {
        let builder = LogicalPlanBuilder::new_from_arc(Arc::clone(input)).project(exprs)?;
        Ok(Arc::new(builder.build()?))
    });
    let inputs = mended.collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
}
