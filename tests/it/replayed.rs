//! Players that look at what another one plays: recorded answers give the rows that the device
//! gave, and so does a device whose dispatches run apart.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionContext;

use thalweg::config::{DeviceChoice, Options};
use thalweg::device::apart::Apart;
use thalweg::device::replay::Recorder;
use thalweg::device::{self, Player};
use thalweg::plan::{played_by, session};

use super::parity::play::{encoded, fragments};
use super::support;

const ROWS: i64 = 3000;

/// Each kind of end of a fragment, a join, and a fragment over the rows of another.
const QUERIES: [&str; 5] = [
    "SELECT sum(i), min(f), count(*) FROM t",
    "SELECT i, f * 2.0, s FROM t WHERE k < 300",
    "SELECT s, k, count(*), avg(f), max(i) FROM t GROUP BY s, k",
    "SELECT r.name, count(*), sum(t.i) FROM t JOIN r ON t.k = r.k GROUP BY r.name",
    "SELECT n, count(*) FROM (SELECT k, count(*) AS n FROM t GROUP BY k) WHERE n > 1 GROUP BY n",
];

fn tables() -> [(&'static str, RecordBatch); 2] {
    let texts = ["north", "east", "south", "west"];
    let text = |row: i64| texts[row as usize % texts.len()];
    let t = RecordBatch::try_from_iter([
        (
            "i",
            Arc::new(Int64Array::from_iter_values((0..ROWS).map(|row| row * 77 - 9))) as ArrayRef,
        ),
        ("f", Arc::new(Float64Array::from_iter_values((0..ROWS).map(|row| row as f64 / 8.0)))),
        ("k", Arc::new(Int32Array::from_iter_values((0..ROWS).map(|row| (row * 7 % 997) as i32)))),
        ("s", Arc::new(StringArray::from_iter_values((0..ROWS).map(text)))),
    ]);
    let r = RecordBatch::try_from_iter([
        ("k", Arc::new(Int32Array::from_iter_values(0..500)) as ArrayRef),
        ("name", Arc::new(StringArray::from_iter_values((0..500).map(text)))),
    ]);
    [("t", t.unwrap()), ("r", r.unwrap())]
}

/// The rows of a plan on another player, in an order of their own.
async fn played(
    context: &SessionContext,
    plan: &Arc<dyn ExecutionPlan>,
    player: &Arc<dyn Player>,
) -> Vec<Vec<u8>> {
    let plan = played_by(reset_plan_states(plan.clone()).unwrap(), player).unwrap();
    let batches = collect(plan.clone(), context.task_ctx()).await.unwrap();
    let mut rows = encoded(&concat_batches(&plan.schema(), &batches).unwrap()).unwrap();
    rows.sort_unstable();
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_answers_and_dispatches_apart_give_the_rows_of_the_device() {
    let options = Options { device: DeviceChoice::Gpu, ..Options::default() };
    if support::engine_on(DeviceChoice::Gpu).is_none() {
        return;
    }
    let device = device::open(&options).unwrap();
    let context = session(&options).unwrap();
    for (name, batch) in tables() {
        context.register_batch(name, batch).unwrap();
    }
    for sql in QUERIES {
        let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let mut found = Vec::new();
        fragments(&plan, &mut found);
        assert!(!found.is_empty(), "no fragment in {sql}");
        let expected = played(&context, &plan, &device).await;
        assert!(!expected.is_empty());
        let recorder = Arc::new(Recorder::new(device.clone()));
        let recording: Arc<dyn Player> = recorder.clone();
        assert_eq!(played(&context, &plan, &recording).await, expected, "recorded: {sql}");
        let replay = recorder.replay();
        let player: Arc<dyn Player> = replay.clone();
        for run in 0..3 {
            assert_eq!(played(&context, &plan, &player).await, expected, "run {run}: {sql}");
            replay.rewind();
        }
        let apart = Arc::new(Apart::new(device.clone()));
        let player: Arc<dyn Player> = apart.clone();
        assert_eq!(played(&context, &plan, &player).await, expected, "apart: {sql}");
        assert!(!apart.take().is_empty());
    }
}

/// Answers of one query are none for another.
#[tokio::test]
async fn what_was_not_recorded_is_an_error() {
    let options = Options { device: DeviceChoice::Gpu, ..Options::default() };
    if support::engine_on(DeviceChoice::Gpu).is_none() {
        return;
    }
    let context = session(&options).unwrap();
    for (name, batch) in tables() {
        context.register_batch(name, batch).unwrap();
    }
    let empty: Arc<dyn Player> = Recorder::new(device::open(&options).unwrap()).replay();
    let plan = context.sql(QUERIES[0]).await.unwrap().create_physical_plan().await.unwrap();
    let plan = played_by(plan, &empty).unwrap();
    let error = collect(plan, context.task_ctx()).await.unwrap_err().to_string();
    assert!(error.contains("no answer was recorded"), "{error}");
}
