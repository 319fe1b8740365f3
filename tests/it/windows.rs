//! Windows in all their spellings, over tables and streams as batches; earlier versions of tables.

use tempfile::TempDir;
use thalweg::config::DeviceChoice;
use thalweg::sql::Engine;

use super::support;

/// An engine with a table of clicks: user, time, what.
async fn clicks() -> Engine {
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    let sql = "CREATE TABLE clicks AS SELECT * FROM (VALUES
        ('ann', TIMESTAMP '2026-01-01 00:00:01', 1), ('bob', TIMESTAMP '2026-01-01 00:00:02', 2),
        ('ann', TIMESTAMP '2026-01-01 00:00:09', 4), ('ann', TIMESTAMP '2026-01-01 00:00:05', 8),
        ('bob', TIMESTAMP '2026-01-01 00:00:08', 16), (NULL, TIMESTAMP '2026-01-01 00:00:30', 32),
        ('ann', TIMESTAMP '2026-01-01 00:00:14', 64), ('bob', NULL, 128),
        ('ann', TIMESTAMP '2026-01-01 00:00:20', 256)) AS v (who, ts, n)";
    support::run(&engine, sql).await.unwrap();
    engine
}

/// Rows as lines, sorted; times without their date.
async fn answer(engine: &Engine, sql: &str) -> Vec<String> {
    let answer = support::rows(engine, sql).await;
    let line = |row: Vec<String>| row.join(" ").replace("2026-01-01T00:00:", "");
    let mut lines: Vec<_> = answer.rows.into_iter().map(line).collect();
    lines.sort();
    lines
}

async fn error(engine: &Engine, sql: &str) -> String {
    match support::run(engine, sql).await {
        Err(error) => error.to_string(),
        Ok(_) => panic!("no error: {sql}"),
    }
}

/// Five seconds from 14 to 20 are too few, as from 2 to 8; 9 and 14 touch.
const SESSIONS: [&str; 5] =
    ["01 19 ann 77", "02 07 bob 2", "08 13 bob 16", "20 25 ann 256", "30 35 NULL 32"];

#[tokio::test]
async fn sessions_by_key_over_a_table() {
    let engine = clicks().await;
    for call in [
        "TABLE(SESSION(TABLE clicks PARTITION BY who, DESCRIPTOR(ts), INTERVAL '5' SECOND))",
        "SESSION(TABLE clicks PARTITION BY (who), DESCRIPTOR(ts), INTERVAL '5' SECOND)",
        "SESSION(DATA => TABLE clicks PARTITION BY who, TIMECOL => DESCRIPTOR(ts),
           GAP => INTERVAL '5' SECOND)",
        "SESSION(TABLE clicks, DESCRIPTOR(ts), DESCRIPTOR(who), INTERVAL '5' SECOND)",
        "SESSION((SELECT n, ts, who FROM clicks) PARTITION BY who, ts, INTERVAL '5' SECOND)",
    ] {
        let sql = format!(
            "SELECT window_start, window_end, who, sum(n) FROM {call}
             GROUP BY window_start, window_end, who"
        );
        if call.contains("who, ts,") {
            // Without DESCRIPTOR, a bare name behind a key reads as another key.
            assert!(error(&engine, &sql).await.contains("the arguments of SESSION are"));
            continue;
        }
        assert_eq!(answer(&engine, &sql).await, SESSIONS, "{call}");
    }
    let sql = "SELECT window_time, count(*), max(who) FROM
        SESSION(TABLE clicks, DESCRIPTOR(ts), INTERVAL '6' SECOND) GROUP BY window_time";
    assert_eq!(answer(&engine, sql).await, ["25.999 7 bob", "35.999 1 NULL"]);
    // What is asked of keys is asked before, what is asked of others is not.
    let one = "SELECT window_start, n FROM SESSION(TABLE clicks PARTITION BY who, DESCRIPTOR(ts),
        INTERVAL '5' SECOND) WHERE who = 'bob' AND n > 2";
    assert_eq!(answer(&engine, one).await, ["08 16"]);
    let plan = answer(&engine, &format!("EXPLAIN {one}")).await.remove(1);
    let at = |text: &str| plan.find(text).unwrap_or_else(|| panic!("no {text} in {plan}"));
    let session = at("SessionExec: time=ts, keys=[who], gap=5s");
    assert!(at("n@") < session && at("= bob") > session, "{plan}");
}

#[tokio::test]
async fn sessions_over_a_stream_show_declared_columns() {
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    let sql = "CREATE STREAM s (who VARCHAR, ts TIMESTAMP,
           WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
         WITH (connector = 'file', path = 'tests/streams/inputs/visits', format = 'csv');
         SELECT * FROM SESSION(TABLE s, DESCRIPTOR(ts), INTERVAL '4' SECOND) LIMIT 1";
    let answer = support::rows(&engine, sql).await;
    let names: Vec<_> = answer.schema.fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["who", "ts", "window_start", "window_end", "window_time"]);
}

#[tokio::test]
async fn grouping_windows_are_the_table_functions() {
    let engine = clicks().await;
    let tumble_sql = "SELECT window_start, window_end, sum(n), who FROM
        TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND)
        GROUP BY window_start, window_end, who";
    let want = answer(&engine, tumble_sql).await;
    assert!(want.contains(&"00 10 13 ann".to_string()) && want.len() == 5, "{want:?}");
    for sql in [
        "SELECT TUMBLE_START(ts, INTERVAL '10' SECOND) AS s, TUMBLE_END(ts, INTERVAL '10' SECOND),
           sum(n), who FROM clicks GROUP BY TUMBLE(ts, INTERVAL '10' SECOND), who",
        "SELECT window.start, window.end, sum(n), who FROM clicks AS c
         GROUP BY window(c.ts, '10 seconds'), who ORDER BY window.start",
        "SELECT w.start, w.end, n, who FROM
           (SELECT window(ts, '10 seconds') AS w, who, sum(n) AS n FROM clicks GROUP BY w, 2)",
        "SELECT window(ts, '10 seconds').start, window(ts, '10 seconds').end, sum(n), c.who
         FROM clicks c WHERE c.n > 0 GROUP BY window(ts, '10 seconds'), c.who
         HAVING window.start IS NOT NULL",
        "SELECT window.start, window.end, sum(n), who FROM clicks WHERE who = 'ann'
           GROUP BY window(ts, '10 seconds'), who
         UNION ALL SELECT w.start, w.end, s, who FROM (
           SELECT window(ts, '10 seconds') AS w, sum(n) AS s, who FROM clicks
           WHERE who = 'bob' OR who IS NULL GROUP BY 1, who)",
        "SELECT window_start, window_end, sum(n), who
         FROM tumble(clicks, ts, INTERVAL '10 seconds') GROUP BY 1, 2, 4",
    ] {
        assert_eq!(answer(&engine, sql).await, want, "{sql}");
    }
    let want = answer(
        &engine,
        "SELECT window_start, window_time, count(*) FROM TABLE(HOP(TABLE clicks, DESCRIPTOR(ts),
         INTERVAL '5' SECOND, INTERVAL '10' SECOND, INTERVAL '1' SECOND))
         GROUP BY window_start, window_time",
    );
    let want = want.await;
    for sql in [
        "SELECT HOP_START(ts, INTERVAL '5' SECOND, INTERVAL '10' SECOND, INTERVAL '1' SECOND),
           HOP_ROWTIME(ts, INTERVAL '5' SECOND, INTERVAL '10' SECOND, INTERVAL '1' SECOND),
           count(*) FROM clicks
         GROUP BY HOP(ts, INTERVAL '5' SECOND, INTERVAL '10' SECOND, INTERVAL '1' SECOND)",
        "SELECT window.start, window.end - INTERVAL '1 millisecond', count(*) FROM clicks
         GROUP BY window(ts, '10 seconds', '5 seconds', '1 second')",
        "SELECT window_start, window_time, count(*)
         FROM hop(clicks, ts, INTERVAL '5' SECOND, INTERVAL '10' SECOND, INTERVAL '1' SECOND)
         GROUP BY window_start, window_time",
    ] {
        assert_eq!(answer(&engine, sql).await, want, "{sql}");
    }
}

#[tokio::test]
async fn grouping_sessions_have_the_other_groups_as_keys() {
    let engine = clicks().await;
    for sql in [
        "SELECT SESSION_START(ts, INTERVAL '5' SECOND), SESSION_END(ts, INTERVAL '5' SECOND), who,
           sum(n) FROM clicks GROUP BY SESSION(ts, INTERVAL '5' SECOND), who",
        "SELECT session_window.start, session_window.end, who, sum(n) FROM clicks
         GROUP BY session_window(ts, '5 seconds'), who",
        "SELECT session_window.start, session_window.end, who AS name, sum(n) FROM clicks
         GROUP BY name, session_window(ts, '5 seconds')",
        "SELECT session_window.start, session_window.end, min(who), sum(n) FROM clicks
         GROUP BY upper(who), session_window(ts, '5 seconds')",
    ] {
        assert_eq!(answer(&engine, sql).await, SESSIONS, "{sql}");
    }
    // Rows that WHERE leaves out join nothing.
    let sql = "SELECT session_window.start, count(*) FROM clicks WHERE n <> 8 AND who = 'ann'
        GROUP BY session_window(ts, '5 seconds')";
    assert_eq!(answer(&engine, sql).await, ["01 1", "09 2", "20 1"]);
    for (sql, want) in [
        (
            "SELECT count(*) FROM clicks GROUP BY TUMBLE(ts)",
            "line 1, column 1: tumble(..): the number of its arguments is another; its form is",
        ),
        (
            "SELECT TUMBLE_START(ts, INTERVAL '2' SECOND) FROM clicks
             GROUP BY TUMBLE(ts, INTERVAL '1' SECOND)",
            "is not of the window in GROUP BY",
        ),
        (
            "SELECT count(*) FROM clicks a JOIN clicks b ON a.n = b.n
             GROUP BY window(a.ts, '1 second')",
            "join in a subquery",
        ),
        (
            "SELECT count(*) FROM clicks GROUP BY window(ts, '1 s'), session_window(ts, '2 s')",
            "a query has one window",
        ),
    ] {
        let told = error(&engine, sql).await;
        assert!(told.contains(want), "{told}");
    }
}

#[tokio::test]
async fn days_of_a_time_zone() {
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    let sql = "CREATE TABLE hours AS SELECT arrow_cast(arrow_cast(value, 'Int64') / 1000,
          'Timestamp(Microsecond, Some(\"Europe/Berlin\"))') AS ts
        FROM generate_series(TIMESTAMP '2026-03-27 23:00:00', TIMESTAMP '2026-03-30 21:00:00',
          INTERVAL '1 hour')";
    support::run(&engine, sql).await.unwrap();
    let tumble = "SELECT window_start, count(*), window_end - window_start
        FROM TUMBLE(TABLE hours, DESCRIPTOR(ts), INTERVAL '1' DAY)
        GROUP BY window_start, window_end";
    let lines = answer(&engine, tumble).await;
    let counts: Vec<_> = lines.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(counts, ["24", "23", "24"], "{lines:?}");
    assert!(lines[1].starts_with("2026-03-29T00:00:00+01:00"), "{lines:?}");
    assert!(lines[2].starts_with("2026-03-30T00:00:00+02:00"), "{lines:?}");
    let hop = "SELECT count(*), window_start, window_end
        FROM HOP(TABLE hours, DESCRIPTOR(ts), INTERVAL '1' DAY, INTERVAL '2' DAY)
        GROUP BY window_start, window_end";
    let lines = answer(&engine, hop).await;
    let counts: Vec<_> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(counts, ["24", "24", "47", "47"], "{lines:?}");
    let cumulate = "SELECT count(*), window_end
        FROM CUMULATE(TABLE hours, DESCRIPTOR(ts), INTERVAL '1' DAY, INTERVAL '2' DAY)
        GROUP BY window_start, window_end";
    assert_eq!(answer(&engine, cumulate).await.len(), 4);
    // By hours up to the midnight, wherever the clocks put it.
    let grow = "SELECT window_start, window_end, count(*) AS n
        FROM CUMULATE(TABLE hours, DESCRIPTOR(ts), INTERVAL '6' HOUR, INTERVAL '1' DAY)
        GROUP BY window_start, window_end";
    let grow = format!("SELECT n, count(*) FROM ({grow}) GROUP BY n ORDER BY n");
    assert_eq!(answer(&engine, &grow).await, ["12 3", "18 3", "23 1", "24 2", "6 3"]);
    // Hours are hours.
    let fixed = "SELECT count(*) FROM TUMBLE(TABLE hours, DESCRIPTOR(ts), INTERVAL '24' HOUR)
        GROUP BY window_start";
    assert_eq!(answer(&engine, fixed).await, ["1", "22", "24", "24"]);
}

#[tokio::test]
async fn tables_as_they_were() {
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t");
    let sink = |n: u32| {
        format!(
            "CREATE SINK k WITH (connector = 'delta', path = '{}');
             INSERT INTO k SELECT CAST({n} AS BIGINT) AS n; DROP SINK k;",
            path.display()
        )
    };
    let commit = |version: u32| path.join(format!("_delta_log/{version:020}.json"));
    for n in [1, 2] {
        support::run(&engine, &sink(n)).await.unwrap();
    }
    let create = format!("CREATE EXTERNAL TABLE t STORED AS DELTA LOCATION '{}'", path.display());
    support::run(&engine, &create).await.unwrap();
    let all = answer(&engine, "SELECT n FROM t").await;
    assert_eq!(all, ["1", "2"]);
    let versions = (0..9).filter(|version| commit(*version).exists()).count() as u32;
    let (last, before) = (versions - 1, versions - 2);
    for (from, want) in [
        (format!("t FOR VERSION AS OF {before}"), vec!["1"]),
        (format!("t VERSION AS OF {last} AS x WHERE x.n > 0"), vec!["1", "2"]),
        (format!("'{}' VERSION AS OF {before}", path.display()), vec!["1"]),
        ("t TIMESTAMP AS OF '2100-01-01'".to_string(), vec!["1", "2"]),
        ("t FOR SYSTEM_TIME AS OF TIMESTAMP '2100-01-01 00:00:00'".to_string(), vec!["1", "2"]),
    ] {
        let sql = format!("SELECT n FROM {from}");
        assert_eq!(answer(&engine, &sql).await, want, "{sql}");
    }
    // The newest beside an old one, the table's name as a qualifier.
    let sql = format!("SELECT t.n FROM t VERSION AS OF {before} JOIN t AS u ON t.n = u.n");
    assert_eq!(answer(&engine, &sql).await, ["1"]);
    support::run(&engine, &sink(3)).await.unwrap();
    assert_eq!(answer(&engine, "SELECT n FROM t").await.len(), 3);
    let sql = format!("SELECT n FROM t VERSION AS OF {before}");
    assert_eq!(answer(&engine, &sql).await, ["1"]);
    for (from, want) in [
        ("t VERSION AS OF 99", "t has no version 99"),
        ("t TIMESTAMP AS OF 'soon'", "a time is written '2026-01-01 12:00:00'"),
        ("t TIMESTAMP AS OF '1999-01-01'", "t was not there at 1999-01-01"),
        ("u JOIN t FOR SYSTEM_TIME AS OF u.ts + 1 ON 1", "AS OF takes a constant, such as"),
        ("(VALUES (1)) AS v JOIN plain VERSION AS OF 1 ON 1", "plain has no earlier versions"),
    ] {
        support::run(&engine, "CREATE TABLE IF NOT EXISTS plain (a INT)").await.unwrap();
        let told = error(&engine, &format!("SELECT * FROM {from}")).await;
        assert!(told.contains(want), "{told}");
    }
}
