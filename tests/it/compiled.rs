//! What is compiled once: queries that differ in constants, plans that run again, the batches of a
//! stream make no pipeline anew.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use datafusion::execution::context::SessionContext;
use datafusion::physical_plan::{ExecutionPlan, collect};
use serde_json::Value;

use thalweg::config::{DeviceChoice, Options};
use thalweg::plan::session;

use super::cli;
use super::parity::play::fragments;
use super::support;

/// Rows of the table that queries read; the other has a tenth.
const ROWS: i64 = 5000;

/// Orders and their lines, all values from a simple rule. The names of the columns are in the text
/// of kernels, so that those of no other test are the same.
fn tables() -> [(&'static str, RecordBatch); 2] {
    let lines = || 0..ROWS;
    let texts = ["AIR", "MAIL", "SHIP", "RAIL", "TRUCK"];
    let decimal = |of: fn(i64) -> i64| {
        let values = Decimal128Array::from_iter_values(lines().map(|n| of(n).into()));
        Arc::new(values.with_precision_and_scale(15, 2).unwrap()) as ArrayRef
    };
    let date = |of: fn(i64) -> i64| {
        Arc::new(Date32Array::from_iter_values(lines().map(|n| of(n) as i32))) as ArrayRef
    };
    let whole = |of: fn(i64) -> i64| {
        Arc::new(Int64Array::from_iter(lines().map(|n| (n % 11 != 3).then(|| of(n))))) as ArrayRef
    };
    let float = Float64Array::from_iter_values(lines().map(|n| (n % 97) as f64 / 8.0));
    let small = Int32Array::from_iter_values(lines().map(|n| (n % 31) as i32));
    let time = TimestampMicrosecondArray::from_iter_values(lines().map(|n| n * 3_000_000_007));
    let mode = StringArray::from_iter_values(lines().map(|n| texts[n as usize % texts.len()]));
    let line = RecordBatch::try_from_iter(vec![
        ("once_order", whole(|n| n / 9)),
        ("once_quantity", decimal(|n| n % 50 * 100)),
        ("once_price", decimal(|n| 90_000 + n * 7919 % 1_000_000)),
        ("once_discount", decimal(|n| n % 11)),
        ("once_tax", decimal(|n| n % 9)),
        ("once_ship", date(|n| 8000 + n * 37 % 2500)),
        ("once_commit", date(|n| 8000 + n * 41 % 2500)),
        ("once_float", Arc::new(float) as ArrayRef),
        ("once_small", Arc::new(small) as ArrayRef),
        ("once_time", Arc::new(time) as ArrayRef),
        ("once_mode", Arc::new(mode) as ArrayRef),
    ]);
    let orders = || 0..ROWS / 10;
    let key = Int64Array::from_iter_values(orders().map(|n| n * 2));
    let day = Date32Array::from_iter_values(orders().map(|n| 8000 + (n * 53 % 2500) as i32));
    let word = StringArray::from_iter_values(orders().map(|n| texts[n as usize * 3 % 4]));
    let order = RecordBatch::try_from_iter(vec![
        ("once_key", Arc::new(key) as ArrayRef),
        ("once_day", Arc::new(day) as ArrayRef),
        ("once_word", Arc::new(word) as ArrayRef),
    ]);
    [("line", line.unwrap()), ("orders", order.unwrap())]
}

fn context(device: DeviceChoice) -> Option<SessionContext> {
    if device == DeviceChoice::Gpu {
        support::engine_on(device)?;
    }
    let strict = device == DeviceChoice::Gpu;
    let context = session(&Options { device, strict, ..Options::default() }).unwrap();
    for (name, batch) in tables() {
        context.register_batch(name, batch).unwrap();
    }
    Some(context)
}

/// Of all fragments of a plan that has run.
fn counted(plan: &Arc<dyn ExecutionPlan>, name: &str) -> usize {
    let mut found = Vec::new();
    fragments(plan, &mut found);
    assert!(!found.is_empty());
    let of = |node: &Arc<dyn ExecutionPlan>| node.metrics().unwrap().sum_by_name(name);
    found.iter().map(|node| of(node).map_or(0, |sum| sum.as_usize())).sum()
}

async fn plan(context: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    let frame = context.sql(sql).await.unwrap_or_else(|error| panic!("{error}\nin {sql}"));
    let plan = frame.create_physical_plan().await;
    plan.unwrap_or_else(|error| panic!("{error}\nin {sql}"))
}

async fn run(context: &SessionContext, plan: &Arc<dyn ExecutionPlan>) -> Vec<Vec<String>> {
    let mut rows =
        support::texts(&collect(plan.clone(), context.task_ctx()).await.unwrap()).unwrap();
    rows.sort_unstable();
    rows
}

/// Runs both queries, and a third time the second: only the first makes pipelines, and all answers
/// are those of the CPU.
async fn same_kernels(device: &SessionContext, host: &SessionContext, queries: [&str; 2]) {
    for (nth, sql) in queries.into_iter().enumerate() {
        let placed = plan(device, sql).await;
        let answer = run(device, &placed).await;
        assert_eq!(answer, run(host, &plan(host, sql).await).await, "{sql}");
        let made = counted(&placed, "pipelines_made");
        assert_eq!(made > 0, nth == 0, "{made} pipelines are made for {sql}");
    }
}

#[tokio::test]
async fn other_constants_make_no_pipeline() {
    let Some(device) = context(DeviceChoice::Gpu) else { return };
    let host = context(DeviceChoice::Cpu).unwrap();
    let pairs = [
        // Comparisons, arithmetic and lists of every type; equal constants and others.
        [
            "SELECT once_order + 1, once_small * 2 FROM line WHERE once_small > 3",
            "SELECT once_order + 70000000000, once_small * -7 FROM line WHERE once_small > 20",
        ],
        [
            "SELECT once_float * 2.5 FROM line WHERE once_float < 3.5 OR once_small IN (1, 2, 3)",
            "SELECT once_float * -1e9 FROM line WHERE once_float < 0.0 OR once_small IN (9, 8, 7)",
        ],
        [
            "SELECT sum(CASE WHEN once_small % 10 > 4 THEN 3 ELSE once_small / 7 END) FROM line
             WHERE once_order BETWEEN 10 AND 200",
            "SELECT sum(CASE WHEN once_small % 3 > 1 THEN 3 ELSE once_small / 3 END) FROM line
             WHERE once_order BETWEEN 11 AND 12",
        ],
        [
            "SELECT once_time + INTERVAL '2 days' FROM line WHERE once_time < '1970-03-01'",
            "SELECT once_time + INTERVAL '9 days' FROM line WHERE once_time < '1970-01-05'",
        ],
        // Strings: what a table is made of is no text.
        [
            "SELECT count(*) FROM line WHERE once_mode LIKE 'A%' OR once_mode IN ('MAIL', 'SHIP')",
            "SELECT count(*) FROM line WHERE once_mode LIKE 'T%' OR once_mode IN ('RAIL', 'AIR')",
        ],
        // Keys, filters and arguments of aggregates.
        [
            "SELECT once_small + 1, min(once_order * 3), count(*) FILTER (WHERE once_order > 5)
             FROM line GROUP BY once_small + 1",
            "SELECT once_small + 4, min(once_order * 5), count(*) FILTER (WHERE once_order > 99)
             FROM line GROUP BY once_small + 4",
        ],
        // Joins of every shape: a filter of the build side, a residual, a tail.
        [
            "SELECT once_key, once_small + 5 FROM orders JOIN line ON once_key = once_order + 1
             WHERE once_day > DATE '1992-01-01' AND once_small + once_key > 17",
            "SELECT once_key, once_small + 6 FROM orders JOIN line ON once_key = once_order + 2
             WHERE once_day > DATE '1995-01-01' AND once_small + once_key > 90",
        ],
        [
            "SELECT once_key * 3, once_small + 1 FROM orders LEFT JOIN line
             ON once_key = once_order AND once_small > 8",
            "SELECT once_key * 4, once_small + 2 FROM orders LEFT JOIN line
             ON once_key = once_order AND once_small > 29",
        ],
    ];
    for queries in pairs {
        same_kernels(&device, &host, queries).await;
    }
}

/// As the queries of TPC-H do it, with the parameters that the specification has them drawn from.
#[tokio::test]
async fn other_parameters_of_tpch_make_no_pipeline() {
    let Some(device) = context(DeviceChoice::Gpu) else { return };
    let host = context(DeviceChoice::Cpu).unwrap();
    let q1 = |days: u32| {
        format!(
            "SELECT once_mode, sum(once_quantity), sum(once_price * (1 - once_discount)),
               sum(once_price * (1 - once_discount) * (1 + once_tax)), avg(once_discount), count(*)
             FROM line WHERE once_ship <= DATE '1998-12-01' - INTERVAL '{days}' DAY
             GROUP BY once_mode"
        )
    };
    let q3 = |mode: &str, day: u32| {
        format!(
            "SELECT once_order, sum(once_price * (1 - once_discount)), once_day
             FROM orders, line WHERE once_word = '{mode}' AND once_key = once_order
               AND once_day < DATE '1995-03-{day:02}' AND once_ship > DATE '1995-03-{day:02}'
             GROUP BY once_order, once_day"
        )
    };
    let q6 = |year: u32, discount: &str, quantity: u32| {
        format!(
            "SELECT sum(once_price * once_discount) FROM line
             WHERE once_ship >= DATE '{year}-01-01'
               AND once_ship < DATE '{year}-01-01' + INTERVAL '1' YEAR
               AND once_discount BETWEEN {discount} - 0.01 AND {discount} + 0.01
               AND once_quantity < {quantity}"
        )
    };
    let q12 = |one: &str, other: &str, year: u32| {
        format!(
            "SELECT once_mode,
               sum(CASE WHEN once_word = '{one}' OR once_word = '{other}' THEN 1 ELSE 0 END),
               sum(CASE WHEN once_word <> '{one}' AND once_word <> '{other}' THEN 1 ELSE 0 END)
             FROM orders, line WHERE once_key = once_order AND once_mode IN ('{one}', '{other}')
               AND once_commit < once_ship AND once_ship >= DATE '{year}-01-01'
               AND once_ship < DATE '{year}-01-01' + INTERVAL '1' YEAR
             GROUP BY once_mode"
        )
    };
    let q14 = |mode: &str, month: u32| {
        format!(
            "SELECT 100.00 * sum(CASE WHEN once_word LIKE '{mode}%'
                 THEN once_price * (1 - once_discount) ELSE 0 END)
               / sum(once_price * (1 - once_discount))
             FROM line, orders WHERE once_order = once_key
               AND once_ship >= DATE '1995-{month:02}-01'
               AND once_ship < DATE '1995-{month:02}-01' + INTERVAL '1' MONTH"
        )
    };
    let pairs = [
        [q1(90), q1(60)],
        [q3("AIR", 15), q3("RAIL", 29)],
        [q6(1994, "0.06", 24), q6(1996, "0.02", 25)],
        [q12("MAIL", "SHIP", 1994), q12("RAIL", "AIR", 1993)],
        [q14("S", 9), q14("AI", 3)],
    ];
    for [one, other] in &pairs {
        same_kernels(&device, &host, [one, other]).await;
    }
}

/// A plan that runs again has its programs, and the device their pipelines.
#[tokio::test]
async fn a_plan_that_runs_again_links_and_compiles_nothing() {
    use datafusion::physical_plan::execution_plan::reset_plan_states;
    let Some(device) = context(DeviceChoice::Gpu) else { return };
    let queries = [
        "SELECT once_small - 9 FROM line WHERE once_small > 12",
        "SELECT sum(once_small - 9), max(once_float) FROM line",
        "SELECT once_order, once_small, sum(once_float) FROM line GROUP BY once_order, once_small",
        "SELECT once_mode, once_small IS NULL, sum(once_small - 8) FROM line GROUP BY 1, 2",
        "SELECT once_key + 9, once_small + 9 FROM orders LEFT JOIN line ON once_key = once_order",
    ];
    for sql in queries {
        let plan = plan(&device, sql).await;
        let mut counts = Vec::new();
        for _ in 0..3 {
            let again = reset_plan_states(plan.clone()).unwrap();
            run(&device, &again).await;
            counts.push(["programs_linked", "pipelines_made"].map(|name| counted(&again, name)));
        }
        assert!(counts[0].iter().all(|count| *count > 0), "{sql}: {counts:?}");
        assert_eq!(counts[1..], [[0, 0]; 2], "{sql}");
    }
}

/// A pipeline's trace: nothing is compiled once its first batch has gone through.
#[test]
fn the_batches_of_a_stream_compile_nothing_anew() {
    if support::engine_on(DeviceChoice::Gpu).is_none() {
        return;
    }
    let folder = cli::folder();
    let text = "SET thalweg.batch_rows = 16; SET thalweg.epoch_rows = 64;
        CREATE STREAM s (k BIGINT, v BIGINT, ts TIMESTAMP,
          WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
        WITH (connector = 'random', partitions = 1, events = 160, rate = 3, seed = 7,
          'fields.k.min' = '0', 'fields.k.max' = '3', 'fields.v.min' = '0',
          'fields.v.max' = '99');
        CREATE SINK out WITH (connector = 'blackhole');
        INSERT INTO out SELECT k + 5 AS k, v * 3 AS v, ts FROM s WHERE v % 10 > 4;";
    cli::write(folder.path(), "p.sql", text);
    let arguments = ["run", "p.sql", "--device", "gpu", "--trace", "t.json"];
    let ran = cli::thalweg(folder.path(), &arguments);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let trace = std::fs::read_to_string(folder.path().join("t.json")).unwrap();
    let trace: Value = serde_json::from_str(&trace).unwrap();
    let spans = |kind: &str, name: &str| {
        let events = trace["traceEvents"].as_array().unwrap().iter();
        let of = events.filter(|event| event["cat"] == kind);
        let of = of.filter(|event| event["name"].as_str().unwrap().starts_with(name));
        let mut starts: Vec<f64> = of.map(|event| event["ts"].as_f64().unwrap()).collect();
        starts.sort_by(f64::total_cmp);
        starts
    };
    let (slots, compiled) = (spans("submit", "slot"), spans("compile", "select"));
    assert!(slots.len() >= 10, "{} slots of 160 events", slots.len());
    assert_eq!(compiled.len(), 1, "the kernel that counts and writes");
    assert!(compiled.iter().all(|start| *start < slots[1]), "{compiled:?} {slots:?}");
}
