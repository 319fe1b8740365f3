//! What waits in continuous aggregates: windows with many rows and with few, open side by side;
//! groups that are given out again and again.

use std::fmt::Write as _;
use std::path::Path;

use tempfile::TempDir;
use thalweg::config::DeviceChoice;

use crate::stream::{at, pipeline_on, write};

/// Windows of two seconds: one row in each of most, hundreds in some, all of an hour open at once.
/// Some rows have no key.
fn rows() -> String {
    let mut text = String::from("k,v,ts\n");
    for row in 0..1_500_u64 {
        writeln!(text, "{},{row},{}", row % 5, at(row * 2 + row % 2)).unwrap();
        if row % 300 == 299 {
            for more in 0..400_u64 {
                let key = if more % 50 == 0 { String::new() } else { (more % 7).to_string() };
                let window = row - [0, 1, 298][more as usize % 3];
                writeln!(text, "{key},{more},{}", at(window * 2 + more % 2)).unwrap();
            }
        }
    }
    text
}

/// With snapshots after every epoch, or none.
fn script(folder: &Path, batch_rows: usize, snapshot_ms: u64, query: &str) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    format!(
        "SET thalweg.batch_rows = {batch_rows}; SET thalweg.epoch_rows = {};
         SET thalweg.snapshot_ms = {snapshot_ms};
         CREATE STREAM s (k BIGINT, v BIGINT, ts TIMESTAMP,
           WATERMARK FOR ts AS ts - INTERVAL '1' HOUR)
         WITH (connector = 'file', path = '{}', format = 'csv');
         CREATE SINK out WITH (connector = 'delta', path = '{}');
         INSERT INTO out {query};
         CREATE EXTERNAL TABLE result STORED AS DELTA LOCATION '{}';
         SELECT * FROM result;",
        3 * batch_rows,
        path("in.csv"),
        path("out"),
        path("out")
    )
}

/// The stream's rows and the batch's, sorted.
async fn both(query: &str, batch_rows: usize, snapshot_ms: u64, again: &str) -> [Vec<String>; 2] {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "in.csv", &rows());
    let streamed = script(folder.path(), batch_rows, snapshot_ms, &format!("{query} {again}"));
    let text = format!("{streamed} {query};");
    let answers = pipeline_on(DeviceChoice::Cpu, folder.path(), &text).await.unwrap();
    assert_eq!(answers.len(), 2);
    let sorted = |rows: &String| {
        let mut lines: Vec<String> = rows.lines().map(str::to_string).collect();
        lines.sort_unstable();
        lines
    };
    [sorted(&answers[0]), sorted(&answers[1])]
}

#[tokio::test]
async fn windows_with_few_rows_and_with_many() {
    let tumble = "TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '2' SECOND))";
    let queries = [
        format!(
            "SELECT window_start, k, count(*) AS n, sum(v) FILTER (WHERE v > 100) AS s, max(v) \
             AS m FROM {tumble} GROUP BY window_start, window_end, k"
        ),
        format!(
            "SELECT window_end, min(v) AS m, count(k) AS n FROM {tumble} GROUP BY window_start, \
             window_end"
        ),
    ];
    for query in &queries {
        for (batch_rows, snapshot_ms) in [(90, 0), (90, 60_000), (1_000, 60_000), (65_536, 60_000)]
        {
            let [got, want] = both(query, batch_rows, snapshot_ms, "").await;
            assert!(want.len() > 1_400, "{}", want.len());
            assert_eq!(got, want, "{batch_rows}, {snapshot_ms}: {query}");
        }
    }
}

#[tokio::test]
async fn groups_that_are_given_out_again() {
    let query = "SELECT v % 900 AS g, k, count(*) AS n, sum(v) AS s FROM s GROUP BY v % 900, k";
    for (batch_rows, again) in [
        (100, "EMIT ON UPDATE"),
        (1_000, "EMIT ON UPDATE"),
        (400, "EMIT PERIODIC INTERVAL '1' HOUR"),
    ] {
        let [got, want] = both(query, batch_rows, 0, again).await;
        assert!(want.len() > 1_000, "{}", want.len());
        assert_eq!(got, want, "{batch_rows}, {again}");
    }
}
