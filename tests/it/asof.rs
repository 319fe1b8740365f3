//! As-of joins over streams: late rows, ties, what is refused, tables at their versions.

use std::fmt::Write as _;
use std::path::Path;

use tempfile::TempDir;
use thalweg::config::DeviceChoice;

use super::stream::{at, pipeline_on, write};
use super::support;

/// Delay 5 s: order 4 is late, and so is the rate of 99.
const ORDERS: &[(u64, &str, u64)] = &[
    (1, "EUR", 3),
    (2, "EUR", 10),
    (3, "USD", 9),
    (4, "EUR", 4),
    (5, "USD", 11),
    (6, "EUR", 9),
    (7, "GBP", 30),
];

/// Of the rates of second 10 the later one holds.
const RATES: &[(u64, &str, u64)] = &[
    (1, "EUR", 0),
    (2, "EUR", 10),
    (9, "USD", 10),
    (3, "EUR", 10),
    (99, "EUR", 2),
    (4, "EUR", 12),
    (5, "EUR", 8),
];

fn csv(folder: &Path, name: &str, first: &str, rows: &[(u64, &str, u64)]) {
    let mut text = format!("{first},currency,ts\n");
    for (number, currency, second) in rows {
        writeln!(text, "{number},{currency},{}", at(*second)).unwrap();
    }
    write(folder, name, &text);
}

/// The two streams, and a table `static` of rates without a stream.
fn streams(folder: &Path) -> String {
    csv(&folder.join("orders"), "a.csv", "id", ORDERS);
    csv(&folder.join("rates"), "a.csv", "rate", RATES);
    let stream = |name: &str, first: &str| {
        format!(
            "CREATE STREAM {name} ({first} BIGINT, currency VARCHAR, ts TIMESTAMP,
               WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
             WITH (connector = 'file', path = '{}', format = 'csv');",
            folder.join(name).display()
        )
    };
    format!(
        "{}{} CREATE TABLE static AS SELECT 'EUR' AS currency, 7 AS rate,
           TIMESTAMP '2026-01-01' AS since;",
        stream("orders", "id"),
        stream("rates", "rate")
    )
}

const FLINK: &str = "FROM orders AS o LEFT JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r
    ON o.currency = r.currency";

/// Runs a query continuously into a Delta table, then reads that and the batch.
async fn both(folder: &Path, query: &str) -> Vec<String> {
    let path = folder.join("out");
    let text = format!(
        "SET thalweg.epoch_rows = 2; {}
         CREATE SINK out WITH (connector = 'delta', path = '{}'); INSERT INTO out {query};
         CREATE EXTERNAL TABLE result STORED AS DELTA LOCATION '{}';
         SELECT * FROM result ORDER BY 1; SELECT * FROM ({query}) ORDER BY 1;",
        streams(folder),
        path.display(),
        path.display()
    );
    pipeline_on(DeviceChoice::Cpu, folder, &text).await.unwrap()
}

#[tokio::test]
async fn late_rows_of_both_sides_are_left_out() {
    let left = "1,1\n2,3\n3,\n5,9\n6,5\n7,\n";
    let inner = "1,1\n2,3\n5,9\n6,5\n";
    for (from, want) in [
        (FLINK.to_string(), left),
        (FLINK.replace("LEFT ", ""), inner),
        (FLINK.replace("LEFT", "JOIN (SELECT 1 AS x) y ON y.x < o.id + 9 LEFT"), left),
        (format!("{FLINK} JOIN static s ON s.currency = o.currency"), "1,1\n2,3\n6,5\n"),
        (
            "FROM orders o ASOF JOIN rates r MATCH_CONDITION (o.ts >= r.ts)
               ON o.currency = r.currency"
                .to_string(),
            left,
        ),
        (
            "FROM orders o ASOF JOIN (SELECT rate, currency AS c, ts AS t FROM rates) r
               ON o.currency = r.c AND o.ts >= r.t"
                .to_string(),
            inner,
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let got = both(folder.path(), &format!("SELECT o.id, r.rate {from}")).await;
        assert_eq!(got, [want, want], "{from}");
    }
}

#[tokio::test]
async fn only_declared_columns_show() {
    let folder = TempDir::new().unwrap();
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    support::run(&engine, &streams(folder.path())).await.unwrap();
    let answer = support::rows(&engine, &format!("SELECT * {FLINK} WHERE id = 2")).await;
    let names: Vec<_> = answer.schema.fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["id", "currency", "ts", "rate", "currency", "ts"]);
    assert_eq!(answer.rows, [["2", "EUR", &at(10), "3", "EUR", &at(10)]]);
    let plan = support::rows(&engine, &format!("EXPLAIN SELECT id, rate {FLINK}")).await;
    let text = plan.rows.concat().concat();
    let node = "AsOf: left, o.ts >= r.ts, keys=[o.currency = r.currency], of one time the last by \
                [r.__partition, r.__offset]";
    assert!(text.contains(node), "{text}");
    assert!(text.contains("AsOfExec: left, ts >= ts, keys=[currency = currency]"), "{text}");
}

#[tokio::test]
async fn what_cannot_run_says_why() {
    let folder = TempDir::new().unwrap();
    let streams = streams(folder.path());
    let sink = "CREATE SINK out WITH (connector = 'console'); INSERT INTO out SELECT";
    for (query, want) in [
        (
            "r.rate FROM static s ASOF JOIN rates r ON s.currency = r.currency AND s.since >= r.ts",
            "put the stream left, or leave it to a batch query",
        ),
        (
            "r.rate FROM orders o ASOF JOIN rates r ON o.currency = r.currency AND o.id >= r.rate",
            "cannot run continuously: a row is final when the watermark has passed its time",
        ),
        (
            "o.id FROM (SELECT id, currency, PROCTIME() AS p FROM orders) o
             JOIN rates FOR SYSTEM_TIME AS OF o.p AS r ON o.currency = r.currency",
            "an as-of join of streams by o.p",
        ),
        (&format!("o.id, r.rate {FLINK} EMIT ON UPDATE"), "EMIT ON UPDATE"),
        (
            "o.id FROM orders o JOIN static FOR SYSTEM_TIME AS OF o.ts AS s
             ON o.currency = s.currency",
            "by the time of its WATERMARK, and there is none on the right",
        ),
    ] {
        let text = format!("{streams} {sink} {query};");
        let told = pipeline_on(DeviceChoice::Cpu, folder.path(), &text).await.unwrap_err();
        let told = told.to_string();
        assert!(told.contains(want), "{query}\n{told}");
    }
}

/// The batch over the stored history is what was given out; without the late rule order 4 and the
/// rate of 99 count.
#[tokio::test]
async fn results_are_audited_and_reconciled() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut streams = streams(folder.path());
    for name in ["orders", "rates"] {
        let store = format!("{}', store = '{}'", path(name), path(&format!("{name}_store")));
        streams = streams.replace(&format!("{}'", path(name)), &store);
    }
    let text = format!(
        "{streams} CREATE SINK out WITH (connector = 'delta', path = '{}');
         INSERT INTO out SELECT window_end, count(*) AS n, sum(rate) AS s FROM TABLE(TUMBLE(DATA =>
           (SELECT o.ts AS t, r.rate {FLINK}), TIMECOL => DESCRIPTOR(t),
           SIZE => INTERVAL '10' SECOND)) GROUP BY window_end;
         AUDIT out; RECONCILE out; AUDIT out;
         CREATE EXTERNAL TABLE result STORED AS DELTA LOCATION '{}';
         SELECT n, s FROM result ORDER BY window_end;",
        path("out"),
        path("out")
    );
    let answers = pipeline_on(DeviceChoice::Cpu, folder.path(), &text).await.unwrap();
    let [before, corrected, after, rows] = answers.as_slice() else { panic!("{answers:?}") };
    assert!(before.ends_with(",3,0,0,0,\n"), "{before}");
    assert_eq!(corrected.lines().count(), 1, "{corrected}");
    assert!(after.ends_with(",3,0,0,0,\n"), "{after}");
    assert_eq!(rows, "4,203\n2,12\n1,\n");
}

/// Beside a table left rows go through at once, late ones too; the table is read at the version
/// that the epoch records.
#[tokio::test]
async fn a_table_is_looked_up_at_the_version_of_the_epoch() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    let known = format!(
        "CREATE SINK known WITH (connector = 'delta', path = '{}');
         INSERT INTO known SELECT 'EUR' AS currency, 1 AS rate, TIMESTAMP '2026-01-01' AS since;",
        path("known")
    );
    support::run(&engine, &known).await.unwrap();
    let text = format!(
        "{} CREATE EXTERNAL TABLE known STORED AS DELTA LOCATION '{}';
         CREATE SINK out WITH (connector = 'delta', path = '{}');
         INSERT INTO out SELECT o.id, k.rate FROM orders o ASOF LEFT JOIN known k
           ON o.currency = k.currency AND o.ts >= k.since;
         CREATE EXTERNAL TABLE result STORED AS DELTA LOCATION '{}';
         SELECT * FROM result ORDER BY 1;",
        streams(folder.path()),
        path("known"),
        path("out"),
        path("out")
    );
    let run = async || pipeline_on(DeviceChoice::Cpu, folder.path(), &text).await.unwrap();
    assert_eq!(run().await, ["1,1\n2,1\n3,\n4,1\n5,\n6,1\n7,\n"]);
    let more = "INSERT INTO known SELECT 'EUR' AS currency, 2 AS rate,
                TIMESTAMP '2026-01-01 00:00:08' AS since";
    support::run(&engine, more).await.unwrap();
    csv(&folder.path().join("orders"), "b.csv", "id", &[(8, "EUR", 7), (9, "EUR", 8)]);
    assert_eq!(run().await, ["1,1\n2,1\n3,\n4,1\n5,\n6,1\n7,\n8,1\n9,2\n"]);
}
