//! Tables of random rows, such as they come: NULLs, NaN, both zeros, infinities, the ends of types,
//! few values and many, skew, none at all.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Small,
    Int,
    Big,
    Real,
    Double,
    Decimal,
    Date,
    Timestamp,
    Bool,
    Text,
}

pub const KINDS: [Kind; 10] = [
    Kind::Small,
    Kind::Int,
    Kind::Big,
    Kind::Real,
    Kind::Double,
    Kind::Decimal,
    Kind::Date,
    Kind::Timestamp,
    Kind::Bool,
    Kind::Text,
];

/// A value: of integers, times and decimals (in hundredths) the number itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Number(i64),
    Float(f64),
    Text(String),
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    pub values: Vec<Value>,
}

#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    pub rows: usize,
    /// Rows of a batch.
    pub batch: usize,
}

#[derive(Debug, Clone)]
pub struct Data {
    pub tables: Vec<Table>,
    /// `thalweg.slot_rows` and `thalweg.group_entries`.
    pub slot_rows: usize,
    pub group_entries: usize,
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Self::Small => DataType::Int16,
            Self::Int => DataType::Int32,
            Self::Big => DataType::Int64,
            Self::Real => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal => DataType::Decimal128(10, 2),
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Bool => DataType::Boolean,
            Self::Text => DataType::Utf8,
        }
    }

    /// What makes trouble.
    fn extremes(self) -> Vec<Value> {
        let numbers = |numbers: &[i64]| numbers.iter().map(|n| Value::Number(*n)).collect();
        match self {
            Self::Small => numbers(&[i16::MIN.into(), i16::MAX.into(), 0, -1]),
            Self::Int => numbers(&[i32::MIN.into(), i32::MAX.into(), 0, -1]),
            Self::Big => numbers(&[i64::MIN, i64::MAX, 0, -1, 1 << 53, (1 << 53) + 1]),
            Self::Real | Self::Double => {
                let wide = if self == Self::Real { f64::from(f32::MAX) } else { 1e300 };
                [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, wide, 1e-40]
                    .map(Value::Float)
                    .to_vec()
            }
            Self::Decimal => numbers(&[9_999_999_999, -9_999_999_999, 0, 1, -1]),
            // Days and microseconds from 1900 to 2200.
            Self::Date => numbers(&[-25_567, 84_006, 0, -1]),
            Self::Timestamp => {
                numbers(&[-2_208_988_800_000_000, 7_258_118_400_000_000, 0, -1, 999_999])
            }
            Self::Bool => numbers(&[0, 1]),
            Self::Text => ["", "a", "A", "ä", "%_", "a longer text with blanks"]
                .map(|text| Value::Text(text.to_string()))
                .to_vec(),
        }
    }

    fn ordinary(self, random: &mut impl Rng, domain: i64) -> Value {
        let n = random.random_range(0..domain) - domain / 4;
        match self {
            Self::Real | Self::Double => Value::Float(n as f64 / 4.0),
            Self::Text => Value::Text(format!("{}{}", ["x", "Y", "zz"][n as usize % 3], n)),
            Self::Bool => Value::Number(n & 1),
            Self::Date => Value::Number(19_000 + n),
            Self::Timestamp => Value::Number(1_700_000_000_000_000 + n * 1_234_567),
            Self::Small => Value::Number(n % 1000),
            _ => Value::Number(n),
        }
    }
}

impl Column {
    fn random(random: &mut impl Rng, name: String, kind: Kind, rows: usize) -> Self {
        let domain = *[2, 5, 40, 100_000].choose(random).unwrap();
        let nulls = *[0.0, 0.0, 0.2, 0.9].choose(random).unwrap();
        let trouble = *[0.0, 0.0, 0.15].choose(random).unwrap();
        let skewed = random.random_bool(0.2);
        let extremes = kind.extremes();
        let values = (0..rows).map(|_| {
            if random.random_bool(nulls) {
                Value::Null
            } else if random.random_bool(trouble) {
                extremes.choose(random).unwrap().clone()
            } else if skewed && random.random_bool(0.8) {
                kind.ordinary(random, 1)
            } else {
                kind.ordinary(random, domain)
            }
        });
        Self { name, kind, values: values.collect() }
    }

    fn array(&self, rows: std::ops::Range<usize>) -> ArrayRef {
        let values = &self.values[rows];
        let numbers = || {
            values.iter().map(|value| match value {
                Value::Number(number) => Some(*number),
                _ => None,
            })
        };
        let floats = || {
            values.iter().map(|value| match value {
                Value::Float(float) => Some(*float),
                _ => None,
            })
        };
        match self.kind {
            Kind::Small => Arc::new(numbers().map(|n| n.map(|n| n as i16)).collect::<Int16Array>()),
            Kind::Int => Arc::new(numbers().map(|n| n.map(|n| n as i32)).collect::<Int32Array>()),
            Kind::Big => Arc::new(numbers().collect::<Int64Array>()),
            Kind::Real => Arc::new(floats().map(|f| f.map(|f| f as f32)).collect::<Float32Array>()),
            Kind::Double => Arc::new(floats().collect::<Float64Array>()),
            Kind::Decimal => {
                let values = numbers().map(|n| n.map(i128::from)).collect::<Decimal128Array>();
                Arc::new(values.with_precision_and_scale(10, 2).unwrap())
            }
            Kind::Date => Arc::new(numbers().map(|n| n.map(|n| n as i32)).collect::<Date32Array>()),
            Kind::Timestamp => Arc::new(numbers().collect::<TimestampMicrosecondArray>()),
            Kind::Bool => Arc::new(numbers().map(|n| n.map(|n| n != 0)).collect::<BooleanArray>()),
            Kind::Text => {
                let texts = values.iter().map(|value| match value {
                    Value::Text(text) => Some(text.as_str()),
                    _ => None,
                });
                Arc::new(texts.collect::<StringArray>())
            }
        }
    }
}

impl Table {
    fn random(random: &mut impl Rng, name: &str) -> Self {
        let rows = *[0, 1, 2, 7, 60, 60, 300, 300, 3000].choose(random).unwrap();
        let count = random.random_range(2..=5);
        let mut columns = Vec::new();
        for at in 0..count {
            let kind = *KINDS.choose(random).unwrap();
            columns.push(Column::random(random, format!("c{at}"), kind, rows));
        }
        // What joins go by.
        let mut key = Column::random(random, "k".to_string(), Kind::Int, rows);
        let domain = *[3, 30].choose(random).unwrap();
        for value in key.values.iter_mut().filter(|value| **value != Value::Null) {
            *value = Value::Number(random.random_range(0..domain));
        }
        columns.push(key);
        let batch = *[1, 7, 100, 8192].choose(random).unwrap();
        // Batches of one row are slow and say nothing more in a large table.
        let batch = if rows > 300 { batch.max(100) } else { batch };
        Self { name: name.to_string(), columns, rows, batch }
    }

    pub fn batches(&self) -> Vec<RecordBatch> {
        let fields = self.columns.iter().map(|c| Field::new(&c.name, c.kind.data_type(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let starts = (0..self.rows.max(1)).step_by(self.batch);
        let batches = starts.map(|start| {
            let rows = start..(start + self.batch).min(self.rows);
            let columns = self.columns.iter().map(|column| column.array(rows.clone()));
            RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
        });
        batches.collect()
    }

    fn keep(&self, rows: std::ops::Range<usize>) -> Self {
        let columns = self.columns.iter().map(|column| Column {
            values: column.values[rows.clone()].to_vec(),
            ..column.clone()
        });
        Self { columns: columns.collect(), rows: rows.len(), ..self.clone() }
    }
}

impl Data {
    pub fn random(random: &mut impl Rng) -> Self {
        let tables = ["t", "u"].map(|name| Table::random(random, name)).to_vec();
        let slot_rows = *[1024, 1 << 20].choose(random).unwrap();
        let group_entries = *[2, 64, 1 << 14].choose(random).unwrap();
        Self { tables, slot_rows, group_entries }
    }

    /// The same with fewer rows: a half, then a quarter, then single rows taken away.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for (at, table) in self.tables.iter().enumerate() {
            let mut with = |rows: std::ops::Range<usize>| {
                let mut tables = self.tables.clone();
                tables[at] = table.keep(rows);
                all.push(Self { tables, ..self.clone() });
            };
            let rows = table.rows;
            if rows >= 2 {
                with(0..rows / 2);
                with(rows / 2..rows);
            }
            if rows > 0 && rows <= 8 {
                with(1..rows);
                with(0..rows - 1);
            }
        }
        all
    }

    /// For people: the tables, as far as they are small.
    pub fn as_sql(&self) -> String {
        let mut text = String::new();
        let (slot_rows, groups) = (self.slot_rows, self.group_entries);
        let _ = writeln!(text, "-- slot_rows = {slot_rows}, group_entries = {groups}");
        for table in &self.tables {
            let (name, rows, batch) = (&table.name, table.rows, table.batch);
            let _ = writeln!(text, "-- {name}: {rows} rows in batches of {batch}");
            for column in &table.columns {
                let values = &column.values[..rows.min(12)];
                let _ = writeln!(text, "--   {} {:?} {values:?}", column.name, column.kind);
            }
        }
        text
    }
}
