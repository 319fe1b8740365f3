//! `thalweg run`, the real binary: the quickstart, following a folder, signals.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use thalweg::config::{DeviceChoice, Options};
use thalweg::job::RunOptions;
use thalweg::stream::runtime::totals::Totals;

use crate::support::pipelines::{Collected, killed};

fn thalweg(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a process that is told by a signal to end has said, and how long it took to.
#[cfg(unix)]
fn signalled(child: Child, signal: &str) -> (Output, Duration) {
    let killed = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
    let told = Instant::now();
    (child.wait_with_output().unwrap(), told.elapsed())
}

/// Stdout and stderr of a run that succeeds.
fn output(command: &mut Command) -> (String, String) {
    let output = command.output().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    (out, err)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// As README has it, and again.
#[test]
fn the_quickstart_runs_and_runs_again() {
    let folder = TempDir::new().unwrap();
    let script = std::path::absolute("examples/quickstart.sql").unwrap();
    // A tenth of it: the binary of the tests is not optimized.
    let small = std::fs::read_to_string(&script).unwrap();
    let small = small.replace("events = 1000000", "events = 100000");
    std::fs::write(folder.path().join("quickstart.sql"), small).unwrap();
    let run = || output(thalweg(folder.path()).args(["run", "quickstart.sql", "--until-end"]));
    let (first, _) = run();
    assert!(first.contains("2026-01-01T00:00:00") && first.contains("bidder"), "{first}");
    assert!(first.starts_with("The stream has ended.") && first.contains("\n\nNext: "), "{first}");
    let (again, told) = run();
    assert_eq!(again, first);
    assert!(!told.contains("WARN"), "{told}");
}

/// A word where nothing is read, and none where something is.
#[test]
fn what_reads_nothing_says_so() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    let run = |statements: &str| {
        let stream = "CREATE STREAM s (n BIGINT) WITH (connector = 'file', path = 'in');
                      CREATE SINK out WITH (connector = 'console');";
        std::fs::write(folder.path().join("p.sql"), format!("{stream} {statements}")).unwrap();
        output(thalweg(folder.path()).args(["run", "p.sql", "--until-end", "--device", "cpu"])).1
    };
    let insert = "INSERT INTO out SELECT n FROM s;";
    let (empty, nothing) = ("in: holds no files of CSV", "p.sql: reads nothing");
    let told = run(insert);
    assert!(told.contains(empty) && told.contains("nothing is read"), "{told}");
    assert!(!told.contains(nothing), "{told}");
    let told = run("SET thalweg.epoch_rows = 5;");
    assert!(told.contains(nothing), "{told}");
    std::fs::write(folder.path().join("in/a.csv"), "n\n1\n").unwrap();
    for statements in [insert, "SELECT count(*) FROM s;"] {
        let told = run(statements);
        assert!(!told.contains("nothing") && !told.contains("WARN"), "{statements}: {told}");
    }
}

/// What a run has done: with a row that is malformed, one that is late, a store and two sinks.
#[tokio::test]
async fn a_run_counts_what_it_does_and_a_second_nothing_twice() {
    let folder = TempDir::new().unwrap();
    let rows: String = [1, 2, 30, 3].map(row).concat();
    std::fs::write(folder.path().join("in.csv"), format!("n,ts\n{rows}x,x\n")).unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let script = format!(
        "CREATE STREAM s (n BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts) WITH (connector = 'file',
           path = '{}', on_error = 'skip', store = '{}');
         CREATE SINK a WITH (connector = 'delta', path = '{}');
         CREATE SINK b WITH (connector = 'blackhole');
         INSERT INTO a SELECT window_end, sum(n) AS n
         FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_end;
         INSERT INTO b SELECT n FROM s;",
        at("in.csv"),
        at("store"),
        at("a")
    );
    std::fs::write(folder.path().join("p.sql"), script).unwrap();
    let run = || {
        let options = RunOptions {
            pipeline: folder.path().join("p.sql"),
            until_end: true,
            state: Some(folder.path().join("state")),
            options: Options { device: DeviceChoice::Cpu, ..Options::default() },
            ..RunOptions::default()
        };
        async { thalweg::job::run(options, &mut Collected::default()).await.unwrap() }
    };
    let first = run().await;
    let sides = first.sides.clone();
    let want = Totals { read: 5, stored: 4, late: 1, rejected: 1, results: 2 + 4, sides };
    assert_eq!(first, want);
    assert_eq!(Vec::from_iter(&first.sides), ["cpu"]);
    let again = run().await;
    assert_eq!((again.read, again.stored, again.results), (0, 0, 0), "{again:?}");
}

fn row(second: u32) -> String {
    format!("1,2026-01-01T00:00:{second:02}\n")
}

/// A pipeline that follows a folder and writes windows of ten seconds.
fn following(folder: &Path, options: &str) -> Child {
    std::fs::create_dir(folder.join("in")).unwrap();
    let script = format!(
        "SET thalweg.epoch_ms = 50;
         CREATE STREAM s (n BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts)
           WITH (connector = 'file', path = 'in', format = 'csv'{options});
         CREATE SINK out WITH (connector = 'file', format = 'csv', path = 'out');
         INSERT INTO out SELECT window_end, sum(n) AS n
         FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_end;"
    );
    std::fs::write(folder.join("follow.sql"), script).unwrap();
    let args =
        ["run", "follow.sql", "--device", "cpu", "--state", "state", "--progress", "progress"];
    thalweg(folder).args(args).spawn().unwrap()
}

fn arrive(folder: &Path, name: &str, seconds: &[u32]) {
    let rows: String = seconds.iter().map(|second| row(*second)).collect();
    std::fs::write(folder.join("new"), format!("n,ts\n{rows}")).unwrap();
    std::fs::rename(folder.join("new"), folder.join("in").join(name)).unwrap();
}

/// What the sink's files hold, when they hold this many.
fn written(folder: &Path, files: usize) -> String {
    let begun = Instant::now();
    loop {
        let entries = std::fs::read_dir(folder.join("out")).into_iter().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
        if paths.len() >= files {
            paths.sort();
            return paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{} of {files} files", paths.len());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(unix)]
#[test]
fn files_that_arrive_are_followed_and_a_signal_ends_in_order() {
    for signal in ["-TERM", "-INT"] {
        let folder = TempDir::new().unwrap();
        let child = following(folder.path(), "");
        arrive(folder.path(), "b.csv", &[1, 2, 11]);
        assert_eq!(written(folder.path(), 1), "window_end,n\n2026-01-01T00:00:10,2\n");
        // Arrives later, so comes later, whatever its name.
        arrive(folder.path(), "a.csv", &[3, 12, 25]);
        let both = "window_end,n\n2026-01-01T00:00:10,2\nwindow_end,n\n2026-01-01T00:00:20,2\n";
        assert_eq!(written(folder.path(), 2), both);
        let (output, _) = signalled(child, signal);
        assert!(output.status.success(), "{}", text(&output.stderr));
        // The window that is open is not final, and is not written.
        assert_eq!(written(folder.path(), 2), both);
    }
}

/// One signal ends a join of one key with very many pairs, and nothing of it is recorded.
#[cfg(unix)]
#[test]
fn a_signal_ends_a_long_join() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    let rows = (0..30_000).map(|n| format!("1,2026-01-01T00:00:{:02}.{:03}\n", n / 1000, n % 1000));
    let rows: String = rows.collect();
    std::fs::write(folder.path().join("in/a.csv"), format!("n,ts\n{rows}")).unwrap();
    let stream = |name: &str| {
        format!(
            "CREATE STREAM {name} (n BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts) WITH
             (connector = 'file', path = 'in', format = 'csv');"
        )
    };
    let script = format!(
        "{} {} CREATE SINK out WITH (connector = 'file', format = 'csv', path = 'out');
         INSERT INTO out SELECT s.n FROM s JOIN r ON s.n = r.n
         AND s.ts BETWEEN r.ts - INTERVAL '1' HOUR AND r.ts + INTERVAL '1' HOUR
         WHERE s.ts > r.ts + INTERVAL '30' MINUTE;",
        stream("s"),
        stream("r")
    );
    std::fs::write(folder.path().join("pipe.sql"), script).unwrap();
    let args = ["run", "pipe.sql", "--device", "cpu", "--state", "state", "--until-end"];
    let mut child = thalweg(folder.path()).args(args).spawn().unwrap();
    let begun = Instant::now();
    while !folder.path().join("state").is_dir() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it has begun");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(child.try_wait().unwrap(), None, "it is joining");
    let (output, took) = signalled(child, "-INT");
    let said = text(&output.stderr);
    assert!(took < Duration::from_secs(4), "{took:?}: {said}");
    assert!(output.status.success(), "{said}");
}

/// A signal ends what plans or computes for long, whatever command asked for it.
#[cfg(unix)]
#[test]
fn a_signal_ends_planning_and_plain_queries() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("n.csv"), "n\n1\n").unwrap();
    let sum = vec!["n"; 3_000].join(" + ");
    let planned = format!("SELECT {sum} FROM 'n.csv';");
    let counted = "SELECT count(*) FROM generate_series(1, 1000000000000) AS t(v) WHERE v % 7 = 8;";
    for (command, script) in [("run", planned.as_str()), ("sql", &planned), ("run", counted)] {
        std::fs::write(folder.path().join("long.sql"), script).unwrap();
        let file = if command == "run" { vec!["long.sql"] } else { vec!["-f", "long.sql"] };
        let mut started = thalweg(folder.path());
        let mut child = started.args([command, "--device", "cpu"]).args(file).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(child.try_wait().unwrap(), None, "{command} is at work");
        let (output, took) = signalled(child, "-INT");
        let said = text(&output.stderr);
        assert!(took < Duration::from_secs(4), "{command}: {took:?}: {said}");
        assert_eq!((output.status.code(), said.as_str()), (Some(130), ""), "{command}");
    }
}

/// A run is gone between making its store and writing to it: queries find what the source holds.
/// A table of somebody else's is refused.
#[test]
fn a_store_that_was_only_made_is_no_history_yet() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    std::fs::write(folder.path().join("in/0.csv"), format!("n,ts\n{}{}", row(1), row(2))).unwrap();
    let stream = |store: &str| {
        format!(
            "CREATE STREAM s (n BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts)
             WITH (connector = 'file', path = 'in', format = 'csv', store = '{store}');"
        )
    };
    let script = format!(
        "{} CREATE SINK out WITH (connector = 'delta', path = 'out');
         INSERT INTO out SELECT n, ts FROM s; SELECT count(*) AS c FROM s;",
        stream("lake")
    );
    assert!(killed(DeviceChoice::Cpu, folder.path(), "created:1", &script));
    assert!(folder.path().join("lake/_delta_log").is_dir());
    let query = |store: &str| format!("{} SELECT count(*) AS c FROM s", stream(store));
    let count = ["sql", "--format", "csv", "-c", &query("lake")];
    assert_eq!(output(thalweg(folder.path()).args(count)).0, "c\n2\n");
    let again = ["run", "pipe.sql", "--until-end", "--format", "csv", "--state", "state"];
    assert_eq!(output(thalweg(folder.path()).args(again)).0, "c\n2\n");
    assert_eq!(output(thalweg(folder.path()).args(count)).0, "c\n2\n");

    let refused = thalweg(folder.path()).args(["sql", "-c", &query("out")]).output().unwrap();
    let told = text(&refused.stderr);
    assert!(told.contains("'out' is a Delta table that no stream has written"), "{told}");
}

/// Records that are all malformed are an epoch as well: a restart does not read them again, and
/// progress shows how far the log is.
#[test]
fn malformed_records_alone_are_an_epoch() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let mut child = following(folder, ", on_error = 'skip'");
    let records = || {
        let text = std::fs::read_to_string(folder.join("state/epochs.jsonl")).unwrap_or_default();
        text.lines().skip(1).map(str::to_string).collect::<Vec<_>>()
    };
    std::fs::write(folder.join("new"), "n,ts\nmuch,2026-01-01T00:00:01\nmore,never\n").unwrap();
    std::fs::rename(folder.join("new"), folder.join("in/a.csv")).unwrap();
    let begun = Instant::now();
    let progress = || std::fs::read_to_string(folder.join("progress")).unwrap_or_default();
    while !progress().contains("\"endOffset\":{\"0\":2}") {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}\n{}", records(), progress());
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(records().iter().any(|record| record.contains("\"to\":2")), "{:?}", records());
    // The next run goes on behind them.
    arrive(folder, "b.csv", &[1, 2, 11]);
    let args = ["run", "follow.sql", "--device", "cpu", "--state", "state", "--until-end"];
    output(thalweg(folder).args(args));
    assert!(written(folder, 1).starts_with("window_end,n\n2026-01-01T00:00:10,2\n"));
    let read = records();
    assert!(read.iter().any(|record| record.contains("\"from\":2,\"to\":5")), "{read:?}");
}

#[test]
fn what_is_wrong_with_a_pipeline_is_told_with_its_place() {
    let folder = TempDir::new().unwrap();
    let fails = |script: &str, want: &str| {
        std::fs::write(folder.path().join("p.sql"), script).unwrap();
        let output = thalweg(folder.path()).args(["run", "p.sql", "--until-end"]).output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{script}\n{told}");
        assert!(told.contains(want) && !told.contains("panicked"), "{script}\n{told}");
    };
    fails("SELECT 1;\nSELEC 2", "line 2, column 1");
    fails("\nCREATE SINK k WITH (connector = 'carrier pigeon')", "line 2");
    std::fs::write(folder.path().join("x.csv"), "n,ts\n1,yesterday\n").unwrap();
    let stream = "CREATE STREAM s (n BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts)
        WITH (connector = 'file', path = 'x.csv'); CREATE SINK k WITH (connector = 'console');";
    fails(&format!("{stream} INSERT INTO k SELECT n FROM s"), "x.csv, line 2: column ts");
    fails(&format!("{stream} INSERT INTO k SELECT m FROM s"), "m");
}

/// What `gen` writes, as a batch and as a stream, of every format.
#[test]
fn nexmark_files_give_the_same_windows_by_both_words() {
    let folder = TempDir::new().unwrap();
    let bids = |format: &str| {
        let create = format!(
            "CREATE STREAM bids (auction BIGINT, price BIGINT, date_time TIMESTAMP,
               WATERMARK FOR date_time AS date_time - INTERVAL '1' SECOND)
             WITH (connector = 'file', path = '{format}/bid.{format}');"
        );
        let query = "SELECT window_start, auction, count(*) AS n, avg(price) AS mean
            FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(date_time), INTERVAL '2' SECOND))
            GROUP BY window_start, window_end, auction HAVING count(*) > 1";
        (create, query)
    };
    let mut before: Option<String> = None;
    for format in ["csv", "json", "parquet"] {
        let gen_args = ["gen", "nexmark", "--events", "30000", "--format", format, "-o", format];
        output(thalweg(folder.path()).args(gen_args));
        let (create, query) = bids(format);
        let batch = format!("{create} {query} ORDER BY window_start, auction");
        let (batch, _) =
            output(thalweg(folder.path()).args(["sql", "--format", "csv", "-c", &batch]));
        assert!(batch.lines().count() > 100, "{batch}");
        let script = format!(
            "SET thalweg.epoch_rows = 1000; {create}
             CREATE SINK out WITH (connector = 'console', format = 'csv');
             INSERT INTO out {query};"
        );
        std::fs::write(folder.path().join("p.sql"), script).unwrap();
        let (live, _) = output(thalweg(folder.path()).args(["run", "p.sql", "--until-end"]));
        assert_eq!(live, batch, "{format}");
        assert_eq!(*before.get_or_insert(live.clone()), live, "{format}");
    }
}
