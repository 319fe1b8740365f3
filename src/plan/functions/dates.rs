//! `datediff` and `last_day`.
//!
//! `datediff(unit, start, end)` counts the bounds of units between two times, as DuckDB, Snowflake
//! and SQL Server have it: one year from 31 December to 1 January. `datediff(end, start)` counts
//! days, as MySQL and Spark have it. Days and what is longer are those of each time's own clocks.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, Date32Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Int64Type, TimeUnit};
use chrono::{DateTime, Datelike, Months, NaiveDate, Offset, TimeZone};
use datafusion::common::{
    DataFusionError, Result, ScalarValue, exec_datafusion_err, exec_err, plan_err,
};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::intervals::{DAY_NANOS, nanos_per};
use super::over_arrays;

/// The name of `datediff`.
pub const DATE_DIFF: &str = "datediff";

const SECOND_NANOS: i128 = 1_000_000_000;

/// The functions of dates and times.
pub fn dates() -> [ScalarUDF; 2] {
    let signature = || Signature::user_defined(Volatility::Immutable);
    let aliases = vec!["date_diff".to_string()];
    [
        ScalarUDF::new_from_impl(DateDiff { signature: signature(), aliases }),
        ScalarUDF::new_from_impl(LastDay { signature: signature() }),
    ]
}

/// The type in which a function here takes a time: text as a timestamp.
///
/// Errors: what is no time.
fn time(function: &str, data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::Date32 | DataType::Timestamp(..) => Ok(data_type.clone()),
        DataType::Date64 | DataType::Null => Ok(DataType::Date32),
        text if text.is_string() => Ok(DataType::Timestamp(TimeUnit::Microsecond, None)),
        other => plan_err!("{function} takes dates and timestamps, found {other}"),
    }
}

/// What `datediff` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Of so many nanoseconds, below a day.
    Short(i128),
    Day,
    Week,
    /// Of so many months.
    Months(i64),
}

/// Units with their spellings; the first is the plain one.
const UNITS: [(&[&str], Unit); 13] = [
    (&["microsecond", "microseconds", "us", "usec", "usecs"], Unit::Short(1_000)),
    (&["millisecond", "milliseconds", "ms", "msec", "msecs"], Unit::Short(1_000_000)),
    (&["second", "seconds", "s", "sec", "secs"], Unit::Short(SECOND_NANOS)),
    (&["minute", "minutes", "m", "min", "mins"], Unit::Short(60 * SECOND_NANOS)),
    (&["hour", "hours", "h", "hr", "hrs"], Unit::Short(3_600 * SECOND_NANOS)),
    (&["day", "days", "d", "dd", "dayofmonth"], Unit::Day),
    (&["week", "weeks", "w", "wk", "ww"], Unit::Week),
    (&["month", "months", "mon", "mons", "mm"], Unit::Months(1)),
    (&["quarter", "quarters", "q", "qtr", "qq"], Unit::Months(3)),
    (&["year", "years", "y", "yr", "yrs", "yy", "yyyy"], Unit::Months(12)),
    (&["decade", "decades"], Unit::Months(120)),
    (&["century", "centuries"], Unit::Months(1_200)),
    (&["millennium", "millennia"], Unit::Months(12_000)),
];

/// Whether a word is a unit of `datediff`.
pub fn is_unit(word: &str) -> bool {
    Unit::of(word).is_some()
}

impl Unit {
    /// The unit of a word; `None` for any other.
    fn of(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        let known = UNITS.iter().find(|(words, _)| words.contains(&word.as_str()));
        known.map(|(_, unit)| *unit)
    }

    /// The unit that a constant names.
    pub fn of_literal(value: &ScalarValue) -> Result<Self> {
        let word = value.try_as_str().flatten();
        let Some(word) = word else {
            return plan_err!("datediff takes its unit as a constant, such as 'day'");
        };
        Self::of(word).ok_or_else(|| {
            let words: Vec<&str> = UNITS.iter().map(|(words, _)| words[0]).collect();
            let message = format!("unknown unit '{word}' of datediff; available: ");
            DataFusionError::Plan(message + &words.join(", "))
        })
    }

    /// The number of the unit that an instant of local time is in.
    fn number(self, nanos: i128) -> Option<i64> {
        let days = nanos.div_euclid(DAY_NANOS);
        let number = match self {
            Self::Short(length) => nanos.div_euclid(length),
            Self::Day => days,
            // 29 December 1969 was a Monday.
            Self::Week => (days + 3).div_euclid(7),
            Self::Months(months) => {
                let day = date(days)?;
                let number = i64::from(day.year()) * 12 + i64::from(day.month0());
                // Centuries begin with the years 1, 101 and so on.
                let first = if months >= 1_200 { 12 } else { 0 };
                i128::from((number - first).div_euclid(months))
            }
        };
        i64::try_from(number).ok()
    }
}

/// A day since 1970 in the calendar; `None` beyond it.
fn date(days: i128) -> Option<NaiveDate> {
    let seconds = i64::try_from(days.checked_mul(DAY_NANOS / SECOND_NANOS)?).ok()?;
    Some(DateTime::from_timestamp(seconds, 0)?.date_naive())
}

/// Times as nanoseconds since 1970.
struct Times {
    ticks: Int64Array,
    nanos_per_tick: i128,
    zone: Option<Tz>,
}

impl Times {
    fn new(values: &ArrayRef) -> Result<Self> {
        let (nanos_per_tick, zone) = match values.data_type() {
            DataType::Date32 => (DAY_NANOS, None),
            DataType::Timestamp(unit, zone) => (nanos_per(*unit), zone.clone()),
            other => return exec_err!("a date or timestamp is expected, found {other}"),
        };
        let ticks = match values.data_type() {
            DataType::Date32 => cast(&cast(values, &DataType::Int32)?, &DataType::Int64)?,
            _ => cast(values, &DataType::Int64)?,
        };
        let ticks = ticks.as_primitive::<Int64Type>().clone();
        let zone = zone.map(|zone| zone.parse::<Tz>()).transpose()?;
        Ok(Self { ticks, nanos_per_tick, zone })
    }

    /// The instant of a row, or with `local` what its clocks show; `None` for NULL.
    fn nanos(&self, row: usize, local: bool) -> Result<Option<i128>> {
        let tick = self.ticks.is_valid(row).then(|| self.ticks.value(row));
        let Some(instant) = tick.map(|tick| i128::from(tick) * self.nanos_per_tick) else {
            return Ok(None);
        };
        let Some(zone) = self.zone.filter(|_| local) else { return Ok(Some(instant)) };
        let seconds = i64::try_from(instant.div_euclid(SECOND_NANOS)).ok();
        let utc = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let utc = utc.ok_or_else(beyond)?.naive_utc();
        let ahead = zone.offset_from_utc_datetime(&utc).fix().local_minus_utc();
        Ok(Some(instant + i128::from(ahead) * SECOND_NANOS))
    }
}

fn beyond() -> DataFusionError {
    exec_datafusion_err!("a time is beyond the calendar, which ends with the year 262142")
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateDiff {
    signature: Signature,
    aliases: Vec<String>,
}

impl ScalarUDFImpl for DateDiff {
    fn name(&self) -> &str {
        DATE_DIFF
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        // What does not fit is told by `return_type`, in one sentence.
        Ok(Self::taken(types).unwrap_or_else(|_| types.to_vec()))
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Self::taken(types).map(|_| DataType::Int64)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let unit = match args.args.as_slice() {
            [_, _] => Unit::Day,
            [ColumnarValue::Scalar(unit), ..] if unit.is_null() => {
                return Ok(ColumnarValue::Scalar(ScalarValue::Int64(None)));
            }
            [ColumnarValue::Scalar(unit), ..] => Unit::of_literal(unit)?,
            _ => return plan_err!("datediff takes its unit as a constant, such as 'day'"),
        };
        over_arrays(&args, |arrays| {
            let (start, end) = match arrays {
                [end, start] => (start, end),
                [_, start, end] => (start, end),
                _ => return exec_err!("datediff of {} arguments", arrays.len()),
            };
            between(unit, &Times::new(start)?, &Times::new(end)?)
        })
    }
}

impl DateDiff {
    /// The types in which arguments are taken.
    fn taken(types: &[DataType]) -> Result<Vec<DataType>> {
        let time = |data_type| time(DATE_DIFF, data_type);
        match types {
            [end, start] => Ok(vec![time(end)?, time(start)?]),
            [unit, start, end] if unit.is_string() || unit.is_null() => {
                Ok(vec![DataType::Utf8, time(start)?, time(end)?])
            }
            [unit, ..] if types.len() == 3 => {
                plan_err!("datediff takes its unit as a constant, such as 'day', found {unit}")
            }
            _ => plan_err!(
                "datediff takes 2 or 3 arguments, found {}: datediff(end, start), \
                 datediff('day', start, end)",
                types.len()
            ),
        }
    }
}

fn between(unit: Unit, start: &Times, end: &Times) -> Result<ArrayRef> {
    // Hours and less pass alike on all clocks.
    let instants = start.zone.is_some() == end.zone.is_some();
    let local = !matches!(unit, Unit::Short(_)) || !instants;
    let number = |nanos: i128| unit.number(nanos).ok_or_else(beyond);
    let rows = (0..start.ticks.len()).map(|row| {
        let (Some(start), Some(end)) = (start.nanos(row, local)?, end.nanos(row, local)?) else {
            return Ok(None);
        };
        Ok(Some(number(end)? - number(start)?))
    });
    Ok(Arc::new(rows.collect::<Result<Int64Array>>()?))
}

/// The last day of the month that a date or timestamp is in.
#[derive(Debug, PartialEq, Eq, Hash)]
struct LastDay {
    signature: Signature,
}

impl ScalarUDFImpl for LastDay {
    fn name(&self) -> &str {
        "last_day"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.iter().map(|of| time(self.name(), of).unwrap_or_else(|_| of.clone())).collect())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [of] => time(self.name(), of).map(|_| DataType::Date32),
            _ => plan_err!("last_day takes 1 argument, found {}", types.len()),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_arrays(&args, |arrays| {
            let times = Times::new(&arrays[0])?;
            let rows = (0..times.ticks.len()).map(|row| {
                let Some(nanos) = times.nanos(row, true)? else { return Ok(None) };
                let last = date(nanos.div_euclid(DAY_NANOS)).and_then(last_of_month);
                Ok(Some(Date32Type::from_naive_date(last.ok_or_else(beyond)?)))
            });
            Ok(Arc::new(rows.collect::<Result<Date32Array>>()?))
        })
    }
}

fn last_of_month(day: NaiveDate) -> Option<NaiveDate> {
    day.with_day(1)?.checked_add_months(Months::new(1))?.pred_opt()
}
