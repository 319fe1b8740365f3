//! Every kernel against its twin: the same fragment on the GPU, at each tier, and on the CPU
//! player, over every type, at sizes around the ends of words, workgroups and slots. And each
//! kernel's planted faults, of which every one must be noticed.

pub mod data;
mod faults;
mod groups;
mod joins;
pub mod play;

use std::future::Future;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;

use thalweg::device::{self, Tier};
use thalweg::run::SlotLimits;

use data::{Spread, batch, column, is_string, some_types, table, types};
use play::{Planned, Played, Setup, plan, player};

/// Around the ends of validity words, workgroups and tiles, and several slots of 1024 rows.
const SIZES: [usize; 12] = [0, 1, 31, 32, 33, 255, 256, 257, 1023, 1024, 1025, 3 * 1024 + 7];

/// Rows of the tables: the largest size.
const ROWS: usize = 3 * 1024 + 7;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

/// Plays each fragment at each size on the twin and on the GPU at each tier.
async fn same(planned: &[Planned], tiers: &[Tier], sizes: &[usize], setup: &Setup) {
    let twin = device::twin();
    let players: Vec<_> = tiers.iter().filter_map(|tier| Some((tier, player(*tier)?))).collect();
    if players.is_empty() {
        return;
    }
    for planned in planned {
        for size in sizes.iter().map(|size| (*size).min(planned.rows())) {
            let expected = planned.play(&twin, size, setup).await;
            let place = |tier| format!("{} over {size} rows, tier {tier:?}", planned.sql);
            for (tier, player) in &players {
                let found = planned.play(player, size, setup).await;
                check(&expected, &found, &place(tier));
            }
        }
    }
}

fn check(
    expected: &thalweg::error::Result<Played>,
    found: &thalweg::error::Result<Played>,
    place: &str,
) {
    match (expected, found) {
        (Ok(expected), Ok(found)) => assert!(
            expected.equals(found),
            "{place}: the twin has {}\nthe device {}",
            expected.text(),
            found.text()
        ),
        (Err(expected), Err(found)) => {
            assert_eq!(expected.to_string(), found.to_string(), "{place}: errors differ");
        }
        (expected, found) => {
            panic!("{place}: the twin {}, the device {}", outcome(expected), outcome(found))
        }
    }
}

fn outcome(played: &thalweg::error::Result<Played>) -> String {
    match played {
        Ok(played) => format!("answers {}", played.text()),
        Err(error) => format!("fails: {error}"),
    }
}

// ------------------------------------------------------------------------------ every type

/// The aggregates that a type has, of column `v`.
fn aggregates(data_type: &DataType) -> String {
    use DataType as T;
    let all = match data_type {
        T::Boolean => "bool_and(v), bool_or(v), bool_and(v) FILTER (WHERE v)",
        T::Date32 | T::Timestamp(..) => "min(v), max(v), max(v) FILTER (WHERE b)",
        text if is_string(text) => "count(v) FILTER (WHERE v LIKE '%1%')",
        T::Float32 | T::Float64 => {
            "sum(v), avg(v), min(v), max(v), sum(v) FILTER (WHERE b), sum(g), avg(g)"
        }
        // An average would have 42 digits.
        T::Decimal128(38, _) => "sum(v), min(v), max(v), sum(v) FILTER (WHERE b)",
        _ => "sum(v), avg(v), min(v), max(v), sum(v) FILTER (WHERE b)",
    };
    format!("count(*), count(v), {all}")
}

/// A query for each kernel: reduce, group_dense, group_hash with its rounds, keys of the type,
/// select with computed columns, a join on the type.
fn queries(data_type: &DataType) -> Vec<String> {
    let all = aggregates(data_type);
    let keep = match is_string(data_type) {
        true => "v LIKE '%2%' OR v IS NULL",
        false => "v < u OR v IS NULL",
    };
    let computed = match is_string(data_type) {
        true => "v",
        false => "CASE WHEN b THEN v ELSE u END",
    };
    vec![
        format!("SELECT {all} FROM t"),
        format!("SELECT b, s, {all} FROM t GROUP BY b, s"),
        format!("SELECT k, {all} FROM t WHERE w > -9000000000000000000 GROUP BY k"),
        "SELECT g, n, count(*), sum(w), max(k) FROM t GROUP BY g, n".into(),
        format!("SELECT n, {computed} AS c, w + 1 AS x, v, s FROM t WHERE {keep}"),
        "SELECT count(*), sum(t.w), sum(r.x), min(r.y) FROM t JOIN r ON t.g = r.g".into(),
    ]
}

/// The small side of the joins.
fn right(data_type: &DataType) -> RecordBatch {
    batch(vec![
        ("g", column(data_type, 90, Spread::Few(60), 50)),
        ("x", column(&DataType::Int64, 90, Spread::Wide, 51)),
        ("y", column(data_type, 90, Spread::Wide, 52)),
    ])
}

async fn every_kernel(types: Vec<(&'static str, DataType)>, tiers: &[Tier]) {
    for (name, data_type) in types {
        let seed = 1000 + name.len() as u64;
        let tables = [("t", table(&data_type, ROWS, seed)), ("r", right(&data_type))];
        let mut queries = queries(&data_type);
        if is_string(&data_type) || data_type == DataType::Boolean {
            queries[5] = queries[5].replace(", min(r.y)", "");
        }
        let planned = plan(&tables, &queries).await;
        same(&planned, tiers, &SIZES, &Setup::default()).await;
    }
}

#[test]
fn integers_small() {
    let types = some_types(&["bool", "i8", "i16", "u8", "u16"]);
    block_on(every_kernel(types, &[Tier::T0, Tier::T4]));
}

#[test]
fn integers() {
    let types = some_types(&["i32", "i64", "u32", "u64", "date", "timestamp"]);
    block_on(every_kernel(types, &[Tier::T0, Tier::T4]));
}

#[test]
fn floats_and_decimals() {
    let types = some_types(&["f32", "f64", "decimal9", "decimal18", "decimal38"]);
    block_on(every_kernel(types, &[Tier::T0, Tier::T4]));
}

#[test]
fn strings() {
    block_on(every_kernel(some_types(&["string", "dictionary"]), &[Tier::T0, Tier::T4]));
}

#[test]
fn middle_tiers() {
    let tiers = [Tier::T1, Tier::T2, Tier::T3];
    block_on(every_kernel(some_types(&["i64", "f64", "decimal18"]), &tiers));
}

/// No type is left out of the tests above.
#[test]
fn every_type_has_a_test() {
    let tested = include_str!("parity.rs");
    for (name, _) in types() {
        assert!(tested.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn a_million_rows() {
    const MILLION: usize = 1_000_003;
    block_on(async {
        for (_, data_type) in some_types(&["i64", "f32", "decimal18"]) {
            let of = |data_type: &DataType, spread, seed| column(data_type, MILLION, spread, seed);
            let t = batch(vec![
                ("v", of(&data_type, Spread::Wide, 1)),
                ("n", of(&DataType::Int32, Spread::Few(5000), 2)),
            ]);
            let queries = [
                "SELECT count(*), count(v), sum(v), min(v), max(v) FROM t".to_string(),
                "SELECT n, count(v), sum(v) FROM t WHERE n > 0 GROUP BY n".to_string(),
                "SELECT v FROM t WHERE n = 77777".to_string(),
            ];
            let planned = plan(&[("t", t)], &queries).await;
            let limits = SlotLimits { rows: 300_000, ..SlotLimits::default() };
            let setup = Setup { limits, ..Setup::default() };
            same(&planned, &[Tier::T0, Tier::T4], &[MILLION], &setup).await;
        }
    });
}
