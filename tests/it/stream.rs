//! Streams: the watermark filter, windows, malformed rows; as a batch and as a pipeline.

use std::fmt::Write as _;
use std::path::Path;

use futures::TryStreamExt;
use tempfile::TempDir;
use thalweg::config::{DeviceChoice, Options};
use thalweg::error::Result;
use thalweg::sql::{Engine, Outcome};

use crate::support;
use crate::support::pipelines::{at, csv, pipeline_on, sunk, write};

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

/// The stream over a folder of CSV files.
fn stream(folder: &Path, more: &str) -> String {
    stream_of(folder, "csv", more)
}

fn stream_of(folder: &Path, format: &str, more: &str) -> String {
    let path = folder.display();
    format!("{COLUMNS} WITH (connector = 'file', path = '{path}', format = '{format}'{more});")
}

const COLUMNS: &str = "CREATE STREAM bids (auction BIGINT, price BIGINT, ts TIMESTAMP,
    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)";

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
async fn a_batch_over_a_stream_applies_the_watermark_filter() {
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
        DATA => (SELECT t AS ts, price FROM (SELECT ts AS t, price FROM bids) AS b
                 WHERE price > 10),
        TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10' SECOND) AS w";
    assert_eq!(run(&engine, sql).await, "5\n");
}

#[tokio::test]
async fn windows_over_tables_and_files_have_no_late_rows() {
    let folder = TempDir::new().unwrap();
    bids(folder.path());
    let file = folder.path().join("b.csv");
    for table in ["TABLE ", ""] {
        let sql = format!(
            "SELECT window_start, window_end, window_time, count(*)
             FROM TABLE(TUMBLE({table}'{}', DESCRIPTOR(ts), INTERVAL '10' SECOND))
             GROUP BY window_start, window_end, window_time ORDER BY 1",
            file.display()
        );
        assert_eq!(
            run(&engine(), &sql).await,
            "2026-01-01T00:00:10,2026-01-01T00:00:20,2026-01-01T00:00:19.999,2\n\
             2026-01-01T00:00:20,2026-01-01T00:00:30,2026-01-01T00:00:29.999,1\n\
             2026-01-01T00:00:30,2026-01-01T00:00:40,2026-01-01T00:00:39.999,1\n"
        );
    }
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
        let again = stream_of(&path(format), format, "");
        let sql = format!("DROP STREAM bids; {again} {WINDOWS} ORDER BY window_start, auction");
        assert_eq!(run(&engine, &sql).await, GOLDEN, "{format}");
    }
    // A malformed line is found among good ones; a cut file is an error that names it.
    write(
        &path("json"),
        "c.json",
        "{\"Price\":1,\"auction\":2,\"ts\":\"2026-01-01T00:00:00\"}\n{\"Pri\n",
    );
    let again =
        |format: &str| format!("{} SELECT * FROM bids", stream_of(&path(format), format, ""));
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
    let made = stream(folder.path(), "");
    let with = |options: &str| format!("{COLUMNS} WITH ({options});");
    let of = |columns: &str| {
        format!(
            "CREATE STREAM bids (auction BIGINT, {columns}) WITH (connector = 'file', path = 'x');"
        )
    };
    let windows = |time: &str, size: &str| {
        format!(
            "{made} SELECT * FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR({time}), INTERVAL {size}))"
        )
    };
    for (sql, want) in [
        (
            stream(folder.path(), ", colour = 'red'"),
            "stream bids: there is no option 'colour' here; there are",
        ),
        (with("connector = 'kafkaesque'"), "there is no connector 'kafkaesque'"),
        (of("ts BIGINT, WATERMARK FOR ts AS ts"), "ts is Int64, not a TIMESTAMP"),
        (
            of("ts TIMESTAMP,\nWATERMARK FOR ts AS ts + INTERVAL '5' SECOND"),
            "line 2, column 21: the watermark is ts or",
        ),
        (of("ts TIMESTAMP, WATERMARK FOR t AS t"), "WATERMARK FOR t: the columns are auction"),
        (stream(folder.path(), ", max_advance = 'soon'"), "max_advance = 'soon'"),
        (made.clone() + &made, "there is a table or stream bids already"),
        ("DROP STREAM s".to_string(), "there is no stream s"),
        (windows("price", "'10' SECOND"), "go by its watermark column: DESCRIPTOR(ts), not price"),
        (windows("ts", "'1' MONTH"), "months differ in length"),
        (made.clone() + "SELECT * FROM TUMBLE(bids, ts)", "TUMBLE: SIZE is missing"),
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

/// Runs a pipeline to the end of its sources; answers what its SELECTs printed.
async fn pipeline(folder: &Path, text: &str) -> Result<Vec<String>> {
    pipeline_on(DeviceChoice::Cpu, folder, text).await
}

fn sink(folder: &Path) -> String {
    let path = folder.join("out");
    format!(
        "CREATE SINK out WITH (connector = 'file', format = 'csv', path = '{}');",
        path.display()
    )
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

#[tokio::test]
async fn the_plan_of_an_insert_tells_of_the_device() {
    let Some(engine) = support::engine_on(DeviceChoice::Gpu) else { return };
    let source = TempDir::new().unwrap();
    bids(source.path());
    let (stream, sink) = (stream(source.path(), ""), sink(source.path()));
    let plan = run(&engine, &format!("{stream} {sink} EXPLAIN INSERT INTO out {WINDOWS}")).await;
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
