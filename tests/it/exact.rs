//! Streams against the batch over their own stored history: the same rows, whatever the epochs, the
//! side, and however often the run was stopped or killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use thalweg::config::DeviceChoice;
use thalweg::stream::progress::{Observer, Progress};

use crate::stream::{at, kill, killed, observed, pipeline_on, write};
use crate::support;

const TUMBLE: &str = "TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))";

pub type Named = Vec<(&'static str, String)>;

/// Queries by name; `bids` and `asks` are streams, `names` and `rates` are tables.
pub fn queries() -> Named {
    let joins = as_of_joins().into_iter().chain(subqueries()).chain(joins());
    let first = windows().into_iter().chain(ties());
    first.chain(overlapping()).chain(unions()).chain(joins).collect()
}

fn windows() -> Named {
    let group = "GROUP BY window_start, window_end";
    let counted =
        format!("SELECT window_start, window_end, k, count(*) AS n FROM {TUMBLE} {group}, k");
    vec![
        (
            "tumble",
            format!(
                "SELECT window_start, window_end, k, count(*) AS n, sum(v) AS s, avg(f) AS a,
                 count(DISTINCT v) AS d FROM {TUMBLE} {group}, k HAVING count(*) > 1"
            ),
        ),
        (
            "session",
            format!(
                "SELECT window_start, window_end, k, count(*) AS n, sum(v) AS s FROM
                 TABLE(SESSION(TABLE bids PARTITION BY k, DESCRIPTOR(ts), INTERVAL '3' SECOND))
                 {group}, k"
            ),
        ),
        (
            "nested",
            format!(
                "SELECT window_end, max(n) AS m FROM TABLE(TUMBLE(DATA => (SELECT window_time AS
                 t, n FROM (SELECT window_time, k, count(*) AS n FROM {TUMBLE} {group},
                 window_time, k)), TIMECOL => DESCRIPTOR(t), SIZE => INTERVAL '30' SECOND)) GROUP
                 BY window_end"
            ),
        ),
        (
            "top",
            format!(
                "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start,
                 window_end ORDER BY n DESC, k) AS r FROM ({counted})) WHERE r <= 2"
            ),
        ),
        (
            "dedup",
            format!(
                "SELECT k, v, ts FROM (SELECT k, v, ts, ROW_NUMBER() OVER (PARTITION BY
                 window_start, window_end, k ORDER BY ts, v, f) AS r FROM {TUMBLE}) WHERE r = 1"
            ),
        ),
        ("distinct", format!("SELECT DISTINCT window_end, k FROM {TUMBLE}")),
    ]
}

/// Rows of equal keys: what is given goes by the log.
fn ties() -> Named {
    vec![
        (
            "ties_of_rows",
            format!(
                "SELECT v, f, ts, r, last_v, all_v, rank FROM (SELECT *, ROW_NUMBER() OVER w AS r,
                 lag(v) OVER w AS last_v, sum(v) OVER (PARTITION BY window_start, window_end, k
                 ORDER BY ts ROWS UNBOUNDED PRECEDING) AS all_v, rank() OVER w AS rank FROM
                 {TUMBLE} WINDOW w AS (PARTITION BY window_start, window_end, k ORDER BY ts))
                 WHERE r <= 3"
            ),
        ),
        (
            "ties_of_peers",
            "SELECT v, f, ts, window_end, a, b FROM (SELECT *, last_value(v) OVER (PARTITION BY
             window_end ORDER BY k) AS a, first_value(f) OVER (PARTITION BY window_end) AS b FROM
             TABLE(HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND)))"
                .to_string(),
        ),
        (
            "ties_of_aggregates",
            format!(
                "SELECT window_end, k, string_agg(CAST(v AS VARCHAR), '-' ORDER BY ts) AS a,
                 string_agg(CAST(v AS VARCHAR), '-') AS b, array_to_string(array_agg(f ORDER BY v %
                 3), '-') AS c, first_value(f) AS d, last_value(v) AS e, nth_value(v, 2 ORDER BY
                 v % 2) AS g, any_value(v) AS h FROM {TUMBLE} GROUP BY window_start, window_end, k"
            ),
        ),
        (
            "ties_of_joins",
            "SELECT window_end, v, name FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY
             window_end, k ORDER BY t) AS r FROM TABLE(TUMBLE(DATA => (SELECT b.ts AS t, b.k, b.v,
             n.name FROM bids b LEFT JOIN names n ON b.k >= n.id), TIMECOL => DESCRIPTOR(t), SIZE
             => INTERVAL '10' SECOND))) WHERE r <= 2"
                .to_string(),
        ),
    ]
}

fn overlapping() -> Named {
    let group = "GROUP BY window_start, window_end";
    vec![
        (
            "hop",
            format!(
                "SELECT window_start, window_end, sum(f) AS s FROM TABLE(HOP(TABLE bids,
                 DESCRIPTOR(ts), INTERVAL '4' SECOND, INTERVAL '10' SECOND)) {group}"
            ),
        ),
        (
            "panes",
            format!(
                "SELECT window_start, window_end, k, count(*) AS n, sum(f) AS s, count(DISTINCT v)
                 AS d FROM TABLE(HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10'
                 SECOND)) WHERE v > 3 {group}, k"
            ),
        ),
        (
            "panes_end",
            "SELECT window_start, max(v) AS m FROM TABLE(HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL
             '5' SECOND, INTERVAL '15' SECOND)) GROUP BY window_start"
                .to_string(),
        ),
        (
            "cumulate",
            format!(
                "SELECT window_start, window_end, max(v) AS m FROM TABLE(CUMULATE(TABLE bids,
                 DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '20' SECOND)) {group}"
            ),
        ),
    ]
}

/// Streams with one another, and with rows that are in no log.
fn unions() -> Named {
    let group = "GROUP BY window_start, window_end";
    let both = "SELECT ts, k, v, f FROM bids WHERE v < 90 UNION ALL SELECT ts, k, v, f FROM asks";
    let asks = "TABLE(TUMBLE(TABLE asks, DESCRIPTOR(ts), INTERVAL '10' SECOND))";
    vec![
        (
            "union_then_groups",
            format!(
                "SELECT window_start, window_end, k, count(*) AS n, count(DISTINCT v) AS d, sum(f)
                 AS s FROM (SELECT window_start, window_end, k, v, f FROM {TUMBLE} UNION ALL SELECT
                 window_start, window_end, k, v + 1, f FROM {asks}) {group}, k"
            ),
        ),
        (
            "union_then_panes",
            format!(
                "SELECT window_end, k, count(*) AS n, sum(v) AS s FROM TABLE(HOP(DATA => ({both}),
                 TIMECOL => DESCRIPTOR(ts), SLIDE => INTERVAL '2' SECOND, SIZE => INTERVAL '6'
                 SECOND)) {group}, k"
            ),
        ),
        (
            "union_then_sessions",
            format!(
                "SELECT window_start, window_end, k, count(*) AS n, sum(v) AS s FROM
                 TABLE(SESSION(DATA => (SELECT ts, k, v FROM bids UNION ALL SELECT ts, k, v FROM
                 asks UNION ALL SELECT ts AS t, k, v FROM bids WHERE v > 70) PARTITION BY k, TIMECOL
                 => DESCRIPTOR(ts), GAP => INTERVAL '2' SECOND)) {group}, k"
            ),
        ),
        (
            "union_of_all",
            format!(
                "SELECT window_start, window_end, sum(n) AS n FROM TABLE(TUMBLE(DATA => (SELECT
                 ts, v AS n FROM bids UNION ALL SELECT window_time, n FROM (SELECT window_time,
                 count(*) AS n FROM {asks} {group}, window_time) UNION ALL SELECT since, id FROM
                 rates), TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '4' SECOND)) {group}"
            ),
        ),
        (
            "union_joined",
            format!(
                "SELECT u.k, u.v, u.f, a.v AS av FROM ({both}) AS u LEFT JOIN asks a ON u.k = a.k
                 AND a.ts - u.ts BETWEEN INTERVAL '-1' SECOND AND INTERVAL '2' SECOND"
            ),
        ),
        (
            "sessions_after_join",
            format!(
                "SELECT window_start, window_end, count(*) AS n FROM TABLE(SESSION(DATA => (SELECT
                 b.ts AS t FROM bids b JOIN asks a ON a.ts - b.ts BETWEEN INTERVAL '0' SECOND AND
                 INTERVAL '15' SECOND AND a.k = b.k AND a.v % 20 = b.v % 20), TIMECOL =>
                 DESCRIPTOR(t), GAP => INTERVAL '1' SECOND)) {group}"
            ),
        ),
        (
            "union_with_a_table",
            "SELECT k, v FROM bids WHERE v > 95 UNION ALL SELECT id, 0 FROM names".to_string(),
        ),
    ]
}

fn subqueries() -> Named {
    let near = "a.k = b.k AND b.ts - a.ts <= INTERVAL '2' SECOND AND a.ts - INTERVAL '3' SECOND <
                b.ts";
    let row = "SELECT b.k, b.v, b.ts FROM bids b WHERE";
    let asked = format!("EXISTS (SELECT 1 FROM asks a WHERE {near} AND a.v > 40)");
    vec![
        ("exists", format!("{row} b.v > 9 AND {asked}")),
        ("not_exists", format!("{row} NOT {asked}")),
        ("exists_or", format!("{row} b.v > 80 OR {asked}")),
        ("not_in", format!("{row} b.v % 8 NOT IN (SELECT a.v % 9 FROM asks a WHERE {near})")),
        (
            "in_window",
            format!(
                "SELECT window_end, k, v FROM {TUMBLE} AS b WHERE window_end IN (SELECT window_end
                 FROM TABLE(TUMBLE(TABLE asks, DESCRIPTOR(ts), INTERVAL '10' SECOND)) AS a WHERE
                 a.v > 80) AND v > (SELECT max(id) FROM names)"
            ),
        ),
    ]
}

fn joins() -> Named {
    let group = "GROUP BY window_start, window_end";
    let counted =
        format!("SELECT window_start, window_end, k, count(*) AS n FROM {TUMBLE} {group}, k");
    let asks = "TABLE(TUMBLE(TABLE asks, DESCRIPTOR(ts), INTERVAL '10' SECOND))";
    let near =
        "b.k = a.k AND b.ts BETWEEN a.ts - INTERVAL '5' SECOND AND a.ts + INTERVAL '8' SECOND";
    let columns = "b.k AS bk, b.v AS bv, b.ts AS bts, a.v AS av, a.ts AS ats";
    let windows = |join: &str| {
        format!(
            "SELECT b.window_end AS bw, b.k AS bk, b.n AS bn, a.window_end AS aw, a.n AS an
             FROM ({counted}) b {join} JOIN
               (SELECT window_start, window_end, k, sum(v) AS n FROM {asks} {group}, k) a
             ON b.window_start = a.window_start AND b.window_end = a.window_end AND b.k = a.k"
        )
    };
    let interval =
        |join: &str| format!("SELECT {columns} FROM bids b {join} JOIN asks a ON {near}");
    vec![
        ("inner", interval("")),
        ("left", interval("LEFT")),
        ("full", interval("FULL")),
        ("semi", format!("SELECT b.k, b.v, b.ts FROM bids b LEFT SEMI JOIN asks a ON {near}")),
        ("anti", format!("SELECT b.k, b.v, b.ts FROM bids b LEFT ANTI JOIN asks a ON {near}")),
        ("comma", format!("SELECT {columns} FROM bids b, asks a WHERE {near} AND b.v > a.v")),
        ("windows", windows("")),
        ("windows_full", windows("FULL")),
        (
            "after_join",
            format!(
                "SELECT window_end, count(*) AS n FROM TABLE(TUMBLE(DATA => (SELECT a.ts AS t
                 FROM bids b JOIN asks a ON {near}), TIMECOL => DESCRIPTOR(t), SIZE => INTERVAL
                 '10' SECOND)) GROUP BY window_end"
            ),
        ),
        (
            "lookup",
            "SELECT b.k, b.v, n.name FROM bids b LEFT JOIN names n ON b.k = n.id".to_string(),
        ),
        (
            "lookup_windows",
            format!(
                "SELECT window_end, name, count(*) AS n, max(rate) AS r FROM TABLE(TUMBLE(DATA =>
                 (SELECT b.ts AS t, n.name, r.rate FROM bids b JOIN names n ON b.k = n.id ASOF
                 LEFT JOIN rates r ON b.k = r.id AND b.ts >= r.since WHERE b.v > 10), TIMECOL =>
                 DESCRIPTOR(t), SIZE => INTERVAL '10' SECOND)) {group}, name"
            ),
        ),
        (
            "both",
            "SELECT k, v, ts FROM bids WHERE v > 50 UNION ALL SELECT k, v, ts FROM asks"
                .to_string(),
        ),
        (
            "processed",
            "SELECT k, count(*) AS n FROM TABLE(TUMBLE(DATA => (SELECT k, PROCTIME() AS p
                 FROM bids), TIMECOL => DESCRIPTOR(p), SIZE => INTERVAL '1' HOUR)) GROUP BY
                 window_start, window_end, k"
                .to_string(),
        ),
    ]
}

fn as_of_joins() -> Named {
    let columns = "b.k AS bk, b.v AS bv, b.ts AS bts, a.v AS av, a.f AS af, a.ts AS ats";
    let asks = "(SELECT window_end AS t, k, sum(v) AS n FROM TABLE(TUMBLE(TABLE asks,
                DESCRIPTOR(ts), INTERVAL '2' SECOND)) GROUP BY window_start, window_end, k)";
    vec![
        (
            "as_of",
            format!(
                "SELECT {columns} FROM bids AS b JOIN asks FOR SYSTEM_TIME AS OF b.ts AS a
                 ON b.k = a.k"
            ),
        ),
        (
            "as_of_before",
            format!(
                "SELECT {columns} FROM bids b ASOF JOIN asks a MATCH_CONDITION (b.ts > a.ts)
                 ON b.k = a.k AND b.v % 3 = a.v % 3"
            ),
        ),
        (
            "as_of_lagged",
            format!(
                "SELECT {columns} FROM (SELECT * FROM bids WHERE v > 20) b ASOF LEFT JOIN asks a
                 ON b.ts - INTERVAL '4' SECOND >= a.ts"
            ),
        ),
        (
            "as_of_windows",
            format!(
                "SELECT b.k, b.v, b.ts, a.t, a.n FROM bids b ASOF LEFT JOIN {asks} a
                 ON b.k = a.k AND b.ts >= a.t"
            ),
        ),
        (
            "as_of_then",
            "SELECT window_end, count(*) AS n, sum(av) AS s FROM TABLE(TUMBLE(DATA => (SELECT
             b.ts AS t, a.v AS av FROM bids b ASOF JOIN asks a MATCH_CONDITION (b.ts >= a.ts) ON
             a.k = b.k), TIMECOL => DESCRIPTOR(t), SIZE => INTERVAL '10' SECOND)) GROUP BY
             window_end"
                .to_string(),
        ),
        (
            "as_of_twice",
            "SELECT b.k, b.v, b.ts, a.f, r.rate, c.v AS cv FROM bids b
             ASOF JOIN asks a MATCH_CONDITION (b.ts >= a.ts) ON a.k = b.k
             ASOF JOIN rates r MATCH_CONDITION (b.ts >= r.since) ON r.id = b.k
             LEFT JOIN bids FOR SYSTEM_TIME AS OF b.ts AS c ON c.v = b.v"
                .to_string(),
        ),
        (
            "as_of_table_first",
            "SELECT b.k, b.v, b.ts, r.rate, a.f, n.name FROM names n JOIN bids b ON b.k = n.id
             ASOF LEFT JOIN rates r ON r.id = b.k AND b.ts >= r.since
             JOIN asks FOR SYSTEM_TIME AS OF b.ts AS a ON a.k = b.k"
                .to_string(),
        ),
        (
            "as_of_table",
            "SELECT b.k, b.v, b.ts, r.rate FROM bids b ASOF JOIN rates r
             ON b.k = r.id AND b.ts >= r.since"
                .to_string(),
        ),
    ]
}

/// Rows whose times scatter by more than the watermark's delay.
fn rows(seed: u64, from: u64, count: u64) -> String {
    let mut text = String::from("k,v,f,ts\n");
    let mut x = seed;
    for row in from..from + count {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let second = (row / 3 + (x >> 33) % 9).min(3_599);
        let (k, v, f) = ((x >> 40) % 4, (x >> 50) % 100, (x >> 20) % 1_000_003);
        writeln!(text, "{k},{v},{},{}", f as f64 / 7.0, at(second)).unwrap();
    }
    text
}

pub fn arrive(folder: &Path, part: u64, count: u64) {
    let name = format!("{part}.csv");
    write(&folder.join("bids"), &name, &rows(7 + part, part * count, count));
    write(&folder.join("asks"), &name, &rows(70 + part, part * count, count / 2));
}

/// Where the rows of `bids` and `asks` come from.
#[derive(Clone, Copy)]
pub enum Source {
    /// The files that have arrived, of one partition.
    Files,
    /// A generator whose times scatter by more than the watermark's delay, like those of `rows`.
    Random { partitions: u64, events: u64 },
}

impl Source {
    fn options(self, folder: &Path, stream: &str) -> String {
        let path = folder.join(stream);
        match self {
            Self::Files => {
                format!("connector = 'file', path = '{}', format = 'csv'", path.display())
            }
            Self::Random { partitions, events } => {
                let (seed, events) = match stream {
                    "bids" => (7, events),
                    _ => (70, events / 2),
                };
                format!(
                    "connector = 'random', partitions = {partitions}, events = {events}, rate = 3,
                     seed = {seed}, 'fields.k.min' = '0', 'fields.k.max' = '3',
                     'fields.v.min' = '0', 'fields.v.max' = '99', 'fields.f.max' = '1000',
                     'fields.ts.jitter' = '9 seconds'"
                )
            }
        }
    }
}

/// The pipeline: every query into a Delta table of its own, then both sides as SELECTs.
pub fn script(folder: &Path, source: Source, set: &str) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut text = format!("{set}\n");
    writeln!(
        text,
        "CREATE TABLE names AS SELECT column1 AS id, column2 AS name
         FROM (VALUES (0, 'zero'), (1, 'one'), (2, 'two'));
         CREATE TABLE rates AS SELECT column1 AS id, column2 AS rate,
           CAST(column3 AS TIMESTAMP) AS since
         FROM (VALUES (0, 1.5, '{}'), (0, 2.5, '{}'), (0, 3.5, '{}'), (1, 9.5, '{}'));",
        at(0),
        at(30),
        at(60),
        at(45)
    )
    .unwrap();
    text.push_str(&streams(folder, source));
    for (name, query) in queries() {
        let path = path(&format!("lake/{name}"));
        writeln!(
            text,
            "CREATE SINK {name}_out WITH (connector = 'delta', path = '{path}');
             INSERT INTO {name}_out {query};"
        )
        .unwrap();
    }
    for (name, query) in queries() {
        let path = path(&format!("lake/{name}"));
        writeln!(
            text,
            "CREATE EXTERNAL TABLE {name}_result STORED AS DELTA LOCATION '{path}';
             SELECT * FROM {name}_result; {query};"
        )
        .unwrap();
    }
    text
}

fn streams(folder: &Path, source: Source) -> String {
    let stream = |name: &str| {
        format!(
            "CREATE STREAM {name} (k BIGINT, v BIGINT, f DOUBLE, ts TIMESTAMP,
               WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
             WITH ({}, store = '{}');\n",
            source.options(folder, name),
            folder.join("lake").join(name).display()
        )
    };
    ["bids", "asks"].map(stream).concat()
}

pub fn sorted(rows: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = rows.lines().collect();
    lines.sort_unstable();
    lines
}

/// Runs it to the end; every result is that of the batch. Answers the results.
pub async fn check(device: DeviceChoice, folder: &Path, source: Source, set: &str) -> Vec<String> {
    let text = script(folder, source, set);
    let answers = pipeline_on(device, folder, &text).await.unwrap();
    let queries = queries();
    assert_eq!(answers.len(), 2 * queries.len());
    for ((name, query), pair) in queries.iter().zip(answers.chunks(2)) {
        let (got, want) = (sorted(&pair[0]), sorted(&pair[1]));
        assert!(got.len() > 1, "{name}: {} rows\n{query}", got.len());
        assert_eq!(got, want, "{name}, {set}\n{query}");
    }
    answers.chunks(2).map(|pair| sorted(&pair[0]).join("\n")).collect()
}

#[tokio::test]
async fn every_query_equals_its_batch_at_any_epoch() {
    let mut before: Option<Vec<String>> = None;
    for (batch_rows, epoch_ms) in [(1, 200), (7, 0), (512, 1000), (65_536, 1000)] {
        let folder = TempDir::new().unwrap();
        arrive(folder.path(), 0, 240);
        let set = format!(
            "SET thalweg.batch_rows = {batch_rows}; SET thalweg.epoch_ms = {epoch_ms};
             SET thalweg.snapshot_ms = 100;"
        );
        let mut got = check(DeviceChoice::Cpu, folder.path(), Source::Files, &set).await;
        got.pop(); // the last is by the time of the run
        assert_eq!(*before.get_or_insert_with(|| got.clone()), got, "{set}");
    }
}

/// Files arrive between runs, each of which closes its windows: what comes later is late, in the
/// stream as in the batch.
#[tokio::test]
async fn every_query_goes_on_where_it_was() {
    let folder = TempDir::new().unwrap();
    for part in 0..3 {
        arrive(folder.path(), part, 150);
        let set = format!("SET thalweg.epoch_rows = {};", 40 + part);
        let got = check(DeviceChoice::Cpu, folder.path(), Source::Files, &set).await;
        assert_eq!(
            check(DeviceChoice::Cpu, folder.path(), Source::Files, &set).await,
            got,
            "again"
        );
    }
}

#[tokio::test]
async fn a_device_gives_what_the_batch_gives() {
    if support::engine_on(DeviceChoice::Gpu).is_none() {
        return;
    }
    let set = "SET thalweg.epoch_rows = 128;";
    killed_and_checked(DeviceChoice::Gpu, Source::Files, set).await;
    let set = "SET thalweg.batch_rows = 40; SET thalweg.epoch_rows = 60;";
    let partitions = Source::Random { partitions: 4, events: 120 };
    killed_and_checked(DeviceChoice::Gpu, partitions, set).await;
}

/// The host and the device take turns, batch by batch.
#[tokio::test]
async fn sides_in_turns_give_what_the_batch_gives() {
    if support::engine_on(DeviceChoice::Gpu).is_none() {
        return;
    }
    let set = "SET thalweg.auto = 'alternating'; SET thalweg.batch_rows = 32;
               SET thalweg.epoch_rows = 64; SET thalweg.snapshot_ms = 0;";
    killed_and_checked(DeviceChoice::Auto, Source::Files, set).await;
    let partitions = Source::Random { partitions: 4, events: 160 };
    killed_and_checked(DeviceChoice::Auto, partitions, set).await;
}

/// What runs in turns is told, of rows in tables, of panes, and of rows that go through.
#[tokio::test]
async fn progress_tells_of_both_sides() {
    if support::engine_on(DeviceChoice::Gpu).is_none() {
        return;
    }
    for (name, query) in queries() {
        if !["tumble", "panes", "both"].contains(&name) {
            continue;
        }
        let folder = TempDir::new().unwrap();
        let source = Source::Random { partitions: 1, events: 160 };
        let text = format!(
            "SET thalweg.auto = 'alternating'; SET thalweg.batch_rows = 16;
             SET thalweg.epoch_rows = 16; {}
             CREATE SINK out WITH (connector = 'blackhole'); INSERT INTO out {query};",
            streams(folder.path(), source)
        );
        let seen: Arc<Mutex<BTreeSet<(String, String)>>> = Arc::default();
        let told = seen.clone();
        let observer = Observer(Arc::new(move |progress: &Progress| {
            let sides = progress.fragments.iter().map(|f| (f.side.clone(), f.reason.clone()));
            told.lock().unwrap().extend(sides);
        }));
        observed(DeviceChoice::Auto, folder.path(), &text, Some(observer)).await.unwrap();
        let seen = seen.lock().unwrap();
        for side in ["cpu", "gpu"] {
            let own = (side.to_string(), "one side after the other".to_string());
            assert!(seen.contains(&own), "{name}: {seen:?}");
        }
    }
}

/// Killed in the middle, then run to the end.
async fn killed_and_checked(device: DeviceChoice, source: Source, set: &str) {
    let folder = TempDir::new().unwrap();
    arrive(folder.path(), 0, 200);
    let script = script(folder.path(), source, set);
    assert!(killed(device, folder.path(), "sunk:9", &script), "{set}");
    check(device, folder.path(), source, set).await;
}

/// Partitions beside one another, out of order and with late rows, at any size of a batch.
#[tokio::test]
async fn partitions_equal_their_batch_at_any_epoch() {
    let mut before: BTreeMap<(u64, u64), Vec<String>> = BTreeMap::new();
    for partitions in [1, 4] {
        // Single rows are slow: fewer of them.
        for (batch_rows, epoch_ms, events) in
            [(1, 200, 60), (7, 0, 60), (7, 50, 300), (512, 1000, 300), (65_536, 1000, 300)]
        {
            let folder = TempDir::new().unwrap();
            let set = format!(
                "SET thalweg.batch_rows = {batch_rows}; SET thalweg.epoch_ms = {epoch_ms};
                 SET thalweg.epoch_rows = 100; SET thalweg.snapshot_ms = 100;"
            );
            let source = Source::Random { partitions, events };
            let mut got = check(DeviceChoice::Cpu, folder.path(), source, &set).await;
            got.pop(); // the last is by the time of the run
            let before = before.entry((partitions, events)).or_insert_with(|| got.clone());
            assert_eq!(*before, got, "{partitions} partitions, {set}");
            clocks_are_as_defined(folder.path(), partitions).await;
        }
    }
}

/// The watermark before each stored row is the largest time before it in its own partition, less
/// the delay; some rows are late by it, in every partition.
async fn clocks_are_as_defined(folder: &Path, partitions: u64) {
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    let sql = format!(
        "CREATE EXTERNAL TABLE s STORED AS DELTA LOCATION '{}';
         SELECT sum(CASE WHEN __watermark IS DISTINCT FROM w THEN 1 ELSE 0 END) AS wrong,
           count(DISTINCT CASE WHEN ts <= w THEN __partition END) AS late, max(__partition) + 1
         FROM (SELECT *, max(ts) OVER (PARTITION BY __partition ORDER BY __offset ROWS BETWEEN
           UNBOUNDED PRECEDING AND 1 PRECEDING) - INTERVAL '3' SECOND AS w FROM s)",
        folder.join("lake/bids").display()
    );
    let answer = support::run(&engine, &sql).await.unwrap().unwrap();
    let partitions = partitions.to_string();
    assert_eq!(answer.rows, [["0".to_string(), partitions.clone(), partitions]]);
}

/// More rows of every partition between runs, each of which closes its windows.
#[tokio::test]
async fn partitions_go_on_where_they_were() {
    let folder = TempDir::new().unwrap();
    for part in 1..=3 {
        let source = Source::Random { partitions: 4, events: 160 * part };
        let set = format!("SET thalweg.epoch_rows = {};", 40 + part);
        let got = check(DeviceChoice::Cpu, folder.path(), source, &set).await;
        assert_eq!(check(DeviceChoice::Cpu, folder.path(), source, &set).await, got, "again");
    }
}

/// Killed at every point of an epoch, then run again.
#[tokio::test]
async fn a_killed_run_loses_and_repeats_nothing() {
    let set = "SET thalweg.epoch_rows = 60; SET thalweg.epoch_ms = 0; SET thalweg.snapshot_ms = 0;";
    let partitions = Source::Random { partitions: 4, events: 200 };
    for (source, points) in [
        (Source::Files, ["recorded:2", "stored:3", "sunk:9", "saved:2", "sunk:25"]),
        (partitions, ["recorded:3", "stored:4", "sunk:31", "saved:1", "sunk:50"]),
    ] {
        for point in points {
            let folder = TempDir::new().unwrap();
            arrive(folder.path(), 0, 150);
            kill(folder.path(), point, &script(folder.path(), source, set));
            check(DeviceChoice::Cpu, folder.path(), source, set).await;
        }
    }
}
