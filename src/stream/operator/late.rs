//! Rows that came in time and rows that came late, apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::compute::kernels::cmp::gt;
use arrow::compute::{filter_record_batch, not, prep_null_mask_filter};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;

use crate::error::Result;
use crate::stream::log::definition::Stream;
use crate::stream::log::partition::WATERMARK;

/// Rows by stream, as `log::schema` has them.
pub type Rows = BTreeMap<String, Vec<RecordBatch>>;

/// The rows of an epoch of which some came when the watermark had passed their time.
#[derive(Debug, Default)]
pub struct Apart {
    pub in_time: Rows,
    /// Those, and rows without a time.
    pub late: Rows,
}

impl Apart {
    /// `None` where all rows came in time.
    pub fn of(rows: &Rows, streams: &BTreeMap<String, Arc<Stream>>) -> Result<Option<Self>> {
        let (mut apart, mut any) = (Self::default(), false);
        for (name, batches) in rows {
            let rule =
                streams.get(name).and_then(|stream| Some((stream, stream.watermark.as_ref()?)));
            let time = rule.map(|(stream, rule)| stream.schema.field(rule.column).name().as_str());
            for batch in batches {
                let in_time = match time {
                    Some(time) => in_time(batch, time)?,
                    None => BooleanArray::from(vec![true; batch.num_rows()]),
                };
                if in_time.true_count() == batch.num_rows() {
                    apart.in_time.entry(name.clone()).or_default().push(batch.clone());
                    continue;
                }
                any = true;
                let late = filter_record_batch(batch, &not(&in_time)?)?;
                apart.late.entry(name.clone()).or_default().push(late);
                let rest = filter_record_batch(batch, &in_time)?;
                apart.in_time.entry(name.clone()).or_default().push(rest);
            }
        }
        Ok(any.then_some(apart))
    }
}

fn in_time(batch: &RecordBatch, time: &str) -> Result<BooleanArray> {
    let column = |name: &str| batch.schema().index_of(name).map(|at| batch.column(at).clone());
    let in_time = gt(&column(time)?, &column(WATERMARK)?)?;
    Ok(match in_time.null_count() {
        0 => in_time,
        _ => prep_null_mask_filter(&in_time),
    })
}

/// The number in the only row and column of a count.
pub fn counted(batches: &[RecordBatch]) -> u64 {
    let counts = batches.iter().filter_map(|batch| {
        let column = batch.column(0).as_primitive_opt::<Int64Type>()?;
        (!column.is_empty()).then(|| column.value(0).max(0).unsigned_abs())
    });
    counts.sum()
}
