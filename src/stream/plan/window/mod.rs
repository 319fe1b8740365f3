//! The window table functions `TUMBLE`, `HOP` and `CUMULATE`, planned as projections: every row
//! once per window that holds it, with `window_start`, `window_end` and `window_time` behind its
//! own columns. Rows without a time are in no window.
//!
//! Over a stream with a watermark the late rule is part of the plan: a row counts in a window iff
//! `window_end` is after the watermark before the row, which the stream's log table has as a
//! column. So one plan gives the same rows as a batch and as a stream.

pub(in crate::stream) mod panes;

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::{Column, DFSchema, ExprSchema, JoinType, Result, ScalarValue, plan_err};
use datafusion::functions::core::least;
use datafusion::functions_nested::expr_fn::{array_distinct, make_array};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Projection, SubqueryAlias,
    cast, col, lit,
};
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, TableFactor,
};

use super::asof::AsOfNode;
use super::interval::is_event_time;
use super::proctime;
use super::union;
use crate::plan::date_bin;
use crate::stream::log::partition::{HIDDEN, WATERMARK};
use crate::stream::log::table::{StreamTable, View};
use crate::stream::plan::session;
use crate::stream::time::calendar::local_days;

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

/// Names of the columns that a window function adds, in order.
pub const COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// `window_time` lies this far before `window_end`.
pub const MILLISECOND_NS: i64 = 1_000_000;

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
                let plan = session::plan(args, context)?;
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

/// The column in `DESCRIPTOR(column)`; a bare column is taken as well.
pub fn descriptor(expr: ast::Expr) -> Result<ast::Expr> {
    let ast::Expr::Function(function) = &expr else { return Ok(expr) };
    let FunctionArguments::List(list) = &function.args else { return Ok(expr) };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(column))]
            if function.name.to_string().eq_ignore_ascii_case("descriptor") =>
        {
            Ok(column.clone())
        }
        _ => plan_err!("the time column is written DESCRIPTOR(column), not {expr}"),
    }
}

/// A constant interval of days or less.
pub fn nanoseconds(what: &str, expr: &Expr) -> Result<i64> {
    if let Some(nanoseconds) = duration_ns(expr) {
        return Ok(nanoseconds);
    }
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) = expr else {
        return plan_err!("the {what} is a constant INTERVAL, and {expr} is none");
    };
    let days = i64::from(value.days).checked_mul(86_400_000_000_000);
    match days.and_then(|days| days.checked_add(value.nanoseconds)) {
        Some(nanoseconds) if value.months == 0 => Ok(nanoseconds),
        Some(_) => plan_err!("the {what} is in days or less: months differ in length"),
        None => plan_err!("the {what} is out of range"),
    }
}

/// True for an interval given in days.
fn is_days(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _)
        if value.days != 0 && value.nanoseconds == 0)
}

fn interval(nanoseconds: i64) -> Expr {
    lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, nanoseconds))))
}

/// A whole number of a time's units: added without a calendar, which takes a tenth of the time
/// that an interval does.
pub fn duration(nanoseconds: i64, of: &DataType) -> Expr {
    match of {
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            lit(ScalarValue::DurationMillisecond(Some(nanoseconds / MILLISECOND_NS)))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            lit(ScalarValue::DurationMicrosecond(Some(nanoseconds / 1_000)))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            lit(ScalarValue::DurationNanosecond(Some(nanoseconds)))
        }
        _ => interval(nanoseconds),
    }
}

/// The nanoseconds of a duration that is a literal.
fn duration_ns(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::DurationMillisecond(value) => {
            value.and_then(|v| v.checked_mul(MILLISECOND_NS))
        }
        ScalarValue::DurationMicrosecond(value) => value.and_then(|v| v.checked_mul(1_000)),
        ScalarValue::DurationNanosecond(value) => *value,
        _ => None,
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

/// The plan with the log table of its stream instead of the stream, the log's columns carried
/// to the top; `None` where no row can be late: no stream, one without a watermark, or one whose
/// rows an aggregate or a join has already joined to others (those of tables make no difference).
pub fn log(plan: &LogicalPlan, time: &Column) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let Some(table) = StreamTable::of(&scan.source) else { return Ok(None) };
            if table.view() == View::Late {
                return Ok(None); // what is asked for is what was late
            }
            let Some(watermark) = &table.stream.watermark else { return Ok(None) };
            let event_time = table.stream.schema.field(watermark.column).name();
            if *event_time != time.name {
                return plan_err!(
                    "windows over the stream {} go by its watermark column: DESCRIPTOR({}), \
                     not {}",
                    table.stream.name,
                    event_time,
                    time.name
                );
            }
            let source = table.log_source();
            let scan = LogicalPlanBuilder::scan(scan.table_name.clone(), source, None)?;
            Ok(Some(scan.build()?))
        }
        LogicalPlan::Projection(projection) => {
            let at = projection.schema.index_of_column(time)?;
            let below = projection.expr[at].clone().unalias();
            if proctime::is_call(&below) {
                return Ok(None); // by the time of processing nothing is late
            }
            let Expr::Column(below) = below else {
                return match contains_stream(plan) {
                    true => plan_err!(
                        "windows over a stream go by its watermark column, and {} is computed",
                        time.name
                    ),
                    false => Ok(None),
                };
            };
            let Some(input) = log(&projection.input, &below)? else { return Ok(None) };
            let mut columns = projection.expr.clone();
            for name in HIDDEN {
                let shown = projection.schema.has_column_with_unqualified_name(name);
                if !shown && input.schema().has_column_with_unqualified_name(name) {
                    columns.push(Expr::Column(unqualified(input.schema(), name)?));
                }
            }
            Ok(Some(LogicalPlanBuilder::from(input).project(columns)?.build()?))
        }
        LogicalPlan::Filter(filter) => {
            let Some(input) = log(&filter.input, time)? else { return Ok(None) };
            let input = LogicalPlanBuilder::from(input);
            Ok(Some(input.filter(filter.predicate.clone())?.build()?))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let at = alias.schema.index_of_column(time)?;
            let below = alias.input.schema().columns().swap_remove(at);
            let Some(input) = log(&alias.input, &below)? else { return Ok(None) };
            let alias = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
            Ok(Some(LogicalPlan::SubqueryAlias(alias)))
        }
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => {
            let Some(input) = log(plan.inputs()[0], time)? else { return Ok(None) };
            Ok(Some(plan.with_new_exprs(plan.expressions(), vec![input])?))
        }
        LogicalPlan::Join(_) | LogicalPlan::Extension(_) => log_beside_tables(plan, time),
        LogicalPlan::Union(union) => union::log(union, time),
        _ => Ok(None),
    }
}

/// The same of a stream whose rows stand beside those of tables.
fn log_beside_tables(plan: &LogicalPlan, time: &Column) -> Result<Option<LogicalPlan>> {
    let side = stream_side(plan).filter(|(_, side)| is_event_time(side, time));
    let Some((at, side)) = side else { return Ok(None) };
    let Some(input) = log(side, time)? else { return Ok(None) };
    let mut inputs: Vec<_> = plan.inputs().into_iter().cloned().collect();
    inputs[at] = input;
    Ok(Some(plan.with_new_exprs(plan.expressions(), inputs)?))
}

/// The column that a late rule, `column > __watermark`, keeps after the watermark.
pub fn late_rule(expr: &Expr) -> Option<&Expr> {
    let Expr::BinaryExpr(rule) = expr else { return None };
    let watermark = matches!(rule.right.as_ref(), Expr::Column(c) if c.name == WATERMARK);
    (rule.op == Operator::Gt && watermark).then_some(rule.left.as_ref())
}

/// A plan over a stream without the rows that came when the watermark had passed their `time`,
/// the stream's event time.
pub fn with_late_rule(plan: &LogicalPlan, time: &Column) -> Result<LogicalPlan> {
    Ok(with_places(plan, time, true, &[])?.0)
}

/// The same with columns of the log, and what they are called; without the rule where it is not
/// asked for. The plan itself and no columns where no row can be late.
pub fn with_places(
    plan: &LogicalPlan,
    time: &Column,
    is_ruled: bool,
    places: &[&str],
) -> Result<(LogicalPlan, Vec<Column>)> {
    let Some(over_log) = log(plan, time)? else { return Ok((plan.clone(), Vec::new())) };
    let of_log = |name: &str| unqualified(over_log.schema(), name);
    let watermark = of_log(WATERMARK)?;
    let places = places.iter().map(|name| of_log(name)).collect::<Result<Vec<_>>>()?;
    let shown = plan.schema().columns().into_iter().chain(places.clone()).map(Expr::Column);
    let shown: Vec<Expr> = shown.collect();
    let mut builder = LogicalPlanBuilder::from(over_log);
    if is_ruled {
        builder = builder.filter(col(time.clone()).gt(col(watermark)))?;
    }
    Ok((builder.project(shown)?.build()?, places))
}

/// The side of a stream, and its place, where a node puts rows of tables beside each of its rows.
pub fn stream_side(plan: &LogicalPlan) -> Option<(usize, &LogicalPlan)> {
    use JoinType::{Inner, Left, LeftAnti, LeftSemi, Right, RightAnti, RightSemi};
    let (left, right, keeps) = match plan {
        LogicalPlan::Join(join) => {
            let left = matches!(join.join_type, Inner | Left | LeftSemi | LeftAnti);
            let right = matches!(join.join_type, Inner | Right | RightSemi | RightAnti);
            (join.left.as_ref(), join.right.as_ref(), [left, right])
        }
        _ => {
            let node = AsOfNode::of(plan)?;
            (&node.left, &node.right, [true, false])
        }
    };
    match (contains_stream(left), contains_stream(right)) {
        (true, false) if keeps[0] => Some((0, left)),
        (false, true) if keeps[1] => Some((1, right)),
        _ => None,
    }
}

pub fn contains_stream(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => StreamTable::of(&scan.source).is_some(),
        _ => plan.inputs().into_iter().any(contains_stream),
    }
}

pub fn unqualified(schema: &DFSchema, name: &str) -> Result<Column> {
    let (qualifier, field) = schema.qualified_field_with_unqualified_name(name)?;
    Ok(Column::new(qualifier.cloned(), field.name()))
}

/// What a window function's column tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    Start,
    End,
    /// A millisecond before the end.
    Time,
}

/// Which bound of its windows a column of a projection is, and the windows' size in nanoseconds
/// where all have the same; `None` for other columns and projections.
///
/// Reads what `Windows::project` writes; a projection that only passes the columns on is none.
pub fn bound(projection: &Projection, column: usize) -> Option<(Bound, Option<i64>)> {
    let first = projection.expr.len().checked_sub(COLUMNS.len())?;
    let nth = column.checked_sub(first)?;
    let named = |(expr, name): (&Expr, &&str)| expr.schema_name().to_string() == **name;
    if !projection.expr[first..].iter().zip(&COLUMNS).all(named) {
        return None;
    }
    // The last instant is always computed there, and from the end.
    let Expr::BinaryExpr(last) = projection.expr[first + 2].clone().unalias() else { return None };
    let made = last.op == Operator::Minus && duration_ns(&last.right) == Some(MILLISECOND_NS);
    let size = match *last.left {
        Expr::BinaryExpr(end) if end.op == Operator::Plus => nanoseconds("size", &end.right).ok(),
        _ => None,
    };
    let bound = [Bound::Start, Bound::End, Bound::Time][nth];
    made.then_some((bound, size))
}
