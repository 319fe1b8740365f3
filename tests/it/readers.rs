//! Files of several spellings as tables: `read_csv` and its kin, types that widen from file to
//! file, NULL as it is spelled, dates of 64 bits.

use std::path::Path;

use tempfile::TempDir;
use thalweg::config::DeviceChoice;
use thalweg::sql::Engine;

use super::support;

fn engine() -> Engine {
    support::engine_on(DeviceChoice::Cpu).unwrap()
}

async fn rows(sql: &str) -> Vec<String> {
    rows_on(&engine(), sql).await
}

async fn rows_on(engine: &Engine, sql: &str) -> Vec<String> {
    let rows = support::rows(engine, sql).await.rows;
    rows.iter().map(|row| row.join(",")).collect()
}

/// A table of a form, whose files each hold one of these rows.
async fn files(folder: &Path, form: &str, rows_of: &[&str]) {
    for (at, select) in rows_of.iter().enumerate() {
        let to = folder.join(format!("{form}/{at}.{form}"));
        let to = to.display();
        rows(&format!("COPY (SELECT {select}) TO '{to}' STORED AS {form}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_widen_from_file_to_file() {
    let folder = TempDir::new().unwrap();
    let narrow = "1 AS id, CAST(1 AS INT) AS i, CAST(1 AS INT) AS x, DATE '2024-01-31' AS t, \
                  NULL AS n, CAST(1.5 AS DECIMAL(5, 1)) AS d";
    let wide = "2 AS id, 9999999999 AS i, CAST(0.5 AS DOUBLE) AS x, \
                TIMESTAMP '2024-02-01T12:30:00' AS t, 7 AS n, CAST(2.25 AS DECIMAL(9, 2)) AS d";
    for (form, decimals) in [("parquet", ["1.50", "2.25"]), ("csv", ["1.5", "2.25"])] {
        // Either may come first.
        for order in [[narrow, wide], [wide, narrow]] {
            let _ = std::fs::remove_dir_all(folder.path().join(form));
            files(folder.path(), form, &order).await;
            let table = folder.path().join(form).display().to_string();
            for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
                let Some(engine) = support::engine_on(device) else { return };
                let all = format!("SELECT id, i, x, t, n, d FROM '{table}' ORDER BY id");
                let [a, b] = decimals;
                let want = [
                    format!("1,1,1.0,2024-01-31T00:00:00,NULL,{a}"),
                    format!("2,9999999999,0.5,2024-02-01T12:30:00,7,{b}"),
                ];
                assert_eq!(rows_on(&engine, &all).await, want, "{form} {device}");
                let some = format!(
                    "SELECT sum(i), sum(x), max(t), sum(n), sum(d) FROM '{table}' \
                     WHERE x > 0.25 AND i > 0"
                );
                let want = ["10000000000,1.5,2024-02-01T12:30:00,7,3.75"];
                assert_eq!(rows_on(&engine, &some).await, want, "{form} {device}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_of_64_bits_stay_dates_in_parquet() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (file, table) = (path("one.parquet"), path("many/"));
    let days = "SELECT arrow_cast(DATE '1969-12-30', 'Date64') AS d, \
                [arrow_cast(DATE '2024-02-29', 'Date64')] AS l, 1 AS k";
    let read = |from: &str| {
        format!("SELECT d, l, arrow_typeof(d), CAST(d AS VARCHAR) AS t, k FROM '{from}'")
    };
    let want = ["1969-12-30,[2024-02-29],Date32,1969-12-30,1"];
    for script in [
        format!("COPY ({days}) TO '{file}'; {}", read(&file)),
        format!(
            "COPY ({days}) TO '{table}' STORED AS PARQUET PARTITIONED BY (k); {}",
            read(&table)
        ),
        format!(
            "CREATE SINK out WITH (connector = 'file', path = '{0}', format = 'parquet');
             INSERT INTO out {days}; {1}",
            path("sunk"),
            read(&path("sunk"))
        ),
    ] {
        assert_eq!(rows(&script).await, want, "{script}");
    }
    // As a column that folders are named by.
    let by = path("by/");
    let copy = format!(
        "COPY (SELECT 1 AS k, arrow_cast(DATE '2024-02-29', 'Date64') AS d) TO '{by}' \
         STORED AS PARQUET PARTITIONED BY (d); SELECT k, d FROM '{by}'"
    );
    assert_eq!(rows(&copy).await, ["1,2024-02-29"]);
    let kept = copy.replace(&by, &path("kept/")).replace(
        "PARTITIONED BY (d)",
        "PARTITIONED BY (d) OPTIONS ('execution.keep_partition_by_columns' 'true')",
    );
    let kept = kept.split(';').next().unwrap();
    assert_eq!(rows(kept).await, ["1"]);
    assert!(folder.path().join("kept/d=2024-02-29").is_dir());
}
