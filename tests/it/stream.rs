//! Streams: the late rule, windows, malformed rows; as a batch and as a pipeline.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use tempfile::TempDir;
use thalweg::config::{DeviceChoice, Options};
use thalweg::error::Result;
use thalweg::job::{Results, RunOptions};
use thalweg::sql::{Engine, Outcome};
use thalweg::stream::progress::Observer;

use crate::support;

fn engine() -> Engine {
    Engine::new(Options { device: DeviceChoice::Cpu, ..Options::default() }).unwrap()
}

/// Runs a script; answers the rows of its last query as CSV without a header.
async fn try_run(engine: &Engine, text: &str) -> Result<String> {
    let mut last = String::new();
    for statement in engine.parse(text)? {
        if let Outcome::Rows(rows) = engine.execute(statement).await? {
            last = csv(&rows.try_collect::<Vec<_>>().await?);
        }
    }
    Ok(last)
}

async fn run(engine: &Engine, text: &str) -> String {
    try_run(engine, text).await.unwrap()
}

async fn error(text: &str) -> String {
    try_run(&engine(), text).await.unwrap_err().to_string()
}

fn csv(batches: &[RecordBatch]) -> String {
    let mut out = Vec::new();
    let mut writer = arrow::csv::WriterBuilder::new().with_header(false).build(&mut out);
    for batch in batches {
        writer.write(batch).unwrap();
    }
    drop(writer);
    String::from_utf8(out).unwrap()
}

pub fn write(folder: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(name), text).unwrap();
}

/// Seconds past midnight as a timestamp.
pub fn at(seconds: u64) -> String {
    format!("2026-01-01T00:{:02}:{:02}", seconds / 60, seconds % 60)
}

/// Bids in two files. Delay 5 s: the row of second 14 comes when the watermark is at 20, so the
/// window [10, 20) is over; the row of second 21 comes then too, and is in time.
fn bids(folder: &Path) {
    let rows = |rows: &[(u64, u32, u32)]| {
        let mut text = String::from("price,ts,auction\n");
        for (second, auction, price) in rows {
            writeln!(text, "{price},{},{auction}", at(*second)).unwrap();
        }
        text
    };
    write(folder, "b.csv", &rows(&[(14, 1, 500), (21, 2, 60), (33, 1, 70), (19, 2, 900)]));
    write(folder, "a.csv", &rows(&[(3, 1, 10), (12, 2, 20), (9, 1, 30), (25, 1, 40)]));
}

fn stream(folder: &Path, more: &str) -> String {
    format!(
        "CREATE STREAM bids (auction BIGINT, price BIGINT, ts TIMESTAMP,
           WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
         WITH (connector = 'file', path = '{}', format = 'csv'{more});",
        folder.display()
    )
}

const WINDOWS: &str = "SELECT window_start, window_end, auction, count(*) AS n, max(price) AS top
    FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY window_start, window_end, auction";

const GOLDEN: &str = "\
2026-01-01T00:00:00,2026-01-01T00:00:10,1,2,30
2026-01-01T00:00:10,2026-01-01T00:00:20,2,1,20
2026-01-01T00:00:20,2026-01-01T00:00:30,1,1,40
2026-01-01T00:00:20,2026-01-01T00:00:30,2,1,60
2026-01-01T00:00:30,2026-01-01T00:00:40,1,1,70
";

#[tokio::test]
async fn a_batch_over_a_stream_applies_the_late_rule() {
    let folder = TempDir::new().unwrap();
    bids(folder.path());
    let engine = engine();
    let sql = format!("{} {WINDOWS} ORDER BY window_start, auction", stream(folder.path(), ""));
    assert_eq!(run(&engine, &sql).await, GOLDEN);
    // Without windows nothing is late, and only declared columns show.
    assert_eq!(run(&engine, "SELECT count(*), sum(price) FROM bids").await, "8,1630\n");
    let all = run(&engine, "SELECT * FROM bids LIMIT 1").await;
    assert_eq!(all, "1,10,2026-01-01T00:00:03\n");
    // Through a subquery and under another name the rule is the same.
    let sql = "SELECT count(*) FROM TUMBLE(
        TABLE => (SELECT t AS ts, price FROM (SELECT ts AS t, price FROM bids) AS b
                  WHERE price > 10), DESCRIPTOR(ts), INTERVAL '10' SECOND) AS w";
    let sql = sql.replace("TABLE => ", "DATA => ").replace("DESCRIPTOR", "TIMECOL => DESCRIPTOR");
    let sql = sql.replace("INTERVAL '10'", "SIZE => INTERVAL '10'");
    assert_eq!(run(&engine, &sql).await, "5\n");
}

#[tokio::test]
async fn windows_over_tables_and_files_have_no_late_rows() {
    let folder = TempDir::new().unwrap();
    bids(folder.path());
    let file = folder.path().join("b.csv");
    let sql = format!(
        "SELECT window_start, window_end, window_time, count(*)
         FROM TABLE(TUMBLE(TABLE '{}', DESCRIPTOR(ts), INTERVAL '10' SECOND))
         GROUP BY window_start, window_end, window_time ORDER BY 1",
        file.display()
    );
    let bare = sql.replace("TABLE '", "'");
    assert_eq!(run(&engine(), &bare).await, run(&engine(), &sql).await);
    assert_eq!(
        run(&engine(), &sql).await,
        "2026-01-01T00:00:10,2026-01-01T00:00:20,2026-01-01T00:00:19.999,2\n\
         2026-01-01T00:00:20,2026-01-01T00:00:30,2026-01-01T00:00:29.999,1\n\
         2026-01-01T00:00:30,2026-01-01T00:00:40,2026-01-01T00:00:39.999,1\n"
    );
}

/// Windows by their definition: every start that is a multiple of the step (from the offset), far
/// enough around, tested against the row.
#[tokio::test]
async fn windows_equal_their_definition() {
    let times = [-7_i64, -1, 0, 1, 4, 5, 9, 10, 11, 29, 30];
    let values: Vec<_> = times.iter().map(|t| format!("({t})")).collect();
    let engine = engine();
    let table = format!(
        "CREATE TABLE t AS SELECT column1 AS s, arrow_cast(column1, 'Timestamp(Second, None)')
           AS ts FROM (VALUES {})",
        values.join(", ")
    );
    run(&engine, &table).await;
    let seconds = |name: &str| format!("CAST(to_unixtime({name}) AS BIGINT)");
    for (call, starts) in [
        ("TUMBLE(t, DESCRIPTOR(ts), INTERVAL '5' SECOND)", (5, 0, vec![5])),
        ("TUMBLE(t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '2' SECOND)", (5, 2, vec![5])),
        ("HOP(t, DESCRIPTOR(ts), INTERVAL '4' SECOND, INTERVAL '10' SECOND)", (4, 0, vec![10])),
        (
            "CUMULATE(t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '15' SECOND)",
            (15, 0, vec![5, 10, 15]),
        ),
    ] {
        let sql = format!(
            "SELECT s, {} AS a, {} AS b FROM TABLE({call}) ORDER BY s, a, b",
            seconds("window_start"),
            seconds("window_end")
        );
        let (step, offset, sizes) = starts;
        let mut want = String::new();
        for t in times {
            for start in (-60..60).filter(|start: &i64| (start - offset).rem_euclid(step) == 0) {
                for size in sizes.iter().filter(|size| start <= t && t < start + **size) {
                    writeln!(want, "{t},{start},{}", start + size).unwrap();
                }
            }
        }
        assert_eq!(run(&engine, &sql).await, want, "{call}");
    }
}

#[tokio::test]
async fn malformed_rows_name_file_and_line_or_are_kept_aside() {
    let folder = TempDir::new().unwrap();
    let text = "auction,price,ts\n1,\"a\nb\",2026-01-01T00:00:00\n1,2,2026-01-01T00:00:01\n1,2\n\
                1,3,\n4,5,2026-01-01T00:00:02\n";
    write(folder.path(), "x.csv", text);
    let count = "SELECT count(*), sum(price) FROM bids";
    let told = error(&format!("{}{count}", stream(folder.path(), ""))).await;
    let want = "x.csv, line 2: column price: 'a\nb' is not Int64 (on_error = 'skip'";
    assert!(told.contains(want), "{told}");

    let state = TempDir::new().unwrap();
    let engine = engine().with_state(Some(state.path().to_path_buf()));
    let sql = format!("{}{count}", stream(folder.path(), ", on_error = 'skip'"));
    assert_eq!(run(&engine, &sql).await, "2,7\n");
    let kept = std::fs::read_to_string(state.path().join("bids.rejected.jsonl")).unwrap();
    let places: Vec<_> = kept.lines().map(|line| line.contains("x.csv, line ")).collect();
    assert_eq!(places, [true, true, true], "{kept}");
    assert!(kept.contains("line 5\",\"reason\":\"2 fields where 3 are wanted"), "{kept}");

    std::fs::write(folder.path().join("x.csv"), "auction,ts\n1,2026-01-01\n").unwrap();
    let told = error(&format!("{}{count}", stream(folder.path(), ", on_error = 'skip'"))).await;
    assert!(told.contains("there is no column price; there are auction, ts"), "{told}");
}

#[tokio::test]
async fn json_parquet_and_csv_hold_the_same_rows() {
    let folder = TempDir::new().unwrap();
    bids(&folder.path().join("csv"));
    let path = |name: &str| folder.path().join(name);
    let engine = engine();
    let mut script = stream(&path("csv"), "");
    std::fs::create_dir_all(path("json")).unwrap();
    std::fs::create_dir_all(path("parquet")).unwrap();
    for name in ["a", "b"] {
        for format in ["json", "parquet"] {
            write!(
                script,
                "COPY (SELECT price AS \"Price\", auction, ts FROM '{}')
                 TO '{}' STORED AS {format};",
                path("csv").join(format!("{name}.csv")).display(),
                path(format).join(format!("{name}.{format}")).display()
            )
            .unwrap();
        }
    }
    run(&engine, &script).await;
    for format in ["json", "parquet"] {
        let again = stream(&path(format), "").replace("'csv'", &format!("'{format}'"));
        let sql = format!("DROP STREAM bids; {again} {WINDOWS} ORDER BY window_start, auction");
        assert_eq!(run(&engine, &sql).await, GOLDEN, "{format}");
    }
    // A malformed line is found among good ones; a cut file is an error that names it.
    write(
        &path("json"),
        "c.json",
        "{\"Price\":1,\"auction\":2,\"ts\":\"2026-01-01T00:00:00\"}\n{\"Pri\n",
    );
    let again = |format: &str| {
        let made = stream(&path(format), "").replace("'csv'", &format!("'{format}'"));
        format!("{made} SELECT * FROM bids")
    };
    let told = error(&again("json")).await;
    assert!(told.contains("c.json, line 2: "), "{told}");
    let whole = std::fs::read(path("parquet").join("a.parquet")).unwrap();
    std::fs::write(path("parquet").join("a.parquet"), &whole[..whole.len() / 2]).unwrap();
    assert!(error(&again("parquet")).await.contains("a.parquet: "));
}

#[tokio::test]
async fn empty_logs_are_empty_and_absent_ones_errors() {
    let folder = TempDir::new().unwrap();
    let count = "SELECT count(*) FROM bids";
    assert_eq!(run(&engine(), &format!("{}{count}", stream(folder.path(), ""))).await, "0\n");
    write(folder.path(), "empty.csv", "");
    write(folder.path(), "head.csv", "auction,price,ts\n");
    write(folder.path(), ".hidden.csv", "x\n1\n");
    assert_eq!(run(&engine(), &format!("{}{count}", stream(folder.path(), ""))).await, "0\n");
    let absent = folder.path().join("absent");
    let told = error(&format!("{}{count}", stream(&absent, ""))).await;
    assert!(told.contains("absent': No such file or directory"), "{told}");
}

#[tokio::test]
async fn what_is_wrong_with_a_stream_is_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    for (sql, want) in [
        (
            stream(path, ", colour = 'red'"),
            "stream bids: there is no option 'colour' here; there are",
        ),
        (stream(path, "").replace("'file'", "'kafkaesque'"), "there is no connector 'kafkaesque'"),
        (stream(path, "").replace("ts TIMESTAMP", "ts BIGINT"), "ts is Int64, not a TIMESTAMP"),
        (stream(path, "").replace("ts - ", "ts + "), "line 2, column 32: the watermark is ts or"),
        (stream(path, "").replace("FOR ts", "FOR t"), "WATERMARK FOR t: the columns are auction"),
        (stream(path, ", max_advance = 'soon'"), "max_advance = 'soon'"),
        (stream(path, "") + &stream(path, ""), "there is a table or stream bids already"),
        ("DROP STREAM s".to_string(), "there is no stream s"),
        (
            stream(path, "") + &WINDOWS.replace("DESCRIPTOR(ts)", "DESCRIPTOR(price)"),
            "go by its watermark column: DESCRIPTOR(ts), not price",
        ),
        (
            stream(path, "") + &WINDOWS.replace("'10' SECOND", "'1' MONTH"),
            "months differ in length",
        ),
        (stream(path, "") + "SELECT * FROM TUMBLE(bids, ts)", "TUMBLE: SIZE is missing"),
    ] {
        let told = error(&sql).await;
        assert!(told.contains(want), "{sql}\n{told}");
    }
}

#[tokio::test]
async fn a_poisoned_time_is_bounded() {
    let folder = TempDir::new().unwrap();
    let text = "auction,price,ts\n1,1,2026-01-01T00:00:01\n1,2,2036-01-01T00:00:00\n\
                1,4,2026-01-01T00:00:02\n";
    write(folder.path(), "x.csv", text);
    let sql = "SELECT sum(price) FROM TABLE(TUMBLE(bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
               WHERE window_start < '2030-01-01'";
    let free = format!("{} {sql}", stream(folder.path(), ""));
    assert_eq!(run(&engine(), &free).await, "1\n");
    let bounded = format!("{} {sql}", stream(folder.path(), ", max_advance = '10 seconds'"));
    assert_eq!(run(&engine(), &bounded).await, "5\n");
}

#[tokio::test]
async fn nexmark_is_the_same_log_again_and_needs_an_end() {
    let create = |more: &str| {
        format!(
            "CREATE STREAM bids (auction BIGINT, price BIGINT, ts TIMESTAMP,
               WATERMARK FOR ts AS ts) WITH (connector = 'nexmark'{more});"
        )
    };
    let engine = engine();
    let sql = create(", events = 5000, seed = 7") + "SELECT count(*), sum(price) FROM bids";
    let first = run(&engine, &sql).await;
    assert!(first.starts_with("4600,"), "{first}");
    assert_eq!(run(&engine, "SELECT count(*), sum(price) FROM bids").await, first);
    let told = error(&(create("") + "SELECT count(*) FROM bids")).await;
    assert!(told.contains("stream bids: a generator without an end: say how many"), "{told}");
    let told = error(&create(", table = 'person'")).await;
    assert!(told.contains("the columns are not those of one table"), "{told}");
}

/// Takes the results of plain SELECTs, as CSV, one after another.
#[derive(Default)]
pub struct Collected(Vec<String>);

#[async_trait::async_trait]
impl Results for Collected {
    async fn write(&mut self, rows: SendableRecordBatchStream) -> Result<()> {
        self.0.push(csv(&rows.try_collect::<Vec<_>>().await?));
        Ok(())
    }
}

/// Runs a pipeline to the end of its sources; answers what its SELECTs printed.
async fn pipeline(folder: &Path, text: &str) -> Result<Vec<String>> {
    pipeline_on(DeviceChoice::Cpu, folder, text).await
}

pub async fn pipeline_on(device: DeviceChoice, folder: &Path, text: &str) -> Result<Vec<String>> {
    observed(device, folder, text, None).await
}

/// The same; `observer` is told of every epoch.
pub async fn observed(
    device: DeviceChoice,
    folder: &Path,
    text: &str,
    observer: Option<Observer>,
) -> Result<Vec<String>> {
    let path = folder.join("pipe.sql");
    std::fs::write(&path, text).unwrap();
    let options = RunOptions {
        pipeline: path,
        until_end: true,
        state: Some(folder.join("state")),
        observer,
        options: Options { device, ..Options::default() },
        ..RunOptions::default()
    };
    let mut results = Collected::default();
    thalweg::job::run(options, &mut results).await?;
    Ok(results.0)
}

/// Runs a pipeline to the end, or to a point where it is gone; answers whether it was.
pub fn killed(device: DeviceChoice, folder: &Path, point: &str, script: &str) -> bool {
    let path = folder.join("pipe.sql");
    std::fs::write(&path, script).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .current_dir(folder)
        .args(["run", "--until-end", "--device", &device.to_string(), "--state"])
        .arg(folder.join("state"))
        .arg(&path)
        .env("THALWEG_KILL_AT", point)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.code().is_none_or(|code| code == 0), "{point}: {told}");
    done.status.code().is_none()
}

/// Runs a pipeline that is gone at a point.
pub fn kill(folder: &Path, point: &str, script: &str) {
    let killed = killed(DeviceChoice::Cpu, folder, point, script);
    let epochs = std::fs::read_to_string(folder.join("state/epochs.jsonl"));
    assert!(killed, "{point}: not killed\n{epochs:?}");
}

/// The lines of all CSV files in a folder, in the order of their names, without headers.
pub fn sunk(folder: &Path) -> String {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let mut lines = String::new();
    for name in names {
        let text = std::fs::read_to_string(name).unwrap();
        text.lines().skip(1).for_each(|line| writeln!(lines, "{line}").unwrap());
    }
    lines
}

fn sink(folder: &Path) -> String {
    let path = folder.join("out");
    format!(
        "CREATE SINK out WITH (connector = 'file', format = 'csv', path = '{}');",
        path.display()
    )
}

#[tokio::test]
async fn a_pipeline_gives_the_rows_of_the_batch_at_any_epoch() {
    let source = TempDir::new().unwrap();
    bids(source.path());
    for rows in [1, 2, 3, 7, 65_536] {
        let folder = TempDir::new().unwrap();
        let text = format!(
            "SET thalweg.epoch_rows = {rows};\n{}\n{}\nINSERT INTO out {WINDOWS};\n
             SELECT count(*) FROM bids;",
            stream(source.path(), ""),
            sink(folder.path())
        );
        assert_eq!(pipeline(folder.path(), &text).await.unwrap(), ["8\n"]);
        assert_eq!(sunk(&folder.path().join("out")), GOLDEN, "epochs of {rows} rows");
        // Again: nothing new, nothing written twice.
        pipeline(folder.path(), &text).await.unwrap();
        assert_eq!(sunk(&folder.path().join("out")), GOLDEN, "epochs of {rows} rows, again");
    }
}

/// Every shape of query that runs continuously, on a larger log with late rows, against the batch.
#[tokio::test]
async fn continuous_queries_equal_their_batch() {
    let source = TempDir::new().unwrap();
    let mut text = String::from("auction,price,ts\n");
    // A fixed linear congruence scatters times by up to 40 s around a steady advance.
    let mut x = 1_u64;
    for row in 0..3_000_u64 {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let second = (row / 4 + (x >> 33) % 40).min(3_599);
        writeln!(text, "{},{},{}", (x >> 40) % 11, (x >> 50) % 1000, at(second)).unwrap();
    }
    write(source.path(), "a.csv", &text);
    let tumble = "TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))";
    let hop = "HOP(bids, DESCRIPTOR(ts), INTERVAL '4' SECOND, INTERVAL '10' SECOND)";
    let cumulate = "CUMULATE(bids, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '20' SECOND)";
    let group = "GROUP BY window_start, window_end";
    for query in [
        format!(
            "SELECT window_start, auction, count(*) n, sum(price), avg(price) a, min(ts)
                 FROM {tumble} {group}, auction"
        ),
        format!(
            "SELECT window_end, count(*) FROM {tumble} WHERE price > 500 GROUP BY window_end
                 HAVING count(*) > 1"
        ),
        format!(
            "SELECT window_time AS t, auction % 2 AS odd, max(price) - min(price) AS spread
                 FROM {tumble} GROUP BY window_time, auction % 2"
        ),
        format!(
            "SELECT w AS s, k, count(DISTINCT price) d, sum(price) FILTER (WHERE price > 9)
                 FROM (SELECT window_start AS w, auction AS k, price FROM {tumble}) GROUP BY k, w"
        ),
        format!("SELECT DISTINCT window_start, auction FROM {tumble}"),
        format!(
            "SELECT window_start, max(n) FROM (SELECT window_start, window_end, auction,
                 count(*) n FROM {tumble} {group}, auction) {group}"
        ),
        format!("SELECT window_start, window_end, sum(price) FROM {hop} {group}"),
        format!("SELECT window_start, window_end, sum(price) FROM {cumulate} {group}"),
        format!("SELECT window_start, price * 2 AS p, ts FROM {tumble} WHERE auction = 3"),
        "SELECT price, ts FROM bids WHERE auction = 3".to_string(),
        // The type of the branches together, not that of the first.
        "SELECT CASE WHEN price < 500 THEN price ELSE 0.5 END AS p, ts FROM bids".to_string(),
        "SELECT CASE WHEN price < 500 THEN 'low' ELSE CAST(ts AS VARCHAR) END AS p FROM bids"
            .to_string(),
    ] {
        let batch = format!("{} {query}", stream(source.path(), ""));
        let mut want: Vec<_> = run(&engine(), &batch).await.lines().map(str::to_string).collect();
        want.sort();
        assert!(want.len() > 10, "{query}: {} rows", want.len());
        let mut before = None;
        for rows in [97, 512, 65_536] {
            let folder = TempDir::new().unwrap();
            let text = format!(
                "SET thalweg.epoch_rows = {rows}; {} {} INSERT INTO out {query};",
                stream(source.path(), ""),
                sink(folder.path())
            );
            pipeline(folder.path(), &text).await.unwrap();
            let got = sunk(&folder.path().join("out"));
            let mut sorted: Vec<_> = got.lines().map(str::to_string).collect();
            sorted.sort();
            assert_eq!(sorted, want, "{query}, epochs of {rows} rows");
            // And in one order, whatever the epochs.
            assert_eq!(*before.get_or_insert(got.clone()), got, "{query}: order");
        }
    }
}

#[tokio::test]
async fn what_does_not_run_continuously_is_named() {
    let source = TempDir::new().unwrap();
    let folder = TempDir::new().unwrap();
    let tumble = "TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))";
    let by_window = format!("SELECT window_start, count(*) FROM {tumble} GROUP BY window_start");
    for (query, want) in [
        ("SELECT count(*) FROM bids".to_string(), "an aggregate that groups by no window"),
        (
            "SELECT a.price FROM bids a JOIN bids b USING (price)".to_string(),
            "the join of two streams",
        ),
        (format!("{by_window} ORDER BY 1"), "ORDER BY cannot run continuously"),
        (format!("{by_window} LIMIT 1"), "LIMIT cannot run"),
        (
            format!("SELECT count(*) FROM {tumble} GROUP BY date_bin(INTERVAL '1 hour', ts)"),
            "an aggregate that groups by no window",
        ),
        (
            "SELECT price FROM bids WHERE price > (SELECT max(price) FROM bids)".to_string(),
            "a subquery over a stream",
        ),
        ("SELECT row_number() OVER (ORDER BY ts) FROM bids".to_string(), "OVER without a window"),
        ("SELECT DISTINCT price FROM bids".to_string(), "an aggregate that groups by no window"),
    ] {
        let text = format!(
            "{} {} INSERT INTO out {query};",
            stream(source.path(), ""),
            sink(folder.path())
        );
        let told = pipeline(folder.path(), &text).await.unwrap_err().to_string();
        assert!(told.contains(want) && told.contains("pipe.sql: line 3: "), "{query}\n{told}");
    }
    let text = format!(
        "{} {} INSERT INTO out {by_window};",
        stream(source.path(), "").replace("WATERMARK FOR ts AS ts - INTERVAL '5' SECOND", "x INT"),
        sink(folder.path())
    );
    let told = pipeline(folder.path(), &text).await.unwrap_err().to_string();
    assert!(told.contains("stream bids has no watermark, so no window ever closes"), "{told}");
    let text = format!(
        "{} CREATE SINK d WITH (connector = 'delta', path = '{}/d');
         INSERT INTO d SELECT count(*) AS n FROM bids EMIT ON UPDATE;",
        stream(source.path(), ""),
        folder.path().display()
    );
    let told = pipeline(folder.path(), &text).await.unwrap_err().to_string();
    assert!(told.contains("sink d: a row that is given out again"), "{told}");
    let told = pipeline(folder.path(), "SELECT 1;\nINSERT INTO x SELEC 1").await.unwrap_err();
    assert!(told.to_string().contains("pipe.sql: line 2, column "), "{told}");
}

#[tokio::test]
async fn delta_keeps_results_and_history_once() {
    let source = TempDir::new().unwrap();
    bids(source.path());
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let text = format!(
        "SET thalweg.epoch_rows = 3; {}
         CREATE SINK out WITH (connector = 'delta', path = '{}');
         INSERT INTO out {WINDOWS};
         INSERT INTO out SELECT window_start, window_end, 0 AS auction, count(*) AS n,
           CAST(NULL AS BIGINT) AS top
         FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '20' SECOND))
         GROUP BY window_start, window_end;
         CREATE EXTERNAL TABLE results STORED AS DELTA LOCATION '{}';
         CREATE EXTERNAL TABLE history STORED AS DELTA LOCATION '{}';
         SELECT count(*) FILTER (WHERE auction > 0) AS w, sum(n) FILTER (WHERE auction = 0)
         FROM results;
         SELECT count(*), sum(price), count(DISTINCT __offset), max(__partition) FROM history;",
        stream(source.path(), &format!(", store = '{}'", path("history"))),
        path("results"),
        path("results"),
        path("history"),
    );
    for _ in 0..2 {
        let got = pipeline(folder.path(), &text).await.unwrap();
        assert_eq!(got, ["5,6\n", "8,1630,8,0\n"]);
    }
    // More rows at the end of the log: the new ones only.
    write(source.path(), "c.csv", "auction,price,ts\n7,1,2026-01-01T00:00:50\n");
    let got = pipeline(folder.path(), &text).await.unwrap();
    assert_eq!(got, ["6,7\n", "9,1631,9,0\n"]);
}

/// The partial aggregate of every epoch on the device, states merged on the host.
#[tokio::test]
async fn a_device_gives_the_same_rows() {
    if support::engine_on(DeviceChoice::Gpu).is_none() {
        return;
    }
    let source = TempDir::new().unwrap();
    bids(source.path());
    for rows in [3, 65_536] {
        let folder = TempDir::new().unwrap();
        let text = format!(
            "SET thalweg.epoch_rows = {rows}; SET thalweg.strict = true;
             {} {} INSERT INTO out {WINDOWS};",
            stream(source.path(), ""),
            sink(folder.path())
        );
        pipeline_on(DeviceChoice::Gpu, folder.path(), &text).await.unwrap();
        assert_eq!(sunk(&folder.path().join("out")), GOLDEN, "epochs of {rows} rows");
    }
    let explain = format!(
        "{} {} EXPLAIN INSERT INTO out {WINDOWS}",
        stream(source.path(), ""),
        sink(source.path())
    );
    let engine = support::engine_on(DeviceChoice::Gpu).unwrap();
    let plan = run(&engine, &explain).await;
    assert!(plan.contains("DeviceExec"), "{plan}");
}

/// A million real rows in files by day: a stream over them is what the files hold.
#[tokio::test]
async fn a_shop_of_real_files() {
    let days = Path::new("../shared/data/online_retail/by-day");
    if !days.exists() {
        assert!(std::env::var("CI").is_err(), "no {}", days.display());
        eprintln!("SKIPPED: no {}", days.display());
        return;
    }
    // Names of files do without `..`.
    let days = days.canonicalize().unwrap();
    let create = format!(
        "CREATE STREAM sales (InvoiceNo VARCHAR, Description VARCHAR, Quantity BIGINT,
           InvoiceDate TIMESTAMP, UnitPrice DOUBLE, CustomerID DOUBLE, Country VARCHAR,
           WATERMARK FOR InvoiceDate AS InvoiceDate - INTERVAL '1' HOUR)
         WITH (connector = 'file', path = '{}');",
        days.display()
    );
    let query = "SELECT window_end, Country, sum(Quantity), count(CustomerID), sum(UnitPrice)
        FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(InvoiceDate), INTERVAL '1' DAY))
        GROUP BY window_end, Country";
    let engine = engine();
    let counts = format!("{create} SELECT count(*), count(CustomerID), sum(Quantity) FROM sales");
    let files = format!(
        "SELECT count(*), count(\"CustomerID\"), sum(\"Quantity\") FROM '{}/*.csv'",
        days.display()
    );
    assert_eq!(run(&engine, &counts).await, run(&engine, &files).await);
    let want = run(&engine, &format!("{query} ORDER BY window_end, Country")).await;
    let folder = TempDir::new().unwrap();
    let text = format!(
        "SET thalweg.epoch_rows = 10000; {create} {} INSERT INTO out {query};",
        sink(folder.path())
    );
    pipeline(folder.path(), &text).await.unwrap();
    assert_eq!(sunk(&folder.path().join("out")), want);
}

/// MySQL begins a table's constraint with these words; followed by a type they are names.
#[tokio::test]
async fn columns_may_be_called_as_constraints_begin() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "a.csv", "ts,key,index,unique,check\n2026-01-01T00:00:00,1,2,3,4\n");
    let path = folder.path().join("a.csv");
    let columns = "ts TIMESTAMP, key BIGINT, Index INT NOT NULL, unique DECIMAL(9, 2), check INT";
    let script = format!(
        "CREATE STREAM s ({columns}, WATERMARK FOR ts AS ts)
           WITH (connector = 'file', path = '{path}');
         CREATE EXTERNAL TABLE e ({columns}) STORED AS CSV LOCATION '{path}';
         CREATE TABLE t (key BIGINT, index INT) AS VALUES (1, 2);
         SELECT s.key, e.index, s.index, s.\"unique\", e.\"check\", t.index
         FROM s JOIN e USING (key) JOIN t USING (key)",
        path = path.display()
    );
    assert_eq!(run(&engine(), &script).await, "1,2,2,3.00,4,2\n");
}
