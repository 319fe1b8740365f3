//! Values that are compared, or chosen from, brought to types in which none of them changes.
//!
//! * Times of day go to the finest of their units.
//! * Intervals are compared by their spans (`functions::intervals`), durations with them.
//! * Dates, timestamps and strings are compared in the unit of the columns among them, and in their
//!   zone, in which a date is its midnight; where units differ, by nanoseconds in 128 bits.
//! * A decimal and a float are compared as floats of 64 bits, as other engines do it. A float that
//!   is written as a number is a decimal there: 0.1 is a tenth.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Cast, Expr, lit};

use super::operand::{Mended, Operand, Purpose, cast, constant, finer};
use crate::plan::analyze::decimals;
use crate::plan::functions::intervals::{self, nanos_of, nanos_per, scaled, span};

/// Whether values of these types may need mending: to be asked before they are copied.
pub(super) fn concerns<'a>(mut types: impl Iterator<Item = &'a DataType>) -> bool {
    use DataType::{Duration, Interval, Time32, Time64, Timestamp};
    types.any(|data_type| {
        data_type.is_decimal()
            || matches!(
                data_type,
                Duration(_) | Interval(_) | Time32(_) | Time64(_) | Timestamp(..)
            )
    })
}

/// Brings values together; `None` where DataFusion does it right.
pub(super) fn common(operands: &[Operand], purpose: Purpose) -> Mended {
    let any = |test: fn(&DataType) -> bool| operands.iter().any(|one| test(&one.data_type));
    let compare = purpose == Purpose::Compare;
    if any(|t| matches!(t, DataType::Interval(_) | DataType::Duration(_))) {
        return if compare { spans(operands) } else { None };
    }
    if any(|t| matches!(t, DataType::Time32(_) | DataType::Time64(_))) {
        return times(operands);
    }
    if any(|t| matches!(t, DataType::Timestamp(..))) {
        return if compare { instants(operands) } else { midnights(operands) };
    }
    if any(DataType::is_decimal) {
        return decimals::common(operands, purpose);
    }
    None
}

/// Times of day: constants in the unit of the columns where it holds them, else all in the finest.
fn times(operands: &[Operand]) -> Mended {
    let mut units: Vec<TimeUnit> = operands.iter().filter_map(Operand::unit).collect();
    let finest = units.iter().copied().reduce(finer)?;
    units.dedup();
    if units.len() < 2 {
        return None;
    }
    let written = |one: &Operand| one.unit().is_some() && constant(&one.expr).is_some();
    let mut columns = operands.iter().filter(|one| !written(one)).filter_map(Operand::unit);
    if let Some(unit) = columns.next()
        && columns.all(|other| other == unit)
    {
        let mended = operands.iter().map(|one| match written(one) {
            true => constant(&one.expr).and_then(|value| time_of(&value, unit)).map(lit),
            false => Some(one.expr.clone()),
        });
        if let Some(mended) = mended.collect::<Option<Vec<_>>>() {
            return Some(mended);
        }
    }
    let to = match finest {
        TimeUnit::Second | TimeUnit::Millisecond => DataType::Time32(finest),
        TimeUnit::Microsecond | TimeUnit::Nanosecond => DataType::Time64(finest),
    };
    let mended = operands.iter().map(|one| match one.unit() {
        Some(unit) if unit != finest => cast(one.expr.clone(), &to),
        _ => one.expr.clone(),
    });
    Some(mended.collect())
}

/// A time of day in another unit that holds it.
fn time_of(value: &ScalarValue, unit: TimeUnit) -> Option<ScalarValue> {
    let nanos = match *value {
        ScalarValue::Time32Second(value) => i128::from(value?) * 1_000_000_000,
        ScalarValue::Time32Millisecond(value) => i128::from(value?) * 1_000_000,
        ScalarValue::Time64Microsecond(value) => i128::from(value?) * 1_000,
        ScalarValue::Time64Nanosecond(value) => i128::from(value?),
        _ => return None,
    };
    let ticks = exact(nanos, unit)?;
    Some(match unit {
        TimeUnit::Second => ScalarValue::Time32Second(Some(i32::try_from(ticks).ok()?)),
        TimeUnit::Millisecond => ScalarValue::Time32Millisecond(Some(i32::try_from(ticks).ok()?)),
        TimeUnit::Microsecond => ScalarValue::Time64Microsecond(Some(ticks)),
        TimeUnit::Nanosecond => ScalarValue::Time64Nanosecond(Some(ticks)),
    })
}

/// Intervals and durations: as durations of one unit where intervals are constants that it holds,
/// else by their spans.
fn spans(operands: &[Operand]) -> Mended {
    let timed = |one: &Operand| {
        one.is_null() || matches!(one.data_type, DataType::Interval(_) | DataType::Duration(_))
    };
    if !operands.iter().all(timed) {
        return None;
    }
    let constants: Vec<Option<ScalarValue>> =
        operands.iter().map(|one| constant(&one.expr)).collect();
    let others = || operands.iter().zip(&constants).filter(|(_, constant)| constant.is_none());
    let unit = others().next().and_then(|(one, _)| one.unit());
    let durations = unit.is_some() && others().all(|(one, _)| one.unit() == unit);
    if durations
        && let Some(unit) = unit
        && let Some(mended) = durations_of(operands, &constants, unit)
    {
        let same = operands.iter().all(|one| one.data_type == DataType::Duration(unit));
        return (!same).then_some(mended);
    }
    let mended = operands.iter().zip(&constants).map(|(one, constant)| match constant {
        _ if one.is_null() => one.expr.clone(),
        Some(value) if value.is_null() => lit(ScalarValue::Null),
        Some(value) => match nanos_of(value) {
            Some(nanos) => lit(ScalarValue::Decimal128(Some(nanos), 38, 0)),
            None => span(one.expr.clone(), &one.data_type),
        },
        None => span(one.expr.clone(), &one.data_type),
    });
    Some(mended.collect())
}

fn durations_of(operands: &[Operand], constants: &[Option<ScalarValue>], unit: TimeUnit) -> Mended {
    let mended = operands.iter().zip(constants).map(|(one, constant)| {
        let Some(value) = constant else { return Some(one.expr.clone()) };
        if value.is_null() {
            return Some(lit(ScalarValue::Null));
        }
        let ticks = exact(nanos_of(value)?, unit)?;
        Some(lit(match unit {
            TimeUnit::Second => ScalarValue::DurationSecond(Some(ticks)),
            TimeUnit::Millisecond => ScalarValue::DurationMillisecond(Some(ticks)),
            TimeUnit::Microsecond => ScalarValue::DurationMicrosecond(Some(ticks)),
            TimeUnit::Nanosecond => ScalarValue::DurationNanosecond(Some(ticks)),
        }))
    });
    mended.collect()
}

/// Nanoseconds in a unit, where they are a whole number of it that 64 bits hold.
fn exact(nanos: i128, unit: TimeUnit) -> Option<i64> {
    let per = nanos_per(unit);
    if nanos % per == 0 { i64::try_from(nanos / per).ok() } else { None }
}

/// A date among instants of a zone is the midnight of its clocks.
fn midnights(operands: &[Operand]) -> Mended {
    let zoned = operands.iter().find_map(|one| match &one.data_type {
        zoned @ DataType::Timestamp(_, Some(_)) => Some(zoned),
        _ => None,
    })?;
    let is_date = |one: &Operand| matches!(one.data_type, DataType::Date32 | DataType::Date64);
    if !operands.iter().any(is_date) {
        return None;
    }
    let mended = operands.iter().map(|one| match is_date(one) {
        true => cast(one.expr.clone(), zoned),
        false => one.expr.clone(),
    });
    Some(mended.collect())
}

/// A point of time that is known: nanoseconds since 1970, of an instant or of local time.
struct Known {
    nanos: i128,
    zoned: bool,
}

/// What instants are compared as.
struct Target {
    /// `None`: as nanoseconds in 128 bits.
    unit: Option<TimeUnit>,
    zone: Option<std::sync::Arc<str>>,
}

fn instants(operands: &[Operand]) -> Mended {
    use DataType::{Date32, Date64, Timestamp};
    let timed = |one: &Operand| {
        let data_type = &one.data_type;
        data_type.is_null()
            || data_type.is_string()
            || matches!(data_type, Timestamp(..) | Date32 | Date64)
    };
    let given: Vec<&Operand> = operands.iter().filter(|one| !one.is_null()).collect();
    let alike = given.windows(2).all(|two| two[0].data_type == two[1].data_type);
    // A time that is written may be out of the range of nanoseconds, which columns are not.
    let held = given.iter().all(|one| !is_written(&one.expr) || constant(&one.expr).is_some());
    if (alike && held) || !operands.iter().all(timed) {
        return None;
    }
    let zone_of = |one: &Operand| match &one.data_type {
        Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let written = |one: &&Operand| is_written(&one.expr);
    let columns: Vec<&Operand> = given.iter().copied().filter(|one| !written(one)).collect();
    let zone = columns.iter().find_map(|one| zone_of(one));
    let zone = zone.or_else(|| given.iter().find_map(|one| zone_of(one)));
    let known: Vec<Option<Known>> = operands
        .iter()
        .map(|one| if written(&one) { known(one, zone.as_deref()) } else { None })
        .collect();
    // Strings of columns are parsed by DataFusion, written ones that are no time complained of.
    let unclear = |(one, known): (&Operand, &Option<Known>)| {
        let null = constant(&one.expr).is_some_and(|value| value.is_null());
        known.is_none() && !null && (one.data_type.is_string() || written(&one))
    };
    if operands.iter().zip(&known).any(unclear) {
        return None;
    }
    let unit = unit_of(&columns, &known);
    // Of `now()` and the like a value is made before files are read, which it may keep from it.
    if unit.is_none() && columns.iter().any(|one| one.expr.column_refs().is_empty()) {
        return midnights(operands);
    }
    let target = Target { unit, zone };
    let mended = operands.iter().zip(&known).map(|(one, known)| match known {
        Some(known) => target.of_known(known),
        None if one.is_null() || is_written(&one.expr) => Some(lit(ScalarValue::Null)),
        None => Some(target.of_column(one)),
    });
    mended.collect()
}

/// Whether a value is written in the query.
fn is_written(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(..) => true,
        Expr::Alias(alias) => is_written(&alias.expr),
        Expr::Cast(Cast { expr, .. }) => is_written(expr),
        other => constant(other).is_some(),
    }
}

/// The unit that holds the columns and all that is known; `None` where there is none.
fn unit_of(columns: &[&Operand], known: &[Option<Known>]) -> Option<TimeUnit> {
    let mut units: Vec<TimeUnit> = columns.iter().filter_map(|one| one.unit()).collect();
    units.dedup();
    let holds =
        |unit: &TimeUnit| known.iter().flatten().all(|known| exact(known.nanos, *unit).is_some());
    let dated = columns.iter().any(|one| one.unit().is_none());
    match units[..] {
        // Microseconds hold every date that is written with four digits.
        [] => [TimeUnit::Microsecond, TimeUnit::Nanosecond].into_iter().find(holds),
        [TimeUnit::Nanosecond] if dated => None,
        [unit] => Some(unit).filter(holds),
        _ => None,
    }
}

/// The point of time that an expression writes; of a string, as local time of the zone.
fn known(one: &Operand, zone: Option<&str>) -> Option<Known> {
    let written = match bare(&one.expr) {
        Expr::Cast(Cast { expr, field }) => match (bare(expr), field.data_type()) {
            (Expr::Literal(text, _), DataType::Timestamp(_, zone)) => {
                text.try_as_str().flatten().map(|text| (text.to_string(), zone.clone()))
            }
            _ => None,
        },
        Expr::Literal(text, _) => {
            text.try_as_str().flatten().map(|text| (text.to_string(), zone.map(Into::into)))
        }
        _ => None,
    };
    let value = match written {
        // What nanoseconds do not hold, microseconds may.
        Some((text, zone)) => {
            let parse = |unit| {
                let to = DataType::Timestamp(unit, zone.clone());
                ScalarValue::Utf8(Some(text.clone())).cast_to(&to).ok()
            };
            parse(TimeUnit::Nanosecond).or_else(|| parse(TimeUnit::Microsecond))?
        }
        None => constant(&one.expr)?,
    };
    let of = |ticks: i64, unit, zone: &Option<std::sync::Arc<str>>| {
        let nanos = i128::from(ticks) * nanos_per(unit);
        Known { nanos, zoned: zone.is_some() }
    };
    Some(match &value {
        ScalarValue::TimestampSecond(Some(v), zone) => of(*v, TimeUnit::Second, zone),
        ScalarValue::TimestampMillisecond(Some(v), zone) => of(*v, TimeUnit::Millisecond, zone),
        ScalarValue::TimestampMicrosecond(Some(v), zone) => of(*v, TimeUnit::Microsecond, zone),
        ScalarValue::TimestampNanosecond(Some(v), zone) => of(*v, TimeUnit::Nanosecond, zone),
        ScalarValue::Date32(Some(day)) => {
            Known { nanos: i128::from(*day) * intervals::DAY_NANOS, zoned: false }
        }
        ScalarValue::Date64(Some(millis)) => of(*millis, TimeUnit::Millisecond, &None),
        _ => return None,
    })
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => bare(&alias.expr),
        other => other,
    }
}

impl Target {
    fn of_known(&self, known: &Known) -> Option<Expr> {
        let Some(unit) = self.unit else {
            return match &self.zone {
                // A local time is an instant only once the clocks are asked.
                Some(zone) if !known.zoned => {
                    let micros = exact(known.nanos, TimeUnit::Microsecond)?;
                    let local = lit(ScalarValue::TimestampMicrosecond(Some(micros), None));
                    let to = DataType::Timestamp(TimeUnit::Microsecond, Some(zone.clone()));
                    Some(scaled(cast(local, &to), 19, nanos_per(TimeUnit::Microsecond)))
                }
                _ => Some(lit(ScalarValue::Decimal128(Some(known.nanos), 38, 0))),
            };
        };
        let ticks = Some(exact(known.nanos, unit)?);
        let own = if known.zoned { self.zone.clone() } else { None };
        let value = lit(match unit {
            TimeUnit::Second => ScalarValue::TimestampSecond(ticks, own),
            TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(ticks, own),
            TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(ticks, own),
            TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(ticks, own),
        });
        Some(match known.zoned || self.zone.is_none() {
            true => value,
            false => cast(value, &DataType::Timestamp(unit, self.zone.clone())),
        })
    }

    fn of_column(&self, one: &Operand) -> Expr {
        let expr = one.expr.clone();
        if let Some(unit) = self.unit {
            let to = DataType::Timestamp(unit, self.zone.clone());
            return if one.data_type == to { expr } else { cast(expr, &to) };
        }
        match (&one.data_type, &self.zone) {
            (DataType::Date32, None) => scaled(expr, 10, intervals::DAY_NANOS),
            (DataType::Date64, None) => scaled(expr, 19, nanos_per(TimeUnit::Millisecond)),
            (DataType::Timestamp(unit, Some(_)), Some(_))
            | (DataType::Timestamp(unit, None), None) => scaled(expr, 19, nanos_per(*unit)),
            (other, zone) => {
                let unit = match other {
                    DataType::Timestamp(unit, _) => *unit,
                    _ => TimeUnit::Microsecond,
                };
                let local = cast(expr, &DataType::Timestamp(unit, zone.clone()));
                scaled(local, 19, nanos_per(unit))
            }
        }
    }
}
