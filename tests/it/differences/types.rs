//! Dates, intervals, time zones, decimals. What we answer in full stands in `tests/slt`
//! (`intervals`, `zones`, `times_of_day`, `decimals`); here, that stock DataFusion does not.

use super::{answers, refuses, stock};

/// One value that we answer, on both sides, and that stock DataFusion does not.
async fn ours(sql: &[&str], expected: &str) {
    answers(sql, &[&[expected]]).await;
    if let Ok(theirs) = stock(sql).await {
        let cell = format!("| {expected} ");
        assert!(!theirs.contains(&cell), "DataFusion has mended {sql:?}: {theirs}");
    }
}

/// An instant of a column in Berlin.
const BERLIN: &str = "CREATE TABLE t AS SELECT arrow_cast(arrow_cast('2024-03-30T23:30:00Z', \
                      'Timestamp(Second, Some(\"UTC\"))'), 'Timestamp(Second, \
                      Some(\"Europe/Berlin\"))') AS at";

#[tokio::test]
async fn dates_and_intervals() {
    for (sql, expected) in [
        ("SELECT DATE '2024-01-31' + INTERVAL '6 hours'", "2024-01-31T06:00:00"),
        ("SELECT DATE '2024-01-31' - INTERVAL '1 second' < DATE '2024-01-31'", "true"),
        ("SELECT INTERVAL '25 hours' > INTERVAL '1 day'", "true"),
        ("SELECT max(v) FROM (VALUES (INTERVAL '3 days'), (INTERVAL '80 hours')) t(v)", "80 hours"),
        (
            "SELECT TIMESTAMP '2024-01-09T00:00:00' - TIMESTAMP '2024-01-01T00:00:00' > \
             INTERVAL '2 days'",
            "true",
        ),
        (
            "SELECT count(DISTINCT v) FROM (VALUES (INTERVAL '1 day'), (INTERVAL '24 hours')) t(v)",
            "1",
        ),
    ] {
        ours(&[sql], expected).await;
    }
}

#[tokio::test]
async fn zones_and_clock_changes() {
    for (sql, expected) in [
        ("SELECT count(*) FROM t WHERE at <= TIMESTAMPTZ '2024-03-31T00:30:00+01:00'", "1"),
        ("SELECT count(*) FROM t WHERE at >= DATE '2024-03-31'", "1"),
        ("SELECT CAST(at AS TIMESTAMP) FROM t", "2024-03-31T00:30:00"),
        (
            "SELECT TIMESTAMP '2024-10-27T02:30:00' AT TIME ZONE 'Europe/Berlin'",
            "2024-10-27T02:30:00+01:00",
        ),
        (
            "SELECT TIMESTAMP '2024-03-31T02:30:00' AT TIME ZONE 'Europe/Berlin'",
            "2024-03-31T03:30:00+02:00",
        ),
        (
            "SELECT TIMESTAMP '2024-10-26T02:30:00' AT TIME ZONE 'Europe/Berlin' + \
             INTERVAL '1 day'",
            "2024-10-27T02:30:00+01:00",
        ),
        (
            "SELECT far > near FROM (SELECT TIMESTAMP '2024-01-01T00:00:00' AS near, \
             arrow_cast('9999-12-31T00:00:00', 'Timestamp(Microsecond, None)') AS far)",
            "true",
        ),
        ("SELECT arrow_cast(CAST('09:00:00' AS TIME), 'Time32(Second)') < TIME '12:00:00'", "true"),
    ] {
        ours(&[BERLIN, sql], expected).await;
    }
}

#[tokio::test]
async fn decimals() {
    const WIDE: &str = "CREATE TABLE w AS SELECT value AS i, \
                        CAST('99999999999999999999999999999999999999' AS DECIMAL(38, 0)) AS w \
                        FROM generate_series(1, 2)";
    for sql in [
        "SELECT w + 1 FROM w",
        "SELECT -w - 1 FROM w",
        "SELECT sum(w) FROM w",
        "SELECT i % 1, sum(w) FROM w GROUP BY 1",
        "SELECT sum(w) OVER (ORDER BY i) FROM w",
    ] {
        refuses(&[WIDE, sql], &["decimal overflow"]).await;
        assert!(stock(&[WIDE, sql]).await.is_ok(), "DataFusion has mended {sql}");
    }
    for (sql, expected) in [
        ("SELECT CAST(-2 AS DECIMAL(10, 2)) / 3", "-0.666667"),
        ("SELECT avg(CAST(v AS DECIMAL(10, 2))) FROM (VALUES (1), (0), (1)) t(v)", "0.666667"),
        ("SELECT CAST(1e-20 AS DOUBLE) > CAST(0 AS DECIMAL(10, 2))", "true"),
    ] {
        ours(&[sql], expected).await;
    }
}

#[tokio::test]
async fn largest_of_a_group_with_nan() {
    let values = "(VALUES (0, 'NaN'::double), (0, 0.75)) t(g, x)";
    ours(&[&format!("SELECT max(x) FROM {values} GROUP BY g")], "NaN").await;
}
