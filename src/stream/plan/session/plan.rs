//! The table function `SESSION`, planned as a `SessionNode`.

use datafusion::common::{Column, DFSchema, ExprSchema, Result, plan_err};
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col};
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, TableFactor,
};

use super::node::SessionNode;
use crate::plan::ExtensionNode;
use crate::stream::plan::late::log;
use crate::stream::plan::window::columns::{COLUMNS, descriptor, nanoseconds};
use crate::stream::plan::window::free_names;

/// What `PARTITION BY ..` behind the table is rewritten into, an argument of its own.
pub const PARTITION_BY: &str = "__partition_by";

const FORM: &str = "SESSION(TABLE t [PARTITION BY k, ..], DESCRIPTOR(ts), INTERVAL '..')";

/// One call, its arguments told apart.
struct Call {
    data: Box<ast::Query>,
    time: ast::Expr,
    gap: ast::Expr,
    keys: Vec<ast::Expr>,
}

/// Plans `SESSION(..)` over its table.
pub fn plan(
    args: Vec<FunctionArg>,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let call = Call::read(args)?;
    let data =
        TableFactor::Derived { lateral: false, subquery: call.data, alias: None, sample: None };
    let input = context.plan(data)?;
    let time = match context.sql_to_expr(call.time, input.schema())? {
        Expr::Column(column) => column,
        other => return plan_err!("DESCRIPTOR names a column, and {other} is none"),
    };
    let keys = call.keys.into_iter().map(|key| context.sql_to_expr(key, input.schema()));
    let keys = keys.collect::<Result<Vec<_>>>()?;
    let gap_ns = nanoseconds("gap", &context.sql_to_expr(call.gap, &DFSchema::empty())?)?;
    sessions(input, time, keys, gap_ns)
}

/// The rows of `input` with their windows. Over a stream the node leaves out what is late.
fn sessions(input: LogicalPlan, time: Column, keys: Vec<Expr>, gap_ns: i64) -> Result<LogicalPlan> {
    free_names(&input)?;
    let shown = input.schema().columns().into_iter().map(Expr::Column);
    let shown: Vec<Expr> = shown.chain(COLUMNS.map(col)).collect();
    let input = log(&input, &time)?.unwrap_or(input);
    let nullable = input.schema().field_from_column(&time)?.is_nullable();
    let mut columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let count = columns.len();
    let mut named = Vec::new();
    for (nth, key) in keys.into_iter().enumerate() {
        match key {
            Expr::Column(column) => named.push(column),
            computed => {
                let name = format!("__key{nth}");
                columns.push(computed.alias(name.as_str()));
                named.push(Column::new_unqualified(name));
            }
        }
    }
    let mut builder = LogicalPlanBuilder::from(input);
    if nullable {
        builder = builder.filter(col(time.clone()).is_not_null())?;
    }
    if columns.len() > count {
        builder = builder.project(columns)?;
    }
    let node = SessionNode::new(builder.build()?, time, named, gap_ns)?;
    LogicalPlanBuilder::from(node.plan()).project(shown)?.build()
}

impl Call {
    /// Positional as in Flink, or as in Calcite with `DESCRIPTOR(key, ..)` before the gap, or by
    /// name: DATA, TIMECOL, KEY, GAP.
    fn read(args: Vec<FunctionArg>) -> Result<Self> {
        let (mut by_place, mut keys) = (Vec::new(), Vec::new());
        let (mut data, mut time, mut gap) = (None, None, None);
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => match columns(&expr) {
                    Some((name, columns)) if name.eq_ignore_ascii_case(PARTITION_BY) => {
                        keys.extend(columns);
                    }
                    _ => by_place.push(expr),
                },
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => {
                    let slot = match name.value.to_ascii_uppercase().as_str() {
                        "DATA" => &mut data,
                        "TIMECOL" => &mut time,
                        "GAP" | "SIZE" => &mut gap,
                        "KEY" => {
                            keys.extend(key(expr));
                            continue;
                        }
                        _ => {
                            return plan_err!(
                                "SESSION has no argument {name}: DATA, TIMECOL, KEY, GAP"
                            );
                        }
                    };
                    if slot.replace(expr).is_some() {
                        return plan_err!("SESSION: {name} is given twice");
                    }
                }
                other => return plan_err!("SESSION cannot take the argument {other}: {FORM}"),
            }
        }
        if by_place.len() == 4 {
            keys.extend(key(by_place.remove(2)));
        }
        let mut by_place = by_place.into_iter();
        for slot in [&mut data, &mut time, &mut gap] {
            *slot = slot.take().or_else(|| by_place.next());
        }
        let (Some(data), Some(time), Some(gap), None) = (data, time, gap, by_place.next()) else {
            return plan_err!("the arguments of SESSION are {FORM}");
        };
        let ast::Expr::Subquery(data) = data else {
            return plan_err!("SESSION: not a table: {data}; {FORM}");
        };
        Ok(Self { data, time: descriptor(time)?, gap, keys })
    }
}

/// The columns of `DESCRIPTOR(column, ..)`, or one expression.
fn key(expr: ast::Expr) -> Vec<ast::Expr> {
    match columns(&expr) {
        Some((name, columns)) if name.eq_ignore_ascii_case("descriptor") => columns,
        _ => vec![expr],
    }
}

/// Name and arguments of a function.
fn columns(expr: &ast::Expr) -> Option<(String, Vec<ast::Expr>)> {
    let ast::Expr::Function(function) = expr else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    let args = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    Some((function.name.to_string(), args.collect::<Option<_>>()?))
}
