//! Statements and options as stock DataFusion has them: the same script, there and on both sides
//! here. Tables and files of one name. The memory that queries may take.

use std::path::Path;

use datafusion::prelude::{SessionConfig, SessionContext};
use tempfile::TempDir;
use thalweg::config::{DeviceChoice, Options};

use super::support;

/// The rows of each statement of a script on stock DataFusion; the error of the first that fails.
async fn stock(script: &[&str]) -> Result<Vec<Vec<Vec<String>>>, String> {
    let config = SessionConfig::new().with_information_schema(true);
    let context = SessionContext::new_with_config(config);
    let mut all = Vec::new();
    for statement in script {
        let frame = context.sql(statement).await.map_err(|error| error.to_string())?;
        let batches = frame.collect().await.map_err(|error| error.to_string())?;
        all.push(support::texts(&batches).map_err(|error| error.to_string())?);
    }
    Ok(all)
}

/// The same of ours. The script is read as a whole where `at_once`, else statement by statement.
async fn ours(
    script: &[&str],
    device: DeviceChoice,
    at_once: bool,
) -> Option<Result<Vec<Vec<Vec<String>>>, String>> {
    let engine = support::engine_on(device)?;
    let texts = if at_once { vec![script.join(";\n")] } else { Vec::new() };
    let texts = if at_once { texts } else { script.iter().map(|text| text.to_string()).collect() };
    let mut all = Vec::new();
    for text in texts {
        match support::each(&engine, &text).await {
            Ok(rows) => all.extend(rows),
            Err(error) => return Some(Err(error.to_string())),
        }
    }
    Some(Ok(all))
}

/// Every statement answers as stock DataFusion does.
async fn as_stock(script: &[&str]) {
    let want = stock(script).await.unwrap_or_else(|error| panic!("stock: {error}: {script:?}"));
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        for at_once in [false, true] {
            let Some(have) = ours(script, device, at_once).await else { return };
            let have = have.unwrap_or_else(|error| panic!("{device}: {error}: {script:?}"));
            assert_eq!(have, want, "{device}, at once: {at_once}, {script:?}");
        }
    }
}

/// Both refuse the last statement, ours with these words.
async fn both_refuse(script: &[&str], words: &[&str]) {
    stock(script).await.expect_err("stock");
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let Some(have) = ours(script, device, false).await else { return };
        let error = have.expect_err(script.last().unwrap());
        for word in words {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_give_their_rows() {
    as_stock(&[
        "PREPARE p AS SELECT 1 AS a",
        "EXECUTE p",
        "CREATE TABLE t (a INT, b VARCHAR) AS VALUES (1, 'x'), (2, 'y'), (3, NULL)",
        "PREPARE q(INT, VARCHAR) AS SELECT a + $1 AS c, coalesce(b, $2) AS d FROM t \
         WHERE a >= $1 - 1 ORDER BY a",
        "EXECUTE q(2, 'none')",
        "EXECUTE q('3', 1 + 1)",
        "PREPARE i AS INSERT INTO t VALUES ($1, $2)",
        "EXECUTE i(7, 'z')",
        "EXECUTE i(8, NULL)",
        "PREPARE n AS SELECT count(*), sum(a) FROM t WHERE a IN (SELECT a FROM t WHERE a > $1)",
        "EXECUTE n(1)",
        "EXECUTE n(6)",
        "DEALLOCATE p",
        "DEALLOCATE PREPARE q",
        "PREPARE p AS SELECT 2 AS b",
        "EXECUTE p",
    ])
    .await;
    both_refuse(&["EXECUTE none"], &["none"]).await;
    both_refuse(&["DEALLOCATE none"], &["none"]).await;
    both_refuse(&["PREPARE p AS SELECT 1", "PREPARE p AS SELECT 2"], &["already exists"]).await;
    let two = "PREPARE p(INT) AS SELECT $1 + $2";
    both_refuse(&[two], &["1 types", "2 parameters"]).await;
    both_refuse(&["PREPARE p(INT) AS SELECT $1", "EXECUTE p(1, 2)"], &["1 values", "2"]).await;
    both_refuse(&["PREPARE p AS SELECT 1 AS a", "DEALLOCATE p", "EXECUTE p"], &["p"]).await;
    let Some(engine) = support::engine_on(DeviceChoice::Cpu) else { return };
    let script = "PREPARE p AS SELECT a * $1 FROM (VALUES (2)) AS t(a); EXPLAIN EXECUTE p(21)";
    let plan = support::rows(&engine, script).await;
    assert!(format!("{:?}", plan.rows).contains("* Int64(21)"), "{:?}", plan.rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_the_parser_have_their_effect() {
    const SET: &str = "SET datafusion.sql_parser.";
    let set = |option: &str| format!("{SET}{option}");
    as_stock(&[&set("dialect = 'postgresql'"), "SELECT 2 ^ 3 AS p", "SELECT 7 # 2 AS x"]).await;
    as_stock(&[&set("dialect = 'MySQL'"), "SELECT `a b`, \"text\" FROM (SELECT 1 AS `a b`)"]).await;
    as_stock(&[
        &set("dialect = 'duckdb'"),
        "CREATE TABLE s (v struct(a int, b varchar)) AS VALUES ({a: 1, b: 'x'})",
        "SELECT v['a'], v['b'] FROM s",
        "RESET datafusion.sql_parser.dialect",
        "SELECT 2 ^ 3",
        "SELECT value FROM information_schema.df_settings WHERE name LIKE '%parser.dialect'",
    ])
    .await;
    for dialect in [
        "generic",
        "mysql",
        "postgresql",
        "postgres",
        "hive",
        "sqlite",
        "snowflake",
        "redshift",
        "mssql",
        "clickhouse",
        "bigquery",
        "ansi",
        "duckdb",
        "databricks",
        "spark",
    ] {
        as_stock(&[&set(&format!("dialect = {dialect}")), "SELECT 1 + 2 AS a"]).await;
    }
    both_refuse(&[&set("dialect = 'klingon'")], &["klingon"]).await;
    as_stock(&[
        &set("enable_ident_normalization = false"),
        "CREATE TABLE Tt (Aa INT) AS VALUES (1)",
        "SELECT Aa FROM Tt",
        "DROP TABLE Tt",
    ])
    .await;
    as_stock(&[&set("parse_float_as_decimal = true"), "SELECT arrow_typeof(1.5)"]).await;
    as_stock(&[
        &set("map_string_types_to_utf8view = false"),
        "SELECT arrow_typeof(CAST('a' AS VARCHAR))",
        &set("map_string_types_to_utf8view = true"),
        "SELECT arrow_typeof(CAST('a' AS VARCHAR))",
    ])
    .await;
    let off = set("support_varchar_with_length = false");
    both_refuse(&[&off, "SELECT CAST('a' AS VARCHAR(2))"], &["length"]).await;
    as_stock(&[
        &set("default_null_ordering = 'nulls_min'"),
        "SELECT a FROM (VALUES (1), (NULL), (2)) AS t(a) ORDER BY a",
    ])
    .await;
    let deep = format!("SELECT {}1{}", "(".repeat(60), ")".repeat(60));
    both_refuse(&[&deep], &["nested too deeply"]).await;
    as_stock(&[&set("recursion_limit = 200"), &deep]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_schemas_come_and_go() {
    as_stock(&[
        "CREATE SCHEMA s",
        "CREATE TABLE s.t AS VALUES (1)",
        "INSERT INTO s.t VALUES (2), (3)",
        "SELECT count(*) FROM s.t",
        "DROP SCHEMA s CASCADE",
        "CREATE SCHEMA IF NOT EXISTS s",
        "DROP SCHEMA s",
        "DROP SCHEMA IF EXISTS s",
        "CREATE TABLE u AS SELECT 1 AS a, 'x' AS b",
        "CREATE OR REPLACE TABLE u AS SELECT 2 AS a",
        "SELECT * FROM u",
        "CREATE VIEW v AS SELECT a + 1 AS b FROM u",
        "SELECT * FROM v",
        "SELECT table_name, table_type FROM information_schema.tables \
         WHERE table_schema = 'public' ORDER BY table_name",
        "DROP VIEW v",
        "DROP TABLE IF EXISTS none",
        "DROP VIEW IF EXISTS none",
        "DROP TABLE u",
    ])
    .await;
    both_refuse(&["CREATE SCHEMA s", "CREATE TABLE s.t AS VALUES (1)", "DROP SCHEMA s"], &["s"])
        .await;
    both_refuse(&["DROP SCHEMA none"], &["none"]).await;
    both_refuse(&["DROP TABLE none"], &["none"]).await;
    both_refuse(&["CREATE TABLE t AS VALUES (1)", "DROP VIEW t"], &["t"]).await;
    both_refuse(&["CREATE TABLE t AS VALUES (1)", "CREATE TABLE t AS VALUES (1)"], &["exists"])
        .await;
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_counted() {
    let folder = folder();
    let target = folder.path().join("x.csv").display().to_string();
    as_stock(&[
        "CREATE TABLE t (a INT)",
        "INSERT INTO t VALUES (1), (2)",
        "INSERT INTO t SELECT a + 2 FROM t",
        "INSERT INTO t SELECT a FROM t WHERE a > 100",
        "SELECT count(*), sum(a) FROM t",
        &format!("COPY t TO '{target}' STORED AS CSV"),
        &format!("COPY (SELECT a FROM t LIMIT 3) TO '{target}' STORED AS CSV"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn external_tables_are_tables() {
    let folder = folder();
    let three = write(folder.path(), "three.csv", "a,b,c\n1,2,3\n4,NA,6\n");
    let Some(engine) = support::engine_on(DeviceChoice::Cpu) else { return };
    let tables = "SELECT table_name, table_type FROM information_schema.tables \
                  WHERE table_schema = 'public'";
    for columns in ["(a INT, c INT)", "(c INT, a INT)", ""] {
        let create = format!("CREATE EXTERNAL TABLE x{columns} STORED AS CSV LOCATION '{three}'");
        let rows = support::rows(&engine, &format!("{create}; {tables}")).await.rows;
        assert_eq!(rows, [["x", "BASE TABLE"]], "{columns}");
        let sum = support::rows(&engine, "SELECT sum(a), sum(c) FROM x").await.rows;
        assert_eq!(sum, [["5", "9"]], "{columns}");
        let again = support::run(&engine, &create).await.map(|_| ()).unwrap_err().to_string();
        assert!(again.contains("already exists"), "{again}");
        let view = support::run(&engine, "DROP VIEW x").await.map(|_| ()).unwrap_err();
        assert!(view.to_string().contains('x'), "{view}");
        let none = support::run(&engine, &format!("DROP TABLE x; {tables}")).await.unwrap();
        assert!(none.unwrap().rows.is_empty(), "{columns}");
    }
    let create = format!("CREATE EXTERNAL TABLE x(a INT) STORED AS CSV LOCATION '{three}'");
    support::run(&engine, &create).await.unwrap();
    let insert = support::run(&engine, "INSERT INTO x VALUES (1)").await.map(|_| ()).unwrap_err();
    assert!(insert.to_string().contains("single file"), "{insert}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unbounded_tables_grow() {
    let folder = folder();
    let path = write(folder.path(), "u.csv", "5,6\n");
    for clause in [
        format!(
            "CREATE UNBOUNDED EXTERNAL TABLE u(a BIGINT, b BIGINT) STORED AS CSV LOCATION '{path}'"
        ),
        format!(
            "CREATE EXTERNAL TABLE u(a BIGINT, b BIGINT) STORED AS CSV LOCATION '{path}' \
             OPTIONS ('unbounded' 'true')"
        ),
    ] {
        write(folder.path(), "u.csv", "5,6\n");
        for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
            let Some(engine) = support::engine_on(device) else { return };
            let script = format!("{clause}; INSERT INTO u VALUES (1, 2); SELECT a, b FROM u");
            let rows = support::rows(&engine, &script).await.rows;
            assert_eq!(rows.first().unwrap(), &["5", "6"], "{device}");
            assert_eq!(rows.last().unwrap(), &["1", "2"], "{device}");
            let filtered = support::rows(&engine, "SELECT b FROM u WHERE a = 5").await.rows;
            assert_eq!(filtered, [["6"]], "{device}");
        }
    }
    let Some(engine) = support::engine_on(DeviceChoice::Cpu) else { return };
    for (create, words) in
        [("u(a INT) STORED AS PARQUET", "CSV or JSON"), ("u STORED AS CSV", "declares its columns")]
    {
        let create = format!("CREATE UNBOUNDED EXTERNAL TABLE {create} LOCATION '{path}'");
        let error = support::run(&engine, &create).await.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_options_are_reset_to_what_the_session_was_opened_with() {
    let options =
        Options { device: DeviceChoice::Cpu, memory: Some(64 << 20), ..Options::default() };
    let Some(engine) = support::engine(options) else { return };
    let show = |name: &str| {
        format!("SELECT value FROM information_schema.df_settings WHERE name = '{name}'")
    };
    for (name, value, opened) in [
        ("device", "'auto'", "cpu"),
        ("batch_rows", "17", "65536"),
        ("float_sum", "'fast'", "exact"),
        ("memory", "'100MB'", "67108864"),
    ] {
        let set = format!("SET thalweg.{name} = {value}; {}", show(name));
        let rows = support::rows(&engine, &set).await.rows;
        assert_eq!(rows, [[value.trim_matches('\'')]], "{name}");
        let reset = format!("RESET thalweg.{name}; {}", show(name));
        assert_eq!(support::rows(&engine, &reset).await.rows, [[opened]], "{name}");
    }
    for wrong in ["RESET thalweg.none", "SET thalweg.none = 1", "SET thalweg.memory = 'lots'"] {
        let error = support::run(&engine, wrong).await.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("none") || error.contains("lots"), "{error}");
    }
    let kept = support::rows(&engine, &show("memory")).await.rows;
    assert_eq!(kept, [["67108864"]]);
}

/// A limit that a query cannot keep without the disk.
#[tokio::test(flavor = "multi_thread")]
async fn queries_spill_or_say_what_to_do() {
    let script = "SET datafusion.execution.target_partitions = 2; \
                  SET datafusion.execution.sort_spill_reservation_bytes = 262144; \
                  SET datafusion.execution.batch_size = 1024; SET thalweg.memory = '8MiB'; ";
    let sort = "SELECT sum(r * (v % 3)) AS s, count(*) AS n FROM (SELECT v, row_number() OVER \
                (ORDER BY k) AS r FROM (SELECT value AS v, value * 7919 % 200003 AS k \
                FROM generate_series(1, 200000)))";
    let groups = "SELECT count(*) AS n, sum(c) AS c, max(k) AS k FROM (SELECT v % 150000 AS k, \
                  count(*) AS c, min('group ' || v) AS m FROM \
                  (SELECT value AS v FROM generate_series(1, 300000)) GROUP BY k)";
    let join = "SELECT count(*) AS n, sum(a.v) AS s FROM (SELECT value AS v FROM \
                generate_series(1, 400000)) a JOIN (SELECT value + 5 AS v FROM \
                generate_series(1, 400000)) b ON a.v = b.v";
    // The device would have to know all of the strings.
    let texts = "SELECT count(*) AS n, sum(c) AS c FROM (SELECT s, count(*) AS c FROM (SELECT \
                 'longer than a view holds ' || (value % 150000) AS s FROM \
                 generate_series(1, 200000)) GROUP BY s)";
    let Some(free) = support::engine_on(DeviceChoice::Cpu) else { return };
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let Some(engine) = support::engine_on(device) else { return };
        support::run(&engine, script).await.unwrap();
        for query in [sort, groups, texts] {
            // Merges of sorted runs cannot spill; how many run at once is chance.
            let limit = if query == sort { "12MiB" } else { "8MiB" };
            let set = format!("SET thalweg.memory = '{limit}'");
            support::run(&engine, &set).await.unwrap();
            let want = support::rows(&free, query).await.rows;
            assert_eq!(support::rows(&engine, query).await.rows, want, "{device}: {query}");
        }
        // The tables of a join on the device are in its memory.
        let on_cpu = device == DeviceChoice::Cpu;
        if on_cpu {
            let error = support::run(&engine, join).await.map(|_| ()).unwrap_err().to_string();
            for word in ["HashJoin", "8.0 MB", "--memory", "SET thalweg.memory", "prefer_hash"] {
                assert!(error.contains(word), "{word:?} is not in: {error}");
            }
        }
        let sorted = format!("SET datafusion.optimizer.prefer_hash_join = false; {join}");
        let rows = support::rows(&engine, &sorted).await.rows;
        assert_eq!(rows, [["399995", "80000199985"]], "{device}");
        // DataFusion's own name of the limit.
        support::run(&engine, "RESET datafusion.optimizer.prefer_hash_join").await.unwrap();
        support::run(&engine, "SET datafusion.runtime.memory_limit = '1G'").await.unwrap();
        assert_eq!(support::rows(&engine, join).await.rows, rows, "{device}");
        support::run(&engine, "SET datafusion.runtime.memory_limit = '2M'").await.unwrap();
        if on_cpu {
            let error = support::run(&engine, join).await.map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("2.0 MB"), "{error}");
        }
        support::run(&engine, "RESET datafusion.runtime.memory_limit").await.unwrap();
        assert_eq!(support::rows(&engine, join).await.rows, rows, "{device}");
    }
}

/// What the host holds for the device counts: strings, and rows of a build side.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_the_device_says_what_it_holds() {
    let strict = Options { device: DeviceChoice::Gpu, strict: true, ..Options::default() };
    let Some(engine) = support::engine(strict) else { return };
    let tables = "CREATE TABLE keys AS SELECT 'longer than a view holds ' || value AS s
                  FROM generate_series(1, 60000);
                  CREATE TABLE wide AS SELECT value AS k, value AS a, value AS b, value AS c,
                  value AS d FROM generate_series(1, 60000);
                  CREATE TABLE probe AS SELECT value AS k FROM generate_series(1, 400000);
                  SET thalweg.memory = '2MiB'";
    support::run(&engine, tables).await.unwrap();
    let counts = "SELECT s, count(*) FROM keys GROUP BY s";
    let joined = "SELECT w.a, w.b, w.c, w.d, p.k FROM (SELECT * FROM wide WHERE k > 0) w
                  JOIN probe p ON w.k = p.k";
    for (query, what) in
        [(counts, "strings of a query on the device"), (joined, "rows of a join that the device")]
    {
        let error = support::run(&engine, query).await.map(|_| ()).unwrap_err().to_string();
        for word in [what, "2.0 MB", "--memory"] {
            assert!(error.contains(word), "{word:?} is not in: {error}");
        }
    }
}
