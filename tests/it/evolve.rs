//! What is another than in the run before: files that are written anew, streams that get columns,
//! queries that a sink cannot take.

use std::path::Path;

use tempfile::TempDir;
use thalweg::config::DeviceChoice;
use thalweg::error::Result;

use crate::support::pipelines::{self, at, pipeline_on, sorted, write};

async fn pipeline(folder: &Path, text: &str) -> Result<Vec<String>> {
    pipeline_on(DeviceChoice::Cpu, folder, text).await
}

/// Rows of the files that a sink has written, sorted.
fn sunk(folder: &Path, name: &str) -> Vec<String> {
    let rows = pipelines::sunk(&folder.join(name));
    sorted(&rows).into_iter().map(str::to_string).collect()
}

#[tokio::test]
async fn a_file_that_is_written_anew_is_another() {
    for format in ["csv", "json"] {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let script = format!(
            "SET thalweg.pipeline = 'p';
             CREATE STREAM s (n BIGINT) WITH (connector = 'file', path = '{}', format = '{format}');
             CREATE SINK out WITH (connector = 'file', path = '{}', format = 'csv');
             INSERT INTO out SELECT n FROM s;",
            path("in"),
            path("out")
        );
        let rows = |from: u64, to: u64| {
            let head = if format == "csv" { "n\n" } else { "" };
            (from..to).fold(head.to_string(), |text, n| match format {
                "csv" => text + &format!("{n}\n"),
                _ => text + &format!("{{\"n\":{n}}}\n"),
            })
        };
        let name = format!("a.{format}");
        let mut want = 0;
        // Shorter than before, longer, of the same size; then behind its end.
        for (from, to, new) in
            [(100, 110, 10), (200, 205, 5), (300, 309, 9), (400, 409, 9), (400, 412, 3)]
        {
            write(&folder.path().join("in"), &name, &rows(from, to));
            pipeline(folder.path(), &script).await.unwrap();
            want += new;
            let got = sunk(folder.path(), "out");
            assert_eq!(got.len(), want, "{format} {from}..{to}: {got:?}");
        }
        // What is the same at its beginning cannot be told from what was read.
        let long = rows(10_000, 13_000);
        write(&folder.path().join("in"), &name, &long);
        pipeline(folder.path(), &script).await.unwrap();
        let changed = long.replace("12990", "99999") + &rows(7, 9)[rows(0, 0).len()..];
        write(&folder.path().join("in"), &name, &changed);
        let told = pipeline(folder.path(), &script).await.unwrap_err().to_string();
        assert!(told.contains(&name) && told.contains("was written anew"), "{told}");
        assert_eq!(sunk(folder.path(), "out").len(), want + 3_000);
    }
}

#[tokio::test]
async fn a_query_that_a_sink_cannot_take_is_refused_when_it_is_planned() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let rows = format!("k,v,ts\na,1,{}\nb,2,{}\n", at(1), at(12));
    write(&folder.path().join("in"), "a.csv", &rows);
    let head = format!(
        "SET thalweg.pipeline = 'p';
         CREATE STREAM s (k VARCHAR, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts)
           WITH (connector = 'file', path = '{}', format = 'csv');
         CREATE SINK out WITH (connector = 'file', path = '{}', format = 'csv');
         CREATE SINK lake WITH (connector = 'delta', path = '{}');
         CREATE SINK objects WITH (connector = 'file', path = '{}', format = 'json');
         CREATE SINK seen WITH (connector = 'console', format = 'csv');",
        path("in"),
        path("out"),
        path("lake"),
        path("objects")
    );
    let grouped = "FROM s GROUP BY window(ts, '10 seconds')";
    for (insert, words) in [
        (
            format!("out SELECT window(ts, '10 seconds') AS w, count(*) AS n {grouped}"),
            ["sink out: column w is Struct", "which CSV does not hold", "\"w\"['start']"],
        ),
        (
            "out SELECT k, make_array(v, v) AS list FROM s".to_string(),
            ["column list is List", "CSV", "array_to_string(\"list\", ',')"],
        ),
        (
            "seen SELECT make_array(v) AS w FROM s".to_string(),
            ["sink seen: column w is", "CSV", "array_to"],
        ),
        (
            "lake SELECT ts - ts AS d, k FROM s".to_string(),
            ["sink lake: column d is", "which Delta does not hold", "CAST(\"d\" AS VARCHAR)"],
        ),
        (
            "objects SELECT a.k, b.k FROM s a JOIN s b ON a.v = b.v AND b.ts BETWEEN a.ts AND a.ts
             + INTERVAL '1' SECOND"
                .to_string(),
            ["two columns are called k", "JSON", "with AS"],
        ),
    ] {
        let told = pipeline(folder.path(), &format!("{head} INSERT INTO {insert};")).await;
        let told = told.map(|_| ()).unwrap_err().to_string();
        for word in words {
            assert!(told.contains(word), "{insert}: {word:?} is not in: {told}");
        }
    }
    assert!(!folder.path().join("state/epochs.jsonl").exists());
    let fixed =
        format!("out SELECT window(ts, '10 seconds')['start'] AS w, count(*) AS n {grouped}");
    pipeline(folder.path(), &format!("{head} INSERT INTO {fixed};")).await.unwrap();
    assert_eq!(sunk(folder.path(), "out").len(), 2);
}

/// The stream of the test below, with these columns.
fn feed(folder: &Path, columns: &str, more: &str) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    format!(
        "SET thalweg.pipeline = 'feed'; SET thalweg.epoch_ms = 0; SET thalweg.snapshot_ms = 0;
         CREATE STREAM s ({columns}, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
           WITH (connector = 'file', path = '{}', format = 'json', store = '{}');
         CREATE SINK plain WITH (connector = 'file', path = '{}', format = 'csv');
         CREATE SINK sums WITH (connector = 'file', path = '{}', format = 'csv');
         CREATE SINK pairs WITH (connector = 'file', path = '{}', format = 'csv');
         INSERT INTO plain SELECT ts, v FROM s;
         INSERT INTO sums SELECT window_start, sum(v) AS v FROM TABLE(TUMBLE(TABLE s,
           DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end;
         INSERT INTO pairs SELECT a.v AS a, b.v AS b FROM s a JOIN s b ON a.v = b.v - 1
           AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '30' SECOND; {more}",
        path("in"),
        path("lake"),
        path("plain"),
        path("sums"),
        path("pairs")
    )
}

/// Without a store too, in text with a header.
#[tokio::test]
async fn a_stream_without_a_store_may_get_columns() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let script = |columns: &str| {
        format!(
            "SET thalweg.pipeline = 'p';
             CREATE STREAM s ({columns}) WITH (connector = 'file', path = '{}', missing = 'null');
             CREATE SINK out WITH (connector = 'file', path = '{}', format = 'csv');
             INSERT INTO out SELECT n FROM s; SELECT * FROM s ORDER BY n;",
            path("in"),
            path("out")
        )
    };
    let input = folder.path().join("in");
    write(&input, "1.csv", "n\n1\n");
    pipeline(folder.path(), &script("n BIGINT")).await.unwrap();
    write(&input, "2.csv", "unit,n\nkg,2\n");
    write(&input, "1.csv", "n\n1\n3\n");
    let got = pipeline(folder.path(), &script("unit VARCHAR, n BIGINT")).await.unwrap();
    assert_eq!(got, [",1\nkg,2\n,3\n"]);
    assert_eq!(sunk(folder.path(), "out"), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_stream_may_get_columns() {
    let folder = TempDir::new().unwrap();
    let input = folder.path().join("in");
    let row = |v: u64, unit: &str| format!("{{\"ts\":\"{}\",\"v\":{v}{unit}}}\n", at(v));
    let all = "SELECT v, unit, more FROM s ORDER BY v; SELECT count(*) AS n FROM s__late";
    write(&input, "1.json", &(row(1, "") + &row(4, ",\"unit\":\"early\"")));
    let old = "ts TIMESTAMP, v BIGINT";
    pipeline(folder.path(), &feed(folder.path(), old, "")).await.unwrap();
    write(&input, "2.json", &(row(112, ",\"unit\":\"kg\"") + &row(113, ",\"more\":7")));
    // At any place among the others; a batch sees NULL before a run has written any.
    let new = "more BIGINT, ts TIMESTAMP, v BIGINT, unit VARCHAR";
    let got = pipeline(folder.path(), &feed(folder.path(), new, all)).await.unwrap();
    assert_eq!(got, ["1,,\n4,,\n112,kg,\n113,,7\n", "0\n"]);
    write(&input, "3.json", &(row(230, "") + &row(2, ",\"unit\":\"late\"")));
    let got = pipeline(folder.path(), &feed(folder.path(), new, all)).await.unwrap();
    assert_eq!(got, ["1,,\n2,late,\n4,,\n112,kg,\n113,,7\n230,,\n", "1\n"]);
    // The queries go on, and nothing is given out twice.
    let stamp = |v: u64| format!("{},{v}", at(v));
    let want = [1, 2, 4, 112, 113, 230].map(stamp);
    assert_eq!(sunk(folder.path(), "plain"), want);
    let sums =
        [(0, 5), (110, 225), (230, 230)].map(|(second, sum)| format!("{},{sum}", at(second)));
    assert_eq!(sunk(folder.path(), "sums"), sums);
    assert_eq!(sunk(folder.path(), "pairs"), ["112,113"]);
    for (columns, want) in [
        (old, "columns may be added, and neither be removed"),
        ("more VARCHAR, ts TIMESTAMP, v BIGINT, unit VARCHAR", "nor be of another type"),
        ("more BIGINT, ts TIMESTAMP, v BIGINT, unit VARCHAR, n INT NOT NULL", "NOT NULL"),
        ("more BIGINT, ts TIMESTAMP, v BIGINT, unit VARCHAR, n AS v + 1", "is computed"),
    ] {
        let told = pipeline(folder.path(), &feed(folder.path(), columns, "")).await;
        let told = told.map(|_| ()).unwrap_err().to_string();
        assert!(told.contains(want), "{columns}: {told}");
    }
}
