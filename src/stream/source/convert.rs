//! From the columns of a file to the declared ones. A value that does not fit makes its row
//! malformed; nothing is rounded or cut in silence.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::compute::{CastOptions, cast, cast_with_options, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::Opening;
use crate::error::{Error, Result};

/// Told about each malformed row: its index and the reason.
pub type Malformed<'a> = &'a mut dyn FnMut(usize, &str) -> Result<()>;

/// The declared columns from those of a file, in the same order, without malformed rows; and which
/// rows are kept, where not all are.
///
/// Errors: what `malformed` answers; a type that never becomes the declared one.
pub fn typed(
    opening: &Opening,
    columns: &[ArrayRef],
    rows: usize,
    malformed: Malformed<'_>,
) -> Result<(RecordBatch, Option<BooleanArray>)> {
    let mut bad: Vec<Option<String>> = vec![None; rows];
    let mut out = Vec::with_capacity(columns.len());
    for (at, (field, column)) in opening.schema.fields().iter().zip(columns).enumerate() {
        let typed = column_typed(field, column, &mut bad)?;
        let required = !field.is_nullable() || opening.event_time == Some(at);
        if required && typed.null_count() > 0 {
            let why = if field.is_nullable() { "the watermark follows it" } else { "NOT NULL" };
            for row in (0..rows).filter(|row| typed.is_null(*row)) {
                let reason = || format!("column {} is NULL: {why}", field.name());
                bad[row].get_or_insert_with(reason);
            }
        }
        out.push(typed);
    }
    // A malformed row may be NULL where the declaration says NOT NULL, until it is taken away.
    let fields = opening.schema.fields().iter();
    let lenient: Vec<Field> =
        fields.map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let lenient = std::sync::Arc::new(arrow::datatypes::Schema::new(lenient));
    let counted = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(lenient, out, &counted)?;
    if bad.iter().all(Option::is_none) {
        return Ok((with_schema(opening, batch)?, None));
    }
    for (row, reason) in bad.iter().enumerate() {
        if let Some(reason) = reason {
            malformed(row, reason)?;
        }
    }
    let keep = BooleanArray::from_iter(bad.iter().map(|reason| Some(reason.is_none())));
    let batch = filter_record_batch(&batch, &keep)?;
    Ok((with_schema(opening, batch)?, Some(keep)))
}

fn with_schema(opening: &Opening, batch: RecordBatch) -> Result<RecordBatch> {
    let counted = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().to_vec();
    Ok(RecordBatch::try_new_with_options(opening.schema.clone(), columns, &counted)?)
}

fn column_typed(field: &Field, column: &ArrayRef, bad: &mut [Option<String>]) -> Result<ArrayRef> {
    let (from, to) = (column.data_type(), field.data_type());
    if from == to {
        return Ok(column.clone());
    }
    if *from == DataType::Null {
        return Ok(new_null_array(to, column.len())); // a column that is not there
    }
    let lossy = from.is_floating() && (to.is_integer() || matches!(to, DataType::Decimal128(..)));
    let wrong =
        || Error::Data(format!("column {}: {from} in the file, {to} in the stream", field.name()));
    if lossy || (from.is_numeric() && to.is_temporal()) {
        return Err(wrong());
    }
    let options = CastOptions { safe: true, format_options: FormatOptions::default() };
    let typed = cast_with_options(column, to, &options).map_err(|_| wrong())?;
    if typed.null_count() > column.null_count() {
        for row in (0..column.len()).filter(|row| typed.is_null(*row) && column.is_valid(*row)) {
            bad[row].get_or_insert_with(|| {
                format!("column {}: {} is not {to}", field.name(), shown(column, row))
            });
        }
    }
    if let DataType::Timestamp(TimeUnit::Microsecond, _) = to {
        for row in finer_than_microseconds(column)? {
            bad[row].get_or_insert_with(|| {
                format!(
                    "column {}: {} is finer than a microsecond",
                    field.name(),
                    shown(column, row)
                )
            });
        }
    }
    Ok(typed)
}

/// A value as text, strings in quotes.
fn shown(column: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::default();
    let text = ArrayFormatter::try_new(column, &options)
        .map_or_else(|error| error.to_string(), |format| format.value(row).to_string());
    match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => format!("'{text}'"),
        _ => text,
    }
}

/// Rows whose time would lose digits as microseconds.
fn finer_than_microseconds(column: &ArrayRef) -> Result<Vec<usize>> {
    let rows = 0..column.len();
    Ok(match column.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let ticks = cast(column, &DataType::Int64)?;
            let ticks = ticks.as_primitive::<Int64Type>().clone();
            rows.filter(|row| ticks.is_valid(*row) && ticks.value(*row) % 1_000 != 0).collect()
        }
        DataType::Utf8 => {
            let text = column.as_string::<i32>();
            rows.filter(|row| text.is_valid(*row) && too_fine(text.value(*row))).collect()
        }
        _ => Vec::new(),
    })
}

/// True where the seconds of a written time have a digit other than 0 after the sixth.
fn too_fine(text: &str) -> bool {
    let Some((_, fraction)) = text.split_once('.') else { return false };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit);
    digits.skip(6).any(|digit| digit != b'0')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::stream::source::testing;
    use arrow::array::{Int64Array, StringArray, TimestampNanosecondArray};

    fn opening(fields: Vec<Field>, event_time: Option<usize>) -> Opening {
        Opening { event_time, ..testing::opening(fields) }
    }

    fn reasons(opening: &Opening, column: ArrayRef) -> (usize, Vec<String>) {
        let mut reasons = Vec::new();
        let rows = column.len();
        let (batch, _) = typed(opening, &[column], rows, &mut |row, reason| {
            reasons.push(format!("{row}: {reason}"));
            Ok(())
        })
        .unwrap();
        (batch.num_rows(), reasons)
    }

    #[test]
    fn malformed_rows_are_told_and_taken_away() {
        let int = opening(vec![Field::new("n", DataType::Int32, false)], None);
        let text = StringArray::from(vec![Some("1"), Some("x"), None, Some("3000000000")]);
        let (rows, reasons) = reasons(&int, Arc::new(text));
        assert_eq!(rows, 1);
        let want = [
            "1: column n: 'x' is not Int32",
            "2: column n is NULL: NOT NULL",
            "3: column n: '3000000000' is not Int32",
        ];
        assert_eq!(reasons, want);
    }

    #[test]
    fn times_keep_their_digits_or_are_malformed() {
        let micro = DataType::Timestamp(TimeUnit::Microsecond, None);
        let time = opening(vec![Field::new("ts", micro, true)], Some(0));
        let text = vec!["2026-01-01T00:00:00.123456000Z", "2026-01-01 00:00:00.1234567"];
        let (rows, told) = reasons(&time, Arc::new(StringArray::from(text)));
        assert_eq!((rows, told.len()), (1, 1));
        assert!(told[0].ends_with("is finer than a microsecond"), "{told:?}");
        let ticks = TimestampNanosecondArray::from(vec![Some(5_000), Some(5_001), None]);
        let (rows, told) = reasons(&time, Arc::new(ticks));
        assert_eq!((rows, told.len()), (1, 2));
        assert!(told.iter().any(|t| t == "2: column ts is NULL: the watermark follows it"));
    }

    #[test]
    fn numbers_are_no_times() {
        let micro = DataType::Timestamp(TimeUnit::Microsecond, None);
        let time = opening(vec![Field::new("ts", micro, true)], Some(0));
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let error = typed(&time, &[column], 1, &mut |_, _| Ok(())).unwrap_err().to_string();
        assert!(error.starts_with("column ts: Int64 in the file"), "{error}");
    }
}
