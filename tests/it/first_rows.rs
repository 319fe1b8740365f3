//! LIMIT without ORDER BY over files: the first rows, by the name of the file and then by row, on
//! both sides and however the files are dealt out to threads.

use tempfile::TempDir;

use crate::support;
use thalweg::config::DeviceChoice;
use thalweg::sql::Engine;

/// Many threads, and files cut into parts however small they are.
const SPREAD: &str = "SET datafusion.execution.target_partitions = 8; \
                      SET datafusion.optimizer.repartition_file_min_size = 1; \
                      SET datafusion.execution.batch_size = 64; ";

/// Rows of each file.
const ROWS: usize = 2_000;

/// Three files of rising numbers. The first is made last, and its rows are the longest.
fn text(ending: &str, line: impl Fn(usize, &str) -> String, header: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (file, name) in ["a", "b", "c"].iter().enumerate().rev() {
        let filling = "x".repeat(90 - 40 * file);
        let rows = (0..ROWS).map(|row| line(file * ROWS + row, &filling));
        let text = header.to_string() + &rows.collect::<String>();
        std::fs::write(folder.path().join(format!("{name}.{ending}")), text).unwrap();
    }
    folder
}

fn csv() -> TempDir {
    text("csv", |n, filling| format!("{n},{filling}\n"), "n,filling\n")
}

async fn numbers(engine: &Engine, query: &str) -> Vec<u64> {
    let answer = support::rows(engine, &format!("{SPREAD}{query}")).await;
    answer.rows.iter().map(|row| row[0].parse().unwrap()).collect()
}

async fn check(folder: &TempDir, ending: &str) {
    let files = format!("'{}/*.{ending}'", folder.path().display());
    let range = |from: u64, to: u64| (from..to).collect::<Vec<u64>>();
    let many = 2 * ROWS as u64 + 100;
    let cases = [
        (format!("SELECT n FROM {files} LIMIT 10"), range(0, 10)),
        (format!("SELECT n, filling FROM {files} LIMIT 5 OFFSET 1998"), range(1998, 2003)),
        (format!("SELECT n FROM {files} WHERE n % 2 < 2 AND n >= 150 LIMIT 10"), range(150, 160)),
        (format!("SELECT n FROM {files} WHERE n > 5990 LIMIT 3"), range(5991, 5994)),
        (format!("SELECT n + 1 AS n FROM {files} LIMIT {many}"), range(1, many + 1)),
        (format!("SELECT n FROM (SELECT n FROM {files} LIMIT 20) WHERE n > 15"), range(16, 20)),
        (format!("SELECT sum(n) FROM (SELECT n FROM {files} LIMIT 4)"), vec![6]),
        (format!("SELECT n FROM {files} LIMIT 0"), Vec::new()),
        (
            format!("SELECT n FROM {files} WHERE n > 5995 UNION ALL SELECT n FROM {files} LIMIT 6"),
            [range(5996, 6000), range(0, 2)].concat(),
        ),
    ];
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let Some(engine) = support::engine_on(device) else { continue };
        for (query, wanted) in &cases {
            // Chance has more than one to hit the right ones.
            for _ in 0..3 {
                let found = numbers(&engine, query).await;
                let wrong = found.iter().zip(wanted).position(|(found, wanted)| found != wanted);
                let shape = (found.len(), wrong);
                assert_eq!(shape, (wanted.len(), None), "{device:?}: {query}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_csv_files() {
    check(&csv(), "csv").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_json_files() {
    let line = |n: usize, filling: &str| format!("{{\"n\": {n}, \"filling\": \"{filling}\"}}\n");
    check(&text("json", line, ""), "json").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parquet_files() {
    let source = csv();
    let folder = tempfile::tempdir().unwrap();
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    for name in ["c", "a", "b"] {
        // Of groups that match in full and in part, those that match in full come no sooner.
        let copy = format!(
            "COPY (SELECT * FROM '{}/{name}.csv' ORDER BY n) TO '{}/{name}.parquet' \
             OPTIONS ('format.max_row_group_size' '100')",
            source.path().display(),
            folder.path().display()
        );
        support::rows(&engine, &copy).await;
    }
    check(&folder, "parquet").await;
}

#[tokio::test]
async fn only_a_limit_without_an_order_keeps_the_order_of_files() {
    let folder = csv();
    let files = format!("'{}/*.csv'", folder.path().display());
    let engine = support::engine_on(DeviceChoice::Cpu).unwrap();
    for (query, wanted) in [
        (format!("SELECT n FROM {files} WHERE n > 1 LIMIT 5"), true),
        (format!("SELECT n FROM {files} ORDER BY n DESC LIMIT 5"), false),
        (format!("SELECT n, count(*) FROM {files} GROUP BY n LIMIT 5"), false),
        (format!("SELECT n FROM {files}"), false),
    ] {
        let plan = support::rows(&engine, &format!("{SPREAD}EXPLAIN {query}")).await;
        let text = plan.rows.concat().concat();
        assert_eq!(text.contains("InOrderExec"), wanted, "{query}\n{text}");
    }
}
