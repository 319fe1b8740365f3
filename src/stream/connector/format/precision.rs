//! What a declared column would lose of a value: digits, times of day, range.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{CastOptions, can_cast_types, cast, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit};
use arrow::util::display::FormatOptions;
use chrono::{NaiveTime, Utc};

use crate::error::Result;

/// No DECIMAL has more digits.
pub const MOST_DIGITS: i64 = 76;

/// Rows whose value has digits that the type it was cast to has not.
pub fn finer(from: &ArrayRef, typed: &ArrayRef, digits: Option<u32>) -> Result<Vec<usize>> {
    let rows = (0..from.len()).filter(|row| from.is_valid(*row) && typed.is_valid(*row));
    if let Some(texts) = from.as_string_opt::<i32>() {
        let finer: &dyn Fn(usize) -> bool = match typed.data_type() {
            DataType::Timestamp(unit, _) => {
                &move |row| fraction(texts.value(row)) > digits.unwrap_or(decimals_of(*unit))
            }
            DataType::Time64(_) => &|row| fraction(texts.value(row)) > 9,
            DataType::Date32 => &|row| has_time(texts.value(row)),
            DataType::Float64 => {
                &|row| overflows(texts.value(row), typed.as_primitive::<Float64Type>().value(row))
            }
            DataType::Float32 => &|row| {
                let value = typed.as_primitive::<Float32Type>().value(row);
                overflows(texts.value(row), f64::from(value))
            },
            _ => return Ok(Vec::new()),
        };
        return Ok(rows.filter(|row| finer(*row)).collect());
    }
    if let (DataType::Timestamp(unit, _), DataType::Timestamp(to, _)) =
        (from.data_type(), typed.data_type())
    {
        let kept = digits.unwrap_or(decimals_of(*to));
        let surplus = decimals_of(*unit).saturating_sub(kept);
        let ticks = cast(from, &DataType::Int64)?;
        let ticks = ticks.as_primitive::<Int64Type>();
        return Ok(rows.filter(|row| ticks.value(*row) % 10_i64.pow(surplus) != 0).collect());
    }
    let counted = |data_type: &DataType| data_type.is_numeric() || data_type.is_temporal();
    let (a, b) = (from.data_type(), typed.data_type());
    if a == b || !counted(a) || !counted(b) || !can_cast_types(b, a) {
        return Ok(Vec::new());
    }
    // What is not the same on its way back has lost something.
    let options = CastOptions { safe: true, format_options: FormatOptions::default() };
    let back = cast_with_options(typed, a, &options)?;
    let differs = distinct(&back, from)?;
    let number = |row: usize| match a {
        DataType::Float64 => !from.as_primitive::<Float64Type>().value(row).is_nan(),
        _ => true,
    };
    Ok(rows.filter(|row| differs.value(*row) && number(*row)).collect())
}

fn decimals_of(unit: TimeUnit) -> u32 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// Digits of a written time's seconds behind the point, without zeros at their end.
pub fn fraction(text: &str) -> u32 {
    let Some((_, part)) = text.split_once('.') else { return 0 };
    let digits = part.bytes().take_while(u8::is_ascii_digit);
    let last = digits.enumerate().filter(|(_, digit)| *digit != b'0').last();
    last.map_or(0, |(at, _)| at as u32 + 1)
}

/// Whether a written day has a time that is not its first moment.
fn has_time(text: &str) -> bool {
    let plain = text.len() <= 10 && !text.contains(':');
    let midnight = |time: NaiveTime| time == NaiveTime::MIN;
    !plain && string_to_datetime(&Utc, text).is_ok_and(|time| !midnight(time.time()))
}

/// Whether a written number is beyond its type.
fn overflows(text: &str, value: f64) -> bool {
    value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit())
}
