//! Of the SQL section. Right answers are in `tests/slt/planned.slt`; here stands what DataFusion
//! answers, and what takes files or streams.

use super::{refuses, stock};

/// What DataFusion answers without what is mended here: the part of its answer that is wrong.
#[tokio::test]
async fn datafusion_still_answers_otherwise() {
    let tables = [
        "CREATE TABLE a (k INT, x INT) AS VALUES (1, 10)",
        "CREATE TABLE b (k INT, y INT) AS VALUES (4, 40)",
        "CREATE TABLE bag (v INT) AS VALUES (1), (1), (1)",
        "CREATE TABLE t (d INT, v INT) AS VALUES (0, 7), (2, 7), (5, 6), (1, 9)",
        "CREATE TABLE f (x DOUBLE) AS VALUES (0.0), (-0.0)",
    ];
    let wrong = [
        ("SELECT coalesce(k, -1) AS n FROM a FULL JOIN b USING (k) WHERE x IS NULL", "| -1"),
        ("SELECT count(*) AS n FROM (SELECT * FROM bag EXCEPT ALL SELECT 1)", "| 0 "),
        ("SELECT true IS DISTINCT FROM true AND false AS n", "| true"),
        ("SELECT count(*) AS n FROM t WHERE d <> 0 AND v / d > 1", "ivide by zero"),
        (
            "SELECT count(*) AS n FROM t WHERE CASE WHEN d = 0 THEN false ELSE v / d > 1 END",
            "ivide by zero",
        ),
        ("SELECT count(DISTINCT x) AS n, count(*) FROM f", "| 2 | 2 "),
        ("SELECT 'a%' LIKE 'a!%' ESCAPE '!' AS n", "escape_char"),
        ("SELECT sum(v) AS m, sum(CAST(v AS DOUBLE)) AS n FROM t", "duplicate"),
        ("SELECT v, CAST(v AS DOUBLE) FROM t", "unique expression names"),
    ];
    for (query, part) in wrong {
        let mut statements = tables.to_vec();
        statements.push(query);
        let answer = stock(&statements).await.unwrap_or_else(|error| error);
        assert!(answer.contains(part), "DataFusion has mended: {query}\n{answer}");
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    refuses(&["SELECT 'a' LIKE 'a!' ESCAPE '!'"], &["expected a sign behind the last '!'"]).await;
}
