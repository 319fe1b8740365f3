//! The tables that kernels are measured over, the same on every machine.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Builder, Float64Builder, Int32Builder, Int64Array, Int64Builder,
    StringBuilder,
};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;

use crate::error::Result;
use crate::generate::draw::Draw;

const SEED: u64 = 15;

/// Rows of a batch, and batches of a partition: CPU operators work on partitions beside each other.
const BATCH_ROWS: u64 = 8192;
const PARTITIONS: usize = 16;

/// Keys of the small and of the large side of joins.
const FEW: u64 = 1000;
const MANY: u64 = 1_000_000;

const DECIMAL: DataType = DataType::Decimal128(15, 2);

type Named = (&'static str, Arc<MemTable>);

/// `t` with this many rows, and what it is joined with: `r` has each of a thousand keys once, `q`
/// ten times, `l` each of a million once.
pub fn tables(rows: u64) -> Result<Vec<Named>> {
    let numbers = (0..rows).step_by(BATCH_ROWS as usize);
    let batches = numbers.map(|first| facts(first, BATCH_ROWS.min(rows - first)));
    let batches = batches.collect::<Result<Vec<_>>>()?;
    let each = batches.len().div_ceil(PARTITIONS).max(1);
    let partitions: Vec<_> = batches.chunks(each).map(<[RecordBatch]>::to_vec).collect();
    let schema = match batches.first() {
        Some(batch) => batch.schema(),
        None => facts(0, 0)?.schema(),
    };
    Ok(vec![
        ("t", Arc::new(MemTable::try_new(schema, partitions)?)),
        ("r", keys(FEW, 1)?),
        ("q", keys(FEW, 10)?),
        ("l", keys(MANY, 1)?),
    ])
}

fn facts(first: u64, rows: u64) -> Result<RecordBatch> {
    let (mut i, mut f) = (Int64Builder::new(), Float64Builder::new());
    let mut d = Decimal128Builder::new().with_data_type(DECIMAL);
    let (mut p, mut k, mut m) = (Int32Builder::new(), Int32Builder::new(), Int32Builder::new());
    let mut s = StringBuilder::new();
    for row in first..first + rows {
        let mut draw = Draw::new(SEED, row);
        let number = draw.below(1 << 40) as i64 - (1 << 39);
        i.append_value(number);
        f.append_value(number as f64 / 1024.0);
        d.append_value(i128::from(draw.below(10_000_000)));
        p.append_value(draw.below(100) as i32);
        k.append_value(draw.below(FEW) as i32);
        m.append_value(draw.below(MANY) as i32);
        s.append_value(draw.one_of(&["north", "east", "south", "west"]));
    }
    let columns: [(&str, ArrayRef); 7] = [
        ("i", Arc::new(i.finish())),
        ("f", Arc::new(f.finish())),
        ("d", Arc::new(d.finish())),
        ("p", Arc::new(p.finish())),
        ("k", Arc::new(k.finish())),
        ("m", Arc::new(m.finish())),
        ("s", Arc::new(s.finish())),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// Keys from 0 on, each so many times, with a number.
fn keys(count: u64, times: u64) -> Result<Arc<MemTable>> {
    let mut k = Int32Builder::new();
    (0..count * times).for_each(|row| k.append_value((row % count) as i32));
    let x = Int64Array::from_iter_values((0..count * times).map(|row| row as i64));
    let columns: [(&str, ArrayRef); 2] = [("k", Arc::new(k.finish())), ("x", Arc::new(x))];
    let batch = RecordBatch::try_from_iter(columns)?;
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}
