//! Dates, timestamps and durations: casts, arithmetic, `date_part`, `date_trunc`, `date_bin`.
//!
//! Only in universal time: other time zones need their tables and are declined.

use super::float::{Floats, float};
use super::types::{integer, within};
use super::*;

use arrow::compute::kernels::cast_utils::IntervalUnit;
use datafusion::logical_expr::Operator;
use std::str::FromStr;

use crate::expr::prim;

const DAY_SECONDS: i64 = 86_400;
const DAY_MILLIS: i64 = 86_400_000;
/// Day numbers that chrono's dates reach: -262143-01-01 to 262142-12-31.
const FIRST_DAY: i64 = -96_465_292;
const LAST_DAY: i64 = 95_026_236;

/// The unit of a timestamp in universal time.
fn timestamp(data_type: &DataType) -> Option<TimeUnit> {
    match data_type {
        DataType::Timestamp(unit, zone) if is_utc(zone.as_deref()) => Some(*unit),
        _ => None,
    }
}

/// The timestamps of `unit` that chrono's dates reach; all of them if it reaches further.
fn reach(unit: TimeUnit) -> Option<(i128, i128)> {
    let day = i128::from(per_second(unit) * DAY_SECONDS);
    let (low, high) = (i128::from(FIRST_DAY) * day, i128::from(LAST_DAY + 1) * day - 1);
    let all = i128::from(i64::MIN) >= low && i128::from(i64::MAX) <= high;
    (!all).then(|| (low.max(i128::from(i64::MIN)), high.min(i128::from(i64::MAX))))
}

fn long(value: i64) -> Expr {
    int(i128::from(value), Rep::I64)
}

/// A part of the query's interval.
fn amount(value: i64, rep: Rep) -> Expr {
    Expr::parameter(bits_of(i128::from(value), rep), rep)
}

fn floor_div(value: Expr, by: i64) -> Expr {
    if by == 1 { value } else { call2(&prim::FLOOR_DIV_I64, value, long(by)) }
}

fn floor_mod(value: Expr, by: i64) -> Expr {
    call2(&prim::FLOOR_MOD_I64, value, long(by))
}

fn low(value: Expr) -> Expr {
    call1(&prim::I32_FROM_I64, value)
}

fn long_days(days: Expr) -> Expr {
    call1(&prim::I64_FROM_I32, days)
}

/// `then` where `low <= value <= high`, else NULL.
fn where_within(value: &Expr, (least, most): (i128, i128), then: Expr) -> Expr {
    let le = prim::le(value.rep);
    let above = call2(le, int(least, value.rep), value.clone());
    let below = call2(le, value.clone(), int(most, value.rep));
    only_if(above.and(below), then)
}

impl Lowering<'_> {
    pub(super) fn cast_time(
        &mut self,
        value: Expr,
        from: &DataType,
        to: &DataType,
        safe: bool,
    ) -> Option<Expr> {
        use DataType::{Date32, Date64, Duration, Int32, Int64, Time32, Time64, Timestamp};
        match (from, to) {
            (Date32 | Time32(_), Int32) | (Int32, Date32 | Time32(_)) => Some(value),
            (Date64 | Time64(_) | Duration(_) | Timestamp(..), Int64) => Some(value),
            (Int64, Date64 | Time64(_) | Duration(_)) => Some(value),
            (Int64, Timestamp(..)) => Some(value),
            (Date32 | Time32(_), Int64) => Some(long_days(value)),
            (Int64, Date32) => self.cast(value, &Int64, &Int32, safe),
            (_, Timestamp(..)) if integer(from).is_some() => self.cast(value, from, &Int64, safe),
            (Timestamp(..) | Duration(_), _) if integer(to).is_some() => {
                self.cast(value, &Int64, to, safe)
            }
            (Date32, Date64) => Some(call2(&prim::MUL_I64, long_days(value), long(DAY_MILLIS))),
            (Date64, Date32) if !safe => {
                let days = call2(&prim::QUOT_I64, value, long(DAY_MILLIS));
                self.cast(days, &Int64, &Int32, safe)
            }
            (Date32, Timestamp(..)) => {
                let day = per_second(timestamp(to)?) * DAY_SECONDS;
                let (least, most) = (i64::MIN / day, i64::MAX / day);
                let mut days = long_days(value);
                if most < i64::from(i32::MAX) {
                    days = within(days, i128::from(least), i128::from(most), safe);
                }
                Some(call2(&prim::MUL_I64, days, long(day)))
            }
            (Timestamp(..), Date32) if !safe => {
                let unit = timestamp(from)?;
                let value = match reach(unit) {
                    Some((least, most)) => within(value, least, most, safe),
                    None => value,
                };
                Some(low(floor_div(value, per_second(unit) * DAY_SECONDS)))
            }
            (Timestamp(unit, from_zone), Timestamp(to_unit, to_zone)) => {
                // Local time without a zone that gets one keeps its fields.
                let shifts = from_zone.is_none() && to_zone.is_some();
                if shifts && !is_utc(to_zone.as_deref()) {
                    return None;
                }
                let value = change_unit(value, *unit, *to_unit, safe);
                Some(match reach(*to_unit) {
                    Some((least, most)) if shifts => within(value, least, most, safe),
                    _ => value,
                })
            }
            _ => None,
        }
    }

    pub(super) fn temporal(
        &mut self,
        expr: &BinaryExpr,
        left_type: &DataType,
        right_type: &DataType,
    ) -> Result<Expr, Declined> {
        use DataType::{Date32, Duration, Interval, Timestamp};
        let op = *expr.op();
        let decline = || no_form(expr, format!("it computes {left_type} {op} {right_type}"));
        let sign = match op {
            Operator::Plus => 1,
            Operator::Minus => -1,
            _ => return Err(decline()),
        };
        if let (Interval(_), Date32 | Timestamp(..), 1) = (left_type, right_type, sign) {
            let value = self.lower(expr.right())?;
            return add_interval(value, right_type, expr.left(), 1).ok_or_else(decline);
        }
        if let (Date32 | Timestamp(..), Interval(_)) = (left_type, right_type) {
            let value = self.lower(expr.left())?;
            return add_interval(value, left_type, expr.right(), sign).ok_or_else(decline);
        }
        let (left, right) = (self.lower(expr.left())?, self.lower(expr.right())?);
        let result = match (left_type, right_type, sign) {
            (Date32, Date32, -1) => {
                return Ok(call2(&prim::SUB_I64, long_days(left), long_days(right)));
            }
            (Timestamp(left_unit, _), Timestamp(unit, _), -1) => left_unit == unit,
            (Timestamp(left_unit, _) | Duration(left_unit), Duration(unit), _) => left_unit == unit,
            (Duration(left_unit), Timestamp(unit, _), 1) => left_unit == unit,
            _ => false,
        };
        let prim = if sign == 1 { &prim::ADD_CHECKED_I64 } else { &prim::SUB_CHECKED_I64 };
        if result { Ok(call2(prim, left, right)) } else { Err(decline()) }
    }

    /// `date_part(part, value)`: fields are NULL where chrono has no date.
    pub(super) fn date_part(
        &mut self,
        part: &str,
        value: Expr,
        data_type: &DataType,
    ) -> Option<Expr> {
        let part = part.trim_matches(['\'', '"']);
        let unit = IntervalUnit::from_str(part).ok();
        let clock = match unit {
            Some(IntervalUnit::Hour) => Some((DAY_SECONDS, 3600, 1)),
            Some(IntervalUnit::Minute) => Some((3600, 60, 1)),
            Some(IntervalUnit::Second) => Some((60, 1, 1)),
            Some(IntervalUnit::Millisecond) => Some((60, 1, 1_000)),
            Some(IntervalUnit::Microsecond) => Some((60, 1, 1_000_000)),
            Some(IntervalUnit::Nanosecond) => Some((60, 1, 1_000_000_000)),
            _ => None,
        };
        if let Some((cycle, step, fraction)) = clock {
            return clock_part(value, data_type, cycle, step, fraction);
        }
        let (days, inside) = match data_type {
            DataType::Date32 => {
                (value.clone(), Some((i128::from(FIRST_DAY), i128::from(LAST_DAY))))
            }
            _ => {
                let unit = timestamp(data_type)?;
                let day = per_second(unit) * DAY_SECONDS;
                (low(floor_div(value.clone(), day)), reach(unit))
            }
        };
        let field = match (unit, part.to_lowercase().as_str()) {
            (Some(IntervalUnit::Year), _) => call1(&prim::YEAR, days),
            (Some(IntervalUnit::Month), _) => call1(&prim::MONTH, days),
            (Some(IntervalUnit::Week), _) => call1(&prim::ISO_WEEK, days),
            (Some(IntervalUnit::Day), _) => call1(&prim::DAY, days),
            (None, "isoyear") => call1(&prim::ISO_YEAR, days),
            (None, "qtr" | "quarter") => call1(&prim::QUARTER, days),
            (None, "doy") => call1(&prim::DAY_OF_YEAR, days),
            (None, "isodow") => call2(&prim::ADD_I32, weekday(days), int(1, Rep::I32)),
            (None, "dow") => {
                let next = call2(&prim::ADD_I32, weekday(days), int(1, Rep::I32));
                call2(&prim::REM_I32, next, int(7, Rep::I32))
            }
            _ => return None,
        };
        Some(match inside {
            Some(bounds) => where_within(&value, bounds, field),
            None => field,
        })
    }

    /// Seconds since 1970 as a binary64.
    pub(super) fn epoch(&mut self, value: Expr, data_type: &DataType) -> Option<Expr> {
        let floats = Floats { exact: self.scope.floats() };
        let number = |value| call1(&prim::F64_FROM_I64, value);
        match data_type {
            DataType::Date32 => {
                let day = float(DAY_SECONDS as f64, Rep::F64);
                floats.multiply(number(long_days(value)), day)
            }
            DataType::Timestamp(TimeUnit::Second, _) => Some(number(value)),
            DataType::Timestamp(unit, _) => {
                floats.divide(number(value), float(per_second(*unit) as f64, Rep::F64))
            }
            _ => None,
        }
    }

    /// `date_trunc(part, value)` of a timestamp.
    pub(super) fn date_trunc(
        &mut self,
        part: &str,
        value: Expr,
        data_type: &DataType,
    ) -> Option<Expr> {
        let DataType::Timestamp(unit, zone) = data_type else { return None };
        let second = per_second(*unit);
        let fine = match part.to_lowercase().as_str() {
            "microsecond" => Some(second / 1_000_000),
            "millisecond" => Some(second / 1_000),
            "second" => Some(second),
            "minute" => Some(second * 60),
            // With any zone the calendar decides, which may raise out of its range.
            "hour" if zone.is_none() => Some(second * 3600),
            "day" if zone.is_none() => Some(second * DAY_SECONDS),
            _ => None,
        };
        if let Some(by) = fine {
            if by <= 1 {
                return Some(value);
            }
            return Some(call2(&prim::SUB_I64, value.clone(), floor_mod(value, by)));
        }
        if zone.is_some() {
            return None;
        }
        let prim = match part.to_lowercase().as_str() {
            "week" => &prim::TRUNC_WEEK,
            "month" => &prim::TRUNC_MONTH,
            "quarter" => &prim::TRUNC_QUARTER,
            "year" => &prim::TRUNC_YEAR,
            _ => return None,
        };
        // It is computed in nanoseconds, which must hold the value and the result.
        let scale = 1_000_000_000 / second;
        let value = match scale {
            1 => value,
            _ => {
                let (least, most) = (i64::MIN / scale, i64::MAX / scale);
                within(value, i128::from(least), i128::from(most), false)
            }
        };
        let day = second * DAY_SECONDS;
        let days = long_days(call1(prim, low(floor_div(value, day))));
        let first = i64::MIN / (DAY_SECONDS * 1_000_000_000);
        let days = within(days, i128::from(first), i128::from(i32::MAX), false);
        Some(call2(&prim::MUL_I64, days, long(day)))
    }
}

fn weekday(days: Expr) -> Expr {
    call1(&prim::WEEKDAY, days)
}

/// A field of the time of day: seconds modulo `cycle`, in units of `step` seconds, or in parts of
/// a second.
fn clock_part(
    value: Expr,
    data_type: &DataType,
    cycle: i64,
    step: i64,
    fraction: i64,
) -> Option<Expr> {
    let rep = if fraction == 1_000_000_000 { Rep::I64 } else { Rep::I32 };
    if *data_type == DataType::Date32 {
        let null = (value.is_null(), Expr::literal(None, rep));
        return Some(case(vec![null], int(0, rep)));
    }
    let unit = timestamp(data_type)?;
    let second = per_second(unit);
    let rest = floor_mod(value.clone(), cycle * second);
    let field = if fraction <= second {
        floor_div(rest, step * second / fraction)
    } else {
        call2(&prim::MUL_I64, rest, long(fraction / second))
    };
    let field = if rep == Rep::I32 { low(field) } else { field };
    Some(match reach(unit) {
        Some(bounds) => where_within(&value, bounds, field),
        None => field,
    })
}

/// Truncates toward zero to a coarser unit, multiplies (checked) to a finer one.
fn change_unit(value: Expr, from: TimeUnit, to: TimeUnit, safe: bool) -> Expr {
    let (from, to) = (per_second(from), per_second(to));
    match from.cmp(&to) {
        std::cmp::Ordering::Equal => value,
        std::cmp::Ordering::Greater => call2(&prim::QUOT_I64, value, long(from / to)),
        std::cmp::Ordering::Less => {
            let factor = to / from;
            let (least, most) = (i64::MIN / factor, i64::MAX / factor);
            let value = within(value, i128::from(least), i128::from(most), safe);
            call2(&prim::MUL_I64, value, long(factor))
        }
    }
}

/// Months, days and nanoseconds of an interval that is a literal.
fn interval(expr: &Arc<dyn PhysicalExpr>) -> Option<(i32, i32, i64)> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::IntervalYearMonth(Some(months)) => Some((*months, 0, 0)),
        ScalarValue::IntervalDayTime(Some(value)) => {
            Some((0, value.days, i64::from(value.milliseconds) * 1_000_000))
        }
        ScalarValue::IntervalMonthDayNano(Some(value)) => {
            Some((value.months, value.days, value.nanoseconds))
        }
        _ => None,
    }
}

/// A date or timestamp plus (`sign` 1) or minus (-1) a literal interval.
fn add_interval(
    value: Expr,
    data_type: &DataType,
    expr: &Arc<dyn PhysicalExpr>,
    sign: i64,
) -> Option<Expr> {
    let (months, days, nanos) = interval(expr)?;
    let (months, days) = (i64::from(months) * sign, i64::from(days) * sign);
    let nanos = nanos.checked_mul(sign)?;
    // Far enough from the ends of the calendar that no step leaves 32 bits.
    if months.abs() > 1_000_000 || days.abs() > 100_000_000 {
        return None;
    }
    let fail = |value: Expr, low: i64, high: i64| {
        let rep = value.rep;
        let bounds = [i128::from(low), i128::from(high)].map(|bound| int(bound, rep));
        let prim = if rep == Rep::I32 { &prim::BOUND_I32 } else { &prim::BOUND_I64 };
        let [low, high] = bounds;
        Expr::call(prim, vec![value, low, high])
    };
    let shift = |day: Expr| {
        let mut day = fail(day, FIRST_DAY, LAST_DAY);
        if months != 0 {
            let months = amount(months, Rep::I32);
            day = fail(call2(&prim::ADD_MONTHS, day, months), FIRST_DAY, LAST_DAY);
        }
        if days != 0 {
            let days = amount(days, Rep::I32);
            day = fail(call2(&prim::ADD_I32, day, days), FIRST_DAY, LAST_DAY);
        }
        day
    };
    if *data_type == DataType::Date32 {
        // A duration moves a date by its whole days.
        let whole = nanos / (DAY_SECONDS * 1_000_000_000);
        let day = shift(value);
        if whole == 0 {
            return Some(day);
        }
        let moved = call2(&prim::ADD_I32, day, amount(whole, Rep::I32));
        return Some(fail(moved, FIRST_DAY, LAST_DAY));
    }
    let unit = timestamp(data_type)?;
    let nanos_per_unit = 1_000_000_000 / per_second(unit);
    if nanos % nanos_per_unit != 0 {
        return None;
    }
    let day = per_second(unit) * DAY_SECONDS;
    if months == 0 && reach(unit).is_none() && (days < 0) == (nanos < 0) {
        let delta = days.checked_mul(day)?.checked_add(nanos / nanos_per_unit)?;
        return Some(call2(&prim::ADD_CHECKED_I64, value, amount(delta, Rep::I64)));
    }
    let wide = |value| call1(&prim::I128_FROM_I64, value);
    let add = |left, right| call2(&prim::ADD_I128, left, right);
    let (least, most) = reach(unit).unwrap_or((i128::from(i64::MIN), i128::from(i64::MAX)));
    let value = match reach(unit) {
        Some(_) => fail(value, i64::try_from(least).ok()?, i64::try_from(most).ok()?),
        None => value,
    };
    let date = shift(low(floor_div(value.clone(), day)));
    // In 128 bits, for midnight may leave the type although the time of day leads back into it.
    let midnight = call2(&prim::SCALE_I128, wide(long_days(date)), int(i128::from(day), Rep::I128));
    let mut moved = add(midnight, wide(floor_mod(value, day)));
    if nanos != 0 {
        moved = add(moved, amount(nanos / nanos_per_unit, Rep::I128));
    }
    let bounds = vec![moved, int(least, Rep::I128), int(most, Rep::I128)];
    Some(call1(&prim::I64_FROM_I128, Expr::call(&prim::BOUND_I128, bounds)))
}

/// `date_bin(stride, value, origin)` of a timestamp; a bin that begins before all times is an
/// error. The stride and the origin are nanoseconds.
pub(super) fn date_bin(
    value: Expr,
    data_type: &DataType,
    stride: i64,
    origin: i64,
) -> Option<Expr> {
    let DataType::Timestamp(unit, _) = data_type else { return None };
    let scale = 1_000_000_000 / per_second(*unit);
    if stride <= 0 || origin % scale != 0 || stride % scale != 0 {
        return None;
    }
    let (stride, origin) = (stride / scale, origin / scale);
    let phase = origin.rem_euclid(stride);
    let within = match phase {
        0 => floor_mod(value.clone(), stride),
        _ => {
            floor_mod(call2(&prim::SUB_I64, floor_mod(value.clone(), stride), long(phase)), stride)
        }
    };
    Some(call2(&prim::SUB_CHECKED_I64, value, within))
}
