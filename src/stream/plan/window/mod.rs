//! The window table functions `TUMBLE`, `HOP` and `CUMULATE`, planned as a [`WindowNode`]. Rows
//! without a time are in no window.
//!
//! Over a stream with a watermark the plan has a watermark filter: a row counts in a window iff
//! `window_end` is after the watermark before the row, which the stream's log table has as a
//! column. So one plan gives the same rows as a batch and as a stream.

pub mod columns;
pub(in crate::stream) mod edges;
mod lower;
pub(in crate::stream) mod node;
pub(in crate::stream) mod panes;
pub(in crate::stream) mod spec;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, ExprSchema, Result, plan_err};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col};
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, TableFactor,
};

use super::late::log;
use super::session;
use super::watermark_filter::WatermarkFilterNode;
use crate::plan::ExtensionNode;
use crate::stream::log::partition::HIDDEN;
use columns::{COLUMNS, descriptor, is_days, nanoseconds};
use node::WindowNode;
use spec::{Function, Windows};

/// Plans the window functions; leaves all other relations to DataFusion.
#[derive(Debug)]
pub struct WindowPlanner;

impl RelationPlanner for WindowPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let (name, args, alias) = match &relation {
            TableFactor::TableFunction { expr: ast::Expr::Function(function), alias } => {
                let FunctionArguments::List(list) = &function.args else {
                    return Ok(RelationPlanning::Original(Box::new(relation)));
                };
                (function.name.to_string(), list.args.clone(), alias.clone())
            }
            TableFactor::Table { name, args: Some(args), alias, .. } => {
                (name.to_string(), args.args.clone(), alias.clone())
            }
            _ => return Ok(RelationPlanning::Original(Box::new(relation))),
        };
        let function = match name.to_ascii_lowercase().as_str() {
            "tumble" => Function::Tumble,
            "hop" => Function::Hop,
            "cumulate" => Function::Cumulate,
            "session" => {
                let plan = session::plan::plan(args, context)?;
                return Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))));
            }
            _ => return Ok(RelationPlanning::Original(Box::new(relation))),
        };
        let plan = Call::read(function, args)?.plan(context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

/// The arguments of a window function, where `table` is one.
pub fn arguments_mut(table: &mut TableFactor) -> Option<&mut Vec<FunctionArg>> {
    let (name, args) = match table {
        TableFactor::Table { name, args: Some(args), .. } => (name, &mut args.args),
        TableFactor::TableFunction { expr: ast::Expr::Function(function), .. } => {
            let FunctionArguments::List(list) = &mut function.args else { return None };
            (&mut function.name, &mut list.args)
        }
        _ => return None,
    };
    let known = ["tumble", "hop", "cumulate", "session"];
    known.contains(&name.to_string().to_ascii_lowercase().as_str()).then_some(args)
}

/// One call, its arguments told apart.
struct Call {
    function: Function,
    data: Box<ast::Query>,
    time: ast::Expr,
    /// `(slide or step, size)`; a tumbling window has only the latter.
    step: Option<ast::Expr>,
    size: ast::Expr,
    offset: Option<ast::Expr>,
}

impl Call {
    /// Positional as in Flink, `(TABLE t, DESCRIPTOR(c)[, slide or step], size[, offset])`, or by
    /// name: DATA, TIMECOL, SLIDE, STEP, SIZE, OFFSET.
    fn read(function: Function, args: Vec<FunctionArg>) -> Result<Self> {
        let names: &[&str] = match function {
            Function::Tumble => &["DATA", "TIMECOL", "SIZE", "OFFSET"],
            Function::Hop => &["DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"],
            Function::Cumulate => &["DATA", "TIMECOL", "STEP", "SIZE", "OFFSET"],
        };
        let mut found: Vec<Option<ast::Expr>> = vec![None; names.len()];
        for (at, arg) in args.into_iter().enumerate() {
            let (at, expr) = match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => (at, expr),
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => {
                    let same = |known: &&str| name.value.eq_ignore_ascii_case(known);
                    let Some(at) = names.iter().position(same) else {
                        return plan_err!(
                            "{function} has no argument {name}: {}",
                            names.join(", ")
                        );
                    };
                    (at, expr)
                }
                other => return plan_err!("{function} cannot take the argument {other}"),
            };
            match found.get_mut(at) {
                Some(slot) if slot.is_none() => *slot = Some(expr),
                Some(_) => return plan_err!("{function}: {} is given twice", names[at]),
                None => return plan_err!("{function} takes {} at most", names.join(", ")),
            }
        }
        let mut found = names.iter().zip(found);
        let mut next = || found.next().map_or((&"", None), |(name, expr)| (name, expr));
        let missing = |name: &str| {
            plan_err!("{function}: {name} is missing; its arguments are {}", names.join(", "))
        };
        let data = match next() {
            (_, Some(ast::Expr::Subquery(query))) => query,
            (_, Some(other)) => return plan_err!("{function}: not a table: {other}"),
            (name, None) => return missing(name),
        };
        let time = match next() {
            (_, Some(time)) => descriptor(time)?,
            (name, None) => return missing(name),
        };
        let step = match function {
            Function::Tumble => None,
            _ => match next() {
                (_, Some(step)) => Some(step),
                (name, None) => return missing(name),
            },
        };
        let size = match next() {
            (_, Some(size)) => size,
            (name, None) => return missing(name),
        };
        Ok(Self { function, data, time, step, size, offset: next().1 })
    }

    fn plan(self, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
        let derived =
            TableFactor::Derived { lateral: false, subquery: self.data, alias: None, sample: None };
        let input = context.plan(derived)?;
        let time = match context.sql_to_expr(self.time, input.schema())? {
            Expr::Column(column) => column,
            other => return plan_err!("DESCRIPTOR names a column, and {other} is none"),
        };
        let empty = DFSchema::empty();
        let mut days = true;
        // Windows that grow by hours may be days in the end.
        let cumulate = self.function == Function::Cumulate;
        let mut interval = |name: &str, expr: ast::Expr| {
            let expr = context.sql_to_expr(expr, &empty)?;
            days &= match name {
                "size" => is_days(&expr),
                "offset" => true,
                _ => cumulate || is_days(&expr),
            };
            nanoseconds(name, &expr)
        };
        let step = self.step.map(|step| interval("slide or step", step)).transpose()?;
        let size_ns = interval("size", self.size)?;
        let offset = self.offset.map(|offset| interval("offset", offset)).transpose()?;
        let windows = Windows {
            function: self.function,
            size_ns,
            step_ns: step.unwrap_or(size_ns),
            offset_ns: offset.unwrap_or(0),
            days,
        };
        over(input, time, windows)
    }
}

/// The rows of `input` with their windows. Over a stream the watermark filter is part of it.
fn over(input: LogicalPlan, time: Column, windows: Windows) -> Result<LogicalPlan> {
    let (input, late) = match log(&input, &time)? {
        Some(input) => (input, true),
        None => (input, false),
    };
    let field = input.schema().field_from_column(&time)?;
    let (data_type, nullable) = (field.data_type().clone(), field.is_nullable());
    let DataType::Timestamp(unit, _) = data_type else {
        return plan_err!(
            "a window's time is a TIMESTAMP, and {time} is {data_type}: cast it in a \
             subquery, TUMBLE((SELECT *, CAST({} AS TIMESTAMP) AS t FROM ..), ..)",
            time.name
        );
    };
    windows.check(unit)?;
    free_names(&input)?;
    let mut input = LogicalPlanBuilder::from(input);
    if nullable {
        input = input.filter(col(time.clone()).is_not_null())?;
    }
    let windows = WindowNode::new(input.build()?, time, windows)?.plan();
    if !late {
        return Ok(windows);
    }
    let hidden = |column: &Column| HIDDEN.contains(&column.name.as_str());
    let shown = windows.schema().columns().into_iter().filter(|column| !hidden(column));
    let shown: Vec<Expr> = shown.map(Expr::Column).collect();
    let in_time = WatermarkFilterNode::new(windows, Column::new_unqualified(COLUMNS[1]))?;
    LogicalPlanBuilder::from(in_time.plan()).project(shown)?.build()
}

/// The names of the columns that windows add, which the input must not have.
pub fn free_names(input: &LogicalPlan) -> Result<()> {
    for name in COLUMNS {
        if input.schema().has_column_with_unqualified_name(name) {
            return plan_err!("the table has a column {name}, which a window function adds");
        }
    }
    Ok(())
}
