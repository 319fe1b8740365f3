//! Which columns of a plan only grow with the stream's time: of what is still to come, the value
//! is after the watermark, less a lag. Such a column among the keys tells when a group is final.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Cast, Distinct, Expr, Join, LogicalPlan, Operator, Union, Window};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::interval;
use super::late::{self, contains_stream};
use super::watermark_filter::WatermarkFilterNode;
use super::window::columns::{self, Edge};
use super::window::edges::own_edge;
use super::window::node::WindowNode;
use crate::plan::ExtensionNode;
use crate::stream::log::partition::PROCESSED;
use crate::stream::log::table::{StreamTable, View};
use crate::stream::plan::asof::node::AsOfNode;
use crate::stream::plan::order::number::NumberNode;
use crate::stream::plan::order::sorted::SortedNode;
use crate::stream::plan::session::node::SessionNode;
use crate::stream::state::final_key::{Bound, Origin};
use crate::stream::time::clock::Clock;

fn origin<T>(node: &T) -> Origin {
    std::ptr::from_ref(node) as usize
}

/// The bound of a column of a plan's result.
pub fn column(plan: &LogicalPlan, wanted: &Column) -> Option<Bound> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let table = StreamTable::of(&scan.source)?;
            let processed = table.view() == View::Log && wanted.name == PROCESSED;
            let origin = origin(scan);
            processed.then_some(Bound { clock: Clock::Processing, lag_us: 0, origin })
        }
        LogicalPlan::Projection(node) => {
            let at = node.schema.maybe_index_of_column(wanted)?;
            expression(&node.input, node.expr.get(at)?)
        }
        LogicalPlan::Filter(node) => match node.input.as_ref() {
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
                joined(&interval::filtered(join, node), wanted)
            }
            input => column(input, wanted),
        },
        LogicalPlan::SubqueryAlias(node) => {
            let at = node.schema.maybe_index_of_column(wanted)?;
            column(&node.input, node.input.schema().columns().get(at)?)
        }
        LogicalPlan::Unnest(node) => {
            node.input.schema().maybe_index_of_column(wanted)?;
            column(&node.input, wanted)
        }
        LogicalPlan::Aggregate(node) => {
            let at = node.schema.maybe_index_of_column(wanted)?;
            let key = group_key(&node.input, &node.group_expr).map(|(_, bound)| bound);
            expression(&node.input, node.group_expr.get(at)?)?.behind(key)
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let columns = input.schema().columns();
            let bounds = columns.iter().filter_map(|wanted| column(input, wanted));
            column(input, wanted)?.behind(bounds.min_by_key(|bound| bound.lag_us))
        }
        LogicalPlan::Window(node) => {
            node.input.schema().maybe_index_of_column(wanted)?;
            let key = partition_key(node).map(|(_, bound)| bound);
            column(&node.input, wanted)?.behind(key)
        }
        LogicalPlan::Extension(_) => in_node(plan, wanted),
        LogicalPlan::Sort(node) => column(&node.input, wanted),
        LogicalPlan::Join(node) => joined(node, wanted),
        LogicalPlan::Union(node) => united(node, wanted, column),
        _ => None,
    }
}

/// The bound over all streams of a union, from those of its branches; what a table has is there
/// from the beginning.
fn united(
    node: &Union,
    wanted: &Column,
    of: impl Fn(&LogicalPlan, &Column) -> Option<Bound>,
) -> Option<Bound> {
    let at = node.schema.maybe_index_of_column(wanted)?;
    let streams = node.inputs.iter().filter(|input| contains_stream(input));
    let bounds = streams.map(|input| of(input, input.schema().columns().get(at)?));
    bounds.reduce(|one, other| match (one?, other?) {
        (one, other) if one.clock == other.clock => {
            let origin = one.origin.rotate_left(7) ^ other.origin;
            Some(Bound { lag_us: one.lag_us.max(other.lag_us), origin, ..one })
        }
        _ => None,
    })?
}

/// The bound of what a watermark filter by this time keeps: that of the time, where it has one;
/// rows of a stream's log are kept if they, or their windows' ends, are after the watermark.
fn arrivals(plan: &LogicalPlan, time: &Column) -> Option<Bound> {
    if let Some(bound) = column(plan, time) {
        return Some(bound);
    }
    match plan {
        LogicalPlan::TableScan(scan) => StreamTable::of(&scan.source)
            .is_some_and(StreamTable::tells_watermark)
            .then(|| Bound::event(origin(plan))),
        LogicalPlan::Union(node) => united(node, time, arrivals),
        LogicalPlan::Filter(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_) => arrivals(plan.inputs()[0], time),
        LogicalPlan::SubqueryAlias(node) => {
            let at = node.schema.maybe_index_of_column(time)?;
            arrivals(&node.input, node.input.schema().columns().get(at)?)
        }
        LogicalPlan::Projection(node) => {
            let at = node.schema.maybe_index_of_column(time)?;
            match node.expr.get(at)?.clone().unalias() {
                Expr::Column(below) => arrivals(&node.input, &below),
                _ => None,
            }
        }
        LogicalPlan::Extension(_) if let Some(input) = late::row_by_row(plan) => {
            input.schema().has_column(time).then(|| arrivals(input, time))?
        }
        LogicalPlan::Join(_) | LogicalPlan::Extension(_) => {
            let (_, side) = late::stream_side(plan)?;
            side.schema().has_column(time).then(|| arrivals(side, time))?
        }
        _ => None,
    }
}

/// The bound of an expression over a plan's result: a column, moved by a constant interval.
pub fn expression(input: &LogicalPlan, expr: &Expr) -> Option<Bound> {
    match expr {
        Expr::Column(name) => column(input, name),
        Expr::Alias(alias) => expression(input, &alias.expr),
        Expr::Cast(cast) if keeps_instant(cast) => expression(input, &cast.expr),
        Expr::BinaryExpr(binary) => {
            let (time, by_us) = match (binary.op, interval_us(&binary.right)) {
                (Operator::Plus, Some(us)) => (&binary.left, us.checked_neg()?),
                (Operator::Minus, Some(us)) => (&binary.left, us),
                (Operator::Plus, None) => {
                    (&binary.right, interval_us(&binary.left)?.checked_neg()?)
                }
                _ => return None,
            };
            Some(expression(input, time)?.later(by_us))
        }
        _ => None,
    }
}

/// Whether a cast of a stream's time leaves the instant as it is: it is in microseconds.
pub fn keeps_instant(cast: &Cast) -> bool {
    use TimeUnit::{Microsecond, Nanosecond};
    matches!(cast.field.data_type(), DataType::Timestamp(Microsecond | Nanosecond, _))
}

/// The group that tells when a group is final, the first to be so, and its bound.
pub fn group_key(input: &LogicalPlan, groups: &[Expr]) -> Option<(usize, Bound)> {
    let bounds = groups.iter().map(|group| expression(input, group)).enumerate();
    let bounds = bounds.filter_map(|(at, bound)| Some((at, bound?)));
    bounds.min_by_key(|(_, bound)| bound.lag_us)
}

/// The column of every PARTITION BY that tells when a partition is final.
pub fn partition_key(node: &Window) -> Option<(Column, Bound)> {
    let mut keys: Option<Vec<(Column, Bound)>> = None;
    for expr in &node.window_expr {
        let Expr::WindowFunction(function) = expr.clone().unalias() else { continue };
        let by = function.params.partition_by.iter();
        let by = by.filter_map(|expr| match expr {
            Expr::Column(wanted) => Some((wanted.clone(), column(&node.input, wanted)?)),
            _ => None,
        });
        let by: Vec<_> = by.collect();
        keys = Some(match keys {
            None => by,
            Some(keys) => keys.into_iter().filter(|key| by.contains(key)).collect(),
        });
    }
    keys?.into_iter().min_by_key(|(_, bound)| bound.lag_us)
}

/// A constant interval of days or less, in whole microseconds.
pub fn interval_us(expr: &Expr) -> Option<i64> {
    let ns = match expr {
        Expr::Literal(..) => columns::nanoseconds("interval", expr).ok()?,
        _ => columns::nanoseconds("interval", &constant(expr)?).ok()?,
    };
    (ns % 1_000 == 0).then_some(ns / 1_000)
}

/// The value of an expression without columns.
fn constant(expr: &Expr) -> Option<Expr> {
    let computes = matches!(expr, Expr::Cast(_) | Expr::Negative(_) | Expr::BinaryExpr(_));
    if !computes || expr.any_column_refs() || expr.contains_outer() {
        return None;
    }
    let simplifier = ExprSimplifier::new(SimplifyContext::default());
    let coerced = simplifier.coerce(expr.clone(), &DFSchema::empty()).ok()?;
    simplifier.simplify(coerced).ok()
}

fn in_node(plan: &LogicalPlan, wanted: &Column) -> Option<Bound> {
    if SortedNode::of(plan).is_some() || NumberNode::of(plan).is_some() {
        return column(plan.inputs().first()?, wanted);
    }
    if let Some(node) = WatermarkFilterNode::of(plan) {
        // Of single rows: what it keeps is after the watermark.
        let own = || Some(Bound { origin: origin(node), ..arrivals(&node.input, wanted)? });
        return column(&node.input, wanted).or_else(|| (node.time == *wanted).then(own)?);
    }
    if let Some(node) = AsOfNode::of(plan) {
        return as_of(node, wanted);
    }
    let (input, time, origin, size_ns) = match (WindowNode::of(plan), SessionNode::of(plan)) {
        (Some(node), _) => (&node.input, &node.time, origin(node), node.fixed_size_ns()),
        (_, Some(node)) => (&node.input, &node.time, origin(node), None),
        _ => return None,
    };
    match own_edge(plan, wanted) {
        Some(edge) => of_edge(Bound { origin, ..arrivals(input, time)? }, edge, size_ns),
        // A session's rows wait until it is final, whatever their own columns say.
        None if SessionNode::of(plan).is_some() => None,
        None => column(input, wanted),
    }
}

/// The bound of an edge of windows from that of their end, which is after the time in them; of a
/// start nothing is known where sizes differ.
fn of_edge(end: Bound, edge: Edge, size_ns: Option<i64>) -> Option<Bound> {
    match edge {
        Edge::End => Some(end),
        Edge::Time => Some(end.later(LAST_INSTANT_US)),
        Edge::Start => Some(end.later(size_ns? / 1_000)),
    }
}

/// The parts of a condition that all must hold.
pub fn conjuncts(expr: &Expr) -> impl Iterator<Item = &Expr> {
    datafusion::logical_expr::utils::split_conjunction(expr).into_iter()
}

fn joined(node: &Join, wanted: &Column) -> Option<Bound> {
    let left = node.left.schema().maybe_index_of_column(wanted).is_some();
    let (side, other) = if left { (&node.left, &node.right) } else { (&node.right, &node.left) };
    let bound = column(side, wanted)?;
    if !contains_stream(other) {
        return Some(bound); // row by row
    }
    if let Some((left_key, right_key, key)) = window_keys(node) {
        let of_side = column(side, if left { &left_key } else { &right_key })?;
        let wait_us = key.lag_us.saturating_sub(of_side.lag_us);
        return Some(bound.behind(Some(of_side))?.later(wait_us));
    }
    // A row is joined until the other side cannot reach it any more.
    let condition = interval::condition(node)?;
    let (time, lag_us) = match left {
        true => (&condition.left, condition.left_lag_us()),
        false => (&condition.right, condition.right_lag_us()),
    };
    let time = column(side, time)?;
    Some(bound.behind(Some(time))?.later(lag_us.saturating_sub(time.lag_us)))
}

/// Left rows wait for those of the right up to their time, which itself says nothing: it may be
/// any time before.
fn as_of(node: &AsOfNode, wanted: &Column) -> Option<Bound> {
    node.left.schema().maybe_index_of_column(wanted)?;
    let bound = column(&node.left, wanted)?;
    if !contains_stream(&node.right) {
        return Some(bound); // row by row
    }
    let time = column(&node.left, &node.times.0)?;
    let wait_us = column(&node.right, &node.times.1)?.lag_us.saturating_sub(time.lag_us);
    Some(bound.behind(Some(time))?.later(wait_us.max(0)))
}

/// A window that both sides of a join agree on: a column of each, and when a row of it is final.
pub fn window_keys(join: &Join) -> Option<(Column, Column, Bound)> {
    let plain = |expr: &Expr| match expr.clone().unalias() {
        Expr::Column(column) => Some(column),
        _ => None,
    };
    let mut equal: Vec<(Column, Column)> =
        join.on.iter().filter_map(|(l, r)| Some((plain(l)?, plain(r)?))).collect();
    for expr in join.filter.iter().flat_map(conjuncts) {
        let Expr::BinaryExpr(binary) = expr else { continue };
        let (Operator::Eq, Some(one), Some(other)) =
            (binary.op, plain(&binary.left), plain(&binary.right))
        else {
            continue;
        };
        let is_left = |c: &Column| join.left.schema().maybe_index_of_column(c).is_some();
        let is_right = |c: &Column| join.right.schema().maybe_index_of_column(c).is_some();
        match () {
            () if is_left(&one) && is_right(&other) => equal.push((one, other)),
            () if is_left(&other) && is_right(&one) => equal.push((other, one)),
            () => {}
        }
    }
    let found = equal.into_iter().filter_map(|(left, right)| {
        let one = column(&join.left, &left)?;
        let other = column(&join.right, &right)?;
        // Both have to be there before either is let go.
        let bound = Bound { lag_us: one.lag_us.max(other.lag_us), ..one };
        (one.clock == other.clock).then_some((left, right, bound))
    });
    found.min_by_key(|(.., bound)| bound.lag_us)
}

/// `window_time` lies this far before `window_end`, in microseconds.
const LAST_INSTANT_US: i64 = 1_000;
