//! Windows as plain expressions: bins that rows are in, and lists of them that are unnested.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, internal_err};
use datafusion::functions::core::least;
use datafusion::functions_nested::expr_fn::{array_distinct, make_array};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, col};

use super::columns::{COLUMNS, MILLISECOND_NS, duration, interval};
use super::spec::{DAY_NS, Function, Windows};
use crate::plan::date_bin;
use crate::stream::time::calendar::local_days;

/// All columns of the input, then the window's three.
pub fn plan(input: &LogicalPlan, time: &Column, windows: &Windows) -> Result<LogicalPlan> {
    let data_type = window_type(input.schema(), time)?;
    let bins = Bins { windows, time, data_type: &data_type };
    let columns = columns(input);
    let with = |more: Vec<Expr>| columns.iter().cloned().chain(more).collect::<Vec<_>>();
    let (size, step) = (windows.size_ns, windows.step_ns);
    let bin = |width: i64, shift: i64| bins.bin(input.schema(), width, shift);
    let last = duration(MILLISECOND_NS, &data_type);
    let [start, end, window_time] = COLUMNS;
    let input = LogicalPlanBuilder::from(input.clone());
    let built = match windows.function {
        Function::Tumble => {
            let close = bin(size, size)?;
            input.project(with(vec![
                bin(size, 0)?.alias(start),
                close.clone().alias(end),
                (close - last).alias(window_time),
            ]))?
        }
        Function::Hop => {
            let copies = 0..(size - 1) / step + 1;
            let starts = copies.map(|back| bin(step, -back * step)).collect::<Result<_>>()?;
            let spread = spread(input, &columns, make_array(starts), start)?;
            let close = bins.end(size, step);
            let holds = close.clone().gt(Expr::Column(time.clone()));
            spread.filter(holds)?.project(with(vec![
                col(start),
                close.clone().alias(end),
                (close - last).alias(window_time),
            ]))?
        }
        Function::Cumulate => {
            let ends = bins.ends(input.schema(), size, step)?;
            let spread = spread(input.clone(), &columns, ends, end)?;
            let holds = col(end).gt(Expr::Column(time.clone()));
            spread.filter(holds)?.project(with(vec![
                bins.bin(input.schema(), size, 0)?.alias(start),
                col(end),
                (col(end) - last).alias(window_time),
            ]))?
        }
    };
    built.build()
}

/// The slides of windows that overlap, one for each row, in the columns of the windows.
pub fn slides(input: &LogicalPlan, time: &Column, windows: &Windows) -> Result<LogicalPlan> {
    let data_type = window_type(input.schema(), time)?;
    let bins = Bins { windows, time, data_type: &data_type };
    let first = bins.bin(input.schema(), windows.step_ns, 0)?;
    let over = first.clone() + duration(windows.step_ns, &data_type);
    let instant = over.clone() - duration(MILLISECOND_NS, &data_type);
    let [start, end, last] = COLUMNS;
    let slide = [first.alias(start), over.alias(end), instant.alias(last)];
    let columns = columns(input).into_iter().chain(slide);
    LogicalPlanBuilder::from(input.clone()).project(columns)?.build()
}

/// The type of a window's times. Its last instant needs milliseconds.
pub fn window_type(input: &DFSchema, time: &Column) -> Result<DataType> {
    match input.field_from_column(time)?.data_type() {
        DataType::Timestamp(TimeUnit::Second, zone) => {
            Ok(DataType::Timestamp(TimeUnit::Millisecond, zone.clone()))
        }
        data_type @ DataType::Timestamp(..) => Ok(data_type.clone()),
        other => internal_err!("windows over {time}, which is {other}"),
    }
}

fn columns(input: &LogicalPlan) -> Vec<Expr> {
    input.schema().columns().into_iter().map(Expr::Column).collect()
}

/// Expressions of the bins that windows start at.
struct Bins<'a> {
    windows: &'a Windows,
    time: &'a Column,
    data_type: &'a DataType,
}

impl Bins<'_> {
    fn are_local(&self) -> bool {
        self.windows.are_local(self.data_type)
    }

    /// The start of the bin of this width that holds the time, moved by `shift`.
    fn bin(&self, schema: &DFSchema, width: i64, shift: i64) -> Result<Expr> {
        let time = Expr::Column(self.time.clone()).cast_to(self.data_type, schema)?;
        if self.are_local() {
            let offset = self.windows.offset_ns;
            return Ok(local_days(time, width / DAY_NS, offset, shift / DAY_NS));
        }
        let first = match self.windows.offset_ns.rem_euclid(width) {
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
            true => local_days(start, step / DAY_NS, self.windows.offset_ns, size / DAY_NS),
            false => start + duration(size, self.data_type),
        }
    }
}

/// Clocks go back by an hour mostly; by more, the last of windows that grow has a longer step.
const LONGER_NS: i64 = 3 * 3_600_000_000_000;

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
