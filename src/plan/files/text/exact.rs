//! From written values to typed ones without loss: a value that has more digits than its column is
//! an error, and none is rounded, cut or taken for another. Floats are rounded as always, to the
//! nearest there is.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, AsArray, LargeListArray, ListArray, MapArray, OffsetSizeTrait, PrimitiveArray,
    StringArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type,
    Decimal128Type, Decimal256Type, DecimalType, Field, FieldRef, Float16Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::FormatOptions;
use chrono::{DateTime, Timelike, Utc};

/// A value that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// Among the values given.
    pub row: usize,
    /// `'x' is no Int64`, behind the name of the member if it is not the column itself.
    pub reason: String,
}

/// The type that a column is read in, to be converted by `typed`.
pub fn written(kind: &DataType, numbers: bool) -> DataType {
    let item = |field: &FieldRef| Arc::new(written_field(field, numbers));
    match kind {
        DataType::List(field) => DataType::List(item(field)),
        DataType::LargeList(field) => DataType::LargeList(item(field)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(item).collect()),
        DataType::Map(entries, sorted) => DataType::Map(item(entries), *sorted),
        DataType::Dictionary(_, values) => written(values, numbers),
        kind if kind.is_integer() && !numbers => kind.clone(),
        kind if kind.is_numeric() || kind.is_temporal() => DataType::Utf8,
        kind => kind.clone(),
    }
}

/// The field that a column is read in. With `numbers` whole numbers are read as text as well.
pub fn written_field(field: &Field, numbers: bool) -> Field {
    field.clone().with_data_type(written(field.data_type(), numbers))
}

/// A column of a type of `written` as the type that is wanted.
pub fn typed(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, Unfit> {
    if column.data_type() == to {
        return Ok(Arc::clone(column));
    }
    match (column.data_type(), to) {
        (DataType::List(_), DataType::List(field)) => {
            let list = column.as_list::<i32>();
            let (_, offsets, values, nulls) = list.clone().into_parts();
            let (offsets, values) = members(&offsets, &values);
            let parent = |at: usize| offsets.partition_point(|end| *end as usize <= at) - 1;
            let values =
                typed(&values, field.data_type()).map_err(|e| within(e, field, &parent))?;
            rebuilt(ListArray::try_new(Arc::clone(field), offsets.clone(), values, nulls))
        }
        (DataType::LargeList(_), DataType::LargeList(field)) => {
            let list = column.as_list::<i64>();
            let (_, offsets, values, nulls) = list.clone().into_parts();
            let (offsets, values) = members(&offsets, &values);
            let parent = |at: usize| offsets.partition_point(|end| *end as usize <= at) - 1;
            let values =
                typed(&values, field.data_type()).map_err(|e| within(e, field, &parent))?;
            rebuilt(LargeListArray::try_new(Arc::clone(field), offsets.clone(), values, nulls))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let (_, members, nulls) = column.as_struct().clone().into_parts();
            let member = |(member, field): (&ArrayRef, &FieldRef)| {
                typed(member, field.data_type()).map_err(|error| within(error, field, &|at| at))
            };
            let typed: Result<Vec<_>, _> = members.iter().zip(fields).map(member).collect();
            let length = column.len();
            rebuilt(StructArray::try_new_with_length(fields.clone(), typed?, nulls, length))
        }
        (DataType::Map(..), DataType::Map(field, sorted)) => {
            let map = column.as_map();
            let (_, offsets, entries, nulls, _) = map.clone().into_parts();
            let (offsets, entries) = members(&offsets, &(Arc::new(entries) as ArrayRef));
            let parent = |at: usize| offsets.partition_point(|end| *end as usize <= at) - 1;
            let entries =
                typed(&entries, field.data_type()).map_err(|e| within(e, field, &parent))?;
            let entries = entries.as_struct().clone();
            rebuilt(MapArray::try_new(Arc::clone(field), offsets.clone(), entries, nulls, *sorted))
        }
        (_, DataType::Dictionary(_, values)) => cast(&typed(column, values)?, to),
        (DataType::Utf8, _) => text_typed(column.as_string(), to),
        _ => cast(column, to),
    }
}

/// The members that the rows of lists have, of those that stand around them in a slice too.
fn members<O: OffsetSizeTrait>(
    offsets: &OffsetBuffer<O>,
    values: &ArrayRef,
) -> (OffsetBuffer<O>, ArrayRef) {
    let (from, to) = (offsets[0].as_usize(), offsets[offsets.len() - 1].as_usize());
    (OffsetBuffer::from_lengths(offsets.lengths()), values.slice(from, to - from))
}

fn rebuilt<A: Array + 'static>(
    built: Result<A, arrow::error::ArrowError>,
) -> Result<ArrayRef, Unfit> {
    match built {
        Ok(array) => Ok(Arc::new(array)),
        Err(error) => Err(Unfit { row: 0, reason: error.to_string() }),
    }
}

/// An error of a member, told of its row.
fn within(error: Unfit, field: &Field, parent: &dyn Fn(usize) -> usize) -> Unfit {
    Unfit { row: parent(error.row), reason: format!("in '{}': {}", field.name(), error.reason) }
}

/// Types that have no rule of their own here.
fn cast(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, Unfit> {
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    cast_with_options(column, to, &options).map_err(|error| {
        let safe = CastOptions { safe: true, format_options: FormatOptions::default() };
        let lost = |cast: &ArrayRef| {
            (0..column.len()).find(|row| column.is_valid(*row) && cast.is_null(*row))
        };
        let row = cast_with_options(column, to, &safe).ok().as_ref().and_then(lost);
        Unfit { row: row.unwrap_or(0), reason: error.to_string() }
    })
}

fn text_typed(text: &StringArray, to: &DataType) -> Result<ArrayRef, Unfit> {
    use DataType as T;
    match to {
        T::Int8 => each::<Int8Type>(text, to, integer::<Int8Type>),
        T::Int16 => each::<Int16Type>(text, to, integer::<Int16Type>),
        T::Int32 => each::<Int32Type>(text, to, integer::<Int32Type>),
        T::Int64 => each::<Int64Type>(text, to, integer::<Int64Type>),
        T::UInt8 => each::<UInt8Type>(text, to, integer::<UInt8Type>),
        T::UInt16 => each::<UInt16Type>(text, to, integer::<UInt16Type>),
        T::UInt32 => each::<UInt32Type>(text, to, integer::<UInt32Type>),
        T::UInt64 => each::<UInt64Type>(text, to, integer::<UInt64Type>),
        T::Float16 => each::<Float16Type>(text, to, |text| {
            finite(text, Float16Type::parse(text), |value| value.is_infinite())
        }),
        T::Float32 => each::<Float32Type>(text, to, |text| {
            finite(text, Float32Type::parse(text), |value| value.is_infinite())
        }),
        T::Float64 => each::<Float64Type>(text, to, |text| {
            finite(text, Float64Type::parse(text), |value| value.is_infinite())
        }),
        T::Decimal32(p, s) => decimals::<Decimal32Type>(text, to, *p, *s),
        T::Decimal64(p, s) => decimals::<Decimal64Type>(text, to, *p, *s),
        T::Decimal128(p, s) => decimals::<Decimal128Type>(text, to, *p, *s),
        T::Decimal256(p, s) => decimals::<Decimal256Type>(text, to, *p, *s),
        T::Date32 => each::<Date32Type>(text, to, |text| {
            whole_day(text)?;
            Date32Type::parse(text).ok_or_else(String::new)
        }),
        T::Date64 => each::<Date64Type>(text, to, |text| {
            whole_day(text)?;
            Date64Type::parse(text).ok_or_else(String::new)
        }),
        T::Timestamp(unit, zone) => timestamps(text, to, *unit, zone.as_deref()),
        T::Time32(TimeUnit::Second) => each::<Time32SecondType>(text, to, |text| {
            time(text, 1_000_000_000).and_then(|time| i32::try_from(time).map_err(|_| "".into()))
        }),
        T::Time32(_) => each::<Time32MillisecondType>(text, to, |text| {
            time(text, 1_000_000).and_then(|time| i32::try_from(time).map_err(|_| "".into()))
        }),
        T::Time64(TimeUnit::Nanosecond) => {
            each::<Time64NanosecondType>(text, to, |text| time(text, 1))
        }
        T::Time64(_) => each::<Time64MicrosecondType>(text, to, |text| time(text, 1_000)),
        _ => cast(&(Arc::new(text.clone()) as ArrayRef), to),
    }
}

/// Converts value by value. The reason may be empty, where `is no Int64` says it all.
fn each<T: ArrowPrimitiveType>(
    text: &StringArray,
    to: &DataType,
    convert: impl Fn(&str) -> Result<T::Native, String>,
) -> Result<ArrayRef, Unfit> {
    let mut values = PrimitiveArray::<T>::builder(text.len());
    for (row, value) in text.iter().enumerate() {
        match value.map(&convert) {
            None => values.append_null(),
            Some(Ok(value)) => values.append_value(value),
            Some(Err(reason)) => {
                let value = value.unwrap_or_default().escape_debug();
                let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                return Err(Unfit { row, reason: format!("'{value}' is no {to}{why}") });
            }
        }
    }
    Ok(Arc::new(values.finish().with_data_type(to.clone())))
}

/// A whole number, however it is written: `1000`, `1e3` and `1000.0` are one.
fn integer<T: ArrowPrimitiveType + Parser>(text: &str) -> Result<T::Native, String>
where
    T::Native: TryFrom<i128>,
{
    if let Some(value) = T::parse(text) {
        return Ok(value);
    }
    let number = digits(text, 0, 38).map_err(|wrong| match wrong {
        Wrong::NoNumber => String::new(),
        Wrong::Finer => "it has a fraction".to_string(),
        Wrong::Larger => "it is out of range".to_string(),
    })?;
    let number: i128 = number.parse().map_err(|_| "it is out of range".to_string())?;
    T::Native::try_from(number).map_err(|_| "it is out of range".to_string())
}

fn finite<F: Copy>(
    text: &str,
    value: Option<F>,
    infinite: impl Fn(F) -> bool,
) -> Result<F, String> {
    let value = value.ok_or_else(String::new)?;
    let spelt = || text.bytes().any(|byte| byte.is_ascii_alphabetic() && byte | 0x20 != b'e');
    match infinite(value) && !spelt() {
        true => Err("it is out of range".to_string()),
        false => Ok(value),
    }
}

fn decimals<T: DecimalType>(
    text: &StringArray,
    to: &DataType,
    precision: u8,
    scale: i8,
) -> Result<ArrayRef, Unfit>
where
    T::Native: FromStr,
{
    each::<T>(text, to, |text| {
        let unscaled = digits(text, scale, precision).map_err(|wrong| match wrong {
            Wrong::NoNumber => String::new(),
            Wrong::Finer => format!("it has more than {scale} digits behind the point"),
            Wrong::Larger => format!("it has more than {precision} digits"),
        })?;
        unscaled.parse().map_err(|_| String::new())
    })
}

/// Why a number has no digits of a scale and precision.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    NoNumber,
    Finer,
    Larger,
}

/// The digits of a number times ten to the power of `scale`, with its sign.
fn digits(text: &str, scale: i8, precision: u8) -> Result<String, Wrong> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()),
        None => (rest, Some(0)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = || whole.bytes().chain(fraction.bytes());
    if all().next().is_none() || !all().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::NoNumber);
    }
    let number: String = all().map(char::from).collect();
    let significant = number.trim_start_matches('0');
    if significant.is_empty() {
        return Ok("0".to_string());
    }
    // An exponent that is no small number makes a number that fits nowhere.
    let exponent = exponent.ok_or(Wrong::NoNumber)?;
    let shift = exponent.saturating_sub(fraction.len() as i64).saturating_add(i64::from(scale));
    let mut unscaled = significant.to_string();
    if shift < 0 {
        let cut = usize::try_from(-shift.max(-i64::MAX)).unwrap_or(usize::MAX);
        let kept = unscaled.len().saturating_sub(cut);
        if cut > unscaled.len() || unscaled[kept..].bytes().any(|digit| digit != b'0') {
            return Err(Wrong::Finer);
        }
        unscaled.truncate(kept);
    }
    let zeros = usize::try_from(shift.max(0)).unwrap_or(usize::MAX);
    if unscaled.len().saturating_add(zeros) > usize::from(precision) {
        return Err(Wrong::Larger);
    }
    unscaled.extend(std::iter::repeat_n('0', zeros));
    let sign = if negative { "-" } else { "" };
    Ok(format!("{sign}{}", if unscaled.is_empty() { "0" } else { &unscaled }))
}

/// Errors: a time of day other than midnight.
fn whole_day(text: &str) -> Result<(), String> {
    if text.len() <= 10 || text.starts_with(['+', '-']) {
        return Ok(());
    }
    let time = string_to_datetime(&Utc, text).map_err(|_| String::new())?;
    match time.num_seconds_from_midnight() == 0 && time.nanosecond() == 0 {
        true => Ok(()),
        false => Err("it has a time of day".to_string()),
    }
}

/// Errors: digits behind those of the unit.
fn no_finer(text: &str, digits: usize) -> Result<(), String> {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let mut finer = fraction.bytes().take_while(u8::is_ascii_digit).skip(digits);
    match finer.any(|digit| digit != b'0') {
        true => Err(format!("it has more than {digits} digits behind the second")),
        false => Ok(()),
    }
}

fn time(text: &str, unit: i64) -> Result<i64, String> {
    let digits = match unit {
        1 => 9,
        1_000 => 6,
        1_000_000 => 3,
        _ => 0,
    };
    no_finer(text, digits)?;
    Time64NanosecondType::parse(text).map(|nanos| nanos / unit).ok_or_else(String::new)
}

fn timestamps(
    text: &StringArray,
    to: &DataType,
    unit: TimeUnit,
    zone: Option<&str>,
) -> Result<ArrayRef, Unfit> {
    let zone: Tz = match zone.unwrap_or("+00:00").parse() {
        Ok(zone) => zone,
        Err(error) => return Err(Unfit { row: 0, reason: format!("{to}: {error}") }),
    };
    let parse = |text: &str, digits: usize| -> Result<DateTime<Utc>, String> {
        no_finer(text, digits)?;
        let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match string_to_datetime(&zone, text) {
            Ok(time) => Ok(time.with_timezone(&Utc)),
            Err(_) if number => Err("a number is no time: declare the column as BIGINT, and \
                                     convert it by to_timestamp_millis or the like"
                .to_string()),
            Err(_) => Err(String::new()),
        }
    };
    match unit {
        TimeUnit::Second => each::<TimestampSecondType>(text, to, |text| {
            parse(text, 0).map(|time| time.timestamp())
        }),
        TimeUnit::Millisecond => each::<TimestampMillisecondType>(text, to, |text| {
            parse(text, 3).map(|time| time.timestamp_millis())
        }),
        TimeUnit::Microsecond => each::<TimestampMicrosecondType>(text, to, |text| {
            parse(text, 6).map(|time| time.timestamp_micros())
        }),
        TimeUnit::Nanosecond => each::<TimestampNanosecondType>(text, to, |text| {
            let nanos = parse(text, 9)?.timestamp_nanos_opt();
            nanos.ok_or_else(|| {
                "nanoseconds reach from 1677 to 2262: declare the column as TIMESTAMP(6)".into()
            })
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, to: DataType) -> Result<String, String> {
        let column: ArrayRef = Arc::new(StringArray::from(vec![None, Some(text)]));
        let typed =
            typed(&column, &to).map_err(|unfit| format!("{}: {}", unfit.row, unfit.reason))?;
        assert!(typed.is_null(0));
        Ok(arrow::util::display::array_value_to_string(&typed, 1).unwrap())
    }

    #[test]
    fn numbers_are_whole_or_refused() {
        for (text, want) in [("7", "7"), ("1e3", "1000"), ("-1.50e1", "-15"), ("2.0", "2")] {
            assert_eq!(one(text, DataType::Int64).as_deref(), Ok(want));
        }
        assert_eq!(one("18446744073709551615", DataType::UInt64).unwrap(), "18446744073709551615");
        for wrong in ["20.9", "1e-1", "9223372036854775808", "1e400", "x", "", "1e99999999999999"] {
            let told = one(wrong, DataType::Int64).unwrap_err();
            assert!(told.starts_with(&format!("1: '{wrong}' is no Int64")), "{told}");
        }
        assert!(one("300", DataType::Int8).unwrap_err().contains("out of range"));
        assert!(one("1e400", DataType::Float64).unwrap_err().contains("out of range"));
        assert_eq!(one("-inf", DataType::Float64).as_deref(), Ok("-inf"));
        assert_eq!(one("1e39", DataType::Float64).as_deref(), Ok("1e39"));
        assert!(one("1e39", DataType::Float32).is_err());
    }

    #[test]
    fn decimals_keep_every_digit_or_are_refused() {
        let decimal = |text: &str| one(text, DataType::Decimal128(38, 4));
        let long = "1234567890123456789012345678901234.5678";
        assert_eq!(decimal(long).as_deref(), Ok(long));
        assert_eq!(decimal("1.2e-3").as_deref(), Ok("0.0012"));
        assert_eq!(decimal("-0.00010000").as_deref(), Ok("-0.0001"));
        assert_eq!(decimal("0e99").as_deref(), Ok("0.0000"));
        assert!(decimal("0.00001").unwrap_err().contains("more than 4 digits"));
        assert!(decimal("1e34").unwrap_err().contains("more than 38 digits"));
        assert!(decimal("12a").is_err());
    }

    #[test]
    fn times_keep_their_digits_or_are_refused() {
        let seconds = DataType::Timestamp(TimeUnit::Second, None);
        assert_eq!(
            one("2024-01-02T03:04:05.000Z", seconds.clone()).unwrap(),
            "2024-01-02T03:04:05"
        );
        assert!(one("2024-01-02T03:04:05.5", seconds.clone()).unwrap_err().contains("0 digits"));
        assert!(one("1704067200000", seconds).unwrap_err().contains("BIGINT"));
        let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
        assert!(one("9999-12-31 00:00:00", nanos).unwrap_err().contains("TIMESTAMP(6)"));
        assert_eq!(one("2024-01-02 00:00:00", DataType::Date32).as_deref(), Ok("2024-01-02"));
        assert!(one("2024-01-02 00:00:01", DataType::Date32).unwrap_err().contains("time of day"));
        let time = DataType::Time64(TimeUnit::Microsecond);
        assert_eq!(one("01:02:03.000001", time.clone()).as_deref(), Ok("01:02:03.000001"));
        assert!(one("01:02:03.0000001", time).is_err());
    }

    #[test]
    fn members_are_told_of_their_row() {
        let to = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
        let mut lists = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
        lists.append_value([Some("1"), None]);
        lists.append_null();
        lists.append_value([Some("2"), Some("2.5")]);
        let column: ArrayRef = Arc::new(lists.finish());
        let unfit = typed(&column, &to).unwrap_err();
        assert_eq!((unfit.row, unfit.reason.contains("'2.5' is no Int64")), (2, true));
        assert_eq!(typed(&column.slice(0, 2), &to).unwrap().data_type(), &to);
    }
}
