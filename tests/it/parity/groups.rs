//! Group tables that grow, retire and merge; float sums whose bins shift between slots.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use datafusion::physical_plan::collect;
use datafusion::physical_plan::execution_plan::reset_plan_states;

use thalweg::config::{DeviceChoice, Options};
use thalweg::device::{self, Capabilities, Player, Tier};
use thalweg::plan::session;
use thalweg::run::SlotLimits;

use super::data::{Spread, batch, column, table};
use super::play::{Setup, fragments, plan, player};
use super::{ROWS, block_on, same};

/// Sums of which the highest bin rises from slot to slot, falls, and rises within a slot.
pub fn shifting(rows: usize) -> RecordBatch {
    let value = |row: usize| match row % 5 {
        0 => Some((row as f64 + 0.1) * 2f64.powi((row / 12) as i32 - 120)),
        1 => Some(-(row as f64) * 2f64.powi(120 - (row / 12) as i32)),
        2 => Some(1.0 / (row as f64)),
        3 => Some(-1e-300 * row as f64),
        _ => None,
    };
    let values: Float64Array = (0..rows).map(value).collect();
    batch(vec![
        ("v", Arc::new(values) as ArrayRef),
        ("k", column(&DataType::Int32, rows, Spread::Few(30), 7)),
        ("b", column(&DataType::Boolean, rows, Spread::Wide, 8)),
    ])
}

/// As `shifting`, for maxima of several words: the leading words rise from slot to slot.
pub fn rising(rows: usize) -> RecordBatch {
    let high = |row: usize| (row as i128 / 600) << 64;
    let low = |row: usize| (row as i128).wrapping_mul(0x9E37_79B9_7F4A_7C15) & ((1 << 60) - 1);
    let decimals: arrow::array::Decimal128Array =
        (0..rows).map(|row| (row % 7 != 3).then(|| high(row) + low(row))).collect();
    let decimals = decimals.with_precision_and_scale(38, 3).unwrap();
    batch(vec![
        ("v", Arc::new(decimals) as ArrayRef),
        ("k", column(&DataType::Int32, rows, Spread::Few(30), 9)),
        ("b", column(&DataType::Boolean, rows, Spread::Wide, 10)),
    ])
}

const GROUPED: [&str; 3] = [
    "SELECT sum(v), {}, min(v), max(v) FROM t",
    "SELECT b, sum(v), {}, min(v), max(v) FROM t GROUP BY b",
    "SELECT k, sum(v), {}, min(v), max(v) FROM t GROUP BY k",
];

#[test]
fn states_shift_between_slots() {
    block_on(async {
        let tables = [("avg(v)", shifting(ROWS)), ("count(v)", rising(ROWS))];
        for (fourth, t) in tables {
            let queries = GROUPED.map(|sql| sql.replace("{}", fourth));
            let planned = plan(&[("t", t)], &queries).await;
            let tiers = [Tier::T0, Tier::T4];
            same(&planned, &tiers, &[1, 33, 257, 1025, ROWS], &Setup::default()).await;
        }
    });
}

/// Plays the queries with these limits; each must have counted one of `what` at least.
async fn tables_change(what: &str, queries: &[&str], limits: SlotLimits) {
    let tables = [("t", table(&DataType::Int64, ROWS, 3))];
    let queries: Vec<String> = queries.iter().map(|sql| sql.to_string()).collect();
    let planned = plan(&tables, &queries).await;
    let setup = Setup { limits, ..Setup::default() };
    same(&planned, &[Tier::T0, Tier::T4], &[0, 33, 1025, ROWS], &setup).await;
    for planned in &planned {
        let played = planned.play(&device::twin(), ROWS, &setup).await.unwrap();
        assert!(played.stats[what] > 0, "no {what}: {}", planned.sql);
    }
}

/// Rows that have no room are played again, on a table that has grown; a join gives several tuples
/// of one row.
#[test]
fn tables_grow() {
    let queries = [
        "SELECT n, count(*), sum(v), min(v), avg(u) FROM t GROUP BY n",
        "SELECT g, n, s, max(v), count(u) FROM t GROUP BY g, n, s",
        "SELECT t.w, count(*), sum(t.v), max(t.v), sum(r.v) FROM t JOIN t r ON t.k = r.k
         WHERE r.n < 40 GROUP BY t.w",
    ];
    let limits = SlotLimits { group_entries: 1, ..Setup::default().limits };
    block_on(tables_change("table_growths", &queries, limits));
}

/// Past what a binding holds, tables are put aside, and merged on the host.
#[test]
fn tables_that_cannot_grow_are_merged() {
    let capabilities = Capabilities { max_binding_bytes: 1 << 16, ..device::twin_capabilities() };
    let twin: Arc<dyn Player> = device::twin_with(capabilities);
    block_on(async {
        let tables = [("t", table(&DataType::Int64, ROWS, 3))];
        let sql = "SELECT w, count(*), sum(v), min(v) FROM t GROUP BY w".to_string();
        let planned = plan(&tables, &[sql]).await;
        let limits = SlotLimits { rows: 256, ..Setup::default().limits };
        let setup = Setup { limits, ..Setup::default() };
        let whole = planned[0].play(&device::twin(), ROWS, &setup).await.unwrap();
        let merged = planned[0].play(&twin, ROWS, &setup).await.unwrap();
        assert_eq!(whole.stats["table_flushes"], 0);
        assert!(merged.stats["table_flushes"] > 0);
        assert!(whole.equals(&merged), "{}\n{}", whole.text(), merged.text());
    });
}

/// What comes down is the groups' columns, once, and some words a submit: on any number of rows
/// and however often the table has grown.
#[test]
fn groups_come_down_once() {
    const GROUPS: usize = 50_000;
    const ROWS: usize = 3 * GROUPS;
    /// Of a submit: its status, counters, and what it rounds up.
    const SUBMIT: u64 = 4096;
    let Some(player) = player(Tier::T4) else { return };
    let keys = Int64Array::from_iter_values((0..ROWS).map(|row| (row % GROUPS) as i64 * 7919));
    let values = Int64Array::from_iter_values((0..ROWS).map(|row| row as i64));
    let rows = batch(vec![("k", Arc::new(keys) as ArrayRef), ("v", Arc::new(values))]);
    let sql = "SELECT k, count(*), sum(v) FROM t GROUP BY k".to_string();
    block_on(async {
        let planned = &plan(&[("t", rows)], &[sql]).await[0];
        for (slot_rows, group_entries) in [(ROWS, 1 << 17), (1 << 14, 1 << 10)] {
            let limits = SlotLimits { rows: slot_rows, group_entries, ..SlotLimits::default() };
            let setup = Setup { limits, ..Setup::default() };
            let played = planned.play(&player, ROWS, &setup).await.unwrap();
            assert_eq!(played.num_rows(), GROUPS);
            let down = played.stats["bytes_down"];
            // A key, a count, a sum and a bit that says whether there is one.
            let columns = GROUPS as u64 * (8 + 8 + 8) + GROUPS as u64 / 8;
            // Ranges and rows, again where the table has grown; the growths; counting, writing.
            let (slots, growths) = (played.stats["slots"], played.stats["table_growths"]);
            let submits = 2 * slots + slots * growths + growths + 2;
            let most = columns * 105 / 100 + SUBMIT * submits;
            assert!(down <= most, "{down} bytes down, expected at most {most}; {growths} growths");
        }
    });
}

/// Keys of later slots that do not fit the bits which those of the first need: integers from few to
/// many, strings that go on to come, NULLs, several keys of a row by a join.
#[test]
fn keys_outgrow_their_bits() {
    let ids: Int64Array = (0..ROWS as i64).map(|row| (row % 11 != 3).then_some(row)).collect();
    let names: StringArray = (0..ROWS).map(|row| Some(format!("name {}", row / 40))).collect();
    let values: Int64Array = (0..ROWS as i64).map(|row| Some(row * row - 77)).collect();
    let rows = batch(vec![
        ("id", Arc::new(ids) as ArrayRef),
        ("name", Arc::new(names)),
        ("v", Arc::new(values)),
        ("f", column(&DataType::Float64, ROWS, Spread::Wide, 18)),
        ("k", column(&DataType::Int32, ROWS, Spread::Few(13), 15)),
    ]);
    let right = batch(vec![
        ("k", column(&DataType::Int32, 40, Spread::Few(13), 16)),
        ("x", column(&DataType::Int32, 40, Spread::Wide, 17)),
    ]);
    let queries = [
        "SELECT id, count(*), sum(v) FROM t GROUP BY id",
        "SELECT id / 2 AS half, min(v), max(v), avg(v) FROM t GROUP BY id / 2",
        "SELECT id * 1000003 AS far, k, count(v) FROM t GROUP BY id * 1000003, k",
        "SELECT id - 100000 AS low, name, sum(f), max(f) FROM t GROUP BY id - 100000, name",
        "SELECT name, count(*), sum(v) FROM t GROUP BY name",
        "SELECT id + 7 AS more, id, k, sum(v), max(f) FROM t GROUP BY id + 7, id, k",
        "SELECT t.id / 8 AS id, r.x, count(*), sum(t.v) FROM t JOIN r ON t.k = r.k
         GROUP BY t.id / 8, r.x",
    ];
    let queries: Vec<String> = queries.iter().map(|sql| sql.to_string()).collect();
    block_on(async {
        let planned = plan(&[("t", rows.clone()), ("r", right.clone())], &queries).await;
        let setup = Setup::default();
        same(&planned, &[Tier::T0, Tier::T4], &[1, 1025, ROWS], &setup).await;
        let whole = SlotLimits { rows: ROWS, range_rows: u32::MAX, ..setup.limits };
        let whole = Setup { limits: whole, ..setup.clone() };
        for planned in &planned {
            let played = planned.play(&device::twin(), ROWS, &setup).await.unwrap();
            // Strings are coded ahead of the slots before them: they may all be there by then.
            let grown = planned.sql.ends_with("BY name") || played.stats["table_growths"] > 0;
            assert!(grown, "all keys fit: {}", planned.sql);
            // All bits from the start.
            let full = planned.play(&device::twin(), ROWS, &whole).await.unwrap();
            assert!(played.equals(&full), "{}\n{}\n{}", planned.sql, played.text(), full.text());
        }
    });
}

/// A table takes in so many rows and no more: a bin of a float sum holds so many addends.
#[test]
fn tables_retire_before_their_bins_are_full() {
    let queries = [
        "SELECT b, count(*), sum(v), max(v) FROM t GROUP BY b",
        "SELECT k, count(*), sum(v), max(v) FROM t GROUP BY k",
    ];
    let limits = SlotLimits { table_rows: 1500, ..Setup::default().limits };
    block_on(tables_change("table_flushes", &queries, limits));
}

/// The batches of a stream run one plan again and again: only the first has a table that grows.
#[test]
fn a_plan_that_runs_again_has_room_from_the_start() {
    let options = Options { device: DeviceChoice::Gpu, strict: true, ..Options::default() };
    let context = session(&options).unwrap();
    let keys = Int64Array::from_iter_values(0..60_000);
    let rows = batch(vec![("k", Arc::new(keys) as ArrayRef)]);
    context.register_batch("t", rows).unwrap();
    block_on(async {
        let frame = context.sql("SELECT k, count(*) FROM t GROUP BY k").await.unwrap();
        let task = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await.unwrap();
        let mut growths = Vec::new();
        for _ in 0..2 {
            let plan = reset_plan_states(plan.clone()).unwrap();
            let answer = collect(plan.clone(), task.clone()).await.unwrap();
            assert_eq!(answer.iter().map(RecordBatch::num_rows).sum::<usize>(), 60_000);
            let mut found = Vec::new();
            fragments(&plan, &mut found);
            let metrics = found[0].metrics().unwrap();
            growths.push(metrics.sum_by_name("table_growths").unwrap().as_usize());
        }
        assert!(growths[0] > 0, "{growths:?}");
        assert_eq!(growths[1], 0, "{growths:?}");
    });
}
