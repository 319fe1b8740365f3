//! What comes only once, by the real binary: standard input and HTTP, across restarts.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

fn thalweg(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.current_dir(folder).args(args).args(["--device", "cpu"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs with this on standard input.
fn fed(mut command: Command, input: &str) -> Output {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(written.is_ok() || !output.status.success(), "{told}");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Rows of the files in `out`, sorted.
pub fn sunk(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("out")).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|end| end == "csv"));
    let texts = files.map(|path| std::fs::read_to_string(path).unwrap());
    let mut rows: Vec<String> =
        texts.flat_map(|t| t.lines().skip(1).map(str::to_string).collect::<Vec<_>>()).collect();
    rows.sort();
    rows
}

fn script(folder: &Path, source: &str, more: &str) {
    script_with(folder, "", source, more);
}

/// With columns in front of those that there are always.
fn script_with(folder: &Path, columns: &str, source: &str, more: &str) {
    let script = format!(
        "SET thalweg.epoch_ms = 20;
         CREATE STREAM s ({columns} n BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts) WITH ({source});
         CREATE SINK out WITH (connector = 'file', format = 'csv', path = 'out');
         INSERT INTO out SELECT n, ts FROM s; {more}"
    );
    std::fs::write(folder.join("p.sql"), script).unwrap();
}

#[test]
fn standard_input_is_kept_across_runs() {
    let folder = TempDir::new().unwrap();
    let source = "connector = 'stdin', format = 'csv', on_error = 'skip'";
    script(folder.path(), source, "SELECT count(*) AS c, sum(n) AS n FROM s;");
    let run = |input: &str| {
        let args = ["run", "p.sql", "--until-end", "--state", "state"];
        succeeded(fed(thalweg(folder.path(), &args), input))
    };
    let first = run("n,ts\n1,2026-01-01T00:00:01\nx,2026-01-01T00:00:02\n2,2026-01-01T00:00:03");
    assert!(first.contains('2') && first.contains('3'), "{first}");
    let want = ["1,2026-01-01T00:00:01", "2,2026-01-01T00:00:03"];
    assert_eq!(sunk(folder.path()), want);
    // Killed when the first epoch of the second run is recorded: read again from the log.
    let args = ["run", "p.sql", "--until-end", "--state", "state"];
    let mut killed = thalweg(folder.path(), &args);
    killed.env("THALWEG_KILL_AT", "recorded:1");
    let output = fed(killed, "n,ts\n3,2026-01-01T00:00:04\ny,\n4,2026-01-01T00:00:05\n");
    assert!(!output.status.success());
    assert_eq!(sunk(folder.path()), want);
    let last = run("n,ts\n5,2026-01-01T00:00:06\n");
    assert!(last.contains("15"), "{last}");
    assert_eq!(sunk(folder.path()).len(), 5);
    let kept = std::fs::read_to_string(folder.path().join("state/s.rejected.jsonl")).unwrap();
    let kept: Vec<_> = kept.lines().collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(kept[0].contains("standard input, line 3"), "{kept:?}");
}

/// What the store has is not kept a second time; the run after goes on behind it.
#[test]
fn what_is_stored_is_not_kept_twice() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let script = "
        SET thalweg.epoch_rows = 50; SET thalweg.epoch_ms = 0; SET thalweg.snapshot_ms = 0;
        CREATE STREAM s (n BIGINT, t VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts)
          WITH (connector = 'stdin', format = 'csv', store = 'lake/s');
        CREATE SINK out WITH (connector = 'file', format = 'csv', path = 'out');
        INSERT INTO out SELECT n, length(t) AS l FROM s;";
    std::fs::write(folder.join("p.sql"), script).unwrap();
    let run = || thalweg(folder, &["run", "p.sql", "--state", "state", "--until-end"]);
    let rows = |from: u32, to: u32| {
        let text = "x".repeat(500_000);
        (from..to).fold("n,t,ts\n".to_string(), |rows, n| {
            rows + &format!("{n},{text},2026-01-01T00:00:00\n")
        })
    };
    let kept = || {
        let entries = std::fs::read_dir(folder.join("state/s")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".log")).collect();
        names.sort();
        names
    };
    // Killed where a file has just been removed.
    let mut killed = run();
    killed.env("THALWEG_KILL_AT", "forgotten:1");
    let told = fed(killed, &rows(0, 300));
    assert!(told.status.code().is_none(), "{}", text(&told.stderr));
    let names = kept();
    assert!(!names.iter().any(|name| name.starts_with("00000000000000000000")), "{names:?}");
    succeeded(fed(run(), "n,t,ts\n"));
    let read = sunk(folder).len() as u32;
    succeeded(fed(run(), &rows(read, read + 10)));
    let mut got = sunk(folder);
    got.sort_by_key(|row| row.split(',').next().unwrap().parse::<u32>().unwrap());
    let want: Vec<String> = (0..read + 10).map(|n| format!("{n},500000")).collect();
    assert_eq!(got, want);
    // Even all over again: the rows are in the store.
    std::fs::remove_dir_all(folder.join("state/snapshots")).unwrap();
    std::fs::remove_dir_all(folder.join("out")).unwrap();
    succeeded(fed(run(), "n,t,ts\n"));
    assert_eq!(sunk(folder).len(), want.len());
}

/// Rows that come after the log was removed, or cut, are read; a log that is damaged is refused.
#[test]
fn a_log_that_lacks_what_was_read_loses_no_new_rows() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    script(folder, "connector = 'stdin', store = 'lake/s'", "");
    let feed = |numbers: std::ops::Range<u32>| {
        let rows = numbers.map(|n| format!("{{\"n\":{n},\"ts\":\"2026-01-01T00:00:00\"}}\n"));
        let args = ["run", "p.sql", "--until-end", "--state", "state"];
        fed(thalweg(folder, &args), &rows.collect::<String>())
    };
    succeeded(feed(0..50));
    let log = folder.join("state/s/00000000000000000000.log");
    let bytes = std::fs::read(&log).unwrap();
    let mut flipped = bytes.clone();
    std::fs::write(&log, &bytes[..bytes.len() / 2]).unwrap();
    let output = feed(50..110);
    assert!(text(&output.stderr).contains("new ones begin at 50"), "{}", text(&output.stderr));
    succeeded(output);
    assert_eq!(sunk(folder).len(), 110);
    std::fs::remove_dir_all(folder.join("state/s")).unwrap();
    succeeded(feed(110..115));
    assert_eq!(sunk(folder).len(), 115);
    // A frame before a whole one.
    let log = folder.join("state/s/00000000000000000110.log");
    flipped[40] ^= 1;
    flipped.extend(&bytes);
    std::fs::write(&log, flipped).unwrap();
    let output = feed(115..120);
    assert!(text(&output.stderr).contains("damaged behind offset 110"), "{}", text(&output.stderr));
    assert!(!output.status.success());
}

/// Columns that are declared later are NULL in what was received before.
#[test]
fn what_was_received_goes_on_with_more_columns() {
    let folder = TempDir::new().unwrap();
    let run = |columns: &str, store: &str, input: &str| {
        let folder = folder.path().join(if store.is_empty() { "plain" } else { "stored" });
        let script = format!(
            "CREATE STREAM s ({columns}) WITH (connector = 'stdin' {store});
             CREATE SINK out WITH (connector = 'file', format = 'csv', path = 'out');
             INSERT INTO out SELECT n FROM s; SELECT * FROM s ORDER BY n;"
        );
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("p.sql"), script).unwrap();
        let args = ["run", "p.sql", "--until-end", "--state", "state", "--format", "csv"];
        (succeeded(fed(thalweg(&folder, &args), input)), sunk(&folder))
    };
    for store in ["", ", store = 'lake'"] {
        run("n BIGINT", store, "[{\"n\": 1},\n {\"n\": 2, \"unit\": \"g\"}]");
        let columns = "unit VARCHAR, n BIGINT";
        let (told, sunk) = run(columns, store, "{\"n\": 3,\n \"unit\": \"kg\"}");
        assert_eq!(told, "unit,n\n,1\n,2\nkg,3\n", "{store}");
        assert_eq!(sunk, ["1", "2", "3"], "{store}");
    }
}

/// The same of what is posted, with a store and without.
#[test]
fn what_was_posted_goes_on_with_more_columns() {
    for store in ["", ", store = 'lake'"] {
        let folder = TempDir::new().unwrap();
        let row = |n: u32, unit: &str| format!("{{\"n\":{n},\"ts\":\"{DAY}T00:00:0{n}\"{unit}}}");
        let post = |pipeline: &Listening, n: u32, unit: &str, rows: usize| {
            assert_eq!(pipeline.post("application/json", &row(n, unit)).0, 200, "{store}");
            assert_eq!(wait_for(folder.path(), rows).len(), rows, "{store}");
        };
        let mut pipeline = Listening::start(folder.path(), store);
        post(&pipeline, 1, "", 1);
        pipeline.signal();
        assert!(pipeline.ended());
        let pipeline = Listening::start_with(folder.path(), "unit VARCHAR,", store);
        let (status, help) = pipeline.ask("GET", "text/plain", b"");
        assert!(status == 200 && help.contains("\"unit\""), "{help}");
        post(&pipeline, 2, ",\"unit\":\"kg\"", 2);
        assert_eq!(sunk(folder.path()), [1, 2].map(|n| format!("{n},{DAY}T00:00:0{n}")));
    }
}

const DAY: &str = "2026-01-01";

/// Text in columns by another sign, with a header or without, in another encoding.
#[test]
fn standard_input_has_columns_by_any_sign() {
    let folder = TempDir::new().unwrap();
    let run = |options: &str, input: &str| {
        let sql = format!(
            "CREATE STREAM s (n BIGINT, t VARCHAR) WITH (connector = 'stdin', {options});
             SELECT n, t FROM s"
        );
        fed(thalweg(folder.path(), &["sql", "--format", "csv", "-c", &sql]), input)
    };
    for (options, input) in [
        ("format = 'csv', delimiter = '|'", "t|n\nx,y|1\n\"a|b\"|2\n"),
        ("format = 'csv', delimiter = '\\t', header = false", "1\tx,y\n2\ta|b\n"),
        ("format = 'tsv'", "n\tt\n1\tx,y\n2\ta|b"),
        ("format = 'tsv', delimiter = ';', encoding = 'latin1'", "n;t\n1;x,y\n2;a|b\n"),
    ] {
        let got = succeeded(run(options, input));
        assert_eq!(got, "n,t\n1,\"x,y\"\n2,a|b\n", "{options}");
    }
    for (options, want) in [
        ("delimiter = ';'", "a delimiter goes with CSV, found format = 'json'"),
        ("format = 'csv', delimiter = 'ab'", "delimiter = 'ab': expected one sign"),
    ] {
        let told = text(&run(options, "").stderr);
        assert!(told.contains(want), "{options}: {told}");
    }
}

#[test]
fn standard_input_is_a_table_once() {
    let folder = TempDir::new().unwrap();
    let sql = "CREATE STREAM s (n BIGINT) WITH (connector = 'stdin'); SELECT sum(n) AS n FROM s";
    let run = |sql: &str| {
        let command = thalweg(folder.path(), &["sql", "--format", "csv", "-c", sql]);
        fed(command, "{\"n\":1}\n\n{\"n\":2}\n{\"n\":39}")
    };
    assert_eq!(succeeded(run(sql)), "n\n42\n");
    let twice = run(&format!("{sql}; SELECT count(*) FROM s"));
    let told = text(&twice.stderr);
    assert!(!twice.status.success() && told.contains("has been read by another query"), "{told}");
}

#[test]
fn stdout_takes_lines_of_json_and_sinks_say_what_they_promise() {
    let folder = TempDir::new().unwrap();
    let script = "CREATE STREAM s (n BIGINT, note VARCHAR) WITH (connector = 'stdin');
        CREATE SINK o WITH (connector = 'stdout');
        CREATE SINK d WITH (connector = 'delta', path = 'd');
        CREATE SINK f WITH (connector = 'file', path = 'f');
        INSERT INTO o SELECT * FROM s;";
    std::fs::write(folder.path().join("p.sql"), script).unwrap();
    let run = thalweg(folder.path(), &["run", "p.sql", "--until-end"]);
    let out = succeeded(fed(run, "{\"n\":1,\"note\":\"a\"}\n{\"n\":2,\"other\":[]}\n"));
    assert_eq!(out, "{\"n\":1,\"note\":\"a\"}\n{\"n\":2}\n");
    let shown = script.replace("INSERT INTO o SELECT * FROM s", "SHOW SINKS");
    let show = thalweg(folder.path(), &["sql", "--format", "csv", "-c", &shown]);
    assert_eq!(
        succeeded(fed(show, "")),
        "sink_name,connector,modes,guarantee\nd,delta,\"append, update\",exactly once\n\
         f,file,append,exactly once\no,stdout,\"append, update\",at least once\n"
    );
}

/// A pipeline that listens.
pub struct Listening {
    child: Child,
    pub at: SocketAddr,
}

impl Listening {
    pub fn start(folder: &Path, more: &str) -> Self {
        Self::start_with(folder, "", more)
    }

    /// With columns in front of those that there are always.
    pub fn start_with(folder: &Path, columns: &str, more: &str) -> Self {
        // Free now, and most likely still in a moment.
        let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let source = format!("connector = 'http', listen = '{at}'{more}");
        script_with(folder, columns, &source, "");
        let child = thalweg(folder, &["run", "p.sql", "--state", "state"]).spawn().unwrap();
        let mut listening = Self { child, at };
        let begun = Instant::now();
        while TcpStream::connect(at).is_err() {
            let over = listening.child.try_wait().unwrap();
            if over.is_some() || begun.elapsed() > Duration::from_secs(60) {
                let mut told = String::new();
                let mut stderr = listening.child.stderr.take().unwrap();
                let _ = listening.child.kill();
                stderr.read_to_string(&mut told).unwrap();
                panic!("{told}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        listening
    }

    /// Tells it to stop.
    pub fn signal(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Whether it ends without an error.
    pub fn ended(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }

    pub fn ask(&self, method: &str, content_type: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.at).unwrap();
        let head = format!(
            "{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {content_type}\
             \r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split("\r\n\r\n").nth(1).unwrap_or_default().trim().to_string())
    }

    fn post(&self, content_type: &str, body: &str) -> (u16, String) {
        self.ask("POST", content_type, body.as_bytes())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// Waits until the sink has so many rows.
pub fn wait_for(folder: &Path, rows: usize) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let sunk = sunk(folder);
        if sunk.len() >= rows {
            return sunk;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{} of {rows} rows", sunk.len());
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn arrow_stream() -> Vec<u8> {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
    let n: ArrayRef = std::sync::Arc::new(Int64Array::from(vec![7, 8]));
    let ts = TimestampMillisecondArray::from(vec![1_767_225_607_000, 1_767_225_608_000]);
    let ts: ArrayRef = std::sync::Arc::new(ts);
    let batch = RecordBatch::try_from_iter([("ts", ts), ("n", n)]).unwrap();
    let mut writer =
        arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn what_was_answered_200_outlives_a_crash() {
    let folder = TempDir::new().unwrap();
    let row = |n: u32| format!("{{\"n\":{n},\"ts\":\"2026-01-01T00:00:0{n}\"}}");
    let pipeline = Listening::start(folder.path(), ", max_body = 1000");
    let (status, help) = pipeline.ask("GET", "text/plain", b"");
    assert!(status == 200 && help.contains("\"n\":\"Int64\""), "{help}");
    let json = "application/json";
    let (status, told) = pipeline.post(json, &row(1));
    assert_eq!((status, told.as_str()), (200, "{\"offset\":1,\"rejected\":0,\"rows\":1}"));
    assert_eq!(pipeline.post(json, &format!("[{},\n{}]", row(2), row(3))).0, 200);
    assert_eq!(pipeline.post("application/x-ndjson", &format!("{}\n", row(4))).0, 200);
    let csv = "n,ts\n5,2026-01-01T00:00:05\n6,2026-01-01T00:00:06\n";
    assert_eq!(pipeline.post("text/csv; charset=utf-8", csv).0, 200);
    let stream = arrow_stream();
    let (status, told) = pipeline.ask("POST", "application/vnd.apache.arrow.stream", &stream);
    assert_eq!((status, told.as_str()), (200, "{\"offset\":8,\"rejected\":0,\"rows\":2}"));
    // A request is taken whole or not at all.
    let (status, told) = pipeline.post(json, &format!("[{},\n{{\"n\":1.5}}]", row(1)));
    assert!(status == 400 && told.contains("1.5 is not Int64\",\"line\":2"), "{told}");
    let (status, told) = pipeline.post("text/csv", "n,ts\n5,\"2026\n");
    assert!(status == 400 && told.contains("never closed\",\"line\":2"), "{told}");
    let (status, told) = pipeline.post("text/csv", "n,ts\n5,2026-01-01T00:00:05\nx,\n");
    assert!(status == 400 && told.contains("'x' is not Int64\",\"line\":3"), "{told}");
    assert_eq!(pipeline.post(json, "{\"n\":").0, 400);
    assert_eq!(pipeline.post("image/png", "x").0, 415);
    assert_eq!(pipeline.post(json, &" ".repeat(1001)).0, 413);
    assert_eq!(pipeline.ask("DELETE", json, b"").0, 405);
    drop(pipeline); // kill -9
    let pipeline = Listening::start(folder.path(), ", on_error = 'skip'");
    let (status, told) = pipeline.post("text/csv", "n,ts\n9,2026-01-01T00:00:09\nx,\n");
    assert_eq!((status, told.as_str()), (200, "{\"offset\":9,\"rejected\":1,\"rows\":1}"));
    let rows = wait_for(folder.path(), 9);
    let want: Vec<_> = (1..=9).map(|n| format!("{n},2026-01-01T00:00:0{n}")).collect();
    assert_eq!(rows, want);
}

#[test]
fn rows_kept_aside_stay_whatever_is_asked_later() {
    let folder = TempDir::new().unwrap();
    let row = |n: u32| match n % 10_000 {
        9_999 => format!("{n}x,2026-01-01\n"),
        _ => format!("{n},2026-01-01\n"),
    };
    let rows: String = (0..60_000).map(row).collect();
    std::fs::write(folder.path().join("a.csv"), format!("n,ts\n{rows}")).unwrap();
    let source = "connector = 'file', path = 'a.csv', on_error = 'skip'";
    script(folder.path(), source, "SELECT n FROM s LIMIT 1;");
    let run = || {
        let args = ["run", "p.sql", "--until-end", "--state", "state"];
        succeeded(fed(thalweg(folder.path(), &args), ""));
        let kept = std::fs::read_to_string(folder.path().join("state/s.rejected.jsonl"));
        kept.unwrap().lines().count()
    };
    assert_eq!(run(), 6);
    assert_eq!(run(), 6);
}
