//! A SELECT with EMIT that follows a stream, by the real binary: rows come as they are final or
//! change, Ctrl-C ends it in order, and what it looks at stays as it is.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn thalweg(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.current_dir(folder).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `thalweg sql` that is running, and the lines that it has printed.
struct Live {
    child: Child,
    lines: Receiver<String>,
}

impl Live {
    fn begin(folder: &Path, format: &str, sql: &str) -> Self {
        let arguments = ["sql", "--device", "cpu", "--format", format, "-c", sql];
        let mut child = thalweg(folder, &arguments).spawn().unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    /// The next lines, of which there have to be this many.
    #[track_caller]
    fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < count {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => lines.push(line),
                Err(_) => {
                    let _ = self.child.kill();
                    let mut told = String::new();
                    let err = self.child.stderr.as_mut().unwrap();
                    let _ = std::io::Read::read_to_string(err, &mut told);
                    panic!("{count} lines wanted, there are {lines:?}\n{told}");
                }
            }
        }
        lines
    }

    /// What comes before its end, its exit code, and what it said.
    fn end(self) -> (Vec<String>, i32, String) {
        let output = self.child.wait_with_output().unwrap();
        let rest = self.lines.iter().collect();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (rest, output.status.code().unwrap_or(-1), told)
    }

    #[cfg(unix)]
    fn interrupt(self) -> (Vec<String>, i32, String) {
        let killed = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(killed.unwrap().success());
        self.end()
    }
}

fn append(folder: &Path, rows: &[(u32, u32)]) {
    let mut file = OpenOptions::new().append(true).open(folder.join("s.csv")).unwrap();
    let rows = rows.iter().map(|(key, second)| format!("{key},2026-01-01T00:00:{second:02}\n"));
    file.write_all(rows.collect::<String>().as_bytes()).unwrap();
}

/// A file of two columns that grows.
fn growing(folder: &Path, rows: &[(u32, u32)]) {
    std::fs::write(folder.join("s.csv"), "key,ts\n").unwrap();
    append(folder, rows);
}

fn stream(more: &str) -> String {
    format!(
        "CREATE STREAM s (key BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts)
         WITH (connector = 'file', path = 's.csv'{more});"
    )
}

const WINDOWS: &str = "SELECT window_end, sum(key) AS keys
    FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_end";

#[cfg(unix)]
#[test]
fn windows_come_when_they_close_and_an_interrupt_ends_in_order() {
    let folder = TempDir::new().unwrap();
    growing(folder.path(), &[(1, 1), (2, 2), (4, 11)]);
    let sql = format!("{} {WINDOWS} EMIT AFTER WINDOW CLOSE", stream(""));
    let mut live = Live::begin(folder.path(), "csv", &sql);
    assert_eq!(live.lines(2), ["window_end,keys", "2026-01-01T00:00:10,3"]);
    append(folder.path(), &[(8, 12), (16, 25)]);
    assert_eq!(live.lines(1), ["2026-01-01T00:00:20,12"]);
    // The window that is open is not final.
    assert_eq!(live.interrupt(), (Vec::new(), 130, String::new()));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[cfg(unix)]
#[test]
fn rows_and_changes_come_as_they_are_there() {
    let folder = TempDir::new().unwrap();
    growing(folder.path(), &[(1, 1)]);
    let sql = format!("{} SELECT key FROM s WHERE key < 1000 EMIT CHANGES", stream(""));
    let mut rows = Live::begin(folder.path(), "table", &sql);
    let sql = format!("{} SELECT key, count(*) AS n FROM s GROUP BY key EMIT CHANGES", stream(""));
    let mut changes = Live::begin(folder.path(), "json", &sql);
    let sql = format!("{} SELECT sum(key) AS n FROM s EMIT ON UPDATE", stream(""));
    let mut whole = Live::begin(folder.path(), "csv", &sql);
    assert_eq!(rows.lines(4), ["+-----+", "| key |", "+-----+", "| 1   |"]);
    assert_eq!(changes.lines(1), ["{\"key\":1,\"n\":1}"]);
    assert_eq!(whole.lines(2), ["n", "1"]);
    append(folder.path(), &[(1, 2)]);
    assert_eq!(rows.lines(1), ["| 1   |"]);
    assert_eq!(changes.lines(1), ["{\"key\":1,\"n\":2}"]);
    assert_eq!(whole.lines(1), ["2"]);
    assert_eq!(rows.interrupt(), (vec!["+-----+".to_string()], 130, String::new()));
    for live in [changes, whole] {
        assert_eq!(live.interrupt(), (Vec::new(), 130, String::new()));
    }
}

#[test]
fn a_source_that_ends_ends_the_query_with_all_windows() {
    let folder = TempDir::new().unwrap();
    let create = "CREATE STREAM bids (auction BIGINT, date_time TIMESTAMP,
           WATERMARK FOR date_time AS date_time)
         WITH (connector = 'nexmark', table = 'bid', events = 20000);";
    let query = "SELECT window_end, count(*) AS n, max(auction) AS top
        FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(date_time), INTERVAL '1' SECOND))
        GROUP BY window_start, window_end";
    let live = format!("{create} {query} EMIT ON WINDOW CLOSE; SELECT 1 AS one");
    let (lines, code, told) = Live::begin(folder.path(), "csv", &live).end();
    assert_eq!((code, told.as_str()), (0, ""));
    let batch = format!("{create} {query} ORDER BY window_end; SELECT 1 AS one");
    let (want, ..) = Live::begin(folder.path(), "csv", &batch).end();
    assert!(want.len() > 3, "{want:?}");
    assert_eq!(lines, want);
}

#[test]
fn rows_that_come_once_are_left_to_pipelines() {
    let folder = TempDir::new().unwrap();
    let create = "CREATE STREAM s (a BIGINT) WITH (connector = 'stdin', format = 'csv');";
    let sql = format!("{create} SELECT a FROM s EMIT CHANGES");
    let (lines, code, told) = Live::begin(folder.path(), "csv", &sql).end();
    assert_eq!((lines.len(), code), (0, 1));
    assert!(told.contains("come only once") && told.contains("thalweg run"), "{told}");
    let sql = format!("{} SELECT key FROM s ORDER BY key EMIT CHANGES", stream(""));
    growing(folder.path(), &[]);
    let (.., code, told) = Live::begin(folder.path(), "csv", &sql).end();
    assert_eq!(code, 1);
    assert!(told.contains("ORDER BY cannot run continuously"), "{told}");
    // Over a table there is nothing to follow.
    let sql = "SELECT count(*) AS n FROM (VALUES (1)) AS t EMIT ON UPDATE";
    let (lines, code, _) = Live::begin(folder.path(), "csv", sql).end();
    assert_eq!((lines.join(" ").as_str(), code), ("n 1", 0));
}

/// Stored rows come first, then what the source holds beyond them, then what arrives.
#[cfg(unix)]
#[test]
fn history_and_rest_come_once_and_the_store_stays_as_it_is() {
    let folder = TempDir::new().unwrap();
    growing(folder.path(), &[(1, 1), (2, 2), (4, 11)]);
    let stored = |start: &str| stream(&format!(", store = 'history'{start}"));
    std::fs::write(folder.path().join("p.sql"), stored("")).unwrap();
    let run = ["run", "p.sql", "--until-end", "--state", "state", "--device", "cpu"];
    assert!(thalweg(folder.path(), &run).status().unwrap().success());
    append(folder.path(), &[(8, 12)]);
    let log = || std::fs::read_dir(folder.path().join("history/_delta_log")).unwrap().count();
    let before = log();
    let of = |start: &str, query: &str| {
        Live::begin(folder.path(), "csv", &format!("{} {query} EMIT CHANGES", stored(start)))
    };
    let keys = "SELECT key FROM s";
    let mut all = of("", keys);
    let mut windows = Live::begin(
        folder.path(),
        "csv",
        &format!("{} {WINDOWS} EMIT AFTER WINDOW CLOSE", stored("")),
    );
    let mut from = of(", start = '2026-01-01T00:00:02'", keys);
    assert_eq!(all.lines(5), ["key", "1", "2", "4", "8"]);
    assert_eq!(windows.lines(2), ["window_end,keys", "2026-01-01T00:00:10,3"]);
    assert_eq!(from.lines(4), ["key", "2", "4", "8"]);
    append(folder.path(), &[(16, 25)]);
    assert_eq!(all.lines(1), ["16"]);
    assert_eq!(windows.lines(1), ["2026-01-01T00:00:20,12"]);
    assert_eq!(from.lines(1), ["16"]);
    // The pipeline can run beside them, and goes on where it was.
    assert!(thalweg(folder.path(), &run).status().unwrap().success());
    assert_eq!(log(), before + 1);
    for live in [all, windows, from] {
        assert_eq!(live.interrupt(), (Vec::new(), 130, String::new()));
    }
    assert_eq!(log(), before + 1);
}
