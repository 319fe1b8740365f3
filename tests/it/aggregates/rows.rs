//! Random tables of every type, and a session with our functions over one.

use std::sync::Arc;

use arrow::array::{
    ArrayData, ArrayRef, Int32Array, NullBufferBuilder, RecordBatch, StringArray, make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use thalweg::agg::udaf;

pub const SEED: u64 = 20261122;
pub const ROWS: usize = 700;

/// Numbers near zero, or all that the type's bits can be.
#[derive(Clone, Copy, PartialEq)]
pub enum Range {
    Small,
    Full,
}

/// The table's columns besides the group key `k` and the row's number `r`.
pub fn columns() -> Vec<(&'static str, DataType)> {
    use DataType::*;
    vec![
        ("bool", Boolean),
        ("i8", Int8),
        ("i16", Int16),
        ("i32", Int32),
        ("i64", Int64),
        ("u8", UInt8),
        ("u16", UInt16),
        ("u32", UInt32),
        ("u64", UInt64),
        ("f32", Float32),
        ("f64", Float64),
        ("d5", Decimal32(5, 1)),
        ("d9", Decimal32(9, 2)),
        ("d14", Decimal64(14, 3)),
        ("d15", Decimal128(15, 2)),
        ("d25", Decimal128(25, 6)),
        ("d38", Decimal128(38, 10)),
        ("date32", Date32),
        ("date64", Date64),
        ("seconds", Time32(TimeUnit::Second)),
        ("nanos", Time64(TimeUnit::Nanosecond)),
        ("ts", Timestamp(TimeUnit::Microsecond, None)),
        ("tz", Timestamp(TimeUnit::Nanosecond, Some("+01:00".into()))),
        ("span", Duration(TimeUnit::Millisecond)),
    ]
}

pub fn random_array(
    rng: &mut ChaCha8Rng,
    data_type: &DataType,
    range: Range,
    rows: usize,
) -> ArrayRef {
    let mut nulls = NullBufferBuilder::new(rows);
    let mut bits = Vec::with_capacity(rows);
    for _ in 0..rows {
        nulls.append(!rng.next_u32().is_multiple_of(5));
        bits.push(random_bits(rng, data_type, range));
    }
    let values = match data_type.primitive_width() {
        None => BooleanBuffer::from_iter(bits.iter().map(|b| b & 1 == 1)).into_inner(),
        Some(1) => Buffer::from_vec(bits.iter().map(|&b| b as u8).collect()),
        Some(2) => Buffer::from_vec(bits.iter().map(|&b| b as u16).collect()),
        Some(4) => Buffer::from_vec(bits.iter().map(|&b| b as u32).collect()),
        Some(8) => Buffer::from_vec(bits.iter().map(|&b| b as u64).collect()),
        Some(_) => Buffer::from_vec(bits),
    };
    let data = ArrayData::builder(data_type.clone()).len(rows).add_buffer(values);
    make_array(data.nulls(nulls.finish()).build().unwrap())
}

pub fn random_bits(rng: &mut ChaCha8Rng, data_type: &DataType, range: Range) -> i128 {
    let small = i128::from(rng.next_u32() % 2001) - 1000;
    let full = i128::from(rng.next_u64()) << 64 | i128::from(rng.next_u64());
    let digits = |precision: u8| 10i128.pow(u32::from(precision));
    match (data_type, range) {
        (DataType::Float32, Range::Small) => i128::from((small as f32 / 8.0).to_bits()),
        (DataType::Float64, Range::Small) => i128::from((small as f64 / 8.0).to_bits()),
        (DataType::Float64, Range::Full) if full & 3 == 0 => {
            let odd = [0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
            i128::from(odd[small as usize % odd.len()].to_bits())
        }
        (DataType::Float32, Range::Full) if full & 3 == 0 => {
            let odd = [0.0, -0.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
            i128::from(odd[small as usize % odd.len()].to_bits())
        }
        (DataType::Decimal32(p, _) | DataType::Decimal64(p, _), Range::Full) => full % digits(*p),
        (DataType::Decimal128(p, _), Range::Full) => full % digits(*p),
        (_, Range::Small) => small,
        (_, Range::Full) => full,
    }
}

/// A table of several batches in two partitions, with a group (7) that has only NULLs.
pub fn table(rng: &mut ChaCha8Rng, range: Range) -> MemTable {
    let mut fields = vec![
        Field::new("k", DataType::Int32, true),
        Field::new("r", DataType::Int32, false),
        Field::new("s", DataType::Utf8, true),
    ];
    fields.extend(columns().into_iter().map(|(name, data_type)| Field::new(name, data_type, true)));
    let schema = Arc::new(Schema::new(fields));
    let mut partitions = vec![vec![], vec![]];
    for batch in 0..5 {
        let keys: Int32Array =
            (0..ROWS).map(|_| Some((rng.next_u32() % 7) as i32).filter(|&key| key != 3)).collect();
        let rows = Int32Array::from_iter_values(0..ROWS as i32);
        let texts: StringArray =
            (0..ROWS).map(|row| (row % 3 != 0).then(|| format!("s{}", row % 10))).collect();
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(rows), Arc::new(texts)];
        for (_, data_type) in columns() {
            arrays.push(random_array(rng, &data_type, range, ROWS));
        }
        partitions[batch % 2].push(RecordBatch::try_new(schema.clone(), arrays).unwrap());
    }
    let nulls = schema.fields().iter().map(|field| match field.name().as_str() {
        "k" => Arc::new(Int32Array::from(vec![7, 7])),
        "r" => Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef,
        _ => arrow::array::new_null_array(field.data_type(), 2),
    });
    partitions[0].push(RecordBatch::try_new(schema.clone(), nulls.collect()).unwrap());
    MemTable::try_new(schema, partitions).unwrap()
}

pub fn context(table: MemTable, partitions: usize) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(256);
    let context = SessionContext::new_with_config(config);
    for udaf in udaf::udafs() {
        context.register_udaf(udaf.as_ref().clone());
    }
    context.register_table("t", Arc::new(table)).unwrap();
    context
}
