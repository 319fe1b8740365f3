//! Joins by an interval: two streams' rows meet where the distance of their times is within bounds.
//!
//! State is bounded by the watermark: a row goes when no row that is still to come can meet it.
//! For `left - right` in `[low, high]`, a left row `l` meets rows from `l - high` to `l - low`;
//! those to come on the right are after the watermark (less a lag), so `l` is over once the
//! watermark passes `l - low` (and that lag); a right row `r` once it passes `r + high`.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::{Column, ExprSchema, JoinType};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Filter, Join, Operator};

use super::watermark_bound;
use crate::stream::state::final_key::Bound;
use crate::stream::time::clock::Clock;

/// The bounds of a join's distance, `left - right`, in microseconds, and the columns it is between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub left: Column,
    pub right: Column,
    pub low_us: i64,
    pub high_us: i64,
    /// How far behind the watermark rows of each side may still come.
    left_bound_us: i64,
    right_bound_us: i64,
}

impl Condition {
    /// A left row is over once its time and this have passed.
    pub fn left_over_us(&self) -> i64 {
        self.right_bound_us.saturating_sub(self.low_us)
    }

    /// A right row is over once its time and this have passed.
    pub fn right_over_us(&self) -> i64 {
        self.left_bound_us.saturating_add(self.high_us)
    }

    /// The lag of the left time in the result.
    pub fn left_lag_us(&self) -> i64 {
        self.left_over_us().max(self.left_bound_us)
    }

    /// The lag of the right time in the result.
    pub fn right_lag_us(&self) -> i64 {
        self.right_over_us().max(self.right_bound_us)
    }
}

/// One bound that a conjunct states: `left - right <= us` or `>= us`.
pub(in crate::stream) enum Limit {
    Most(i64),
    Least(i64),
}

/// The interval of a join whose times are bounded on both sides.
pub fn condition(join: &Join) -> Option<Condition> {
    let mut found: Vec<Condition> = Vec::new();
    for expr in conditions(join) {
        let Some((left, right, limits)) = limits(join, &expr) else { continue };
        let known = found.iter().position(|c| c.left == left && c.right == right);
        let at = match known {
            Some(at) => at,
            None => {
                let Some(condition) = unbounded(join, left, right) else { continue };
                found.push(condition);
                found.len() - 1
            }
        };
        for limit in limits {
            match limit {
                Limit::Most(us) => found[at].high_us = found[at].high_us.min(us),
                Limit::Least(us) => found[at].low_us = found[at].low_us.max(us),
            }
        }
    }
    found.retain(|c| c.low_us > i64::MIN && c.high_us < i64::MAX);
    found.into_iter().next()
}

/// An inner join with the condition of the filter above it, as `FROM a, b WHERE ..` is planned.
pub fn filtered(join: &Join, filter: &Filter) -> Join {
    let both = join.filter.clone().into_iter().chain([filter.predicate.clone()]);
    Join { filter: both.reduce(Expr::and), ..join.clone() }
}

/// What a join asks of a pair, in parts that all must hold.
pub(in crate::stream) fn conditions(join: &Join) -> Vec<Expr> {
    let on = join.on.iter().map(|(left, right)| {
        let (left, right) = (Box::new(left.clone()), Box::new(right.clone()));
        Expr::BinaryExpr(BinaryExpr::new(left, Operator::Eq, right))
    });
    let all = on.chain(join.filter.iter().flat_map(watermark_bound::conjuncts).cloned());
    all.flat_map(|expr| spelled(&expr)).collect()
}

fn unbounded(join: &Join, left: Column, right: Column) -> Option<Condition> {
    let (one, other) = (
        watermark_bound::column(&join.left, &left)?,
        watermark_bound::column(&join.right, &right)?,
    );
    let event = |bound: Bound| (bound.clock == Clock::Event).then_some(bound.lag_us);
    Some(Condition {
        left,
        right,
        low_us: i64::MIN,
        high_us: i64::MAX,
        left_bound_us: event(one)?,
        right_bound_us: event(other)?,
    })
}

/// `a BETWEEN b AND c` as two comparisons, and NOT before one as the other; others as they are.
fn spelled(expr: &Expr) -> Vec<Expr> {
    if let Expr::Not(inner) = expr
        && let Expr::BinaryExpr(binary) = inner.as_ref()
        && let Some(op) = binary.op.negate()
    {
        return vec![Expr::BinaryExpr(BinaryExpr { op, ..binary.clone() })];
    }
    let Expr::Between(between) = expr else { return vec![expr.clone()] };
    if between.negated {
        return vec![expr.clone()];
    }
    let compare = |op, bound: &Expr| {
        let (expr, bound) = (between.expr.clone(), Box::new(bound.clone()));
        Expr::BinaryExpr(BinaryExpr::new(expr, op, bound))
    };
    vec![compare(Operator::GtEq, &between.low), compare(Operator::LtEq, &between.high)]
}

/// What a comparison of a left and a right time says about their distance.
pub(in crate::stream) fn limits(join: &Join, expr: &Expr) -> Option<(Column, Column, Vec<Limit>)> {
    let Expr::BinaryExpr(binary) = expr else { return None };
    // one - other + us <op> 0, so one - other <op> -us
    let sum = sum(&binary.left)?.and(sum(&binary.right)?.negated()?)?.reduced();
    let ([one], [other]) = (sum.plus.as_slice(), sum.minus.as_slice()) else { return None };
    let distance = sum.us.checked_neg()?;
    let is_left = |column: &Column| join.left.schema().maybe_index_of_column(column).is_some();
    let is_right = |column: &Column| join.right.schema().maybe_index_of_column(column).is_some();
    let (left, right, flipped) = match () {
        () if is_left(one) && is_right(other) => (one.clone(), other.clone(), false),
        () if is_left(other) && is_right(one) => (other.clone(), one.clone(), true),
        () => return None,
    };
    let time = |schema: &dyn ExprSchema, column: &Column| {
        schema.data_type(column).is_ok_and(|data_type| data_type.is_temporal())
    };
    if !time(join.left.schema().as_ref(), &left) || !time(join.right.schema().as_ref(), &right) {
        return None;
    }
    let limits = match (binary.op, flipped) {
        (Operator::Eq, false) => vec![Limit::Most(distance), Limit::Least(distance)],
        (Operator::Eq, true) => vec![Limit::Most(-distance), Limit::Least(-distance)],
        (Operator::Lt | Operator::LtEq, false) => vec![Limit::Most(distance)],
        (Operator::Gt | Operator::GtEq, false) => vec![Limit::Least(distance)],
        (Operator::Lt | Operator::LtEq, true) => vec![Limit::Least(-distance)],
        (Operator::Gt | Operator::GtEq, true) => vec![Limit::Most(-distance)],
        _ => return None,
    };
    Some((left, right, limits))
}

/// Columns that are added, those that are subtracted, and microseconds.
#[derive(Default)]
struct Sum {
    plus: Vec<Column>,
    minus: Vec<Column>,
    us: i64,
}

impl Sum {
    fn negated(self) -> Option<Self> {
        Some(Self { plus: self.minus, minus: self.plus, us: self.us.checked_neg()? })
    }

    fn and(mut self, other: Self) -> Option<Self> {
        self.plus.extend(other.plus);
        self.minus.extend(other.minus);
        Some(Self { us: self.us.checked_add(other.us)?, ..self })
    }

    /// Without the columns that are both added and subtracted.
    fn reduced(mut self) -> Self {
        self.plus.retain(|column| match self.minus.iter().position(|other| other == column) {
            Some(at) => {
                self.minus.swap_remove(at);
                false
            }
            None => true,
        });
        self
    }
}

/// Columns, constant intervals and differences of times, added up.
fn sum(expr: &Expr) -> Option<Sum> {
    if let Some(us) = watermark_bound::interval_us(expr) {
        return Some(Sum { us, ..Sum::default() });
    }
    match expr {
        Expr::Column(column) => Some(Sum { plus: vec![column.clone()], ..Sum::default() }),
        Expr::Alias(alias) => sum(&alias.expr),
        Expr::Cast(cast) if watermark_bound::keeps_instant(cast) || keeps_length(cast) => {
            sum(&cast.expr)
        }
        Expr::Negative(inner) => sum(inner)?.negated(),
        Expr::BinaryExpr(binary) => {
            let (one, other) = (sum(&binary.left)?, sum(&binary.right)?);
            match binary.op {
                Operator::Plus => one.and(other),
                Operator::Minus => one.and(other.negated()?),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether a cast leaves the distance of two times as it is.
fn keeps_length(cast: &Cast) -> bool {
    use TimeUnit::{Microsecond, Nanosecond};
    matches!(
        cast.field.data_type(),
        DataType::Interval(IntervalUnit::MonthDayNano)
            | DataType::Duration(Microsecond | Nanosecond)
    )
}

/// A column and the microseconds added to it.
pub fn moved(expr: &Expr) -> Option<(Column, i64)> {
    let mut sum = sum(expr)?;
    let column = sum.plus.pop()?;
    (sum.plus.is_empty() && sum.minus.is_empty()).then_some((column, sum.us))
}

/// Whether rows of a side that meet nothing are in the result.
pub fn keeps_unmatched(join_type: JoinType) -> (bool, bool) {
    match join_type {
        JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => (true, false),
        JoinType::Right | JoinType::RightAnti => (false, true),
        JoinType::Full => (true, true),
        _ => (false, false),
    }
}
