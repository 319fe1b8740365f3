//! Intervals as numbers: a month counts as 30 days, a day as 24 hours, as PostgreSQL compares them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{
    DataType, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType,
    TimeUnit,
};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
    binary_expr, lit,
};

use super::{call, over_arrays};

/// Nanoseconds of a day.
pub const DAY_NANOS: i128 = 86_400_000_000_000;

/// The type of spans, in nanoseconds; those of all intervals have at most 26 digits.
pub const SPAN: DataType = DataType::Decimal128(38, 0);

/// Nanoseconds of months, days and nanoseconds.
pub fn nanos(months: i32, days: i32, nanos: i64) -> i128 {
    (i128::from(months) * 30 + i128::from(days)) * DAY_NANOS + i128::from(nanos)
}

/// Nanoseconds of an interval or a duration that is a constant.
pub fn nanos_of(value: &ScalarValue) -> Option<i128> {
    Some(match *value {
        ScalarValue::IntervalYearMonth(Some(months)) => nanos(months, 0, 0),
        ScalarValue::IntervalDayTime(Some(value)) => {
            nanos(0, value.days, i64::from(value.milliseconds) * 1_000_000)
        }
        ScalarValue::IntervalMonthDayNano(Some(value)) => {
            nanos(value.months, value.days, value.nanoseconds)
        }
        ScalarValue::DurationSecond(Some(value)) => i128::from(value) * 1_000_000_000,
        ScalarValue::DurationMillisecond(Some(value)) => i128::from(value) * 1_000_000,
        ScalarValue::DurationMicrosecond(Some(value)) => i128::from(value) * 1_000,
        ScalarValue::DurationNanosecond(Some(value)) => i128::from(value),
        _ => return None,
    })
}

/// The number by which an interval or a duration is compared.
pub fn span(value: Expr, data_type: &DataType) -> Expr {
    match data_type {
        DataType::Duration(unit) => scaled(value, 19, nanos_per(*unit)),
        _ => {
            let signature = Signature::any(1, Volatility::Immutable);
            call(Span { signature }, vec![value])
        }
    }
}

/// Nanoseconds of a unit.
pub const fn nanos_per(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// The integer under a value, of as many digits, times a number, as a decimal: forms that the
/// device has.
pub fn scaled(value: Expr, precision: u8, factor: i128) -> Expr {
    let cast = |value: Expr, to: DataType| Expr::Cast(Cast::new(Box::new(value), to));
    let whole = if precision > 10 { DataType::Int64 } else { DataType::Int32 };
    let number = cast(cast(value, whole), DataType::Decimal128(precision, 0));
    if factor == 1 {
        return number;
    }
    let digits = factor.ilog10() as u8 + 1;
    let factor = lit(ScalarValue::Decimal128(Some(factor), digits, 0));
    binary_expr(number, Operator::Multiply, factor)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Span {
    signature: Signature,
}

impl ScalarUDFImpl for Span {
    fn name(&self) -> &str {
        "interval_span"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(SPAN)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_arrays(&args, |arrays| spans(&arrays[0]))
    }
}

fn spans(values: &ArrayRef) -> Result<ArrayRef> {
    let spans: Decimal128Array = match values.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            let values = values.as_primitive::<IntervalYearMonthType>().iter();
            values.map(|value| value.map(|months| nanos(months, 0, 0))).collect()
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let values = values.as_primitive::<IntervalDayTimeType>().iter();
            let of = |value: <IntervalDayTimeType as arrow::array::ArrowPrimitiveType>::Native| {
                nanos(0, value.days, i64::from(value.milliseconds) * 1_000_000)
            };
            values.map(|value| value.map(of)).collect()
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = values.as_primitive::<IntervalMonthDayNanoType>().iter();
            values.map(|v| v.map(|v| nanos(v.months, v.days, v.nanoseconds))).collect()
        }
        DataType::Null => Decimal128Array::new_null(values.len()),
        other => return exec_err!("interval_span of {other}"),
    };
    Ok(Arc::new(spans.with_precision_and_scale(38, 0)?))
}
