//! The command line by its real binary: what goes to stdout, to stderr, into files, and the exit
//! code. All but the tests of devices run with `--device cpu`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Files as tables.
mod files;

/// Runs the binary in a folder.
pub(crate) fn thalweg(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

/// Exit code, stdout, stderr of `thalweg sql --device cpu --format csv -c sql`.
fn sql(folder: &Path, sql: &str) -> (i32, String, String) {
    let output = thalweg(folder, &["sql", "--device", "cpu", "--format", "csv", "-c", sql]);
    told(&output)
}

pub(crate) fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// The rows of a query that must succeed and say nothing on stderr.
#[track_caller]
pub(crate) fn rows(folder: &Path, text: &str) -> String {
    let (code, out, err) = sql(folder, text);
    assert_eq!((code, err.as_str()), (0, ""), "{text}\n{out}");
    out
}

/// The message of a statement that must fail: exit 1, nothing printed, one clear error.
#[track_caller]
pub(crate) fn error(folder: &Path, text: &str) -> String {
    let (code, out, err) = sql(folder, text);
    assert_eq!((code, out.as_str()), (1, ""), "{text}\n{err}");
    assert!(err.starts_with("error: "), "{err}");
    for noise in ["DataFusion error", "panicked", "RUST_BACKTRACE", "External error", "caused by"] {
        assert!(!err.contains(noise), "{err}");
    }
    err
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

pub(crate) fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

const VALUES: &str = "SELECT 1 AS i, CAST(NULL AS INT) AS n, 'a \"q\", b' AS s, \
                      TIMESTAMP '2026-01-01 00:00:00.123' AS t, 1.50 AS f, [1, 2] AS l";

#[test]
fn csv_has_a_header_quotes_and_empty_nulls() {
    let folder = folder();
    let out = rows(folder.path(), VALUES);
    assert_eq!(out, "i,n,s,t,f,l\n1,,\"a \"\"q\"\", b\",2026-01-01T00:00:00.123,1.5,\"[1, 2]\"\n");
}

#[test]
fn json_is_an_object_per_line_with_all_columns() {
    let folder = folder();
    let output =
        thalweg(folder.path(), &["sql", "--device", "cpu", "--format", "json", "-c", VALUES]);
    let (code, out, _) = told(&output);
    assert_eq!(code, 0);
    assert_eq!(
        out,
        "{\"i\":1,\"n\":null,\"s\":\"a \\\"q\\\", b\",\"t\":\"2026-01-01T00:00:00.123\",\
         \"f\":1.5,\"l\":[1,2]}\n"
    );
}

#[test]
fn a_table_is_drawn_and_shows_null() {
    let folder = folder();
    let output = thalweg(
        folder.path(),
        &["sql", "--device", "cpu", "-c", "SELECT 1 AS a, CAST(NULL AS INT) AS bcd"],
    );
    let (code, out, _) = told(&output);
    let drawn = "+---+------+\n| a | bcd  |\n+---+------+\n| 1 | NULL |\n+---+------+\n";
    assert_eq!((code, out.as_str()), (0, drawn));
}

#[test]
fn a_long_table_keeps_every_row() {
    let folder = folder();
    let query = "SELECT value FROM generate_series(1, 25000)";
    let output = thalweg(folder.path(), &["sql", "--device", "cpu", "-c", query]);
    let (_, out, _) = told(&output);
    let numbers: Vec<u32> =
        out.lines().filter_map(|line| line.trim_matches(['|', ' ']).parse().ok()).collect();
    assert_eq!(numbers.len(), 25_000);
    assert_eq!(numbers.iter().copied().max(), Some(25_000));
}

#[test]
fn parquet_and_arrow_go_to_files_and_pipes_and_come_back() {
    let folder = folder();
    let query = "SELECT value AS v, 'row ' || value AS s FROM generate_series(1, 3)";
    for (format, file) in [("parquet", "r.parquet"), ("arrow", "r.arrow")] {
        let arguments = ["sql", "--device", "cpu", "--format", format, "-c", query];
        let to_file = thalweg(folder.path(), &[&arguments[..], &["-o", file]].concat());
        assert_eq!(told(&to_file), (0, String::new(), String::new()));
        let read = rows(folder.path(), &format!("SELECT * FROM '{file}' ORDER BY v"));
        assert_eq!(read, "v,s\n1,row 1\n2,row 2\n3,row 3\n");
        let piped = thalweg(folder.path(), &arguments);
        assert_eq!(piped.status.code(), Some(0));
        write(folder.path(), &format!("piped.{format}"), &piped.stdout);
        let read = rows(folder.path(), &format!("SELECT sum(v) AS s FROM 'piped.{format}'"));
        assert_eq!(read, "s\n6\n");
    }
}

#[test]
fn an_output_file_appears_only_when_all_went_well() {
    let folder = folder();
    write(folder.path(), "r.csv", "old\n");
    let script = "SELECT 1 AS a; SELECT nope";
    let failed = ["sql", "--device", "cpu", "--format", "csv", "-o", "r.csv", "-c", script];
    assert_eq!(thalweg(folder.path(), &failed).status.code(), Some(1));
    let entries: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(std::fs::read_to_string(folder.path().join("r.csv")).unwrap(), "old\n");
    let fine = ["sql", "--device", "cpu", "--format", "csv", "-o", "r.csv", "-c", "SELECT 1 AS a"];
    assert_eq!(thalweg(folder.path(), &fine).status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(folder.path().join("r.csv")).unwrap(), "a\n1\n");
}

#[test]
fn several_results_are_parted_by_one_empty_line_and_ddl_prints_nothing() {
    let folder = folder();
    let script = "CREATE VIEW v AS SELECT 1 AS a; SELECT a FROM v; SET datafusion.execution.\
                  batch_size = 100; CREATE TABLE t AS SELECT 2 AS b; SELECT b FROM t; \
                  INSERT INTO t VALUES (3); SELECT count(*) AS n FROM t; DROP TABLE t; \
                  SELECT a FROM v WHERE a > 1";
    assert_eq!(rows(folder.path(), script), "a\n1\n\nb\n2\n\ncount\n1\n\nn\n2\n\na\n");
}

#[test]
fn a_printed_line_stands_above_the_next_result() {
    let folder = folder();
    let script = "PRINT 'it''s one:'; SELECT 1 AS a; SELECT 2 AS b; PRINT 'two\nlines'; PRINT '-'; \
                  SELECT 3 AS c";
    let run = |format| {
        thalweg(folder.path(), &["sql", "--device", "cpu", "--format", format, "-c", script])
    };
    let drawn = |name, value| format!("+---+\n| {name} |\n+---+\n| {value} |\n+---+\n");
    let (a, b, c) = (drawn("a", 1), drawn("b", 2), drawn("c", 3));
    let want = format!("it's one:\n{a}\n{b}\ntwo\nlines\n-\n{c}");
    assert_eq!(told(&run("table")), (0, want, String::new()));
    let (lines, rows) = ("it's one:\ntwo\nlines\n-\n", "a\n1\n\nb\n2\n\nc\n3\n");
    assert_eq!(told(&run("csv")), (0, rows.to_string(), lines.to_string()));
}

#[test]
fn what_is_not_there_yet_is_told_and_not_in_the_help() {
    let folder = folder();
    write(folder.path(), "p.sql", "SELECT 1 AS a");
    let run = ["run", "p.sql", "--metrics", "127.0.0.1:0"];
    let (code, _, err) = told(&thalweg(folder.path(), &run));
    assert!(code == 1 && err.contains("--metrics is not available yet"), "{err}");
    for (command, name) in [("run", "metrics"), ("gen", "ssb"), ("gen", "h2o"), ("sql", "sorts")] {
        let (_, help, _) = told(&thalweg(folder.path(), &[command, "--help"]));
        assert!(!help.is_empty() && !help.contains(name), "{help}");
    }
}

#[test]
fn scripts_come_from_files_and_stdin_and_tell_where_they_fail() {
    let folder = folder();
    write(
        folder.path(),
        "q.sql",
        "SELECT 1 AS a;\n-- a comment; not a statement\nSELECT\n  nope;\n",
    );
    let output =
        thalweg(folder.path(), &["sql", "--device", "cpu", "--format", "csv", "-f", "q.sql"]);
    let (code, out, err) = told(&output);
    assert_eq!((code, out.as_str()), (1, "a\n1\n"));
    assert!(err.starts_with("error: q.sql, line 4, column 3: "), "{err}");

    let mut child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(["sql", "--device", "cpu", "--format", "csv"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"SELECT 1 AS a;\nSELECT 2 AS b").unwrap();
    let (code, out, _) = told(&child.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (0, "a\n1\n\nb\n2\n"));
}

#[test]
fn wrong_usage_exits_with_two() {
    let folder = folder();
    let wrong: [&[&str]; 8] = [
        &["sql", "--strict", "-c", "SELECT 1"],
        &["sql", "--strict", "--device", "cpu", "-c", "SELECT 1"],
        &["sql", "--device", "tpu", "-c", "SELECT 1"],
        &["sql", "--format", "xml", "-c", "SELECT 1"],
        &["sql", "-c", "SELECT 1", "-f", "a.sql"],
        &["gen", "tpch", "--scale", "0", "-o", "d"],
        &["gen", "ssb", "-o", "d"],
        &["fly"],
    ];
    for arguments in wrong {
        let (code, out, err) = told(&thalweg(folder.path(), arguments));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.starts_with("error: "), "{arguments:?}: {err}");
    }
    assert_eq!(thalweg(folder.path(), &["--help"]).status.code(), Some(0));
}

#[test]
fn bad_sql_is_told_with_its_place() {
    let folder = folder();
    let cases = [
        ("SELEC 1", "line 1, column 1: ", "SELEC"),
        ("SELECT a\nFROM (SELECT 1 AS ab)", "line 1, column 8: ", "'ab'"),
        ("SELECT * FROM nowhere", "line 1, column 15: ", "'nowhere' not found"),
        ("SELECT nofn(1)", "line 1, column 8: ", "nofn"),
        ("SELECT 'open", "line 1, column 8: ", "Unterminated"),
    ];
    for (text, place, what) in cases {
        let err = error(folder.path(), text);
        assert!(err.contains(place) && err.contains(what), "{text}: {err}");
    }
}

#[test]
fn errors_of_rows_are_told() {
    let folder = folder();
    let by_zero = error(folder.path(), "SELECT 1 / (column1 - 1) FROM (VALUES (2), (1)) AS t");
    assert_eq!(by_zero, "error: division by zero\n");
    let cast = error(folder.path(), "SELECT CAST('x' AS INT)");
    assert!(cast.contains("'x'") && cast.contains("Int32"), "{cast}");
}

#[test]
fn zero_rows_and_columns_of_nulls_have_their_shape() {
    let folder = folder();
    let script = "SELECT 1 AS a, 'x' AS b WHERE false; SELECT CAST(NULL AS DOUBLE) AS z";
    assert_eq!(rows(folder.path(), script), "a,b\n\nz\n\"\"\n");
    rows(folder.path(), "COPY (SELECT 1 AS a WHERE false) TO 'none.parquet'");
    let read = "SELECT count(*) AS n, sum(a) AS s FROM 'none.parquet'";
    assert_eq!(rows(folder.path(), read), "n,s\n0,\n");
}

#[test]
fn describe_show_and_explain_answer() {
    let folder = folder();
    write(folder.path(), "t.csv", "a,b\n1,x\n");
    let described = rows(folder.path(), "DESCRIBE 't.csv'");
    assert_eq!(described, "column_name,data_type,is_nullable\na,Int64,YES\nb,Utf8,YES\n");
    let shown = rows(folder.path(), "CREATE VIEW mine AS SELECT 1; SHOW TABLES");
    assert!(shown.contains("mine,VIEW"), "{shown}");
    let explained = rows(folder.path(), "EXPLAIN SELECT sum(a) FROM 't.csv'");
    assert!(explained.contains("physical_plan") && explained.contains("t.csv"), "{explained}");
}

#[test]
fn timing_goes_to_stderr() {
    let folder = folder();
    let arguments = ["sql", "--device", "cpu", "--format", "csv", "--timing", "-c"];
    let output = thalweg(folder.path(), &[&arguments[..], &["SELECT 1 AS a"]].concat());
    let (code, out, err) = told(&output);
    assert_eq!((code, out.as_str()), (0, "a\n1\n"));
    assert!(err.contains("1 rows in "), "{err}");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(["sql", "--device", "cpu", "--format", "csv", "-c"])
        .arg("SELECT value FROM generate_series(1, 10000000)")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let (code, _, err) = told(&child.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""));
}

#[cfg(unix)]
#[test]
fn an_interrupt_stops_a_query_and_leaves_no_file() {
    let folder = folder();
    let query = "SELECT count(*) FROM generate_series(1, 1000000000000) AS t(v) WHERE v % 7 = 8";
    let mut child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .current_dir(folder.path())
        .args(["sql", "--device", "cpu", "-o", "out.txt", "-c", query])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It runs once the unfinished output is there.
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    for _ in 0..300 {
        if files() > 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(files(), 1, "the query has started");
    assert_eq!(child.try_wait().unwrap(), None, "and is still running");
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let (code, out, err) = told(&child.wait_with_output().unwrap());
    assert_eq!((code, out.as_str(), err.as_str()), (130, "", ""));
    assert_eq!(files(), 0);
}

#[test]
fn a_trace_is_left_where_it_is_asked_for() {
    let folder = folder();
    let arguments = ["sql", "--device", "cpu", "--trace", "t.json", "-c", "SELECT 1"];
    assert_eq!(thalweg(folder.path(), &arguments).status.code(), Some(0));
    let text = std::fs::read_to_string(folder.path().join("t.json")).unwrap();
    let trace: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(trace["traceEvents"].is_array(), "{text}");
    let nowhere = ["sql", "--device", "cpu", "--trace", "no/t.json", "-c", "SELECT 1"];
    let (code, _, err) = told(&thalweg(folder.path(), &nowhere));
    assert!(code == 1 && err.starts_with("error: trace no/t.json: "), "{code} {err}");
}

#[test]
fn gen_tpch_makes_all_tables_the_same_each_time() {
    let folder = folder();
    let make = |target: &str, format: &str| {
        let arguments = ["gen", "tpch", "--scale", "0.001", "-o", target, "--format", format];
        assert_eq!(told(&thalweg(folder.path(), &arguments)), (0, String::new(), String::new()));
    };
    make("a", "parquet");
    make("b", "parquet");
    make("c", "csv");
    let tables = [
        ("region", 5),
        ("nation", 25),
        ("supplier", 10),
        ("customer", 150),
        ("part", 200),
        ("partsupp", 800),
        ("orders", 1500),
        ("lineitem", 6005),
    ];
    for (table, count) in tables {
        let bytes = |folder_name: &str| {
            std::fs::read(folder.path().join(folder_name).join(format!("{table}.parquet"))).unwrap()
        };
        assert!(bytes("a") == bytes("b"), "{table} is made anew, the same");
        for file in [format!("a/{table}.parquet"), format!("c/{table}.csv")] {
            let counted = rows(folder.path(), &format!("SELECT count(*) AS n FROM '{file}'"));
            assert_eq!(counted, format!("n\n{count}\n"), "{file}");
        }
    }
    let sums = |file: &str| {
        let query =
            format!("SELECT sum(CAST(l_extendedprice AS DECIMAL(15, 2))) AS s FROM '{file}'");
        rows(folder.path(), &query)
    };
    assert_eq!(sums("a/lineitem.parquet"), sums("c/lineitem.csv"));
    let err = error(folder.path(), "SELECT * FROM 'a'");
    assert!(err.contains("not one table"), "{err}");
}

#[test]
fn gen_nexmark_follows_its_seed() {
    let folder = folder();
    let make = |target: &str, seed: &str| {
        let events = ["gen", "nexmark", "--events", "5000", "--format", "csv"];
        let arguments = [&events[..], &["--seed", seed, "-o", target]].concat();
        assert_eq!(told(&thalweg(folder.path(), &arguments)), (0, String::new(), String::new()));
    };
    make("a", "7");
    make("b", "7");
    make("c", "8");
    let bids = |target: &str| std::fs::read(folder.path().join(target).join("bid.csv")).unwrap();
    assert!(bids("a") == bids("b"));
    assert!(bids("a") != bids("c"));
    let count =
        |table: &str| rows(folder.path(), &format!("SELECT count(*) AS n FROM 'a/{table}.csv'"));
    assert_eq!(["person", "auction", "bid"].map(count), ["n\n100\n", "n\n300\n", "n\n4600\n"]);
}

#[test]
fn completions_name_the_commands() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = told(&thalweg(folder.path(), &["completions", shell]));
        assert_eq!(code, 0, "{shell}");
        assert!(out.contains("calibrate") && out.contains("until-end"), "{shell}");
    }
}

#[test]
fn the_cpu_needs_no_adapter() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.env("VK_DRIVER_FILES", "none").env("VK_ICD_FILENAMES", "none");
    command.args(["sql", "--format", "csv", "--device", "cpu", "-c", "SELECT 1 AS a"]);
    assert_eq!(told(&command.output().unwrap()), (0, "a\n1\n".to_string(), String::new()));
}

#[test]
fn sqllogictest_files_are_run_to_their_end() {
    let folder = folder();
    let slt = |arguments: &[&str]| {
        let all = [&["slt", "--device", "cpu"], arguments].concat();
        told(&thalweg(folder.path(), &all))
    };
    write(
        folder.path(),
        "d/good.slt",
        "include ../parts/*.part\n\n\
         statement ok\nCREATE TABLE t AS VALUES (1, 'x'), (2, '')\n\n\
         query IT rowsort\nSELECT * FROM t\n----\n1 x\n2 (empty)\n\n\
         query I\nINSERT INTO t VALUES (3, 'y')\n----\n1\n\n\
         statement count 2\nINSERT INTO t VALUES (4, 'z'), (5, 'z')\n\n\
         query error Division|[Dd]ivide\nSELECT 1 / 0\n\n\
         onlyif datafusion\nquery R\nSELECT 0.1::double + 0.2::double\n----\n0.3\n\n\
         skipif thalweg\nquery I\nSELECT 1\n----\n2\n\n\
         query TT\nEXPLAIN SELECT column1 FROM t WHERE column1 > 1\n----\nlogical_plan\n\
         01)Filter: t.column1 > Int64(1)\n02)--TableScan: t projection=[column1]\n\
         <slt:ignore>\n\n\
         hash-threshold 1\n\nquery I valuesort\nSELECT column1 FROM t WHERE column1 < 5\n----\n\
         4 values hashing to 302c28003d487124d97c242de94da856\n\n\
         halt\n\nquery I\nSELECT 1\n----\n2\n",
    );
    write(folder.path(), "parts/one.part", "control substitution on\n\nstatement ok\nSELECT 1\n");
    let (code, out, err) = slt(&["d"]);
    let good = "d/good.slt: 9 passed, 0 failed, 1 skipped\n";
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, &*format!("{good}1 files: {}", &good[12..]), "")
    );

    let wrong = "query I\nSELECT 1\n----\n2\n\nquery T\nSELECT 1\n----\n1\n\n\
                 statement ok\nSELECT * FROM nowhere\n\nquery I\nSELECT 1\n----\n1\n\n\
                 statement ok\nSELECT count(*) FROM generate_series(1, 100000000000)\n";
    write(folder.path(), "wrong.slt", wrong);
    write(folder.path(), "none.slt", "quary I\n");
    let files = ["--timeout", "0.3", "--differences", "2", "wrong.slt", "none.slt"];
    let (code, out, err) = slt(&files);
    assert_eq!((code, err.as_str()), (1, "error: 5 of 6 records failed\n"), "{out}");
    for part in ["-   2\n+   1", "wrong.slt: 1 passed, 4 failed, 0 skipped", "2 files: 1 passed, 5"]
    {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains("nowhere"), "two differences only: {out}");
    let (code, _, err) = slt(&["nowhere.slt"]);
    assert_eq!(code, 1);
    assert!(err.contains("nowhere.slt: No such file"), "{err}");
    write(
        folder.path(),
        "sqlite.test",
        "hash-threshold 8\n\nquery IR nosort\nSELECT 1, 0.5\n----\n1\n0.500\n\n",
    );
    let (code, out, _) = slt(&["--style", "sqlite", "sqlite.test"]);
    assert_eq!(code, 0, "{out}");
}

#[test]
fn a_limit_of_memory_is_kept_or_told() {
    let folder = folder();
    let run = |limit: &str, sql: &str| {
        let arguments = ["sql", "--device", "cpu", "--format", "csv", "--memory", limit, "-c", sql];
        told(&thalweg(folder.path(), &arguments))
    };
    let sort = "SELECT max(v) AS m, count(*) AS n FROM (SELECT v, row_number() OVER (ORDER BY \
                v * 7919 % 300007) AS r FROM generate_series(1, 300000) AS t(v)) WHERE r > 2";
    let (code, out, err) = run("12MiB", sort);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "m,n\n300000,299998\n", ""));
    let join = "SELECT count(*) AS n FROM generate_series(1, 400000) AS a(x) JOIN \
                generate_series(1, 400000) AS b(y) ON x = y + 1";
    let (code, _, err) = run("2MiB", join);
    assert_eq!(code, 1);
    for word in ["HashJoinInput", "2.0 MB", "--memory", "thalweg.memory", "prefer_hash_join"] {
        assert!(err.contains(word), "{word}: {err}");
    }
    let arguments = ["sql", "--memory", "lots", "-c", "SELECT 1"];
    let (code, _, err) = told(&thalweg(folder.path(), &arguments));
    assert_eq!(code, 2);
    assert!(err.contains("4GB, 512MiB"), "{err}");
}
