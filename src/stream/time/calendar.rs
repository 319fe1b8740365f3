//! Days of a time zone: windows of whole days start at its midnights, so that one over a change of
//! the clocks is shorter or longer than the others.

use std::sync::{Arc, LazyLock};

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use chrono::{DateTime, Duration, LocalResult, NaiveDateTime, Offset, TimeZone};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};

/// The start of the window of `days` days that holds `time`, moved by `shift` days. Windows start
/// at midnights of the time's zone, moved by an offset.
pub fn local_days(time: Expr, days: i64, offset_ns: i64, shift: i64) -> Expr {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::any(4, Volatility::Immutable);
        Arc::new(ScalarUDF::from(LocalDays { signature }))
    });
    FUNCTION.call(vec![time, lit(days), lit(offset_ns), lit(shift)])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct LocalDays {
    signature: Signature,
}

impl ScalarUDFImpl for LocalDays {
    fn name(&self) -> &str {
        "local_days"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let number = |at: usize| match &args.args[at] {
            ColumnarValue::Scalar(ScalarValue::Int64(Some(number))) => Ok(*number),
            other => internal_err!("local_days takes constants behind the time, not {other}"),
        };
        let (days, offset_ns, shift) = (number(1)?, number(2)?, number(3)?);
        let times = args.args[0].to_array(args.number_rows)?;
        let DataType::Timestamp(unit, Some(zone)) = times.data_type() else {
            return internal_err!("local_days takes a time with a zone");
        };
        let days = Days { zone: zone.parse::<Tz>()?, unit: *unit, days, offset_ns, shift };
        let starts = days.starts(&times)?;
        let starts: ArrayRef = Arc::new(starts);
        Ok(ColumnarValue::Array(cast(&starts, times.data_type())?))
    }
}

struct Days {
    zone: Tz,
    unit: TimeUnit,
    days: i64,
    offset_ns: i64,
    shift: i64,
}

impl Days {
    fn starts(&self, times: &ArrayRef) -> Result<Int64Array> {
        let ticks = cast(times, &DataType::Int64)?;
        let ticks = ticks.as_primitive::<Int64Type>();
        // Neighbouring rows are mostly of one window: (from, to, start).
        let mut last: Option<(i64, i64, i64)> = None;
        let starts = ticks.iter().map(|tick| {
            let Some(tick) = tick else { return Ok(None) };
            if let Some((from, to, start)) = last
                && (from..to).contains(&tick)
            {
                return Ok(Some(start));
            }
            let window = self.window(tick).ok_or_else(|| {
                exec_datafusion_err!("a window's bounds are out of range: time {tick}")
            })?;
            last = Some(window);
            Ok(Some(window.2))
        });
        starts.collect()
    }

    /// The window that holds a time, and its start moved by `shift`, in ticks.
    fn window(&self, tick: i64) -> Option<(i64, i64, i64)> {
        let offset = Duration::nanoseconds(self.offset_ns);
        let utc = self.naive(tick)?;
        let from_utc = self.zone.offset_from_utc_datetime(&utc).fix();
        let local = utc.checked_add_offset(from_utc)?;
        let epoch = DateTime::UNIX_EPOCH.naive_utc();
        let date = local.checked_sub_signed(offset)?.date();
        let day = date.signed_duration_since(epoch.date()).num_days();
        let first = day.checked_sub(day.rem_euclid(self.days))?;
        let midnight = |day: i64| -> Option<i64> {
            let local = epoch.checked_add_signed(Duration::try_days(day)?)?;
            self.ticks(self.instant(local.checked_add_signed(offset)?)?)
        };
        let to = midnight(first.checked_add(self.days)?)?;
        Some((midnight(first)?, to, midnight(first.checked_add(self.shift)?)?))
    }

    /// The instant of a local time: the first of two, and of one that a change of the clocks
    /// skips, the change.
    fn instant(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        match self.zone.offset_from_local_datetime(&local) {
            LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => {
                local.checked_sub_offset(offset.fix())
            }
            LocalResult::None => {
                let before = local.checked_sub_signed(Duration::days(2))?;
                let offset = match self.zone.offset_from_local_datetime(&before) {
                    LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => offset.fix(),
                    LocalResult::None => return Some(local),
                };
                local.checked_sub_offset(offset)
            }
        }
    }

    fn naive(&self, tick: i64) -> Option<NaiveDateTime> {
        let time = match self.unit {
            TimeUnit::Second => DateTime::from_timestamp(tick, 0),
            TimeUnit::Millisecond => DateTime::from_timestamp_millis(tick),
            TimeUnit::Microsecond => DateTime::from_timestamp_micros(tick),
            TimeUnit::Nanosecond => Some(DateTime::from_timestamp_nanos(tick)),
        };
        time.map(|time| time.naive_utc())
    }

    fn ticks(&self, time: NaiveDateTime) -> Option<i64> {
        let time = time.and_utc();
        match self.unit {
            TimeUnit::Second => Some(time.timestamp()),
            TimeUnit::Millisecond => Some(time.timestamp_millis()),
            TimeUnit::Microsecond => Some(time.timestamp_micros()),
            TimeUnit::Nanosecond => time.timestamp_nanos_opt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts and lengths in hours of the days from a time on.
    fn days(zone: &str, from: &str, days: i64) -> Vec<(String, i64)> {
        let of = |shift| Days {
            zone: zone.parse().unwrap(),
            unit: TimeUnit::Microsecond,
            days,
            offset_ns: 0,
            shift,
        };
        let mut at = DateTime::parse_from_rfc3339(from).unwrap().timestamp_micros();
        let windows = (0..3).map(|_| {
            let (start, end, first) = of(0).window(at).unwrap();
            assert_eq!((start, of(days).window(at).unwrap().2), (first, end));
            // Every hour of it is in it.
            for tick in (start..end).step_by(3_600_000_000) {
                assert_eq!(of(0).window(tick).unwrap(), (start, end, start));
            }
            assert_eq!(of(0).window(end - 1).unwrap().0, start);
            at = end;
            let start = DateTime::from_timestamp_micros(start).unwrap();
            (
                start.format("%m-%dT%H:%M").to_string(),
                (end - start.timestamp_micros()) / 3_600_000_000,
            )
        });
        windows.collect()
    }

    #[test]
    fn days_begin_at_local_midnights() {
        let day = |start: &str, hours| (start.to_string(), hours);
        assert_eq!(
            days("Europe/Berlin", "2026-03-28T12:00:00Z", 1),
            [day("03-27T23:00", 24), day("03-28T23:00", 23), day("03-29T22:00", 24)]
        );
        assert_eq!(
            days("Europe/Berlin", "2026-10-24T12:00:00Z", 1),
            [day("10-23T22:00", 24), day("10-24T22:00", 25), day("10-25T23:00", 24)]
        );
        // There was no midnight, as the clocks went from 0 to 1 o'clock.
        assert_eq!(
            days("America/Sao_Paulo", "2018-11-03T12:00:00Z", 1),
            [day("11-03T03:00", 24), day("11-04T03:00", 23), day("11-05T02:00", 24)]
        );
        // There were two, as they went from 1 to 0 o'clock.
        assert_eq!(
            days("America/Havana", "2018-11-03T12:00:00Z", 1),
            [day("11-03T04:00", 24), day("11-04T04:00", 25), day("11-05T05:00", 24)]
        );
        assert_eq!(days("+05:30", "2026-01-01T00:00:00Z", 1)[0], day("12-31T18:30", 24));
        assert_eq!(days("Europe/Berlin", "2026-03-28T12:00:00Z", 7)[0].1, 167);
    }
}
