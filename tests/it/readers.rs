//! Files of several spellings as tables: `read_csv` and its kin, types that widen from file to
//! file, NULL as it is spelled, dates of 64 bits.

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
