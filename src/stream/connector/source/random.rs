//! The `random` connector: rows of any declared columns, drawn from a seed. The options of a column
//! are named as in Flink's `datagen`: `'fields.price.min' = '1'`.
//!
//! - `kind` of integers: `random`, or `sequence`, which counts from `start`, and from there again
//!   after `end`;
//! - `min`, `max` of numbers, dates and times: both included; by default what the type holds, of
//!   floats 0 to 1;
//! - `length` (16 letters) and `cardinality` (how many different ones) of text;
//! - `jitter` of times: each is earlier by up to this, so rows are out of order;
//! - `null-rate` of all: part of the rows that are NULL.
//!
//! A TIMESTAMP without `min` or `max` is an event time: it grows by the rate.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray,
};
use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use arrow::compute::{cast, nullif};
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::generator::{Generator, Log, Numbers, bounded, partitions};
use crate::error::{Error, Result};
use crate::generate::draw::Draw;
use crate::stream::connector::api::{Connector, Opening, Source};
use crate::stream::connector::options::Settings;

/// Event time of row 0: 2026-01-01T00:00:00, as NEXMark has it.
const START_US: i64 = 1_767_225_600_000_000;

/// Rows a second of event time, unless told.
const RATE: u64 = 10_000;

/// Letters of a text, unless told.
const LENGTH: usize = 16;

/// The connector with its options.
#[derive(Debug, Clone)]
pub struct Random {
    seed: u64,
    rate: u64,
    events: Option<u64>,
    partitions: usize,
    columns: Vec<Column>,
    /// What was told of columns.
    told: Vec<String>,
}

#[derive(Debug, Clone)]
struct Column {
    made: Made,
    /// Of 2^32 rows, how many are NULL.
    nulls: u64,
}

/// How the values of a column are made; numbers, dates and times as ticks of their type.
#[derive(Debug, Clone)]
enum Made {
    Boolean,
    /// From the first to the last.
    Ticks(i64, i64),
    Sequence(i64, Option<i64>),
    Floats(f64, f64),
    Text {
        length: usize,
        cardinality: Option<u64>,
    },
    /// Earlier by up to so many microseconds.
    EventTime {
        jitter_us: u64,
    },
}

impl Random {
    pub fn new(settings: &mut Settings, schema: &SchemaRef) -> Result<Self> {
        let seed = settings.parsed("seed", "a whole number")?.unwrap_or(0);
        let rate = settings.parsed("rate", "a whole number of rows a second")?.unwrap_or(RATE);
        if rate == 0 {
            return Err(settings.error("rate = '0': one row a second at least"));
        }
        let events = settings.parsed("events", "a whole number")?;
        let partitions = partitions(settings)?;
        let mut told = Vec::new();
        let columns = schema.fields().iter().map(|field| {
            let mut options =
                Options { settings: &mut *settings, field: field.as_ref(), told: &mut told };
            options.column()
        });
        let columns = columns.collect::<Result<_>>()?;
        Ok(Self { seed, rate, events, partitions, columns, told })
    }
}

/// The options of one column, as they are read.
struct Options<'a> {
    settings: &'a mut Settings,
    field: &'a Field,
    told: &'a mut Vec<String>,
}

impl Options<'_> {
    fn text(&mut self, name: &'static str) -> Option<String> {
        let text = self.settings.field(self.field.name(), name)?;
        self.told.push(format!("fields.{}.{name} = {text}", self.field.name()));
        Some(text)
    }

    fn wrong(&self, name: &str, text: &str, wanted: &str) -> Error {
        let column = self.field.name();
        self.settings.error(format!("fields.{column}.{name} = '{text}': {wanted} is wanted"))
    }

    fn parsed<T: std::str::FromStr>(
        &mut self,
        name: &'static str,
        what: &str,
    ) -> Result<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.wrong(name, &text, what))
    }

    /// A value of the column's type, in its ticks.
    fn ticks(&mut self, name: &'static str) -> Result<Option<i64>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let data_type = self.field.data_type();
        let value = cast(&StringArray::from(vec![text.as_str()]), data_type).ok();
        let ticks = value.filter(|value| value.is_valid(0)).and_then(|value| ticks_of(&value));
        ticks.map(Some).ok_or_else(|| self.wrong(name, &text, &format!("a value of {data_type}")))
    }

    fn column(&mut self) -> Result<Column> {
        let made = self.made()?;
        let nulls: f64 = self.parsed("null-rate", "a part, such as 0.1")?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&nulls) {
            return Err(self.wrong("null-rate", &nulls.to_string(), "a part of 0 to 1"));
        }
        if nulls > 0.0 && !self.field.is_nullable() {
            return Err(self.wrong("null-rate", &nulls.to_string(), "0 of a NOT NULL column"));
        }
        Ok(Column { made, nulls: (nulls * 4_294_967_296.0) as u64 })
    }

    fn made(&mut self) -> Result<Made> {
        match self.field.data_type().clone() {
            DataType::Boolean => Ok(Made::Boolean),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(Made::Text {
                length: self.parsed("length", "a number of letters")?.unwrap_or(LENGTH),
                cardinality: self.parsed("cardinality", "a whole number")?,
            }),
            DataType::Float32 | DataType::Float64 => {
                let min = self.parsed("min", "a number")?.unwrap_or(0.0);
                let max = self.parsed("max", "a number")?.unwrap_or(1.0);
                Ok(Made::Floats(min, max))
            }
            data_type if data_type.is_integer() => {
                let kind = self.text("kind").unwrap_or("random".to_string());
                match kind.to_ascii_lowercase().as_str() {
                    "random" => self.between(limits(&data_type)),
                    "sequence" => {
                        let start = self.ticks("start")?.unwrap_or(0);
                        Ok(Made::Sequence(start, self.ticks("end")?))
                    }
                    _ => Err(self.wrong("kind", &kind, "one of random, sequence")),
                }
            }
            DataType::Timestamp(..) => match (self.ticks("min")?, self.ticks("max")?) {
                (None, None) => Ok(Made::EventTime { jitter_us: self.jitter()? }),
                (min, max) => self.ordered(min.unwrap_or(START_US), max.unwrap_or(START_US)),
            },
            data_type @ (DataType::Date32 | DataType::Decimal128(..)) => {
                self.between(limits(&data_type))
            }
            other => Err(self.settings.error(format!(
                "column {}: the connector random makes no {other}; it makes booleans, integers, \
                 floats, decimals, text, dates and timestamps",
                self.field.name()
            ))),
        }
    }

    fn between(&mut self, (least, most): (i64, i64)) -> Result<Made> {
        let (min, max) = (self.ticks("min")?, self.ticks("max")?);
        self.ordered(min.unwrap_or(least), max.unwrap_or(most))
    }

    fn ordered(&mut self, min: i64, max: i64) -> Result<Made> {
        let column = self.field.name();
        match min <= max {
            true => Ok(Made::Ticks(min, max)),
            false => Err(self.settings.error(format!("fields.{column}: min is more than max"))),
        }
    }

    /// A length of time in microseconds; Flink's name for it is `max-past`.
    fn jitter(&mut self) -> Result<u64> {
        let text = self.text("jitter").or_else(|| self.text("max-past"));
        let Some(text) = text else { return Ok(0) };
        let length = parse_interval_month_day_nano(&text).ok().filter(|length| length.months == 0);
        let us = length.map(|length| {
            i64::from(length.days) * 86_400_000_000 + length.nanoseconds.div_euclid(1_000)
        });
        us.and_then(|us| u64::try_from(us).ok())
            .ok_or_else(|| self.wrong("jitter", &text, "a length of time such as '5 seconds'"))
    }
}

/// A value as a number; dates as days, decimals without their point.
fn ticks_of(value: &ArrayRef) -> Option<i64> {
    match value.data_type() {
        DataType::Decimal128(..) => {
            i64::try_from(value.as_primitive::<Decimal128Type>().value(0)).ok()
        }
        DataType::Date32 => ticks_of(&cast(value, &DataType::Int32).ok()?),
        _ => {
            let ticks = cast(value, &DataType::Int64).ok()?;
            ticks.is_valid(0).then(|| ticks.as_primitive::<Int64Type>().value(0))
        }
    }
}

/// What a type holds, as far as it is in 64 bits.
fn limits(data_type: &DataType) -> (i64, i64) {
    match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        DataType::UInt64 => (0, i64::MAX),
        // 1970 to 2069.
        DataType::Date32 => (0, 36_523),
        DataType::Decimal128(precision, _) => {
            (0, 10_i64.saturating_pow(u32::from(*precision).min(18)) - 1)
        }
        _ => (i64::MIN, i64::MAX),
    }
}

impl Random {
    /// The draws of a column's row.
    fn draw(&self, column: usize, row: u64) -> Draw {
        Draw::new(self.seed ^ ((column as u64 + 1) << 40), row)
    }

    fn column(&self, at: usize, field: &Field, rows: &Numbers) -> Result<ArrayRef> {
        let Column { made, nulls } = &self.columns[at];
        let draws = || {
            rows.clone().map(move |row| {
                let mut draw = self.draw(at, row);
                let null = draw.below(1 << 32) < *nulls;
                (row, draw, null)
            })
        };
        let ticks = |of: &dyn Fn(u64, &mut Draw) -> i64| -> Result<ArrayRef> {
            let values = draws().map(|(row, mut draw, _)| of(row, &mut draw));
            typed(&Int64Array::from_iter_values(values), field.data_type())
        };
        let values: ArrayRef = match made {
            Made::Boolean => {
                let bits = draws().map(|(_, mut draw, _)| Some(draw.below(2) == 1));
                Arc::new(bits.collect::<BooleanArray>())
            }
            Made::Ticks(min, max) => ticks(&|_, draw| between(*min, *max, draw))?,
            Made::Sequence(start, end) => ticks(&|row, _| {
                let length = end.map(|end| end.wrapping_sub(*start).wrapping_add(1) as u64);
                let row = length.filter(|length| *length > 0).map_or(row, |length| row % length);
                start.wrapping_add(row as i64)
            })?,
            Made::EventTime { jitter_us } => ticks(&|row, draw| {
                let after = u128::from(row) * 1_000_000 / u128::from(self.rate);
                let late = draw.below(jitter_us + 1) as i64;
                START_US.saturating_add(i64::try_from(after).unwrap_or(i64::MAX)) - late
            })?,
            Made::Floats(min, max) => {
                let part = |draw: &mut Draw| (draw.word() >> 11) as f64 / 9_007_199_254_740_992.0;
                let values = draws().map(|(_, mut draw, _)| min + part(&mut draw) * (max - min));
                cast(&Float64Array::from_iter_values(values), field.data_type())?
            }
            Made::Text { length, cardinality } => {
                let mut text = String::new();
                let values = draws().map(|(_, mut draw, _)| {
                    if let Some(texts) = cardinality {
                        let nth = draw.below(*texts);
                        draw = Draw::new(!self.seed ^ ((at as u64 + 1) << 40), nth);
                    }
                    text.clear();
                    draw.letters(*length, &mut text);
                    text.clone()
                });
                cast(&StringArray::from_iter_values(values), field.data_type())?
            }
        };
        if *nulls == 0 {
            return Ok(values);
        }
        let null: BooleanArray = draws().map(|(.., null)| Some(null)).collect();
        Ok(nullif(&values, &null)?)
    }
}

/// A number in a range whose ends are both in it.
fn between(min: i64, max: i64, draw: &mut Draw) -> i64 {
    let span = max.wrapping_sub(min) as u64;
    let above = match span.checked_add(1) {
        Some(count) => draw.below(count),
        None => draw.word(),
    };
    min.wrapping_add(above as i64)
}

/// Ticks as values of a type.
fn typed(ticks: &Int64Array, data_type: &DataType) -> Result<ArrayRef> {
    match data_type {
        DataType::Decimal128(precision, scale) => {
            let values = ticks.values().iter().map(|tick| i128::from(*tick));
            let values = Decimal128Array::from_iter_values(values);
            Ok(Arc::new(values.with_precision_and_scale(*precision, *scale)?))
        }
        DataType::Date32 => Ok(cast(&cast(ticks, &DataType::Int32)?, &DataType::Date32)?),
        _ => Ok(cast(ticks, data_type)?),
    }
}

impl Connector for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn bounded(&self) -> Result<(), String> {
        bounded(self)
    }

    fn identity(&self) -> String {
        let told = self.told.iter().map(|told| format!(", {told}")).collect::<String>();
        format!("seed {}, rate {}{told}", self.seed, self.rate)
    }

    fn partitions(&self) -> usize {
        self.partitions
    }

    /// Errors: an event time that may be NULL.
    fn open(&self, opening: Opening) -> Result<Box<dyn Source>> {
        let nulls = |at: &usize| self.columns.get(*at).is_some_and(|column| column.nulls > 0);
        if let Some(at) = opening.source_event_time().filter(nulls) {
            let source = opening.source_schema();
            let column = source.field(at).name();
            return Err(Error::user(format!(
                "fields.{column}.null-rate: the watermark follows {column}, which is never NULL"
            )));
        }
        Ok(Box::new(Log::open(self.clone(), opening, self.partitions)))
    }
}

impl Generator for Random {
    fn rows(&self) -> Option<u64> {
        self.events
    }

    fn due(&self, first: u64, seconds: f64) -> u64 {
        first.saturating_add((seconds * self.rate as f64) as u64)
    }

    fn make(&self, opening: &Opening, rows: Numbers) -> Result<RecordBatch> {
        let fields = opening.schema.fields().iter().enumerate();
        let columns = fields.map(|(at, field)| self.column(at, field, &rows));
        Ok(RecordBatch::try_new(opening.schema.clone(), columns.collect::<Result<_>>()?)?)
    }
}
