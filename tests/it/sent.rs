//! What of Parquet files is sent to a device. Strings that it only tells apart come as the
//! dictionaries that the files have; of build sides of which few rows are left, nothing is sent but
//! what their filters read. Answers are those of the other side.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::SessionContext;

use thalweg::config::{DeviceChoice, Options};
use thalweg::plan::session;

use super::support::{engine_on, run, texts};

/// Rows of a file, in no order that it tells: a number, strings of few values of which some are
/// NULL or empty, longer ones than a view holds, and some that are all different.
const ROWS: &str = "SELECT value AS n,
    CASE value % 5 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 's' || (value % 7) END AS s,
    'a value longer than a view ' || (value % 11) AS long,
    'only once ' || value AS once
  FROM generate_series({from}, {to}) ORDER BY value * 7919 % 1009";

/// A file of rows from a number on; `keyed`: with dictionaries.
async fn file(path: &Path, from: u32, to: u32, keyed: bool) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let rows = ROWS.replace("{from}", &from.to_string()).replace("{to}", &to.to_string());
    let engine = engine_on(DeviceChoice::Cpu).unwrap();
    let copy = format!(
        "COPY ({rows}) TO '{}' STORED AS PARQUET OPTIONS ('format.dictionary_enabled' '{keyed}', \
         'format.max_row_group_size' '400', 'format.dictionary_enabled::once' 'false')",
        path.display()
    );
    run(&engine, &copy).await.unwrap();
}

/// The table `t` of all Parquet files of a folder, on one side.
async fn table(folder: &Path, device: DeviceChoice, columns: &str) -> SessionContext {
    let context = session(&Options { device, ..Options::default() }).unwrap();
    let create = format!(
        "CREATE EXTERNAL TABLE t {columns} STORED AS PARQUET LOCATION '{}/'",
        folder.display()
    );
    context.sql(&create).await.unwrap();
    context
}

/// Columns that sources of device nodes hand on as dictionaries.
fn keyed(plan: &Arc<dyn ExecutionPlan>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for child in plan.children() {
        if plan.name() == "DeviceExec" {
            let schema = child.schema();
            let keyed = schema.fields().iter().filter(|field| match field.data_type() {
                DataType::Dictionary(key, _) => **key == DataType::Int32,
                _ => false,
            });
            found.extend(keyed.map(|field| field.name().clone()));
        }
        found.extend(keyed(child));
    }
    found
}

async fn answer(context: &SessionContext, query: &str) -> (BTreeSet<String>, Vec<Vec<String>>) {
    let plan = context.sql(query).await.unwrap().create_physical_plan().await.unwrap();
    let rows = collect(plan.clone(), context.task_ctx()).await.unwrap();
    let mut rows = texts(&rows).unwrap();
    rows.sort();
    (keyed(&plan), rows)
}

/// Runs the queries on both sides; each with the columns that come as dictionaries.
async fn check(folder: &Path, columns: &str, queries: &[(&str, &[&str])]) {
    if engine_on(DeviceChoice::Gpu).is_none() {
        return;
    }
    let host = table(folder, DeviceChoice::Cpu, columns).await;
    let device = table(folder, DeviceChoice::Gpu, columns).await;
    for (query, wanted) in queries {
        let (none, expected) = answer(&host, query).await;
        let (found, rows) = answer(&device, query).await;
        assert!(none.is_empty() && !expected.is_empty(), "{query}");
        assert_eq!(rows, expected, "{query}");
        assert_eq!(found, wanted.iter().map(|name| name.to_string()).collect(), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_that_are_told_apart_come_as_their_files_have_them() {
    let folder = tempfile::tempdir().unwrap();
    file(&folder.path().join("a.parquet"), 1, 1000, true).await;
    file(&folder.path().join("b.parquet"), 1001, 1500, true).await;
    let queries: [(&str, &[&str]); 14] = [
        ("SELECT s, count(*), sum(n) FROM t GROUP BY s", &["s"]),
        ("SELECT s, long, count(*) FROM t GROUP BY s, long", &["s", "long"]),
        ("SELECT sum(n) FROM t WHERE s = 's3' AND long LIKE '%1'", &["s", "long"]),
        ("SELECT sum(n), count(s) FROM t WHERE s IN ('s1', '', 's2', 'none')", &["s"]),
        ("SELECT upper(s) AS u, count(*) FROM t GROUP BY upper(s)", &["s"]),
        ("SELECT s FROM t WHERE s < 's4' AND n < 900", &[]),
        ("SELECT n FROM t WHERE s > 's4' AND n < 900", &["s"]),
        ("SELECT count(*) FROM t WHERE s IS NULL", &["s"]),
        ("SELECT once, count(*) FROM t WHERE n < 20 GROUP BY once", &[]),
        (
            "SELECT a.long, count(*) FROM t a JOIN t b ON a.s = b.s WHERE b.n < 5 GROUP BY a.long",
            &["s", "long"],
        ),
        (
            "SELECT x, count(*) FROM (SELECT s AS x FROM t UNION ALL SELECT s FROM t) GROUP BY x",
            &["x"],
        ),
        (
            "SELECT x, sum(m) FROM (SELECT s AS x, n + 1 AS m FROM (SELECT s, n FROM t UNION ALL \
             SELECT s, n FROM t) UNION ALL SELECT s, n FROM t) GROUP BY x",
            &["x"],
        ),
        ("SELECT s, count(*) FROM t WHERE s IS NOT NULL AND s <> 's2' GROUP BY s", &["s"]),
        (
            // The column of the second part is of another type, and is cast on the device.
            "SELECT x, count(*) FROM (SELECT s AS x, n FROM t UNION ALL SELECT long, n FROM t) \
             WHERE n < 1400 GROUP BY x",
            &["long"],
        ),
    ];
    check(folder.path(), "", &queries).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_without_them_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    file(&folder.path().join("a.parquet"), 1, 1000, true).await;
    file(&folder.path().join("b.parquet"), 1001, 1500, false).await;
    check(folder.path(), "", &[("SELECT s, count(*) FROM t GROUP BY s", &[])]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_and_columns_that_files_lack_stay_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    file(&folder.path().join("day=1/a.parquet"), 1, 1000, true).await;
    file(&folder.path().join("day=two/b.parquet"), 1001, 1500, true).await;
    let columns = "(n BIGINT, s VARCHAR, more VARCHAR, long VARCHAR, day VARCHAR) \
                   PARTITIONED BY (day)";
    let queries: [(&str, &[&str]); 3] = [
        ("SELECT day, s, count(*) FROM t GROUP BY day, s", &["s"]),
        ("SELECT more, count(*), min(n) FROM t WHERE long LIKE '%2' GROUP BY more", &["long"]),
        ("SELECT s, count(*) FROM t WHERE day = 'two' GROUP BY s", &["s"]),
    ];
    check(folder.path(), columns, &queries).await;
}

/// Whether the build side of the only join stays on the device.
fn is_stored(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let shown = displayable(plan.as_ref()).indent(false).to_string();
    let build = shown.split("build t0=[").nth(1).unwrap_or_else(|| panic!("{shown}"));
    build.split(']').next().unwrap().contains("store(")
}

#[tokio::test(flavor = "multi_thread")]
async fn few_rows_of_a_build_side_are_taken_by_the_host() {
    let folder = tempfile::tempdir().unwrap();
    file(&folder.path().join("a.parquet"), 1, 2000, true).await;
    if engine_on(DeviceChoice::Gpu).is_none() {
        return;
    }
    let host = table(folder.path(), DeviceChoice::Cpu, "").await;
    let device = table(folder.path(), DeviceChoice::Gpu, "").await;
    let join = |filter: &str| {
        format!(
            "SELECT b.s, count(*), sum(b.n) FROM (SELECT n, n + 1 AS m, s, long FROM t WHERE \
             {filter}) a JOIN t b ON a.long = b.long WHERE b.n >= 0 GROUP BY b.s"
        )
    };
    for (filter, stored) in [("n < 60", false), ("n < 1500", true)] {
        let query = join(filter);
        let plan = device.sql(&query).await.unwrap().create_physical_plan().await.unwrap();
        assert_eq!(is_stored(&plan), stored, "{query}");
        assert_eq!(answer(&device, &query).await.1, answer(&host, &query).await.1, "{query}");
    }
}
