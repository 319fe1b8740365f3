//! The window table functions `TUMBLE`, `HOP` and `CUMULATE`, planned as projections: every row
//! once per window that holds it, with `window_start`, `window_end` and `window_time` behind its
//! own columns. Rows without a time are in no window.
//!
//! Over a stream with a watermark the late rule is part of the plan: a row counts in a window iff
//! `window_end` is after the watermark before the row, which the stream's log table has as a
//! column. So one plan gives the same rows as a batch and as a stream.

pub mod columns;
pub(in crate::stream) mod panes;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, plan_err};
use datafusion::functions::core::least;
use datafusion::functions_nested::expr_fn::{array_distinct, make_array};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, col};
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, TableFactor,
};

use super::late::{log, unqualified};
use super::session;
use crate::plan::date_bin;
use crate::stream::log::partition::{HIDDEN, WATERMARK};
use crate::stream::time::calendar::local_days;
use columns::{COLUMNS, MILLISECOND_NS, descriptor, duration, interval, is_days, nanoseconds};

/// Plans the window functions; leaves all other relations to DataFusion.
#[derive(Debug)]
pub struct WindowPlanner;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Tumble,
    Hop,
    Cumulate,
}

impl std::fmt::Display for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tumble => "TUMBLE",
            Self::Hop => "HOP",
            Self::Cumulate => "CUMULATE",
        })
    }
}

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
        let windows = Windows {
            function: self.function,
            step: self.step.map(|step| interval("slide or step", step)).transpose()?,
            size: interval("size", self.size)?,
            offset: self.offset.map(|offset| interval("offset", offset)).transpose()?.unwrap_or(0),
            days,
        };
        windows.plan(input, time)
    }
}

/// What windows there are, in nanoseconds.
struct Windows {
    function: Function,
    size: i64,
    step: Option<i64>,
    offset: i64,
    /// Whether size and slide are given in days, which start at the midnights of a time zone.
    days: bool,
}

impl Windows {
    fn plan(&self, input: LogicalPlan, time: Column) -> Result<LogicalPlan> {
        let (input, late) = match log(&input, &time)? {
            Some(input) => (input, true),
            None => (input, false),
        };
        let (data_type, nullable) = {
            let field = input.schema().field_from_column(&time)?;
            (field.data_type().clone(), field.is_nullable())
        };
        let DataType::Timestamp(unit, zone) = data_type else {
            return plan_err!(
                "a window's time is a TIMESTAMP, and {time} is {data_type}: cast it in a \
                 subquery, TUMBLE((SELECT *, CAST({} AS TIMESTAMP) AS t FROM ..), ..)",
                time.name
            );
        };
        self.check(unit)?;
        for name in COLUMNS {
            if input.schema().has_column_with_unqualified_name(name) {
                return plan_err!("the table has a column {name}, which a window function adds");
            }
        }
        // A window's last instant needs milliseconds.
        let unit = if unit == TimeUnit::Second { TimeUnit::Millisecond } else { unit };
        let data_type = DataType::Timestamp(unit, zone);
        let mut builder = LogicalPlanBuilder::from(input);
        if nullable {
            builder = builder.filter(col(time.clone()).is_not_null())?;
        }
        let built = self.project(builder, &time, data_type)?;
        if !late {
            return built.build();
        }
        let watermark = unqualified(built.schema(), WATERMARK)?;
        let hidden = |column: &Column| HIDDEN.contains(&column.name.as_str());
        let shown = built.schema().columns().into_iter().filter(|column| !hidden(column));
        let shown: Vec<Expr> = shown.map(Expr::Column).collect();
        built.filter(col(COLUMNS[1]).gt(col(watermark)))?.project(shown)?.build()
    }

    fn check(&self, unit: TimeUnit) -> Result<()> {
        let unit_ns = match unit {
            TimeUnit::Second | TimeUnit::Millisecond => MILLISECOND_NS,
            TimeUnit::Microsecond => 1_000,
            TimeUnit::Nanosecond => 1,
        };
        let step = self.step.unwrap_or(self.size);
        if self.size <= 0 || step <= 0 {
            return plan_err!("a window's size and slide are longer than nothing");
        }
        if [self.size, step, self.offset].iter().any(|length| length % unit_ns != 0) {
            return plan_err!("a window is a whole number of the time column's {unit:?}s");
        }
        if self.function == Function::Cumulate && self.size % step != 0 {
            return plan_err!("the size of a CUMULATE window is a multiple of its step");
        }
        let copies = (self.size - 1) / step + 1;
        if copies > MOST_COPIES {
            return plan_err!("each row would be in {copies} windows; {MOST_COPIES} at most");
        }
        Ok(())
    }

    /// All columns of the input, then the window's three.
    fn project(
        &self,
        input: LogicalPlanBuilder,
        time: &Column,
        data_type: DataType,
    ) -> Result<LogicalPlanBuilder> {
        let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
        let with = |more: Vec<Expr>| columns.iter().cloned().chain(more).collect::<Vec<_>>();
        let (size, step) = (self.size, self.step.unwrap_or(self.size));
        let bins = Bins { windows: self, time, data_type: &data_type };
        let bin = |width: i64, shift: i64| bins.bin(input.schema(), width, shift);
        let last = duration(MILLISECOND_NS, &data_type);
        let [start, end, window_time] = COLUMNS;
        match self.function {
            Function::Tumble => {
                let close = bin(size, size)?;
                input.clone().project(with(vec![
                    bin(size, 0)?.alias(start),
                    close.clone().alias(end),
                    (close - last).alias(window_time),
                ]))
            }
            Function::Hop => {
                let copies = 0..(size - 1) / step + 1;
                let starts = copies.map(|back| bin(step, -back * step)).collect::<Result<_>>()?;
                let spread = spread(input.clone(), &columns, make_array(starts), start)?;
                let close = bins.end(size, step);
                let holds = close.clone().gt(Expr::Column(time.clone()));
                spread.filter(holds)?.project(with(vec![
                    col(start),
                    close.clone().alias(end),
                    (close - last).alias(window_time),
                ]))
            }
            Function::Cumulate => {
                let ends = bins.ends(input.schema(), size, step)?;
                let spread = spread(input.clone(), &columns, ends, end)?;
                let holds = col(end).gt(Expr::Column(time.clone()));
                spread.filter(holds)?.project(with(vec![
                    bin(size, 0)?.alias(start),
                    col(end),
                    (col(end) - last).alias(window_time),
                ]))
            }
        }
    }
}

/// Expressions of the bins that windows start at.
struct Bins<'a> {
    windows: &'a Windows,
    time: &'a Column,
    data_type: &'a DataType,
}

impl Bins<'_> {
    /// Whether windows start at the midnights of a time zone.
    fn are_local(&self) -> bool {
        let DataType::Timestamp(_, Some(zone)) = self.data_type else { return false };
        self.windows.days && !["UTC", "+00:00"].contains(&zone.as_ref())
    }

    /// The start of the bin of this width that holds the time, moved by `shift`.
    fn bin(&self, schema: &DFSchema, width: i64, shift: i64) -> Result<Expr> {
        let time = Expr::Column(self.time.clone()).cast_to(self.data_type, schema)?;
        if self.are_local() {
            let offset = self.windows.offset;
            return Ok(local_days(time, width / DAY_NS, offset, shift / DAY_NS));
        }
        let first = match self.windows.offset.rem_euclid(width) {
            0 => {
                let first = date_bin().call(vec![interval(width), time]);
                first.cast_to(self.data_type, schema)?
            }
            offset => {
                let offset = duration(offset, self.data_type);
                let start = vec![interval(width), time - offset.clone()];
                cast(date_bin().call(start) + offset, self.data_type.clone())
            }
        };
        Ok(match shift {
            0 => first,
            1.. => first + duration(shift, self.data_type),
            _ => first - duration(-shift, self.data_type),
        })
    }

    /// The ends of windows that grow by `step`, as a list.
    fn ends(&self, schema: &DFSchema, size: i64, step: i64) -> Result<Expr> {
        if !self.are_local() || step % DAY_NS == 0 {
            let ends = (1..size / step + 1).map(|nth| self.bin(schema, size, nth * step));
            return Ok(make_array(ends.collect::<Result<_>>()?));
        }
        // Of a day that is shorter several are its end, which counts once.
        let (start, close) = (self.bin(schema, size, 0)?, self.bin(schema, size, size)?);
        let grown = (1..(size + LONGER_NS) / step + 1)
            .map(|nth| start.clone() + duration(nth * step, self.data_type));
        let ends = grown.map(|end| least().call(vec![end, close.clone()]));
        Ok(array_distinct(make_array(ends.chain([close.clone()]).collect())))
    }

    /// The end of a window from its start, which is one of a bin of width `step`.
    fn end(&self, size: i64, step: i64) -> Expr {
        let start = col(COLUMNS[0]);
        match self.are_local() {
            true => local_days(start, step / DAY_NS, self.windows.offset, size / DAY_NS),
            false => start + duration(size, self.data_type),
        }
    }
}

const DAY_NS: i64 = 86_400_000_000_000;

/// Clocks go back by an hour mostly; by more, the last of windows that grow has a longer step.
const LONGER_NS: i64 = 3 * 3_600_000_000_000;

/// Windows that one row may be in; more is a slip of the pen, and would exhaust memory.
const MOST_COPIES: i64 = 10_000;

/// Every row once per element of `list`, which becomes the column `name`.
fn spread(
    input: LogicalPlanBuilder,
    columns: &[Expr],
    list: Expr,
    name: &str,
) -> Result<LogicalPlanBuilder> {
    let columns = columns.iter().cloned().chain([list.alias(name)]).collect::<Vec<_>>();
    input.project(columns)?.unnest_column(name)
}
