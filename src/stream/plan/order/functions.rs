//! Which functions go by the order of rows, and how they are told it.

use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{
    AggregateFunction, NullTreatment, Sort as SortKey, WindowFunction,
};
use datafusion::logical_expr::{
    Expr, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};

use crate::stream::equal::one_of_equals;

/// What a function of OVER needs for rows of equal keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It gives all of them the same.
    Nothing,
    /// It goes by single rows: further keys tell their order.
    Keys,
    /// Further keys would change what it sees: the rows come in their order.
    Sort,
}

/// Aggregates whose answer is another where the rows come in another order.
const BY_ORDER: [&str; 6] =
    ["array_agg", "string_agg", "first_value", "last_value", "nth_value", "any_value"];

/// What the function of an expression of OVER needs.
pub fn need(expr: &Expr) -> Need {
    let Some(function) = function(expr) else { return Need::Nothing };
    let (name, frame) = (function.fun.name(), &function.params.window_frame);
    let by_row = frame.units == WindowFrameUnits::Rows || is_whole(frame);
    match &function.fun {
        WindowFunctionDefinition::AggregateUDF(_) if !BY_ORDER.contains(&name) => {
            // Of the whole partition, or of whole groups of peers, the order is of no matter.
            match frame.units == WindowFrameUnits::Rows && !is_whole(frame) {
                true => Need::Keys,
                false => Need::Nothing,
            }
        }
        WindowFunctionDefinition::AggregateUDF(_) if by_row => Need::Keys,
        WindowFunctionDefinition::AggregateUDF(_) => Need::Sort,
        WindowFunctionDefinition::WindowUDF(_) => match name {
            "rank" | "dense_rank" | "percent_rank" | "cume_dist" => Need::Nothing,
            "row_number" | "ntile" | "lag" | "lead" => Need::Keys,
            "first_value" | "last_value" | "nth_value" if by_row => Need::Keys,
            "first_value" if is_first_of_all(function) => Need::Keys,
            _ => Need::Sort,
        },
    }
}

fn function(expr: &Expr) -> Option<&WindowFunction> {
    match expr {
        Expr::Alias(alias) => function(&alias.expr),
        Expr::WindowFunction(function) => Some(function),
        _ => None,
    }
}

fn is_whole(frame: &WindowFrame) -> bool {
    frame.start_bound.is_unbounded()
        && frame.end_bound.is_unbounded()
        && matches!(frame.end_bound, WindowFrameBound::Following(_))
}

/// Whether the first value is that of the partition's first row, whatever the row.
fn is_first_of_all(function: &WindowFunction) -> bool {
    let frame = &function.params.window_frame;
    frame.start_bound.is_unbounded()
        && matches!(frame.end_bound, WindowFrameBound::CurrentRow)
        && function.params.null_treatment != Some(NullTreatment::IgnoreNulls)
}

/// The same expression of OVER with another function in its place, under its name.
fn changed(expr: &Expr, change: &dyn Fn(&mut WindowFunction) -> Result<()>) -> Result<Expr> {
    let name = expr.name_for_alias()?;
    let new = match expr {
        Expr::Alias(alias) => changed(&alias.expr, change)?,
        Expr::WindowFunction(function) => {
            let mut function = function.as_ref().clone();
            change(&mut function)?;
            Expr::WindowFunction(Box::new(function))
        }
        other => other.clone(),
    };
    new.unalias().alias_if_changed(name)
}

/// With keys of which equal ones are one.
pub fn with_one_of_equals(expr: &Expr, input: &LogicalPlan) -> Result<Expr> {
    changed(expr, &|function| {
        let one = |expr: &mut Expr| -> Result<()> {
            *expr = one_of_equals(std::mem::take(expr), input.schema())?;
            Ok(())
        };
        function.params.partition_by.iter_mut().try_for_each(one)?;
        function.params.order_by.iter_mut().try_for_each(|key| one(&mut key.expr))
    })
}

/// With the keys that `behind` gives behind its own.
pub fn ordered(expr: &Expr, behind: &dyn Fn(&[SortKey]) -> Vec<SortKey>) -> Result<Expr> {
    changed(expr, &|function| {
        let more = behind(&function.params.order_by);
        if more.is_empty() {
            return Ok(());
        }
        // Rows have no peers from here on: what went by rows or by all of them still does.
        let frame = &function.params.window_frame;
        if frame.units != WindowFrameUnits::Rows {
            let end = match is_whole(frame) {
                true => WindowFrameBound::Following(ScalarValue::UInt64(None)),
                false => WindowFrameBound::CurrentRow,
            };
            let start = WindowFrameBound::Preceding(ScalarValue::UInt64(None));
            let frame = WindowFrame::new_bounds(WindowFrameUnits::Rows, start, end);
            function.params.window_frame = frame;
        }
        function.params.order_by.extend(more);
        Ok(())
    })
}

/// How many keys the PARTITION BY of an expression of OVER has.
pub fn partitions(expr: &Expr) -> usize {
    function(expr).map_or(0, |function| function.params.partition_by.len())
}

/// What the rows of an expression of OVER are sorted by.
pub fn keys(expr: &Expr) -> Vec<SortKey> {
    let Some(function) = function(expr) else { return Vec::new() };
    let partitions = function.params.partition_by.iter();
    let partitions = partitions.map(|key| key.clone().sort(true, false));
    partitions.chain(function.params.order_by.iter().cloned()).collect()
}

fn aggregate(expr: &Expr) -> Option<&AggregateFunction> {
    match expr {
        Expr::Alias(alias) => aggregate(&alias.expr),
        Expr::AggregateFunction(function) => Some(function),
        _ => None,
    }
}

/// Whether an aggregate goes by the order of its rows.
pub fn goes_by_order(expr: &Expr) -> bool {
    aggregate(expr).is_some_and(|function| BY_ORDER.contains(&function.func.name()))
}

/// Whether it goes by the order of all its rows, and not of different values only.
pub fn goes_by_row(expr: &Expr) -> bool {
    goes_by_order(expr) && aggregate(expr).is_some_and(|function| !function.params.distinct)
}

/// An aggregate that is told the order of its rows, under its name; `of_keys` gives the keys to go
/// by instead of some.
pub fn aggregate_in_order(
    expr: &Expr,
    of_keys: &dyn Fn(&[SortKey]) -> Result<Vec<SortKey>>,
) -> Result<Expr> {
    let name = expr.name_for_alias()?;
    let Some(function) = aggregate(expr).filter(|_| goes_by_order(expr)) else {
        return Ok(expr.clone());
    };
    let mut function = function.clone();
    let params = &mut function.params;
    match params.distinct {
        // Values come by what they are, as where their order is asked for.
        true if params.order_by.is_empty() => {
            let first = params.args.first().cloned();
            params.order_by = first.map(|value| value.sort(true, false)).into_iter().collect();
        }
        true => {}
        false => params.order_by = of_keys(&params.order_by)?,
    }
    if function.func.name() == "any_value" && !function.params.order_by.is_empty() {
        function.func = first_value_udaf();
        function.params.null_treatment = Some(NullTreatment::IgnoreNulls);
    }
    Expr::AggregateFunction(function).alias_if_changed(name)
}
