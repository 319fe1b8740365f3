//! Columns of every type that the device knows, from a seed.

use std::sync::Arc;

use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Every type of the device's columns, by the name a failure tells.
pub fn types() -> Vec<(&'static str, DataType)> {
    use DataType as T;
    let micros = T::Timestamp(TimeUnit::Microsecond, None);
    let dictionary = T::Dictionary(Box::new(T::Int16), Box::new(T::Utf8));
    vec![
        ("bool", T::Boolean),
        ("i8", T::Int8),
        ("i16", T::Int16),
        ("i32", T::Int32),
        ("i64", T::Int64),
        ("u8", T::UInt8),
        ("u16", T::UInt16),
        ("u32", T::UInt32),
        ("u64", T::UInt64),
        ("f32", T::Float32),
        ("f64", T::Float64),
        ("decimal9", T::Decimal128(9, 2)),
        ("decimal18", T::Decimal128(18, 4)),
        ("decimal38", T::Decimal128(38, 6)),
        ("date", T::Date32),
        ("timestamp", micros),
        ("string", T::Utf8),
        ("dictionary", dictionary),
    ]
}

/// The types with these names.
pub fn some_types(names: &[&str]) -> Vec<(&'static str, DataType)> {
    types().into_iter().filter(|(name, _)| names.contains(name)).collect()
}

pub fn is_string(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Dictionary(..))
}

/// What a column's values are like.
#[derive(Clone, Copy)]
pub enum Spread {
    /// From end to end of the type, its ends and zero among them.
    Wide,
    /// That many values.
    Few(u32),
}

/// A column with a NULL in every eighth row or so.
pub fn column(data_type: &DataType, rows: usize, spread: Spread, seed: u64) -> ArrayRef {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let raw: Vec<Option<i128>> = (0..rows)
        .map(|_| {
            let null = rng.random_range(0..8) == 0;
            let value = match spread {
                Spread::Wide => wide(data_type, &mut rng),
                Spread::Few(values) => few(data_type, rng.random_range(0..values)),
            };
            (!null).then_some(value)
        })
        .collect();
    array(data_type, &raw)
}

/// As `column`, without NULLs.
pub fn full_column(data_type: &DataType, rows: usize, spread: Spread, seed: u64) -> ArrayRef {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let raw: Vec<Option<i128>> = (0..rows)
        .map(|_| match spread {
            Spread::Wide => Some(wide(data_type, &mut rng)),
            Spread::Few(values) => Some(few(data_type, rng.random_range(0..values))),
        })
        .collect();
    array(data_type, &raw)
}

/// Largest magnitude that sums of a million values and their averages leave in range.
fn decimal_max(digits: u8) -> i128 {
    10i128.pow(u32::from(digits.min(27))) - 1
}

fn wide(data_type: &DataType, rng: &mut ChaCha8Rng) -> i128 {
    let (low, high) = match data_type {
        DataType::Decimal128(digits, _) => (-decimal_max(*digits), decimal_max(*digits)),
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 | DataType::Date32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 | DataType::Float32 => (0, u32::MAX.into()),
        DataType::UInt64 | DataType::Float64 => (0, u64::MAX.into()),
        DataType::Int64 | DataType::Timestamp(..) => (i64::MIN.into(), i64::MAX.into()),
        _ => (0, 40),
    };
    let finite = rng.random_range(low..=high);
    match rng.random_range(0..32) {
        0 => low,
        1 => high,
        2 => 0,
        // Halves that are equal in their high words: ties are told by the low ones.
        3..8 => low + rng.random_range(0..=(high - low).min(5)),
        8..14 => finite >> rng.random_range(0..64),
        // Zeros, infinities, NaNs and subnormals of both signs.
        14..18 if *data_type == DataType::Float32 => {
            (i128::from(rng.random_range(0..512u32)) << 23) + rng.random_range(0..2)
        }
        14..18 if *data_type == DataType::Float64 => {
            (i128::from(rng.random_range(0..4096u32)) << 52) + rng.random_range(0..2)
        }
        _ => finite,
    }
}

/// Value number `which` of few: not dense, and different in every word that the type has.
fn few(data_type: &DataType, which: u32) -> i128 {
    let which = i128::from(which);
    match data_type {
        DataType::Boolean => which & 1,
        DataType::Int8 | DataType::Int16 => which - 7,
        DataType::UInt8 | DataType::UInt16 => which,
        DataType::Int32 | DataType::Date32 => (which - 7) * 77_777,
        DataType::UInt32 => which * 77_777,
        DataType::Float32 => i128::from((which as f32 - 7.5).to_bits()),
        DataType::Float64 => i128::from((which as f64 * 1e10 - 7.5).to_bits()),
        DataType::UInt64 | DataType::Int64 | DataType::Timestamp(..) => which * ((1 << 33) + 1),
        DataType::Decimal128(digits, _) => (which - 7) * (decimal_max(*digits) / 10_000_000),
        _ => which,
    }
}

fn array(data_type: &DataType, raw: &[Option<i128>]) -> ArrayRef {
    let values = raw.iter().copied();
    macro_rules! primitive {
        ($type:ty, $convert:expr) => {
            Arc::new(values.map(|v| v.map($convert)).collect::<PrimitiveArray<$type>>())
        };
    }
    match data_type {
        DataType::Boolean => {
            Arc::new(values.map(|v| v.map(|v| v & 1 == 1)).collect::<BooleanArray>())
        }
        DataType::Int8 => primitive!(Int8Type, |v| v as i8),
        DataType::Int16 => primitive!(Int16Type, |v| v as i16),
        DataType::Int32 => primitive!(Int32Type, |v| v as i32),
        DataType::Int64 => primitive!(Int64Type, |v| v as i64),
        DataType::UInt8 => primitive!(UInt8Type, |v| v as u8),
        DataType::UInt16 => primitive!(UInt16Type, |v| v as u16),
        DataType::UInt32 => primitive!(UInt32Type, |v| v as u32),
        DataType::UInt64 => primitive!(UInt64Type, |v| v as u64),
        DataType::Float32 => primitive!(Float32Type, |v| f32::from_bits(v as u32)),
        DataType::Float64 => primitive!(Float64Type, |v| f64::from_bits(v as u64)),
        DataType::Date32 => primitive!(Date32Type, |v| v as i32),
        DataType::Timestamp(..) => primitive!(TimestampMicrosecondType, |v| v as i64),
        DataType::Decimal128(digits, scale) => {
            let items: Decimal128Array = values.collect();
            Arc::new(items.with_precision_and_scale(*digits, *scale).unwrap())
        }
        strings => {
            let text = |v: i128| if v == 3 { String::new() } else { format!("s{v}") };
            let items: StringArray = values.map(|v| v.map(text)).collect();
            cast(&items, strings).unwrap()
        }
    }
}

/// A batch of named columns.
pub fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// Columns `v` and `u` of the type, wide; `g` of the type, few; and beside them `k` (13 integers),
/// `w` (wide integers), `n` (no NULLs), `b` (booleans), `s` (5 strings).
pub fn table(data_type: &DataType, rows: usize, seed: u64) -> RecordBatch {
    let of = |data_type: &DataType, spread, more| column(data_type, rows, spread, seed + more);
    batch(vec![
        ("v", of(data_type, Spread::Wide, 0)),
        ("u", of(data_type, Spread::Wide, 1)),
        ("g", of(data_type, Spread::Few(40), 2)),
        ("k", of(&DataType::Int32, Spread::Few(13), 3)),
        ("w", of(&DataType::Int64, Spread::Wide, 4)),
        ("n", full_column(&DataType::Int32, rows, Spread::Few(100), seed + 5)),
        ("b", of(&DataType::Boolean, Spread::Wide, 6)),
        ("s", of(&DataType::Utf8, Spread::Few(5), 7)),
    ])
}
