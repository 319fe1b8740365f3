//! One NaN and one zero wherever floats are told apart: see `plan::floats`.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Case, InList, ScalarFunction, Sort};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, lit,
};
use datafusion::optimizer::AnalyzerRule;

use super::schemas::with_schemas;
use crate::plan::floats::{KEY, VALUE, key, value};

/// What computes a NaN gives the one of all platforms; keys have one NaN and one zero.
#[derive(Debug)]
pub struct Floats;

impl AnalyzerRule for Floats {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let done =
            plan.transform_up_with_subqueries(|plan| expressions(plan)?.transform_data(keys))?;
        with_schemas(done)
    }

    fn name(&self) -> &str {
        "floats"
    }
}

fn is_float(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|data_type| data_type.is_floating())
}

fn is_call(expr: &Expr, names: &[&str]) -> bool {
    match expr {
        Expr::ScalarFunction(function) => names.contains(&function.func.name()),
        Expr::Alias(alias) => is_call(&alias.expr, names),
        _ => false,
    }
}

/// An expression as a key; `None` where it is no float, or a key already.
fn as_key(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    (is_float(expr, schema) && !is_call(expr, &[KEY])).then(|| key(expr.clone().unalias()))
}

/// The same in place, whether it changed.
fn make_key(expr: &mut Expr, schema: &DFSchema) -> bool {
    let made = as_key(expr, schema);
    let changed = made.is_some();
    if let Some(made) = made {
        *expr = made;
    }
    changed
}

fn make_keys(keys: &mut [Sort], schema: &DFSchema) -> bool {
    keys.iter_mut().fold(false, |changed, sort| make_key(&mut sort.expr, schema) | changed)
}

/// Functions that give one of their arguments, and so no NaN of their own.
const PASSING: &[&str] = &[
    "abs",
    "array_element",
    "arrow_cast",
    "ceil",
    "coalesce",
    "float_key",
    "float_value",
    "floor",
    "get_field",
    "greatest",
    "least",
    "nanvl",
    "nullif",
    "nvl",
    "nvl2",
    "pi",
    "random",
    "round",
    "signum",
    "trunc",
];

/// Aggregate functions whose result does not tell one NaN from another.
const BLIND: &[&str] = &["avg", "count", "mean", "sum"];

/// Whether an expression computes a float from floats.
fn computes(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr { op, .. }) => {
            use Operator::{Divide, Minus, Modulo, Multiply, Plus};
            matches!(op, Plus | Minus | Multiply | Divide | Modulo) && is_float(expr, schema)
        }
        Expr::Negative(_) => is_float(expr, schema),
        Expr::ScalarFunction(function) => {
            !PASSING.contains(&function.func.name()) && is_float(expr, schema)
        }
        _ => false,
    }
}

fn expressions(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::Join(join) = &plan {
        schema = join.left.schema().join(join.right.schema())?;
    }
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let touched = expr.exists(|node| Ok(touches(node, &schema)))?;
        if !touched {
            return Ok(Transformed::no(expr));
        }
        let name = names.save(&expr);
        let done = of_values(expr, &schema, false)?;
        Ok(done.update_data(|expr| name.restore(expr)))
    })
}

/// Whether there may be something to change in an expression.
fn touches(node: &Expr, schema: &DFSchema) -> bool {
    match node {
        Expr::AggregateFunction(_) | Expr::WindowFunction(_) => true,
        Expr::InList(list) => is_float(&list.expr, schema),
        Expr::Case(case) => case.expr.as_deref().is_some_and(|base| is_float(base, schema)),
        Expr::ScalarFunction(function) if function.func.name() == "nullif" => {
            is_float(node, schema)
        }
        node => computes(node, schema),
    }
}

/// An expression whose computed floats have one NaN. Within arithmetic, any NaN will do.
fn of_values(expr: Expr, schema: &DFSchema, within: bool) -> Result<Transformed<Expr>> {
    let computed = computes(&expr, schema);
    let blind = match &expr {
        Expr::AggregateFunction(function) => {
            BLIND.contains(&function.func.name()) && !function.params.distinct
        }
        expr => is_call(expr, &[KEY, VALUE]),
    };
    let inner = computed || blind;
    let done = expr.map_children(|child| of_values(child, schema, inner))?;
    let done = done.transform_data(|expr| of_equality(expr, schema))?;
    Ok(match computed && !within {
        true => Transformed::yes(value(done.data)),
        false => done,
    })
}

/// What compares by equality, or holds keys, within an expression.
fn of_equality(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mut changed = false;
    match &mut expr {
        Expr::InList(InList { expr, list, .. }) => {
            for expr in std::iter::once(expr.as_mut()).chain(list) {
                changed |= make_key(expr, schema);
            }
        }
        Expr::Case(Case { expr: Some(base), when_then_expr, .. }) if is_float(base, schema) => {
            for expr in std::iter::once(base).chain(when_then_expr.iter_mut().map(|(when, _)| when))
            {
                changed |= make_key(expr, schema);
            }
        }
        Expr::AggregateFunction(function) => {
            let params = &mut function.params;
            if params.distinct {
                for arg in &mut params.args {
                    changed |= make_key(arg, schema);
                }
            }
            changed |= make_keys(&mut params.order_by, schema);
        }
        Expr::WindowFunction(function) => {
            let params = &mut function.params;
            let distinct = params.distinct;
            let args = params.args.iter_mut().filter(|_| distinct);
            for expr in args.chain(&mut params.partition_by) {
                changed |= make_key(expr, schema);
            }
            changed |= make_keys(&mut params.order_by, schema);
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "nullif" => {
            if let [given, null] = args.as_slice()
                && is_float(given, schema)
            {
                let (given, null) = (given.clone(), null.clone());
                let branch =
                    (Box::new(given.clone().eq(null)), Box::new(lit(none(&given, schema)?)));
                let case = Case::new(None, vec![branch], Some(Box::new(given)));
                return Ok(Transformed::yes(Expr::Case(case)));
            }
        }
        _ => {}
    }
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

/// NULL of an expression's type.
fn none(expr: &Expr, schema: &DFSchema) -> Result<ScalarValue> {
    ScalarValue::try_new_null(&expr.get_type(schema)?)
}

/// The keys of nodes.
fn keys(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Aggregate(mut node) => {
            let schema = Arc::clone(node.input.schema());
            let mut changed = false;
            for group in &mut node.group_expr {
                let name = NamePreserver::new_for_projection().save(group);
                if let Some(key) = as_key(group, &schema) {
                    *group = name.restore(key);
                    changed = true;
                }
            }
            Ok(Transformed::new_transformed(LogicalPlan::Aggregate(node), changed))
        }
        LogicalPlan::Sort(mut node) => {
            let schema = Arc::clone(node.input.schema());
            let changed = make_keys(&mut node.expr, &schema);
            Ok(Transformed::new_transformed(LogicalPlan::Sort(node), changed))
        }
        LogicalPlan::Join(mut node) => {
            let mut changed = false;
            for (left, right) in &mut node.on {
                changed |= make_key(left, node.left.schema());
                changed |= make_key(right, node.right.schema());
            }
            Ok(Transformed::new_transformed(LogicalPlan::Join(node), changed))
        }
        LogicalPlan::Distinct(Distinct::On(mut node)) => {
            let schema = Arc::clone(node.input.schema());
            let mut changed = false;
            for expr in &mut node.on_expr {
                changed |= make_key(expr, &schema);
            }
            if let Some(keys) = &mut node.sort_expr {
                changed |= make_keys(keys, &schema);
            }
            let plan = LogicalPlan::Distinct(Distinct::On(node));
            Ok(Transformed::new_transformed(plan, changed))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let (input, changed) = all_keys(input)?;
            let plan = LogicalPlan::Distinct(Distinct::All(input));
            Ok(Transformed::new_transformed(plan, changed))
        }
        plan => Ok(Transformed::no(plan)),
    }
}

/// Rows whose floats are keys, and whether they were not.
fn all_keys(rows: Arc<LogicalPlan>) -> Result<(Arc<LogicalPlan>, bool)> {
    let made = match rows.as_ref() {
        LogicalPlan::Projection(node) => node.expr.iter().map(|e| is_call(e, &[KEY])).collect(),
        _ => vec![false; rows.schema().fields().len()],
    };
    let mut changed = false;
    let columns = rows.schema().iter().zip(made).map(|((relation, field), made)| {
        let column = Expr::Column(Column::from((relation, field)));
        if made || !field.data_type().is_floating() {
            return column;
        }
        changed = true;
        key(column).alias_qualified(relation.cloned(), field.name())
    });
    let columns: Vec<Expr> = columns.collect();
    if !changed {
        return Ok((rows, false));
    }
    let rows = Arc::unwrap_or_clone(rows);
    Ok((Arc::new(LogicalPlanBuilder::from(rows).project(columns)?.build()?), true))
}
