//! Results that change, by MERGE, and Delta tables beside streams: killed at every point of an
//! epoch and of the way back, with the table at another version in each run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use tempfile::TempDir;
use thalweg::config::DeviceChoice;
use thalweg::lake::Table;

use crate::support::pipelines::{killed, pipeline_on, sorted};

/// Rows of the stream; row n has the key n modulo some, and is of partition n modulo 4.
const ROWS: usize = 1000;

/// Aggregates that change: name, query, mode.
const CHANGES: [(&str, &str, &str); 2] = [
    (
        "updated",
        "SELECT k, count(*) AS n, sum(v) AS s, avg(f) AS a, max(ts) AS last FROM bids GROUP BY k",
        "EMIT ON UPDATE",
    ),
    (
        "periodic",
        "SELECT v % 10 AS d, min(k) AS low, count(DISTINCT k) AS n FROM bids GROUP BY v % 10",
        "EMIT PERIODIC INTERVAL '20' MILLISECOND",
    ),
];

fn script(folder: &Path, store: bool, set: &str, more: &str) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let store = match store {
        true => format!(", store = '{}'", path("lake/bids")),
        false => String::new(),
    };
    let mut text = format!(
        "{set}
         CREATE EXTERNAL TABLE names STORED AS DELTA LOCATION '{}';
         CREATE STREAM bids (row BIGINT, k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
           WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
         WITH (connector = 'random', partitions = 4, events = {ROWS}, rate = 3, seed = 5,
           'fields.row.kind' = 'sequence', 'fields.row.start' = '0', 'fields.k.min' = '0',
           'fields.k.max' = '40', 'fields.v.min' = '0', 'fields.v.max' = '99',
           'fields.ts.jitter' = '9 seconds'{store});",
        path("lake/names"),
    );
    let named = "SELECT b.row, b.k, t.name FROM bids b LEFT JOIN names t ON b.k = t.id";
    let by_name = format!("SELECT name, count(*) AS n FROM ({named}) GROUP BY name");
    let others = [("named", named, ""), ("by_name", by_name.as_str(), "EMIT ON UPDATE")];
    for (name, query, emit) in CHANGES.into_iter().chain(others) {
        text += &format!(
            "CREATE SINK {name} WITH (connector = 'delta', path = '{}');
             INSERT INTO {name} {query} {emit};",
            path(&format!("lake/{name}"))
        );
    }
    text + more
}

/// The rows of both sides, where the batch tells what is wanted.
fn questions(folder: &Path) -> String {
    let table = |name: &str| {
        let path = folder.join("lake").join(name);
        let path = path.display();
        format!("CREATE EXTERNAL TABLE {name}_t STORED AS DELTA LOCATION '{path}';")
    };
    let mut text = String::new();
    for (name, query, _) in CHANGES {
        text += &format!("{} SELECT * FROM {name}_t; {query};", table(name));
    }
    text += &format!("{} SELECT row, k, name FROM named_t;", table("named"));
    text += &format!("{} SELECT * FROM by_name_t;", table("by_name"));
    text + "SELECT name, count(*) FROM named_t GROUP BY name;"
}

/// Gives the names of a step to all keys but some; answers the version that has them.
async fn rename(folder: &Path, step: usize) -> i64 {
    let ids: Vec<i64> = (0..30).collect();
    let names = ids.iter().map(|id| format!("{id} at {step}"));
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(ids.clone())) as ArrayRef),
        ("name", Arc::new(StringArray::from_iter_values(names))),
    ]);
    let batch = batch.unwrap();
    let path = folder.join("lake/names").display().to_string();
    let mut table = Table::open_or_create(&path, &batch.schema()).await.unwrap();
    table.upsert(&[batch], &["id".to_string()], &[]).await.unwrap();
    table.version()
}

/// The version of `names` that each row was read beside, by what is recorded.
fn versions(folder: &Path) -> BTreeMap<i64, i64> {
    let text = std::fs::read_to_string(folder.join("state/epochs.jsonl")).unwrap();
    let mut versions = BTreeMap::new();
    for line in text.lines().skip(1) {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |value: &serde_json::Value| value.as_i64().unwrap();
        for span in record["streams"]["bids"].as_array().into_iter().flatten() {
            for offset in number(&span["from"])..number(&span["to"]) {
                let row = offset * 4 + number(&span["partition"]);
                versions.insert(row, number(&record["tables"]["names"]));
            }
        }
    }
    versions
}

async fn check(folder: &Path, text: &str, steps: &BTreeMap<i64, usize>) {
    let answers = pipeline_on(DeviceChoice::Cpu, folder, text).await.unwrap();
    let [updated, updated_batch, periodic, periodic_batch, named, by_name, counted] =
        answers.as_slice()
    else {
        panic!("{answers:?}")
    };
    assert_eq!(sorted(updated), sorted(updated_batch));
    assert_eq!(sorted(periodic), sorted(periodic_batch));
    assert_eq!(sorted(by_name), sorted(counted));
    let versions = versions(folder);
    let mut seen = vec![false; ROWS];
    for line in named.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let (row, k): (i64, i64) = (fields[0].parse().unwrap(), fields[1].parse().unwrap());
        let step = steps[&versions[&row]];
        let want = if k < 30 { format!("{k} at {step}") } else { String::new() };
        assert_eq!(fields[2], want, "row {row}");
        assert!(!std::mem::replace(&mut seen[usize::try_from(row).unwrap()], true), "row {row}");
    }
    assert!(seen.iter().all(|seen| *seen), "{} rows", named.lines().count());
}

#[tokio::test]
async fn changes_and_tables_survive_any_kill() {
    // Each with the milliseconds between snapshots: from there, or all from the log.
    let points = [
        ("recorded:2", 0),
        ("restored:1", 60_000),
        ("repeated:2", 60_000),
        ("stored:2", 0),
        ("sunk:1", 60_000),
        ("sunk:2", 60_000),
        ("sunk:3", 0),
        ("sunk:4", 60_000),
        ("repeated:1", 60_000),
        ("saved:2", 0),
        ("sunk:10", 60_000),
        ("recorded:3", 60_000),
        ("repeated:1", 0),
        ("sunk:7", 60_000),
    ];
    for store in [true, false] {
        let folder = TempDir::new().unwrap();
        let folder = folder.path();
        let (mut steps, mut missed) = (BTreeMap::new(), Vec::new());
        for (step, (point, snapshot)) in points.into_iter().enumerate() {
            // Without a store nothing is stored or restored.
            if !store && ["restored:1", "stored:2"].contains(&point) {
                continue;
            }
            steps.insert(rename(folder, step).await, step);
            let set = format!(
                "SET thalweg.epoch_rows = {}; SET thalweg.epoch_ms = 0;
                 SET thalweg.snapshot_ms = {snapshot};",
                30 + step
            );
            if !killed(DeviceChoice::Cpu, folder, point, &script(folder, store, &set, "")) {
                missed.push(point);
            }
        }
        steps.insert(rename(folder, points.len()).await, points.len());
        let set = "SET thalweg.epoch_rows = 60; SET thalweg.epoch_ms = 0;";
        let text = script(folder, store, set, &questions(folder));
        check(folder, &text, &steps).await;
        // Nothing is done again by a run without new rows.
        let before = std::fs::read_dir(folder.join("lake/updated/_delta_log")).unwrap().count();
        check(folder, &text, &steps).await;
        let after = std::fs::read_dir(folder.join("lake/updated/_delta_log")).unwrap().count();
        assert_eq!(before, after);
        assert!(missed.is_empty(), "no kill at {missed:?}");
    }
}
