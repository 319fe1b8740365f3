//! `AUDIT` and `RECONCILE` over a result table that late rows and another writer have left wrong.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use tempfile::TempDir;
use thalweg::config::DeviceChoice;
use thalweg::lake::Table;

use crate::support;
use crate::support::pipelines::{at, pipeline_on, write};

fn windows(table: &str) -> String {
    format!(
        "SELECT window_start, window_end, k, count(*) AS n, sum(v) AS total
         FROM TABLE(TUMBLE(TABLE {table}, DESCRIPTOR(ts), INTERVAL '10' SECOND))
         GROUP BY window_start, window_end, k"
    )
}

/// The pipeline, and what is asked behind it.
fn script(folder: &Path, more: &str) -> String {
    let (path, windows) = (|name: &str| folder.join(name).display().to_string(), windows("s"));
    format!(
        "CREATE STREAM s (k BIGINT, v DOUBLE, ts TIMESTAMP,
           WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
         WITH (connector = 'file', path = '{}', format = 'csv', store = '{}');
         CREATE SINK out WITH (connector = 'delta', path = '{}');
         INSERT INTO out {windows}; {more}",
        path("in"),
        path("lake/s"),
        path("lake/out"),
    )
}

async fn run(folder: &Path, more: &str) -> Vec<String> {
    pipeline_on(DeviceChoice::Cpu, folder, &script(folder, more)).await.unwrap()
}

/// Windows of ten seconds with a row every second, then three that come too late.
fn arrive(folder: &Path) {
    let mut text = String::from("k,v,ts\n");
    for second in 0..60 {
        text += &format!("{},{second}.5,{}\n", second % 3, at(second));
    }
    for (k, second) in [(0, 4), (1, 15), (9, 7)] {
        text += &format!("{k},1000,{}\n", at(second));
    }
    write(&folder.join("in"), "a.csv", &text);
}

/// What the table would hold had no row been late: the batch over the stored rows as a plain table.
async fn truth(folder: &Path) -> Vec<Vec<String>> {
    let sql = format!("{} ORDER BY 1, 3", windows("history"));
    rows(folder, "lake/s", "history", &sql).await
}

async fn held(folder: &Path) -> Vec<Vec<String>> {
    let sql = "SELECT * FROM held ORDER BY window_start, k, n, total";
    rows(folder, "lake/out", "held", sql).await
}

async fn rows(folder: &Path, path: &str, name: &str, sql: &str) -> Vec<Vec<String>> {
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    let path = folder.join(path);
    let sql = format!(
        "CREATE EXTERNAL TABLE {name} STORED AS DELTA LOCATION '{}'; {sql}",
        path.display()
    );
    support::run(&engine, &sql).await.unwrap().unwrap().rows
}

fn commits(folder: &Path) -> usize {
    let log = std::fs::read_dir(folder.join("lake/out/_delta_log")).unwrap();
    let names = log.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".json")).count()
}

/// Another writer: rows that are there once more, wrong ones, and one that nobody asked for.
async fn meddle(folder: &Path) {
    let path = folder.join("lake/out").display().to_string();
    let mut table = Table::open(&path).await.unwrap().unwrap();
    let (start, ten) = (1_767_225_600_000_000, 10_000_000);
    let rows = held(folder).await;
    let right = rows.iter().find(|row| row[0].contains("00:00:10") && row[2] == "2").unwrap();
    // Number of the window, key, count, total.
    let rows: [(i64, i64, i64, f64); 4] = [
        (1, 2, right[3].parse().unwrap(), right[4].parse().unwrap()),
        (2, 1, 99, 1.0),
        (2, 1, 99, 1.0),
        (3, 77, 1, f64::NAN),
    ];
    let times = |add: i64| -> ArrayRef {
        let times = rows.iter().map(|(window, ..)| start + window * ten + add);
        Arc::new(TimestampMicrosecondArray::from_iter_values(times))
    };
    let column = |of: fn(&(i64, i64, i64, f64)) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(of)))
    };
    let totals = Float64Array::from_iter_values(rows.iter().map(|row| row.3));
    let batch = RecordBatch::try_from_iter([
        ("window_start", times(0)),
        ("window_end", times(ten)),
        ("k", column(|row| row.1)),
        ("n", column(|row| row.2)),
        ("total", Arc::new(totals) as ArrayRef),
    ]);
    table.append(&[batch.unwrap()], &[]).await.unwrap();
}

fn audited(line: &str) -> Vec<&str> {
    line.trim().split(',').skip(2).take(4).collect()
}

#[tokio::test]
async fn one_reconcile_leaves_exactly_the_recomputed_rows() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    arrive(folder);
    let got = run(folder, "AUDIT out;").await;
    assert_eq!(audited(&got[0]), ["18", "0", "0", "0"], "{got:?}");
    meddle(folder).await;
    let got = run(folder, "AUDIT out;").await;
    assert_eq!(audited(&got[0]), ["18", "0", "4", "0"], "{got:?}");
    let before = commits(folder);
    let got = run(folder, "RECONCILE out; AUDIT out;").await;
    // Three windows with late rows, one of them new; four rows too many.
    assert_eq!(got[0].lines().count(), 7, "{got:?}");
    assert_eq!(audited(&got[1]), ["19", "0", "0", "0"], "{got:?}");
    assert_eq!(commits(folder), before + 1, "one commit");
    assert_eq!(held(folder).await, truth(folder).await);
    let got = run(folder, "RECONCILE out;").await;
    assert_eq!((got[0].trim(), commits(folder)), ("", before + 1), "again");
    assert_eq!(held(folder).await, truth(folder).await);
    // Numbers are numbers, in the types of the table where there is one type.
    let sql = "SELECT window_start, k, old, new FROM c ORDER BY window_start, k, old";
    let kept = rows(folder, "lake/out__corrections", "c", sql).await;
    let text = |row: &[&str]| row.iter().map(ToString::to_string).collect::<Vec<_>>();
    let first = text(&[
        "2026-01-01T00:00:00",
        "0",
        "{\"n\":4,\"total\":20.0}",
        "{\"n\":5,\"total\":1020.0}",
    ]);
    assert_eq!(kept.len(), 7, "{kept:?}");
    assert_eq!(kept[0], first);
    let nobodys = text(&["2026-01-01T00:00:30", "77", "{\"n\":1,\"total\":\"NaN\"}", "NULL"]);
    assert!(kept.contains(&nobodys), "{kept:?}");
}

#[tokio::test]
async fn a_killed_reconcile_is_done_once() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    arrive(folder);
    run(folder, "").await;
    meddle(folder).await;
    std::fs::write(folder.join("pipe.sql"), script(folder, "RECONCILE out;")).unwrap();
    let killed = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(["run", "--until-end", "--device", "cpu", "--state"])
        .arg(folder.join("state"))
        .arg(folder.join("pipe.sql"))
        .env("THALWEG_KILL_AT", "corrections:1")
        .output()
        .unwrap();
    assert!(killed.status.code().is_none(), "{}", String::from_utf8_lossy(&killed.stderr));
    let before = commits(folder);
    let got = run(folder, "RECONCILE out; AUDIT out;").await;
    assert_eq!(audited(&got[1]), ["19", "0", "0", "0"], "{got:?}");
    assert_eq!(commits(folder), before + 1, "one commit");
    assert_eq!(held(folder).await, truth(folder).await);
    let kept = rows(folder, "lake/out__corrections", "c", "SELECT k FROM c").await;
    assert_eq!(kept.len(), 7, "what was corrected is told once");
}
