//! Streams in a UNION, each row by its own watermark; late rows that a delay lets in; what of
//! unions, subqueries and differences of times is refused.

use std::path::Path;

use tempfile::TempDir;
use thalweg::config::DeviceChoice;

use crate::stream::{at, pipeline_on, write};
use crate::support;

/// Of `slow`, five seconds behind, the row of second 14 is late for its window; of `fast` those of
/// seconds 8 and 29 are.
fn streams(folder: &Path) -> String {
    let stream = |name: &str, delay: u32, seconds: &[u64]| {
        let rows: String =
            seconds.iter().map(|second| format!("{second},{}\n", at(*second))).collect();
        write(&folder.join(name), "a.csv", &format!("v,ts\n{rows}"));
        format!(
            "CREATE STREAM {name} (v BIGINT, ts TIMESTAMP,
               WATERMARK FOR ts AS ts - INTERVAL '{delay}' SECOND)
             WITH (connector = 'file', path = '{0}/{name}', format = 'csv',
               store = '{0}/lake/{name}');\n",
            folder.display()
        )
    };
    let slow = stream("slow", 5, &[3, 12, 9, 25, 14]);
    slow + &stream("fast", 0, &[1, 30, 8, 29])
}

const WINDOWS: &str = "SELECT window_start, window_end, count(*) AS n, sum(v) AS s FROM
    TABLE(TUMBLE(DATA => (SELECT ts, v FROM slow UNION ALL SELECT ts AS t, v FROM fast UNION ALL
      SELECT TIMESTAMP '2026-01-01 00:00:02', 100), TIMECOL => DESCRIPTOR(ts),
      SIZE => INTERVAL '10' SECOND)) GROUP BY window_start, window_end";

/// Seconds of the starts, counts and sums.
fn short(rows: &str) -> Vec<String> {
    let line = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        format!("{} {} {}", cells[0].rsplit(':').next().unwrap(), cells[2], cells[3])
    };
    let mut lines: Vec<String> = rows.lines().map(line).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn each_row_goes_by_its_own_watermark_and_the_delay() {
    let in_time = ["00 4 113", "10 1 12", "20 1 25", "30 1 30"];
    let ten_later = ["00 4 113", "10 2 26", "20 2 54", "30 1 30"];
    for (emit, want) in [
        ("EMIT AFTER WINDOW CLOSE", in_time),
        ("EMIT AFTER WINDOW CLOSE WITH DELAY INTERVAL '10' SECOND", ten_later),
    ] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("lake/out");
        let script = format!(
            "SET thalweg.batch_rows = 2; {} CREATE SINK out WITH (connector = 'delta', path =
             '{path}'); INSERT INTO out {WINDOWS} {emit}; AUDIT out;
             CREATE EXTERNAL TABLE held STORED AS DELTA LOCATION '{path}'; SELECT * FROM held;
             {WINDOWS} {emit}; RECONCILE out; AUDIT out;",
            streams(folder.path()),
            path = path.display()
        );
        let got = pipeline_on(DeviceChoice::Cpu, folder.path(), &script).await.unwrap();
        assert_eq!(short(&got[1]), want, "{emit}, the stream");
        assert_eq!(short(&got[2]), want, "{emit}, the batch");
        for audit in [&got[0], &got[4]] {
            assert!(audit.contains(",4,0,0,0,"), "{emit}: {audit}");
        }
        assert_eq!(got[3].lines().count(), if want == in_time { 3 } else { 1 }, "{}", got[3]);
    }
}

#[tokio::test]
async fn what_is_refused_says_so_in_sql() {
    let folder = TempDir::new().unwrap();
    let setup = streams(folder.path())
        + "CREATE SINK out WITH (connector = 'blackhole');
           CREATE STREAM bare (v BIGINT, ts TIMESTAMP) WITH (connector = 'random', events = 1);";
    let windows = |rows: &str| {
        format!(
            "SELECT window_end, count(*) FROM TABLE(TUMBLE(DATA => ({rows}), TIMECOL =>
             DESCRIPTOR(ts), SIZE => INTERVAL '10' SECOND)) GROUP BY window_start, window_end"
        )
    };
    for (query, says) in [
        (
            "SELECT s.v FROM slow s JOIN fast f ON f.ts - s.ts <= INTERVAL '5' SECOND".to_string(),
            "f.ts - s.ts <= INTERVAL '5' SECOND) cannot run continuously",
        ),
        ("SELECT v FROM slow WHERE v > (SELECT avg(v) FROM fast)".to_string(), "EXISTS and IN can"),
        (
            "SELECT v FROM slow WHERE v IN (SELECT v FROM fast)".to_string(),
            "bound the distance of their event times",
        ),
        (
            windows("SELECT ts, v FROM slow UNION ALL SELECT ts, v FROM bare"),
            "stream bare has no watermark",
        ),
        (windows("SELECT ts, v FROM slow UNION ALL SELECT 5, 1"), "of a stream: cast it"),
        (
            windows("SELECT ts, v FROM slow UNION ALL SELECT ts, v FROM fast__late"),
            "windows of rows that no watermark follows",
        ),
        (
            windows(
                "SELECT ts + INTERVAL '1' SECOND AS ts FROM slow UNION ALL SELECT ts FROM fast",
            ),
            "go by its watermark column",
        ),
    ] {
        let script = format!("{setup} INSERT INTO out {query};");
        let told = pipeline_on(DeviceChoice::Cpu, folder.path(), &script).await.unwrap_err();
        let told = told.to_string();
        assert!(told.contains(says) && !told.contains("MonthDayNano"), "{query}: {told}");
        assert!(!told.contains("a bug"), "{query}: {told}");
    }
}

/// A scalar subquery over a table has one value; more of them are an error as in a batch.
#[tokio::test]
async fn values_of_tables_stand_beside_streams() {
    let folder = TempDir::new().unwrap();
    let setup =
        streams(folder.path()) + "CREATE TABLE t AS SELECT * FROM (VALUES (2), (9)) AS t (x);";
    let query = "SELECT window_end, sum(v * (SELECT min(x) FROM t)) AS s FROM TABLE(TUMBLE(TABLE
        slow, DESCRIPTOR(ts), INTERVAL '10' SECOND)) WHERE v > (SELECT x FROM t WHERE x = 9)
        GROUP BY window_start, window_end HAVING count(*) < (SELECT max(x) FROM t)";
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    let want = support::run(&engine, &format!("{setup} {query}")).await.unwrap().unwrap();
    let mut seconds: Vec<&String> = want.rows.iter().map(|row| &row[1]).collect();
    seconds.sort();
    assert_eq!(seconds, ["24", "50"]);
    let out = folder.path().join("out");
    let several = format!(
        "{setup} CREATE SINK none WITH (connector = 'blackhole');
         INSERT INTO none SELECT v > (SELECT x FROM t) AS b FROM slow;"
    );
    let elsewhere = TempDir::new().unwrap();
    let told = pipeline_on(DeviceChoice::Cpu, elsewhere.path(), &several).await.unwrap_err();
    assert!(told.to_string().contains("more than one row"), "{told}");
    let script = format!(
        "{setup} CREATE SINK out WITH (connector = 'file', path = '{}', format = 'csv');
         INSERT INTO out {query};",
        out.display()
    );
    pipeline_on(DeviceChoice::Cpu, folder.path(), &script).await.unwrap();
    let got = crate::stream::sunk(&out);
    assert!(got.contains(",24\n") && got.contains(",50\n") && got.lines().count() == 2, "{got}");
}
