//! Versions against the definition, row by row, whatever the cuts and the order of the rows.

use std::sync::Arc;

use arrow::array::{Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;

use super::*;

/// Key, time, partition and offset.
type Row = (Option<i64>, Option<i64>, i32, i64);

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// Left rows are `(key, time)`, right rows have their place in the log and its text too.
fn spec(before: bool, outer: bool, has_key: bool) -> Spec {
    let left = [field("k", DataType::Int64), field("t", time())];
    let right = [
        field("t", time()),
        field("k", DataType::Int64),
        field("partition", DataType::Int32),
        field("offset", DataType::Int64),
        field("text", DataType::Utf8),
    ];
    let output = Schema::new([left.as_slice(), right.as_slice()].concat());
    Spec {
        right: Arc::new(Schema::new(right.to_vec())),
        output: Arc::new(output),
        keys: if has_key { vec![(0, 1)] } else { Vec::new() },
        times: (1, 0),
        ties: vec![2, 3],
        before,
        outer,
    }
}

fn times(times: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(times.collect::<TimestampMicrosecondArray>())
}

fn right(spec: &Spec, rows: &[Row]) -> RecordBatch {
    let text = rows.iter().map(|(_, _, partition, offset)| format!("{partition}/{offset}"));
    let columns: Vec<ArrayRef> = vec![
        times(rows.iter().map(|row| row.1)),
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.3).collect::<Int64Array>()),
        Arc::new(text.map(Some).collect::<StringArray>()),
    ];
    RecordBatch::try_new(spec.right.clone(), columns).unwrap()
}

fn left(rows: &[(Option<i64>, Option<i64>)]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let columns = [("k", keys), ("t", times(rows.iter().map(|row| row.1)))];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// The place in the log of what each left row is beside.
fn joined(versions: &Versions, rows: &[(Option<i64>, Option<i64>)]) -> Vec<Option<String>> {
    let batch = versions.join(&left(rows)).unwrap();
    let text = batch.column(6).as_string::<i32>();
    text.iter().map(|text| text.map(str::to_string)).collect()
}

/// By the definition.
fn wanted(spec: &Spec, row: &(Option<i64>, Option<i64>), rows: &[Row]) -> Option<String> {
    let time = row.1?;
    let key = |key: Option<i64>| if spec.keys.is_empty() { Some(0) } else { key };
    let own = key(row.0)?;
    let in_force = rows.iter().filter(|right| key(right.0) == Some(own)).filter_map(|right| {
        let since = right.1.filter(|since| *since < time || (*since == time && !spec.before))?;
        Some((since, right.2, right.3))
    });
    in_force.max().map(|(_, partition, offset)| format!("{partition}/{offset}"))
}

fn maybe(values: std::ops::Range<i64>) -> impl Strategy<Value = Option<i64>> {
    prop_oneof![9 => values.prop_map(Some), 1 => Just(None)]
}

proptest! {
    #[test]
    fn each_row_is_beside_the_last_of_its_time(
        rows in prop::collection::vec((maybe(0..3), maybe(0..12), 0..2_i32), 0..40),
        asked in prop::collection::vec((maybe(0..4), maybe(-1..14)), 0..20),
        order in any::<u64>(),
        cut in 1_usize..9,
        (before, outer, has_key) in any::<(bool, bool, bool)>(),
    ) {
        let spec = spec(before, outer, has_key);
        let mut rows: Vec<Row> = rows
            .into_iter()
            .enumerate()
            .map(|(offset, (key, time, partition))| (key, time, partition, offset as i64))
            .collect();
        let want = asked.iter().map(|row| wanted(&spec, row, &rows));
        let want: Vec<_> = want.filter(|found| outer || found.is_some()).collect();
        rows.sort_by_key(|row| (row.3 as u64 + 1).wrapping_mul(order | 1));
        let mut versions = Versions::new(spec.clone()).unwrap();
        for part in rows.chunks(cut) {
            versions.push(right(&spec, part)).unwrap();
        }
        prop_assert_eq!(joined(&versions, &asked), want);
    }

    /// What is forgotten is asked for by no row after the horizon; one row of each key stays.
    #[test]
    fn nothing_that_can_be_asked_for_is_forgotten(
        rows in prop::collection::vec((0..3_i64, 0..6_i64), 0..60),
        before in any::<bool>(),
        cut in 1_usize..9,
    ) {
        let spec = spec(before, true, true);
        let mut versions = Versions::new(spec.clone()).unwrap();
        let mut all: Vec<Row> = Vec::new();
        for (part, rows) in rows.chunks(cut).enumerate() {
            let horizon = 2 * part as i64;
            let new = rows.iter().enumerate().map(|(nth, (key, later))| {
                (Some(*key), Some(horizon + later), 0, (all.len() + nth) as i64)
            });
            let new: Vec<Row> = new.collect();
            versions.push(right(&spec, &new)).unwrap();
            all.extend(new);
            versions.forget(horizon).unwrap();
            // As from a snapshot.
            if part % 3 == 2 {
                let saved = versions.save().unwrap();
                let kept = saved.iter().map(RecordBatch::num_rows).sum::<usize>();
                prop_assert_eq!(kept, versions.rows());
                versions = Versions::new(spec.clone()).unwrap();
                saved.into_iter().for_each(|batch| versions.push(batch).unwrap());
            }
            let times = |key| (1..9).map(move |at| (Some(key), Some(horizon + at)));
            let asked: Vec<_> = (0..3).flat_map(times).collect();
            let want: Vec<_> = asked.iter().map(|row| wanted(&spec, row, &all)).collect();
            prop_assert_eq!(joined(&versions, &asked), want);
        }
        versions.forget(i64::MAX).unwrap();
        let keys: std::collections::BTreeSet<_> = all.iter().map(|row| row.0).collect();
        prop_assert_eq!(versions.rows(), keys.len());
    }
}

/// Many small batches are put together, and rows that are forgotten go.
#[test]
fn state_is_bounded_by_the_keys() {
    let spec = spec(false, true, true);
    let mut versions = Versions::new(spec.clone()).unwrap();
    for at in 0..100_000 {
        if at % 100 == 0 {
            versions.forget(at - 200).unwrap();
        }
        if at % 10 == 0 {
            let rows = (0..10).map(|nth| (Some(nth), Some(at + nth), 0, at + nth));
            versions.push(right(&spec, &rows.collect::<Vec<_>>())).unwrap();
        }
    }
    assert!(versions.rows() < 10 * 40, "{} rows", versions.rows());
    assert!(versions.bytes() < 4 << 20, "{} bytes", versions.bytes());
    assert_eq!(joined(&versions, &[(Some(3), Some(99_993))]), [Some("0/99993".to_string())]);
}
