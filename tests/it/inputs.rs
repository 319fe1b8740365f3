//! Inputs that are deeper, longer or farther off than what looks at them has room for: an error in
//! words, and a process that goes on. By the real binary, whose stacks are its own.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use thalweg::config::DeviceChoice;

use super::support;

/// Exit code, stdout, stderr of the binary.
fn thalweg(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    let output = command.current_dir(folder).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The same of a script.
fn script(folder: &Path, text: &str) -> (Option<i32>, String, String) {
    std::fs::write(folder.join("q.sql"), text).unwrap();
    thalweg(folder, &["sql", "--device", "cpu", "--format", "csv", "-f", "q.sql"])
}

#[test]
fn statements_that_are_too_deep_are_told_with_their_place() {
    let folder = TempDir::new().unwrap();
    let chain = |piece: &str| format!("SELECT\n1{}", piece.repeat(4200));
    let nested = format!("SELECT\n{}1{}", "(".repeat(4200), ")".repeat(4200));
    let types =
        format!("SELECT\narrow_cast(1, '{}Int8{}')", "List(".repeat(4200), ")".repeat(4200));
    let chains = [" + 1", " AND true", " || 'a'", "::INT", " IS NULL", "[1]", " = 1"].map(chain);
    for text in chains.iter().chain([&nested, &types]) {
        let (code, _, told) = script(folder.path(), text);
        assert_eq!(code, Some(1), "{}: {told}", &text[..20]);
        assert!(told.contains("line 2, column "), "{told}");
        assert!(told.contains("the statement is nested too deeply"), "{told}");
    }
    // A pipeline plans on the same stack.
    std::fs::write(folder.path().join("p.sql"), &chains[0]).unwrap();
    let (code, _, told) = thalweg(folder.path(), &["run", "p.sql"]);
    assert!(code == Some(1) && told.contains("nested too deeply"), "{told}");
}

#[test]
fn statements_that_are_long_are_answered() {
    let folder = TempDir::new().unwrap();
    let terms = (0..900).fold(String::new(), |mut text, n| {
        write!(text, " OR a = {n} + 1").unwrap();
        text
    });
    let text = format!("SELECT a FROM (VALUES (7), (70000)) AS t(a) WHERE a = 0{terms}");
    let (code, rows, told) = script(folder.path(), &text);
    assert_eq!((code, rows.as_str()), (Some(0), "a\n7\n"), "{told}");
    let unions: Vec<String> = (0..700).map(|n| format!("SELECT {n} AS n")).collect();
    let text = format!("SELECT sum(n) AS s FROM ({})", unions.join(" UNION ALL "));
    let (code, rows, told) = script(folder.path(), &text);
    assert_eq!((code, rows.as_str()), (Some(0), "s\n244650\n"), "{told}");
}

#[test]
fn text_beyond_what_arrow_holds_is_an_error_of_the_data() {
    let folder = TempDir::new().unwrap();
    let text = "SELECT length(string_agg(repeat('x', 1000000), '')) FROM generate_series(1, 2500)";
    let (code, _, told) = script(folder.path(), text);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("longer than 2 GiB"), "{told}");
    assert!(!told.contains("panicked") && !told.contains("bug"), "{told}");
}

/// Commits that are damaged or missing, and what must be told of them.
#[tokio::test]
async fn damaged_delta_tables_are_told_in_one_line() {
    let folder = TempDir::new().unwrap();
    let table = folder.path().join("t");
    let location = table.display();
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    let make = format!(
        "CREATE TABLE s AS SELECT 1 AS a;
         CREATE SINK o WITH (connector = 'delta', path = '{location}');
         INSERT INTO o SELECT a FROM s"
    );
    support::run(&engine, &make).await.unwrap();
    let log = table.join("_delta_log");
    let first = log.join("00000000000000000000.json");
    let whole = std::fs::read(&first).unwrap();
    let asked = [
        format!("SELECT * FROM '{location}'"),
        format!("CREATE EXTERNAL TABLE d STORED AS DELTA LOCATION '{location}'; SELECT * FROM d"),
    ];
    let told = async || {
        let mut told = Vec::new();
        for sql in &asked {
            let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
            told.push(support::run(&engine, sql).await.err().unwrap().to_string());
        }
        told
    };
    for (damage, want) in
        [(b"garbage{".as_slice(), "Json error"), (&whole[..whole.len() / 2], "Json error")]
    {
        std::fs::write(&first, damage).unwrap();
        for text in told().await {
            assert!(text.contains(want) && !text.contains('\n'), "{text}");
            assert!(text.contains(&format!("the Delta table '{location}'")), "{text}");
        }
    }
    std::fs::write(&first, &whole).unwrap();
    std::fs::write(log.join("_last_checkpoint"), "{\"version\":1,\"size\":3}").unwrap();
    for text in told().await {
        assert!(text.contains("names a checkpoint that is not there"), "{text}");
    }
}

/// Times at the ends of 64 bits, through every operator that adds to them.
#[tokio::test]
async fn times_beyond_the_calendar_are_malformed_rows() {
    const QUERIES: [&str; 6] = [
        "SELECT window_start, count(*) FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts),
            INTERVAL '10' SECOND)) GROUP BY 1",
        "SELECT window_start, count(*) FROM TABLE(HOP(TABLE s, DESCRIPTOR(ts),
            INTERVAL '5' SECOND, INTERVAL '10' SECOND)) GROUP BY 1",
        "SELECT window_start, count(*) FROM TABLE(SESSION(TABLE s PARTITION BY k, DESCRIPTOR(ts),
            INTERVAL '10' SECOND)) GROUP BY 1, k",
        "SELECT a.n, b.n FROM s a JOIN s b ON a.k = b.k AND b.ts BETWEEN
            a.ts - INTERVAL '10' SECOND AND a.ts + INTERVAL '10' SECOND",
        "SELECT a.n, b.n FROM s a ASOF JOIN s b MATCH_CONDITION (a.ts >= b.ts) ON a.k = b.k",
        "SELECT n, ts FROM s",
    ];
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.parquet");
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    let ends = [i64::MAX, i64::MAX - 1, i64::MAX - 9_999_999, i64::MIN + 1, i64::MIN + 10_000_000];
    let rows = ends.iter().chain(&[0, 1_000_000]).enumerate();
    let rows: Vec<String> = rows.map(|(n, time)| format!("(1, {n}, {time})")).collect();
    let copy = format!(
        "COPY (SELECT column1 AS k, column2 AS n,
           arrow_cast(column3, 'Timestamp(Microsecond, None)') AS ts
         FROM (VALUES {}) ORDER BY n) TO '{}'",
        rows.join(", "),
        file.display()
    );
    support::run(&engine, &copy).await.unwrap();
    for query in QUERIES {
        let state = TempDir::new().unwrap();
        let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
        let engine = engine.with_state(Some(state.path().to_path_buf()));
        let text = format!(
            "CREATE STREAM s (k BIGINT, n BIGINT, ts TIMESTAMP,
               WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
             WITH (connector = 'file', path = '{}', on_error = 'skip'); {query}",
            file.display()
        );
        let answer = support::run(&engine, &text).await;
        let rows = answer.unwrap_or_else(|error| panic!("{query}: {error}")).unwrap().rows;
        assert!(!rows.is_empty(), "{query}");
        let kept = std::fs::read_to_string(state.path().join("s.rejected.jsonl")).unwrap();
        assert_eq!(kept.lines().count(), ends.len(), "{query}: {kept}");
        assert!(kept.contains("is no time"), "{kept}");
    }
}
