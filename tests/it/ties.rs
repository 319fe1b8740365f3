//! Rows of equal keys: by file and row, by partition and offset; keys that are equal in other bits;
//! windows of all times.

use std::path::Path;

use tempfile::TempDir;
use thalweg::config::DeviceChoice;
use thalweg::sql::Engine;

use super::support;

/// A query whose ties are open, and one that tells the order of all rows.
const PAIRS: [(&str, &str); 20] = [
    (
        "SELECT id FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts) AS r FROM rows)
         WHERE r <= 4 ORDER BY id",
        "SELECT id FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts, id) AS r FROM
         rows) WHERE r <= 4 ORDER BY id",
    ),
    (
        "SELECT sum(r * id % 1009) FROM (SELECT id, ROW_NUMBER() OVER () AS r FROM rows)",
        "SELECT sum(r * id % 1009) FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS r FROM
         rows)",
    ),
    (
        "SELECT sum(a * id % 1009), sum(b * id % 1009), sum(c * id % 1009), sum(d), sum(e * id %
         1009) FROM (SELECT id, lag(v) OVER w AS a, lead(v, 2) OVER w AS b, ntile(7) OVER w AS c,
         rank() OVER w AS d, sum(v) OVER (PARTITION BY k ORDER BY ts DESC ROWS 2 PRECEDING) AS e
         FROM rows WHERE v > 20 WINDOW w AS (PARTITION BY k ORDER BY ts DESC))",
        "SELECT sum(a * id % 1009), sum(b * id % 1009), sum(c * id % 1009), sum(d), sum(e * id %
         1009) FROM (SELECT id, lag(v) OVER w AS a, lead(v, 2) OVER w AS b, ntile(7) OVER w AS c,
         rank() OVER (PARTITION BY k ORDER BY ts DESC) AS d, sum(v) OVER (PARTITION BY k ORDER BY
         ts DESC, id ROWS 2 PRECEDING) AS e FROM rows WHERE v > 20 WINDOW w AS (PARTITION BY k
         ORDER BY ts DESC, id))",
    ),
    (
        "SELECT sum(a * id % 1009), sum(b * id % 1009), sum(c * id % 1009) FROM (SELECT id,
         last_value(v) OVER (PARTITION BY k ORDER BY ts) AS a, first_value(v) OVER (PARTITION BY k
         ORDER BY ts) AS b, first_value(v) OVER (PARTITION BY ts) AS c FROM rows)",
        "SELECT sum(a * id % 1009), sum(b * id % 1009), sum(c * id % 1009) FROM (SELECT id,
         last_value(v) OVER (PARTITION BY k, ts ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND
         UNBOUNDED FOLLOWING) AS a, first_value(v) OVER (PARTITION BY k ORDER BY ts, id) AS b,
         first_value(v) OVER (PARTITION BY ts ORDER BY id) AS c FROM rows)",
    ),
    (
        "SELECT k, md5(array_to_string(array_agg(v ORDER BY ts), '-')), md5(string_agg(CAST(id AS
         VARCHAR), '-' ORDER BY ts DESC)) FROM rows GROUP BY k ORDER BY k",
        "SELECT k, md5(array_to_string(array_agg(v ORDER BY ts, id), '-')), md5(string_agg(CAST(id
         AS VARCHAR), '-' ORDER BY ts DESC, id)) FROM rows GROUP BY k ORDER BY k",
    ),
    (
        "SELECT k, md5(string_agg(CAST(v AS VARCHAR), '-')), md5(array_to_string(array_agg(id),
         '-')), first_value(id), last_value(id), nth_value(id, 3), any_value(id) FROM rows WHERE v
         > 5 GROUP BY k ORDER BY k",
        "SELECT k, md5(string_agg(CAST(v AS VARCHAR), '-' ORDER BY id)), md5(array_to_string(
         array_agg(id ORDER BY id), '-')), min(id), max(id), nth_value(id, 3 ORDER BY id),
         min(id) AS any FROM rows WHERE v > 5 GROUP BY k ORDER BY k",
    ),
    (
        "SELECT first_value(id), last_value(id ORDER BY k), nth_value(id, 2 ORDER BY k),
         nth_value(id, -1) FILTER (WHERE v > 900) FROM rows",
        "SELECT min(id), last_value(id ORDER BY k, id), nth_value(id, 2 ORDER BY k, id), max(id)
         FILTER (WHERE v > 900) FROM rows",
    ),
    (
        "SELECT k, array_to_string(array_agg(DISTINCT ts), ','), string_agg(DISTINCT CAST(k AS
         VARCHAR), ',') FROM rows GROUP BY k ORDER BY k",
        "SELECT k, '0,1,2,3,4,5,6,7,8,9', CAST(k AS VARCHAR) AS t FROM rows GROUP BY k ORDER BY k",
    ),
    (
        "SELECT id FROM rows ORDER BY ts DESC, k LIMIT 9",
        "SELECT id FROM rows ORDER BY ts DESC, k, id LIMIT 9",
    ),
    (
        "SELECT v FROM (SELECT id, v, ts FROM rows WHERE v % 2 = 0) ORDER BY ts OFFSET 7 LIMIT 5",
        "SELECT v FROM rows WHERE v % 2 = 0 ORDER BY ts, id OFFSET 7 LIMIT 5",
    ),
    (
        "SELECT DISTINCT ON (k, ts) k, ts, id FROM rows ORDER BY k, ts",
        "SELECT k, ts, min(id) FROM rows GROUP BY k, ts ORDER BY k, ts",
    ),
    (
        "SELECT DISTINCT ON (k) id FROM rows ORDER BY k, ts DESC",
        "SELECT first_value(id ORDER BY ts DESC, id) FROM rows GROUP BY k ORDER BY k",
    ),
    // Behind an aggregate, by its groups.
    (
        "SELECT k, ts FROM (SELECT k, ts, ROW_NUMBER() OVER (ORDER BY n - n) AS r FROM (SELECT k,
         ts, count(*) AS n FROM rows GROUP BY k, ts)) WHERE r <= 7 ORDER BY r",
        "SELECT k, ts FROM (SELECT DISTINCT k, ts FROM rows) ORDER BY k, ts LIMIT 7",
    ),
    // Beside rows of another table, by those of both.
    (
        "SELECT md5(string_agg(CAST(r.id AS VARCHAR) || n.name, '-')) FROM rows r JOIN names n ON
         r.k <= n.k WHERE r.v < 100",
        "SELECT md5(string_agg(CAST(r.id AS VARCHAR) || n.name, '-' ORDER BY r.id, n.id)) FROM rows
         r JOIN names n ON r.k <= n.k WHERE r.v < 100",
    ),
    (
        "SELECT a, b FROM (SELECT r.id AS a, l.id AS b, ROW_NUMBER() OVER (PARTITION BY r.k ORDER
         BY r.ts) AS n FROM rows r LEFT JOIN rows l ON l.id = r.id + 27 AND l.v > 300) WHERE n < 3
         ORDER BY a",
        "SELECT a, b FROM (SELECT r.id AS a, l.id AS b, ROW_NUMBER() OVER (PARTITION BY r.k ORDER
         BY r.ts, r.id) AS n FROM rows r LEFT JOIN rows l ON l.id = r.id + 27 AND l.v > 300) WHERE
         n < 3 ORDER BY a",
    ),
    (
        "SELECT k, md5(string_agg(CAST(id AS VARCHAR), '-')) FROM kept GROUP BY k ORDER BY k",
        "SELECT k, md5(string_agg(CAST(id AS VARCHAR), '-' ORDER BY id)) FROM kept GROUP BY k
         ORDER BY k",
    ),
    // Of lists as they stand there.
    (
        "SELECT md5(array_to_string(array_agg(x), '-')) FROM (SELECT unnest([v, id, k]) AS x FROM
         rows WHERE v > 700)",
        "SELECT md5(string_agg(concat_ws('-', v, id, k), '-' ORDER BY id)) FROM rows WHERE v > 700",
    ),
    (
        "SELECT array_to_string(array_agg(x), ''), first_value(x), last_value(x) FROM (SELECT
         unnest(['b', 'a', 'c', 'a']) AS x)",
        "SELECT 'baca', 'b', 'a'",
    ),
    // Of a union the first part first; of a subquery as of any other plan.
    (
        "SELECT first_value(id), last_value(id), md5(string_agg(CAST(id AS VARCHAR), '')) FROM
         (SELECT id FROM rows WHERE k = 2 UNION ALL SELECT id FROM rows WHERE k = 1)",
        "SELECT first_value(id ORDER BY k DESC, id), last_value(id ORDER BY k DESC, id),
         md5(string_agg(CAST(id AS VARCHAR), '' ORDER BY k DESC, id)) FROM rows WHERE k IN (1, 2)",
    ),
    (
        "SELECT n.name, (SELECT string_agg(CAST(r.id AS VARCHAR), '-') FROM rows r WHERE r.k = n.k
         AND r.v < 20) AS t FROM names n WHERE n.k IN (SELECT first_value(k) FROM rows UNION ALL
         SELECT last_value(k) FROM rows) ORDER BY 1",
        "SELECT n.name, (SELECT string_agg(CAST(r.id AS VARCHAR), '-' ORDER BY id) FROM rows r
         WHERE r.k = n.k AND r.v < 20) AS t FROM names n WHERE n.k IN (0, 2) ORDER BY 1",
    ),
];

/// Three files of 9000 rows, whose ids count by file and row.
async fn files(engine: &Engine, folder: &Path, format: &str) {
    let rows = folder.join(format);
    std::fs::create_dir(&rows).unwrap();
    for part in 0..3 {
        let (from, to) = (part * 9_000, part * 9_000 + 8_999);
        let sql = format!(
            "COPY (SELECT value AS id, value % 3 AS k, value / 7 % 10 AS ts, value * 7919 % 1009 AS
             v FROM generate_series({from}, {to}) ORDER BY value) TO '{}'",
            rows.join(format!("{part}.{format}")).display()
        );
        support::run(engine, &sql).await.unwrap();
    }
    let sql = format!(
        "CREATE EXTERNAL TABLE rows STORED AS {format} LOCATION '{}';
         CREATE TABLE names AS SELECT column1 AS id, column2 AS k, column3 AS name
         FROM (VALUES (0, 1, 'one'), (1, 2, 'two'), (2, 0, 'none'));
         CREATE TABLE kept AS SELECT id, k FROM rows WHERE v % 3 > 0",
        rows.display()
    );
    support::run(engine, &sql).await.unwrap();
}

#[tokio::test]
async fn rows_of_equal_keys_come_by_file_and_row() {
    for (device, format) in [(DeviceChoice::Cpu, "parquet"), (DeviceChoice::Gpu, "csv")] {
        let Some(engine) = support::engine_on(device) else { return };
        let folder = TempDir::new().unwrap();
        files(&engine, folder.path(), format).await;
        for threads in [1, 4] {
            let set = format!("SET datafusion.execution.target_partitions = {threads}");
            support::run(&engine, &set).await.unwrap();
            for (open, told) in PAIRS {
                let want = support::rows(&engine, told).await.rows;
                assert!(!want.is_empty(), "{told}");
                let got = support::rows(&engine, open).await.rows;
                assert_eq!(got, want, "device = {device}, {format}, {threads} threads, {open}");
            }
        }
    }
}

/// -0.0 is 0.0, and all NaN are one, wherever keys are compared.
#[tokio::test]
async fn equal_floats_are_one_key() {
    let rows = "(VALUES (TIMESTAMP '2026-01-01 00:00:01', -0.0, 1),
        (TIMESTAMP '2026-01-01 00:00:02', 0.0, 2), (TIMESTAMP '2026-01-01 00:00:03', -0.0, 4),
        (TIMESTAMP '2026-01-01 00:00:04', CAST('NaN' AS DOUBLE), 8),
        (TIMESTAMP '2026-01-01 00:00:05', -CAST('NaN' AS DOUBLE), 16)) AS t (ts, f, v)";
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let Some(engine) = support::engine_on(device) else { return };
        let table = format!("CREATE TABLE t AS SELECT ts, f, v FROM {rows}");
        support::run(&engine, &table).await.unwrap();
        for (sql, want) in [
            (
                "SELECT sum(v) AS s FROM TABLE(SESSION(TABLE t PARTITION BY f, DESCRIPTOR(ts),
                 INTERVAL '9' SECOND)) GROUP BY window_start ORDER BY s",
                vec!["7", "24"],
            ),
            (
                "SELECT sum(v) OVER (PARTITION BY f) FROM t ORDER BY v",
                vec!["7", "7", "7", "24", "24"],
            ),
            ("SELECT rank() OVER (ORDER BY f) FROM t ORDER BY v", vec!["1", "1", "1", "4", "4"]),
            ("SELECT v FROM t ORDER BY f, v DESC", vec!["4", "2", "1", "16", "8"]),
            ("SELECT v FROM t ORDER BY f LIMIT 2", vec!["1", "2"]),
            (
                "SELECT string_agg(CAST(v AS VARCHAR), '-' ORDER BY f, ts) FROM t",
                vec!["1-2-4-8-16"],
            ),
            (
                "SELECT r.v FROM t l ASOF JOIN t r MATCH_CONDITION (l.ts > r.ts) ON l.f = r.f
                 ORDER BY l.v",
                vec!["NULL", "1", "2", "NULL", "8"],
            ),
            (
                "SELECT sum(v) OVER (PARTITION BY named_struct('f', f)) FROM t ORDER BY v",
                vec!["7", "7", "7", "24", "24"],
            ),
        ] {
            let rows = support::rows(&engine, sql).await.rows.concat();
            assert_eq!(rows, want, "device = {device}, {sql}");
        }
    }
}

const FAR: [&str; 4] = [
    "1600-02-29T12:00:05.000001",
    "1969-12-31T23:59:59.999999",
    "2263-01-01T00:00:00",
    "9999-12-31T23:59:59.999999",
];

/// Windows go by the ticks of their times, whatever the century.
#[tokio::test]
async fn windows_of_all_times() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let Some(engine) = support::engine_on(device) else { return };
        let values: Vec<String> = FAR.iter().map(|time| format!("('{time}')")).collect();
        let table = format!(
            "CREATE TABLE far AS SELECT arrow_cast(column1, 'Timestamp(Microsecond, None)') AS ts
             FROM (VALUES {})",
            values.join(", ")
        );
        support::run(&engine, &table).await.unwrap();
        let lines = async |sql: &str| -> Vec<String> {
            let rows = support::rows(&engine, sql).await.rows;
            rows.into_iter().map(|row| row.join(" ")).collect()
        };
        let tumble = "SELECT window_start, window_end FROM TABLE(TUMBLE(TABLE far, DESCRIPTOR(ts),
            INTERVAL '10' SECOND)) ORDER BY 1";
        let want = [
            "1600-02-29T12:00:00 1600-02-29T12:00:10",
            "1969-12-31T23:59:50 1970-01-01T00:00:00",
            "2263-01-01T00:00:00 2263-01-01T00:00:10",
            "9999-12-31T23:59:50 +10000-01-01T00:00:00",
        ];
        assert_eq!(lines(tumble).await, want, "device = {device}");
        let bins = "SELECT date_bin(INTERVAL '7 days', ts, TIMESTAMP '2020-01-01') AS b, count(*)
            FROM far GROUP BY b ORDER BY b";
        let want = [
            "1600-02-23T00:00:00 1",
            "1969-12-31T00:00:00 1",
            "2262-12-31T00:00:00 1",
            "9999-12-29T00:00:00 1",
        ];
        assert_eq!(lines(bins).await, want, "device = {device}");
        let counts = [
            ("HOP(TABLE far, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '20' SECOND)", 8),
            ("CUMULATE(TABLE far, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '20' SECOND)", 6),
            ("TUMBLE(TABLE far, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '3' SECOND)", 4),
        ];
        for (call, count) in counts {
            let sql = format!(
                "SELECT count(*), count(CASE WHEN ts >= window_start AND ts < window_end THEN 1
                 END) FROM TABLE({call})"
            );
            assert_eq!(lines(&sql).await, [format!("{count} {count}")], "{device}, {call}");
        }
        let zoned = "SELECT count(*) FROM TABLE(TUMBLE((SELECT arrow_cast(ts,
            'Timestamp(Microsecond, Some(\"Europe/Berlin\"))') AS t FROM far), DESCRIPTOR(t),
            INTERVAL '1' DAY)) WHERE t >= window_start AND t < window_end";
        assert_eq!(lines(zoned).await, ["4"], "device = {device}");
        // A window that no time can end is told with the time.
        let last = "SELECT window_end FROM TABLE(TUMBLE((SELECT arrow_cast(9223372036854775807,
            'Timestamp(Microsecond, None)') AS ts FROM far), DESCRIPTOR(ts), INTERVAL '1' DAY))";
        let error = support::run(&engine, last).await.err().expect("an error").to_string();
        assert!(error.to_lowercase().contains("overflow"), "device = {device}: {error}");
    }
}
