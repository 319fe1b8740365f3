//! As-of joins over streams: columns, audits, tables at their versions.

use std::fmt::Write as _;
use std::path::Path;

use tempfile::TempDir;
use thalweg::config::DeviceChoice;

use super::support;
use super::support::pipelines::{at, pipeline_on, write};

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

/// The two streams, with a store or without.
fn streams(folder: &Path, stored: bool) -> String {
    csv(&folder.join("orders"), "a.csv", "id", ORDERS);
    csv(&folder.join("rates"), "a.csv", "rate", RATES);
    let stream = |name: &str, first: &str| {
        let store = folder.join(format!("{name}_store"));
        let store = if stored { format!(", store = '{}'", store.display()) } else { String::new() };
        format!(
            "CREATE STREAM {name} ({first} BIGINT, currency VARCHAR, ts TIMESTAMP,
               WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
             WITH (connector = 'file', path = '{}', format = 'csv'{store});",
            folder.join(name).display()
        )
    };
    stream("orders", "id") + &stream("rates", "rate")
}

const FLINK: &str = "FROM orders AS o LEFT JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r
    ON o.currency = r.currency";

#[tokio::test]
async fn only_declared_columns_show() {
    let folder = TempDir::new().unwrap();
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    support::run(&engine, &streams(folder.path(), false)).await.unwrap();
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

/// The batch over the stored history is what was given out; without watermark filters order 4 and
/// the rate of 99 count.
#[tokio::test]
async fn results_are_audited_and_reconciled() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let streams = streams(folder.path(), true);
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
        streams(folder.path(), false),
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
