//! Damaged input: SQL text, CSV, JSON, Parquet and Arrow files and the bodies of requests, each a
//! sample with bytes, words and runs of it changed at random. Whatever comes, it is an answer or an
//! error that is not ours and, of a file, names it: no panic, no bug, no hanging, and a server that
//! goes on.
//!
//! `THALWEG_FUZZ_SEED=17 THALWEG_FUZZ_RUNS=1` repeats input 17 of each target.

use std::time::Duration;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use thalweg::config::DeviceChoice;
use thalweg::error::Error;
use thalweg::sql::Engine;

use super::received::{Listening, arrow_stream};
use super::support::{self, number};

/// Inputs of each target in CI; `scripts/full` asks for more.
const RUNS: u64 = 300;

/// Longer than any of the inputs takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const SQL: [&str; 14] = [
    "SELECT a, count(*) FILTER (WHERE b > 1) FROM t GROUP BY a HAVING count(*) > 1 LIMIT 3",
    "SELECT * FROM t x FULL JOIN t y USING (a) WHERE x.b IS DISTINCT FROM y.b AND x.a <> 2",
    "SELECT a FROM t EXCEPT ALL SELECT b FROM t INTERSECT ALL SELECT 1",
    "SELECT CASE WHEN a = 0 THEN 1.5 ELSE b / a END, c LIKE '%!%' ESCAPE '!' FROM t",
    "SELECT row_number() OVER (PARTITION BY a ORDER BY b ROWS 2 PRECEDING) FROM t",
    "SELECT DATE '2024-01-31' + INTERVAL '1 month 2 hours', TIMESTAMPTZ '2024-01-01T00:00:00Z'",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r",
    "SELECT * FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND))",
    "CREATE STREAM s (a BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) \
     WITH (connector = 'file', path = 'in', format = 'csv', store = 'lake')",
    "CREATE SINK k WITH (connector = 'delta', path = 'out')",
    "INSERT INTO k SELECT window_start, count(*) FROM t GROUP BY window_start EMIT ON UPDATE",
    "SELECT o.a FROM t o ASOF JOIN t p MATCH_CONDITION (o.ts >= p.ts) ON o.a = p.a",
    "SELECT a FROM t FOR SYSTEM_TIME AS OF TIMESTAMP '2024-01-01' WHERE c IN ('x', 'é', NULL)",
    "PREPARE p(INT) AS SELECT $1 + a FROM t; EXECUTE p(1); DEALLOCATE p; SHOW TABLES",
];

const CSV: [&str; 3] = [
    "n,ts,s,d\n1,2026-01-01T00:00:01,x,1.25\n2,2026-01-01 00:00:02.5,\"a \"\"b\"\"\nc\",-3\n,,,\n",
    "\u{feff}n;ts;s;d\r\n1;2026-01-01;'x';0.5\r\n",
    "n,ts,s,d\n9223372036854775807,9999-12-31T23:59:59.999999,é,99999999.99\n",
];

const JSON: [&str; 3] = [
    "{\"n\":1,\"ts\":\"2026-01-01T00:00:01\",\"s\":\"x\\u00e9\\n\",\"d\":1.25}\n{\"N\":2e0}\n",
    "[{\"n\":1,\n\"s\":null},{\"d\":-1.5E-2,\"more\":{\"a\":[1,[2,{}]]}}]",
    "\u{feff}{\"n\":9223372036854775807}{\"n\":18446744073709551615}",
];

/// What damage is made of.
const WORDS: [&str; 30] = [
    "\"",
    "'",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    ":",
    "\\",
    "\0",
    "\n",
    "\r\n",
    "--",
    "/*",
    "NULL",
    "NaN",
    "-0.0",
    "1e999",
    "99999999999999999999",
    "é",
    "\u{feff}",
    "SELECT",
    "FROM",
    "AS",
    "UNION ALL",
    "true",
    "\\ud800",
];

/// The seeds of the inputs to try.
fn seeds() -> impl Iterator<Item = u64> {
    let first = number("THALWEG_FUZZ_SEED", 1);
    first..first + number("THALWEG_FUZZ_RUNS", RUNS)
}

/// A sample with one to six changes.
fn damaged(random: &mut impl Rng, samples: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = samples.choose(random).unwrap().clone();
    for _ in 0..random.random_range(1..=6) {
        let at = random.random_range(0..=bytes.len());
        let to = (at + random.random_range(0..20)).min(bytes.len());
        match random.random_range(0..6) {
            0 => drop(bytes.drain(at..to)),
            1 => {
                let word = WORDS.choose(random).unwrap();
                bytes.splice(at..at, word.bytes());
            }
            2 => {
                let run = bytes[at..to].to_vec();
                bytes.splice(at..at, run.repeat(random.random_range(1..4)));
            }
            3 if at < bytes.len() => bytes[at] = random.random_range(0..=255),
            4 => bytes.truncate(at),
            _ => {
                let other = samples.choose(random).unwrap();
                let from = random.random_range(0..=other.len());
                bytes.splice(at.., other[from..].iter().copied());
            }
        }
    }
    bytes
}

fn bytes_of(samples: &[&str]) -> Vec<Vec<u8>> {
    samples.iter().map(|sample| sample.as_bytes().to_vec()).collect()
}

/// Errors that nobody but us is to blame for.
fn check(input: &[u8], seed: u64, error: &Error) {
    let text = error.to_string();
    let ours = ["bug in thalweg", "panicked", "Internal error", "internal error"];
    let ours = ours.iter().any(|words| text.contains(words));
    assert!(!ours, "THALWEG_FUZZ_SEED={seed}: {text}\nof {:?}", String::from_utf8_lossy(input));
}

async fn within<T>(input: &[u8], seed: u64, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, work).await;
    let shown = String::from_utf8_lossy(input);
    done.unwrap_or_else(|_| panic!("THALWEG_FUZZ_SEED={seed}: no end of {shown:?}"))
}

fn engine() -> Engine {
    support::engine_on(DeviceChoice::Cpu).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_text() {
    let samples = bytes_of(&SQL);
    let engine = engine();
    let table = "CREATE TABLE t (a BIGINT, b INT, c VARCHAR, ts TIMESTAMP)";
    support::run(&engine, table).await.unwrap();
    for seed in seeds() {
        let input = damaged(&mut ChaCha8Rng::seed_from_u64(seed), &samples);
        let text = String::from_utf8_lossy(&input).into_owned();
        if let Err(error) = engine.parse(&text) {
            check(&input, seed, &error);
            continue;
        }
        // It is planned, and not run: what it asks for may take for ever.
        let explained = format!("EXPLAIN {text}");
        if let Err(error) = within(&input, seed, support::run(&engine, &explained)).await {
            check(&input, seed, &error);
        }
    }
}

/// Reads each input as a stream, malformed rows left aside, and as a file.
async fn read(samples: &[Vec<u8>], format: &str) {
    let folder = TempDir::new().unwrap();
    for seed in seeds() {
        let input = damaged(&mut ChaCha8Rng::seed_from_u64(seed), samples);
        let path = folder.path().join(format!("{seed}.{format}"));
        std::fs::write(&path, &input).unwrap();
        let engine = engine().with_state(Some(folder.path().join("state")));
        let path = path.display();
        let stream = format!(
            "CREATE STREAM s (n BIGINT, ts TIMESTAMP, s VARCHAR, d DECIMAL(10, 2)) WITH
             (connector = 'file', path = '{path}', format = '{format}', on_error = 'skip');
             SELECT count(*), sum(n), max(ts), min(s), sum(d) FROM s"
        );
        let file = format!("SELECT * FROM '{path}'");
        for sql in [stream, file] {
            if let Err(error) = within(&input, seed, support::run(&engine, &sql)).await {
                check(&input, seed, &error);
                let named = error.to_string().contains(&format!("{seed}.{format}"));
                assert!(named, "THALWEG_FUZZ_SEED={seed}: {sql}: {error}\nof {input:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn csv() {
    read(&bytes_of(&CSV), "csv").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json() {
    read(&bytes_of(&JSON), "json").await;
}

/// Files of columns with damaged bytes, read as they are and as a stream.
async fn read_columns(format: &str, streamed: bool) {
    let folder = TempDir::new().unwrap();
    let engine = engine();
    let sample = folder.path().join(format!("sample.{format}"));
    let rows = "SELECT v AS n, CAST(v AS VARCHAR) || 'é' AS s, nullif(v % 3, 0) AS d, [v, 2] AS l,
                  to_timestamp(v) AS ts, {'a': v, 'b': 'x'} AS t,
                  arrow_cast(CAST(v % 5 AS VARCHAR), 'Dictionary(Int8, Utf8)') AS c
                FROM generate_series(1, 50) AS t(v)";
    let copy = format!("COPY ({rows}) TO '{}'", sample.display());
    support::run(&engine, &copy).await.unwrap();
    let bytes = std::fs::read(&sample).unwrap();
    for seed in seeds() {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let input = flipped(&mut random, &bytes);
        let path = folder.path().join(format!("{seed}.{format}"));
        std::fs::write(&path, &input).unwrap();
        let path = path.display();
        let mut asked = vec![format!("SELECT * FROM '{path}'")];
        if streamed {
            asked.push(format!(
                "CREATE STREAM s{seed} (n BIGINT, ts TIMESTAMP, s VARCHAR, d BIGINT) WITH
                 (connector = 'file', path = '{path}', format = '{format}', missing = 'null');
                 SELECT count(*), sum(n), max(ts), min(s) FROM s{seed}"
            ));
        }
        for sql in asked {
            if let Err(error) = within(&input, seed, support::run(&engine, &sql)).await {
                check(&input, seed, &error);
                let named = error.to_string().contains(&format!("{seed}.{format}"));
                assert!(named, "THALWEG_FUZZ_SEED={seed}: {sql}: {error}");
            }
        }
    }
}

/// A sample with one to three other bytes, or cut off.
fn flipped(random: &mut impl Rng, sample: &[u8]) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..random.random_range(1..=3) {
        let at = random.random_range(0..bytes.len());
        bytes[at] = random.random_range(0..=255);
    }
    if random.random_range(0..20) == 0 {
        bytes.truncate(random.random_range(1..bytes.len()));
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parquet() {
    read_columns("parquet", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrow() {
    read_columns("arrow", false).await;
}

/// Bodies of requests, in one pipeline that is there to the end.
#[test]
fn http() {
    const TYPES: [&str; 5] = [
        "application/json",
        "application/x-ndjson",
        "text/csv",
        "application/vnd.apache.arrow.stream",
        "text/csv; charset=utf-16",
    ];
    let folder = TempDir::new().unwrap();
    let pipeline = Listening::start(folder.path(), ", max_body = 100000");
    let mut samples = bytes_of(&CSV);
    samples.extend(bytes_of(&JSON));
    samples.push(arrow_stream());
    for seed in seeds() {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let content_type = TYPES.choose(&mut random).unwrap();
        let body = damaged(&mut random, &samples);
        let (status, told) = pipeline.ask("POST", content_type, &body);
        let answered = [200, 400, 413, 415].contains(&status) && !told.contains("panicked");
        let shown = String::from_utf8_lossy(&body);
        assert!(answered, "THALWEG_FUZZ_SEED={seed}: {status} {told}\nof {content_type} {shown:?}");
    }
    assert_eq!(pipeline.ask("GET", "text/plain", b"").0, 200);
}
