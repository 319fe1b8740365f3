//! From the columns of a file to the declared ones. A value that does not fit makes its row
//! malformed; nothing is rounded or cut in silence.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, StringArray, StructArray, UInt64Array,
    new_empty_array, new_null_array,
};
use arrow::compute::{
    CastOptions, cast, cast_with_options, concat, filter_record_batch, nullif, take,
    take_record_batch,
};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::digits::Digits;
use super::precision::{MOST_DIGITS, finer};
use crate::error::{Error, Result};
use crate::stream::connector::api::Opening;
use crate::stream::connector::forms::{Form, Origin, Times};

/// Told about each malformed row: its index and the reason.
pub type Malformed<'a> = &'a mut dyn FnMut(usize, &str) -> Result<()>;

/// The declared columns from those of a file, in the order of `Opening::source_schema`, without
/// malformed rows; and which rows are kept, where not all are.
///
/// Errors: what `malformed` answers; a type that never becomes the declared one.
pub fn typed(
    opening: &Opening,
    columns: &[ArrayRef],
    rows: usize,
    malformed: Malformed<'_>,
) -> Result<(RecordBatch, Option<BooleanArray>)> {
    let mut bad: Vec<Option<String>> = vec![None; rows];
    let mut present = columns.iter();
    let mut out = Vec::with_capacity(opening.schema.fields().len());
    for (at, field) in opening.schema.fields().iter().enumerate() {
        let Form { digits, origin } = opening.form(at);
        let column = match origin {
            Origin::Source => present.next().cloned(),
            Origin::Path(value) => {
                let values = std::iter::repeat_n(value, rows);
                Some(Arc::new(values.collect::<StringArray>()) as ArrayRef)
            }
            Origin::Computed(_) => None,
        };
        let part = Part { path: field.name(), row: &Some, digits, times: &opening.times };
        let column = column.map(|column| part.typed(&column, field.data_type(), &mut bad));
        out.push(column.transpose()?);
    }
    finished(opening, out, bad, malformed)
}

/// Errors: a type whose values never become those of a column.
pub fn becomes(field: &Field, from: &DataType) -> Result<()> {
    let none = new_empty_array(from);
    let row = |_| None;
    let part = Part { path: field.name(), row: &row, digits: None, times: &Times::default() };
    part.typed(&none, field.data_type(), &mut [])
        .map(|_| ())
        .map_err(|_| Error::user(format!("{from} is not read as {}: cast it", field.data_type())))
}

/// Adds the columns that are computed from these, the others, to whole rows.
///
/// Errors: as of `typed`.
pub fn computed(
    opening: &Opening,
    batch: RecordBatch,
    malformed: Malformed<'_>,
) -> Result<(RecordBatch, Option<BooleanArray>)> {
    let bad = vec![None; batch.num_rows()];
    let mut present = batch.columns().iter().cloned();
    let column = |at: usize| match opening.form(at).origin {
        Origin::Computed(_) => None,
        _ => present.next(),
    };
    let out = (0..opening.schema.fields().len()).map(column).collect();
    finished(opening, out, bad, malformed)
}

/// Computes what is missing, and takes malformed rows away.
fn finished(
    opening: &Opening,
    mut columns: Vec<Option<ArrayRef>>,
    mut bad: Vec<Option<String>>,
    malformed: Malformed<'_>,
) -> Result<(RecordBatch, Option<BooleanArray>)> {
    let rows = bad.len();
    if opening.computes() {
        compute(opening, &mut columns, &mut bad)?;
    }
    let out: Vec<ArrayRef> = columns.into_iter().flatten().collect();
    for (field, column) in opening.schema.fields().iter().zip(&out) {
        out_of_calendar(field, column, &mut bad)?;
    }
    for (at, (field, column)) in opening.schema.fields().iter().zip(&out).enumerate() {
        let required = !field.is_nullable() || opening.event_time == Some(at);
        if required && column.null_count() > 0 {
            let why = if field.is_nullable() { "the watermark follows it" } else { "NOT NULL" };
            for row in (0..rows).filter(|row| column.is_null(*row)) {
                let reason = || format!("column {} is NULL: {why}", field.name());
                bad[row].get_or_insert_with(reason);
            }
        }
    }
    // A malformed row may be NULL where the declaration says NOT NULL, until it is taken away.
    let batch = lenient(&opening.schema, out, rows)?;
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

/// The times that a stream takes, in microseconds: the calendar has no years much farther from
/// 1970, and windows and bounds around the farthest ones still fit their type.
const FARTHEST_US: i64 = 260_000 * 365 * 86_400_000_000;

/// Makes rows malformed whose times are beyond the calendar.
fn out_of_calendar(field: &Field, column: &ArrayRef, bad: &mut [Option<String>]) -> Result<()> {
    let DataType::Timestamp(unit, _) = column.data_type() else { return Ok(()) };
    let farthest = match unit {
        TimeUnit::Second => FARTHEST_US / 1_000_000,
        TimeUnit::Millisecond => FARTHEST_US / 1_000,
        TimeUnit::Microsecond => FARTHEST_US,
        TimeUnit::Nanosecond => return Ok(()), // 1677 to 2262
    };
    let ticks = cast(column, &DataType::Int64)?;
    let ticks = ticks.as_primitive::<Int64Type>();
    let beyond = |tick: i64| tick.unsigned_abs() > farthest.unsigned_abs();
    if !ticks.values().iter().any(|tick| beyond(*tick)) {
        return Ok(());
    }
    for (row, tick) in ticks.iter().enumerate() {
        if let Some(tick) = tick.filter(|tick| beyond(*tick)) {
            let reason =
                || format!("column {}: {tick} {unit:?}s from 1970 is no time", field.name());
            bad[row].get_or_insert_with(reason);
        }
    }
    Ok(())
}

/// Columns of which every one may have NULLs.
fn lenient(schema: &Schema, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let fields = schema.fields().iter();
    let fields: Vec<Field> = fields.map(|f| f.as_ref().clone().with_nullable(true)).collect();
    let counted = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &counted)?)
}

/// Computes columns from the others, but not of rows that are malformed already.
fn compute(
    opening: &Opening,
    columns: &mut [Option<ArrayRef>],
    bad: &mut [Option<String>],
) -> Result<()> {
    let base = columns.iter().flatten().cloned().collect();
    let base = lenient(&opening.base_schema(), base, bad.len())?;
    let sound: UInt64Array = (0..bad.len() as u64).filter(|r| bad[*r as usize].is_none()).collect();
    let base = take_record_batch(&base, &sound)?;
    for (at, column) in columns.iter_mut().enumerate() {
        let Form { digits, origin: Origin::Computed(computed) } = opening.form(at) else {
            continue;
        };
        let field = opening.schema.field(at);
        let row = |value: usize| Some(sound.value(value) as usize);
        let part = Part { path: field.name(), row: &row, digits, times: &Times::default() };
        let value = |batch: &RecordBatch| {
            let value = computed.expr.evaluate(batch)?;
            value.into_array(batch.num_rows())
        };
        let values = match value(&base) {
            Ok(values) => values,
            // Which rows it fails for.
            Err(_) => {
                let to = computed.expr.data_type(base.schema_ref())?;
                let mut values = Vec::with_capacity(base.num_rows() + 1);
                values.push(new_empty_array(&to));
                for row in 0..base.num_rows() {
                    values.push(value(&base.slice(row, 1)).unwrap_or_else(|error| {
                        let error = error.strip_backtrace();
                        part.bad(bad, row, || format!("{}: {error}", computed.text));
                        new_null_array(&to, 1)
                    }));
                }
                let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
                concat(&values)?
            }
        };
        let values = part.typed(&values, field.data_type(), bad)?;
        // Back to where the rows were.
        let mut places = vec![None; bad.len()];
        sound
            .values()
            .iter()
            .enumerate()
            .for_each(|(nth, r)| places[*r as usize] = Some(nth as u64));
        *column = Some(take(&values, &UInt64Array::from(places), None)?);
    }
    Ok(())
}

fn with_schema(opening: &Opening, batch: RecordBatch) -> Result<RecordBatch> {
    let counted = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().to_vec();
    Ok(RecordBatch::try_new_with_options(opening.schema.clone(), columns, &counted)?)
}

/// Values of a column, or within one.
#[derive(Clone, Copy)]
struct Part<'a> {
    /// For messages: the column's name, and those of fields within.
    path: &'a str,
    /// Which row a value is of; of none where it is of a NULL.
    row: &'a dyn Fn(usize) -> Option<usize>,
    /// Digits of a second that are declared.
    digits: Option<u32>,
    times: &'a Times,
}

impl Part<'_> {
    /// Notes a value that does not fit.
    fn bad(&self, bad: &mut [Option<String>], value: usize, reason: impl FnOnce() -> String) {
        if let Some(row) = (self.row)(value).and_then(|row| bad.get_mut(row)) {
            row.get_or_insert_with(|| format!("column {}: {}", self.path, reason()));
        }
    }

    fn never(&self, from: &DataType, to: &DataType) -> Error {
        Error::Data(format!("column {}: {from} in the file, {to} in the stream", self.path))
    }

    /// Values of a column as the declared type; NULL where they do not fit, which is noted.
    ///
    /// Errors: a type that never becomes the declared one.
    fn typed(
        &self,
        column: &ArrayRef,
        to: &DataType,
        bad: &mut [Option<String>],
    ) -> Result<ArrayRef> {
        let from = column.data_type();
        match (from, to) {
            (from, to) if from == to && self.digits.is_none() => Ok(column.clone()),
            // A column that is not there.
            (DataType::Null, to) => Ok(new_null_array(to, column.len())),
            (DataType::Dictionary(_, values), to) => self.typed(&cast(column, values)?, to, bad),
            (DataType::Struct(_), DataType::Struct(fields)) => {
                self.members(column.as_struct(), fields, bad)
            }
            (DataType::List(_), DataType::List(field)) => {
                let (list, fine) = (column.as_list::<i32>(), field.clone());
                let values = self.elements(list, field, bad)?;
                let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
                Ok(Arc::new(ListArray::try_new(fine, offsets, values, nulls)?))
            }
            (DataType::List(_), DataType::LargeList(field) | DataType::FixedSizeList(field, _)) => {
                let list = self.typed(column, &DataType::List(field.clone()), bad)?;
                Ok(cast(&list, to)?)
            }
            _ => self.leaf(column, to, bad),
        }
    }

    /// The fields of a STRUCT, by name, or by the only one that differs in case.
    fn members(
        &self,
        column: &StructArray,
        fields: &Fields,
        bad: &mut [Option<String>],
    ) -> Result<ArrayRef> {
        let names = column.column_names();
        let mut columns = Vec::with_capacity(fields.len());
        for field in fields {
            let path = format!("{}.{}", self.path, field.name());
            let mut alike = names.iter().filter(|name| name.eq_ignore_ascii_case(field.name()));
            let child = match (column.column_by_name(field.name()), alike.next(), alike.next()) {
                (Some(child), ..) => child.clone(),
                (None, Some(name), None) => column
                    .column_by_name(name)
                    .cloned()
                    .unwrap_or_else(|| new_null_array(field.data_type(), column.len())),
                _ => {
                    return Err(Error::Data(format!(
                        "column {path}: the file's STRUCT has the fields {}",
                        names.join(", ")
                    )));
                }
            };
            // What stands in a NULL is no value.
            let child = match column.nulls() {
                Some(nulls) => nullif(&child, &BooleanArray::new(!nulls.inner(), None))?,
                None => child,
            };
            let part = Part { path: &path, digits: None, ..*self };
            columns.push(part.typed(&child, field.data_type(), bad)?);
        }
        let nulls = column.nulls().cloned();
        let typed = StructArray::try_new_with_length(fields.clone(), columns, nulls, column.len());
        Ok(Arc::new(typed?))
    }

    fn elements(
        &self,
        list: &ListArray,
        field: &Field,
        bad: &mut [Option<String>],
    ) -> Result<ArrayRef> {
        let offsets = list.offsets();
        let row = |value: usize| {
            let at = offsets.partition_point(|offset| *offset as usize <= value).checked_sub(1)?;
            (at < list.len() && list.is_valid(at)).then(|| (self.row)(at)).flatten()
        };
        let path = format!("{}[]", self.path);
        let part = Part { path: &path, row: &row, digits: None, times: self.times };
        part.typed(list.values(), field.data_type(), bad)
    }

    fn leaf(
        &self,
        column: &ArrayRef,
        to: &DataType,
        bad: &mut [Option<String>],
    ) -> Result<ArrayRef> {
        let from = column.data_type();
        let lossy = from.is_floating() && (to.is_integer() || to.is_decimal());
        let time = matches!(to, DataType::Timestamp(..));
        let number = from.is_integer() && time && self.times.numbers();
        if lossy || (from.is_numeric() && to.is_temporal() && !number) {
            return Err(self.never(from, to));
        }
        let text = from.is_string() && !to.is_string();
        let plain = if time && (text || number) { self.times.plain(column)? } else { None };
        let source = match plain {
            Some(plain) => plain,
            None if text => cast(column, &DataType::Utf8)?,
            None => column.clone(),
        };
        let source = match to {
            to if text && to.is_decimal() => self.decimals(&source, to, bad),
            _ => source,
        };
        let options = CastOptions { safe: true, format_options: FormatOptions::default() };
        let typed = cast_with_options(&source, to, &options).map_err(|_| self.never(from, to))?;
        if typed.null_count() > source.null_count() {
            let lost = |row: &usize| typed.is_null(*row) && source.is_valid(*row);
            for row in (0..column.len()).filter(lost) {
                self.bad(bad, row, || format!("{} is not {to}", shown(column, row)));
            }
        }
        for row in finer(&source, &typed, self.digits)? {
            self.bad(bad, row, || {
                let value = shown(column, row);
                match (to, self.digits) {
                    (DataType::Timestamp(..), Some(digits)) => {
                        format!("{value} has more digits than TIMESTAMP({digits})")
                    }
                    (DataType::Timestamp(TimeUnit::Microsecond, _), None) => {
                        format!("{value} is finer than a microsecond")
                    }
                    (DataType::Date32, _) => {
                        format!("{value} has a time of day, and {to} has none")
                    }
                    _ => format!("{value} has more digits than {to}"),
                }
            });
        }
        Ok(typed)
    }

    /// Texts of decimals without exponents, NULL where they have too many digits behind the point.
    fn decimals(&self, column: &ArrayRef, to: &DataType, bad: &mut [Option<String>]) -> ArrayRef {
        let scale = match to {
            DataType::Decimal32(_, scale)
            | DataType::Decimal64(_, scale)
            | DataType::Decimal128(_, scale)
            | DataType::Decimal256(_, scale) => i64::from(*scale),
            _ => 0,
        };
        let texts = column.as_string::<i32>();
        let plain = |text: &str| {
            let part = text.split_once('.').map_or("", |(_, part)| part);
            part.len() as i64 <= scale && !text.contains(['e', 'E'])
        };
        if texts.iter().flatten().all(plain) {
            return column.clone();
        }
        let rewritten = texts.iter().enumerate().map(|(row, text)| {
            let Some(text) = text.filter(|text| !plain(text)) else {
                return text.map(str::to_string);
            };
            match Digits::read(text) {
                Some(digits) if digits.fraction() > scale => {
                    self.bad(bad, row, || format!("'{text}' has more digits than {to}"));
                    None
                }
                Some(digits) if digits.whole() <= MOST_DIGITS => Some(digits.plain()),
                _ => Some(text.to_string()),
            }
        });
        Arc::new(rewritten.collect::<StringArray>())
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::connector::api::testing;
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

    /// What of these values is malformed as a type, and how many are not.
    fn refused(to: DataType, column: ArrayRef) -> (usize, Vec<String>) {
        reasons(&opening(vec![Field::new("v", to, true)], None), column)
    }

    #[test]
    fn nothing_is_rounded() {
        let text = |values: &[&str]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
        let decimal = DataType::Decimal128(10, 2);
        let values = ["1.239", "1.20", "1.2000", "12e-1", "1e-3", "1e9", "123456789", "x"];
        let (rows, told) = refused(decimal.clone(), text(&values));
        assert_eq!((rows, told.len()), (3, 5), "{told:?}");
        assert_eq!(told[0], "0: column v: '1.239' has more digits than Decimal128(10, 2)");
        let days = ["2024-01-31", "2024-01-31T00:00:00", "2024-01-31 23:59:59", "2024-1-31T05"];
        let (rows, told) = refused(DataType::Date32, text(&days));
        assert_eq!(rows, 2, "{told:?}");
        assert!(told[0].ends_with("has a time of day, and Date32 has none"), "{told:?}");
        let (rows, _) = refused(DataType::Float64, text(&["1e400", "inf", "0.1", "-1e999"]));
        assert_eq!(rows, 2);
        let cast = |array: Vec<&str>, from: DataType| cast(&text(&array), &from).unwrap();
        let second = DataType::Timestamp(TimeUnit::Second, None);
        for (from, to, values, kept) in [
            (DataType::Decimal128(10, 3), decimal.clone(), vec!["1.239", "1.230"], 1),
            (decimal.clone(), DataType::Int64, vec!["1.99", "2.00"], 1),
            (second, DataType::Date32, vec!["2024-01-31T00:00:00", "2024-01-31T00:00:01"], 1),
            (DataType::Int64, DataType::Float64, vec!["9007199254740993", "9007199254740992"], 1),
            (DataType::Int64, DataType::Float64, vec!["9223372036854775807"], 0),
            (DataType::Float64, DataType::Float32, vec!["0.1", "0.5", "NaN", "-0.0"], 3),
            (DataType::Int64, decimal, vec!["5"], 1),
            (DataType::Int64, DataType::Utf8, vec!["5"], 1),
        ] {
            let (rows, told) = refused(to.clone(), cast(values, from.clone()));
            assert_eq!(rows, kept, "{from} {to}: {told:?}");
        }
    }

    #[test]
    fn what_is_within_is_looked_at() {
        let digits =
            cast(&StringArray::from(vec!["1.50", "1.55", "7.00"]), &DataType::Decimal128(9, 2));
        let field = |name: &str, to: DataType| Field::new(name, to, true);
        let made = |array: ArrayRef| {
            let name = field("A", array.data_type().clone());
            Arc::new(StructArray::new(vec![name].into(), vec![array], None)) as ArrayRef
        };
        let column = made(digits.unwrap());
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([2, 0, 1]);
        let item = Arc::new(field("item", column.data_type().clone()));
        let list = ListArray::new(item, offsets, column, None);
        let to = DataType::Struct(vec![field("a", DataType::Decimal128(9, 1))].into());
        let (rows, told) = refused(DataType::List(Arc::new(field("item", to))), Arc::new(list));
        assert_eq!(rows, 2);
        assert_eq!(told, ["0: column v[].a: 1.55 has more digits than Decimal128(9, 1)"]);
    }
}
