//! Values as they stand in sqllogictest files, where a row is a line and blanks separate columns.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, DurationFormat, FormatOptions};
use bigdecimal::BigDecimal;
use sqllogictest::ColumnType;

use super::styles::Style;
use crate::error::{Error, Result};

/// Digits behind the point that DataFusion's files keep: what differs behind them is how another
/// engine adds up floats.
const DIGITS: i64 = 12;

/// Kinds of result columns, one letter each in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    Boolean,
    /// Dates and times of day.
    Date,
    Integer,
    Timestamp,
    /// Floats and decimals.
    Real,
    Text,
    Other,
}

impl ColumnType for Column {
    fn from_char(letter: char) -> Option<Self> {
        Some(match letter {
            'B' => Self::Boolean,
            'D' => Self::Date,
            'I' => Self::Integer,
            'P' => Self::Timestamp,
            'R' => Self::Real,
            'T' => Self::Text,
            _ => Self::Other,
        })
    }

    fn to_char(&self) -> char {
        match self {
            Self::Boolean => 'B',
            Self::Date => 'D',
            Self::Integer => 'I',
            Self::Timestamp => 'P',
            Self::Real => 'R',
            Self::Text => 'T',
            Self::Other => '?',
        }
    }
}

impl Column {
    /// The kind of a type, as DataFusion's own runner has it.
    pub fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(_) | DataType::Time64(_) => Self::Date,
            DataType::Timestamp(..) => Self::Timestamp,
            DataType::Dictionary(_, value) => Self::of(value),
            DataType::RunEndEncoded(_, value) => Self::of(value.data_type()),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            other if other.is_integer() => Self::Integer,
            other if other.is_numeric() => Self::Real,
            _ => Self::Other,
        }
    }
}

/// All rows as text. A value of several lines, such as a plan, becomes rows of its own.
pub fn rows(batches: &[RecordBatch], style: Style) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|column| value(column, row));
            let values = values.collect::<Result<Vec<String>>>()?;
            match style {
                Style::Datafusion => spread(values, &mut rows),
                Style::Duckdb | Style::Sqlite => rows.push(values),
            }
        }
    }
    Ok(rows)
}

/// DataFusion's form of a plan: numbered lines with dashes for blanks, which other files ignore.
fn spread(mut row: Vec<String>, rows: &mut Vec<Vec<String>>) {
    let last = row.pop_if(|last| last.contains('\n'));
    rows.push(row);
    for (nth, line) in last.iter().flat_map(|last| last.split('\n')).enumerate() {
        let content = line.trim_start();
        let dashes = "-".repeat(line.len() - content.len());
        rows.push(vec![format!("{:02}){dashes}{content}", nth + 1)]);
    }
}

/// A value as text.
pub fn value(column: &ArrayRef, row: usize) -> Result<String> {
    if column.is_null(row) || *column.data_type() == DataType::Null {
        return Ok("NULL".to_string());
    }
    Ok(match column.data_type() {
        DataType::Float16 => {
            let value = column.as_primitive::<Float16Type>().value(row);
            float(value.to_string(), f64::from(value))?
        }
        DataType::Float32 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            float(value.to_string(), f64::from(value))?
        }
        DataType::Float64 => {
            let value = column.as_primitive::<Float64Type>().value(row);
            float(value.to_string(), value)?
        }
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => rounded(&formatted(column, row)?)?,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let text = formatted(column, row)?;
            match text.is_empty() {
                true => "(empty)".to_string(),
                false => text.trim_end_matches('\n').replace('\0', "\\0"),
            }
        }
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            value(dictionary.values(), dictionary.normalized_keys()[row])?
        }
        _ => formatted(column, row)?,
    })
}

fn formatted(column: &ArrayRef, row: usize) -> Result<String> {
    let options = FormatOptions::new()
        .with_null("NULL")
        .with_duration_format(DurationFormat::Pretty)
        .with_date_format(Some("%Y-%m-%d"))
        .with_datetime_format(Some("%Y-%m-%dT%H:%M:%S%.f"))
        .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.f"))
        .with_timestamp_tz_format(None)
        .with_time_format(Some("%H:%M:%S%.f"));
    Ok(ArrayFormatter::try_new(column.as_ref(), &options)?.value(row).try_to_string()?)
}

fn float(text: String, value: f64) -> Result<String> {
    match value {
        _ if value.is_nan() => Ok("NaN".to_string()),
        f64::INFINITY => Ok("Infinity".to_string()),
        f64::NEG_INFINITY => Ok("-Infinity".to_string()),
        _ => rounded(&text),
    }
}

/// A number of any length without what is behind the digits that are kept, and without zeros at
/// its end.
fn rounded(text: &str) -> Result<String> {
    let number: BigDecimal =
        text.parse().map_err(|error| Error::Bug(format!("{text} is no number: {error}")))?;
    Ok(number.round(DIGITS).normalized().to_plain_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Float32Array, Float64Array, StringArray};

    use super::*;

    fn texts(column: impl Array + 'static) -> Vec<String> {
        let column: ArrayRef = Arc::new(column);
        (0..column.len()).map(|row| value(&column, row).unwrap()).collect()
    }

    #[test]
    fn numbers_are_rounded_and_have_no_exponent() {
        let floats = [1.0, 0.1 + 0.2, -0.0, 1e20, 1e-13, f64::NAN, f64::NEG_INFINITY];
        let want = ["1", "0.3", "0", "100000000000000000000", "0", "NaN", "-Infinity"];
        assert_eq!(texts(Float64Array::from(floats.to_vec())), want);
        assert_eq!(texts(Float32Array::from(vec![0.1, 16_777_216.0])), ["0.1", "16777216"]);
        let decimals = Decimal128Array::from(vec![Some(1_500), None]);
        let decimals = decimals.with_precision_and_scale(10, 3).unwrap();
        assert_eq!(texts(decimals), ["1.5", "NULL"]);
        assert_eq!(texts(StringArray::from(vec!["", "a\n", "NULL"])), ["(empty)", "a", "NULL"]);
    }

    #[test]
    fn plans_are_lines_of_their_own() {
        let mut rows = Vec::new();
        spread(vec!["plan".into(), "A\n  B".into()], &mut rows);
        assert_eq!(rows, [["plan"], ["01)A"], ["02)--B"]]);
    }
}
