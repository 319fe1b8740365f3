//! Local times and zones. A local time that comes twice, when clocks are set back, is the later one
//! (standard time); one that never comes is moved on by as much as clocks were set forward. That is
//! what PostgreSQL takes; Arrow's kernels raise an error for both.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use chrono::{DateTime, Days, Months, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::intervals::nanos_per;
use super::{call, over_arrays};

const SECOND_NANOS: i128 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;

/// How far back the time before a gap is looked for: the longest one was a day.
const GAP_HOURS: [i64; 6] = [1, 2, 3, 6, 12, 25];

/// A date, a time without a zone or a string as an instant of the zone of `to`; what does not fit
/// is an error, or with `safe` NULL.
pub fn at_zone(value: Expr, to: DataType, safe: bool) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    call(Zoned { signature, kind: Kind::AtZone, to, safe }, vec![value])
}

/// What clocks of its zone show at an instant, as `to`, a timestamp without a zone.
pub fn local_time(value: Expr, to: DataType, safe: bool) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    call(Zoned { signature, kind: Kind::LocalTime, to, safe }, vec![value])
}

/// An instant of a zone, `to`, moved by an interval: months and days on the clocks of the zone.
pub fn moved(value: Expr, interval: Expr, to: DataType, back: bool) -> Expr {
    let signature = Signature::any(2, Volatility::Immutable);
    let kind = if back { Kind::Minus } else { Kind::Plus };
    call(Zoned { signature, kind, to, safe: false }, vec![value, interval])
}

/// True for the zones whose clocks show universal time.
pub fn is_utc(zone: &str) -> bool {
    let fixed = ["UTC", "Z", "+00:00", "-00:00", "+00", "+0000", "Etc/UTC", "GMT", "Etc/GMT"];
    fixed.iter().any(|name| name.eq_ignore_ascii_case(zone))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    AtZone,
    LocalTime,
    Plus,
    Minus,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Zoned {
    signature: Signature,
    kind: Kind,
    to: DataType,
    safe: bool,
}

impl ScalarUDFImpl for Zoned {
    fn name(&self) -> &str {
        match self.kind {
            Kind::AtZone => "at_zone",
            Kind::LocalTime => "local_time",
            Kind::Plus => "zoned_plus",
            Kind::Minus => "zoned_minus",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_arrays(&args, |arrays| {
            let ticks = match (self.kind, arrays) {
                (Kind::AtZone, [value]) => self.at_zone(value)?,
                (Kind::LocalTime, [value]) => self.local_time(value)?,
                (_, [value, interval]) => self.moved(value, interval)?,
                _ => return exec_err!("{} of {} arguments", self.name(), arrays.len()),
            };
            Ok(cast(&ticks, &self.to)?)
        })
    }
}

impl Zoned {
    /// Unit and zone of the result.
    fn target(&self) -> Result<(TimeUnit, Option<Tz>)> {
        match &self.to {
            DataType::Timestamp(unit, zone) => Ok((*unit, zone.as_deref().map(parse).transpose()?)),
            other => exec_err!("{} as {other}", self.name()),
        }
    }

    /// A value that does not fit: an error, or NULL.
    fn checked(&self, value: Option<i64>, from: impl FnOnce() -> String) -> Result<Option<i64>> {
        match value {
            None if !self.safe => {
                exec_err!("the time {} is out of the range of {}", from(), self.to)
            }
            value => Ok(value),
        }
    }

    fn at_zone(&self, value: &ArrayRef) -> Result<ArrayRef> {
        let (unit, Some(zone)) = self.target()? else { return exec_err!("at_zone without one") };
        let from = value.data_type();
        if from.is_string() {
            let texts = cast(value, &DataType::Utf8)?;
            return self.parsed(texts.as_string::<i32>(), unit, zone);
        }
        let from_nanos = match from {
            DataType::Date32 => i128::from(DAY_SECONDS) * SECOND_NANOS,
            DataType::Date64 => nanos_per(TimeUnit::Millisecond),
            DataType::Timestamp(unit, None) => nanos_per(*unit),
            other => return exec_err!("at_zone of {other}"),
        };
        let ticks = ticks(value)?;
        let per = nanos_per(unit);
        let of = |tick: i64| {
            // To the unit first, towards zero, as casts between units do.
            let local = i128::from(tick) * from_nanos / per;
            let offset = offset(&zone, naive(local * per)?)?;
            i64::try_from(local - i128::from(offset) * SECOND_NANOS / per).ok()
        };
        self.each(&ticks, of, |row| shown(value, row))
    }

    fn parsed(&self, texts: &StringArray, unit: TimeUnit, zone: Tz) -> Result<ArrayRef> {
        let per = nanos_per(unit);
        let of = |text: &str| -> Result<Option<i64>> {
            let nanos = match string_to_datetime(&zone, text) {
                Ok(instant) => Some(since_epoch(instant.naive_utc())),
                // A local time that does not come once is no instant to it.
                Err(error) => match string_to_datetime(&Utc, text) {
                    Ok(local) => {
                        let local = local.naive_utc();
                        offset(&zone, local)
                            .map(|offset| since_epoch(local) - i128::from(offset) * SECOND_NANOS)
                    }
                    Err(_) if self.safe => None,
                    Err(_) => return Err(error.into()),
                },
            };
            let tick = nanos.and_then(|nanos| i64::try_from(nanos.div_euclid(per)).ok());
            self.checked(tick, || text.to_string())
        };
        let values = texts.iter().map(|text| text.map_or(Ok(None), of));
        Ok(Arc::new(values.collect::<Result<Int64Array>>()?))
    }

    fn local_time(&self, value: &ArrayRef) -> Result<ArrayRef> {
        let DataType::Timestamp(from, Some(zone)) = value.data_type() else {
            return exec_err!("local_time of {}", value.data_type());
        };
        let (from, zone, per) = (nanos_per(*from), parse(zone)?, nanos_per(self.target()?.0));
        let of = |tick: i64| {
            let instant = i128::from(tick) * from;
            let offset = zone.offset_from_utc_datetime(&naive(instant)?).fix().local_minus_utc();
            let local = i128::from(tick) + i128::from(offset) * SECOND_NANOS / from;
            i64::try_from(local * from / per).ok()
        };
        self.each(&ticks(value)?, of, |row| shown(value, row))
    }

    fn moved(&self, value: &ArrayRef, interval: &ArrayRef) -> Result<ArrayRef> {
        let (unit, Some(zone)) = self.target()? else { return exec_err!("moved without a zone") };
        let interval = cast(interval, &DataType::Interval(IntervalUnit::MonthDayNano))?;
        let intervals = interval.as_primitive::<IntervalMonthDayNanoType>();
        let (ticks, per) = (ticks(value)?, nanos_per(unit));
        let sign = if self.kind == Kind::Minus { -1 } else { 1 };
        let pairs = ticks.iter().zip(intervals.iter()).enumerate().map(|(row, pair)| {
            let (Some(tick), Some(by)) = pair else { return Ok(None) };
            let (months, days) = (sign * i64::from(by.months), sign * i64::from(by.days));
            let instant = on_clocks(&zone, i128::from(tick) * per, months, days)
                .map(|instant| instant + i128::from(sign) * i128::from(by.nanoseconds));
            let tick = instant.and_then(|instant| i64::try_from(instant.div_euclid(per)).ok());
            self.checked(tick, || format!("{} moved by an interval", shown(value, row)))
        });
        Ok(Arc::new(pairs.collect::<Result<Int64Array>>()?))
    }

    fn each(
        &self,
        ticks: &Int64Array,
        of: impl Fn(i64) -> Option<i64>,
        from: impl Fn(usize) -> String,
    ) -> Result<ArrayRef> {
        let values = ticks.iter().enumerate().map(|(row, tick)| match tick {
            Some(tick) => self.checked(of(tick), || from(row)),
            None => Ok(None),
        });
        Ok(Arc::new(values.collect::<Result<Int64Array>>()?))
    }
}

fn parse(zone: &str) -> Result<Tz> {
    zone.parse::<Tz>().map_err(|error| {
        DataFusionError::Execution(format!("there is no time zone {zone}: {error}"))
    })
}

/// The integers under dates or timestamps.
fn ticks(values: &ArrayRef) -> Result<Int64Array> {
    let whole = match values.data_type() {
        DataType::Date32 => cast(values, &DataType::Int32)?,
        _ => Arc::clone(values),
    };
    Ok(cast(&whole, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

fn shown(values: &ArrayRef, row: usize) -> String {
    arrow::util::display::array_value_to_string(values.as_ref(), row).unwrap_or_default()
}

/// Nanoseconds since 1970 as a date and time; `None` beyond the calendar.
fn naive(nanos: i128) -> Option<NaiveDateTime> {
    let (seconds, rest) = (nanos.div_euclid(SECOND_NANOS), nanos.rem_euclid(SECOND_NANOS));
    let seconds = i64::try_from(seconds).ok()?;
    Some(DateTime::from_timestamp(seconds, rest as u32)?.naive_utc())
}

fn since_epoch(time: NaiveDateTime) -> i128 {
    let utc = time.and_utc();
    i128::from(utc.timestamp()) * SECOND_NANOS + i128::from(utc.timestamp_subsec_nanos())
}

/// Seconds by which clocks that show a local time are ahead of universal time.
fn offset(zone: &Tz, local: NaiveDateTime) -> Option<i64> {
    let at = |local: &NaiveDateTime| zone.offset_from_local_datetime(local).latest();
    // In a gap the offset from before it counts, which moves the time on by the gap.
    let before = || {
        let earlier = |hours| at(&local.checked_sub_signed(TimeDelta::hours(hours))?);
        GAP_HOURS.into_iter().find_map(earlier)
    };
    let offset = at(&local).or_else(before)?;
    Some(i64::from(offset.fix().local_minus_utc()))
}

/// An instant moved by months and days on the clocks of a zone.
fn on_clocks(zone: &Tz, instant: i128, months: i64, days: i64) -> Option<i128> {
    if (months, days) == (0, 0) {
        return Some(instant);
    }
    let utc = naive(instant)?;
    let ahead = zone.offset_from_utc_datetime(&utc).fix().local_minus_utc();
    let mut local = utc.checked_add_signed(TimeDelta::seconds(ahead.into()))?;
    let step = |count: i64| u32::try_from(count.unsigned_abs()).ok();
    local = match months < 0 {
        true => local.checked_sub_months(Months::new(step(months)?))?,
        false => local.checked_add_months(Months::new(step(months)?))?,
    };
    local = match days < 0 {
        true => local.checked_sub_days(Days::new(days.unsigned_abs()))?,
        false => local.checked_add_days(Days::new(days.unsigned_abs()))?,
    };
    Some(since_epoch(local) - i128::from(offset(zone, local)?) * SECOND_NANOS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(zone: &str, local: &str) -> String {
        let zone: Tz = zone.parse().unwrap();
        let local: NaiveDateTime = local.parse().unwrap();
        let nanos = since_epoch(local) - i128::from(offset(&zone, local).unwrap()) * SECOND_NANOS;
        naive(nanos).unwrap().to_string()
    }

    #[test]
    fn local_times_of_a_clock_change_are_one_instant() {
        for (zone, local, utc) in [
            ("Europe/Berlin", "2024-10-27T01:59:59", "2024-10-26 23:59:59"),
            ("Europe/Berlin", "2024-10-27T02:30:00", "2024-10-27 01:30:00"),
            ("Europe/Berlin", "2024-10-27T03:00:00", "2024-10-27 02:00:00"),
            ("Europe/Berlin", "2024-03-31T02:30:00", "2024-03-31 01:30:00"),
            ("America/Sao_Paulo", "2018-11-04T00:00:00", "2018-11-04 03:00:00"),
            ("Australia/Lord_Howe", "2024-10-06T02:15:00", "2024-10-05 15:45:00"),
            // A whole day was left out.
            ("Pacific/Apia", "2011-12-30T12:00:00", "2011-12-30 22:00:00"),
        ] {
            assert_eq!(instant(zone, local), utc, "{local} {zone}");
        }
    }

    #[test]
    fn days_are_those_of_the_clocks() {
        let zone: Tz = "Europe/Berlin".parse().unwrap();
        let start = since_epoch("2024-10-26T00:30:00".parse().unwrap());
        let day = on_clocks(&zone, start, 0, 1).unwrap();
        // From 02:30 in summer to 02:30 in winter.
        assert_eq!(day - start, 25 * 3600 * SECOND_NANOS);
        assert_eq!(on_clocks(&zone, start, 0, 0), Some(start));
        assert_eq!(on_clocks(&zone, day, 0, -1), Some(start));
    }
}
