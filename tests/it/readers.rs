//! Files of several spellings as tables: `read_csv` and its kin, types that widen from file to
//! file, NULL as it is spelled, dates of 64 bits.

use std::path::Path;

use tempfile::TempDir;
use thalweg::config::DeviceChoice;
use thalweg::sql::Engine;

use super::support;

fn write(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

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

async fn error(sql: &str) -> String {
    support::run(&engine(), sql).await.map(|_| ()).unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_is_read_as_the_options_say() {
    let folder = TempDir::new().unwrap();
    let plain = write(&folder, "plain.csv", "a,b\n1,x\n2,NA\n");
    let other = write(&folder, "other.csv", "b,a\ny,3\n");
    let bare = write(&folder, "bare.txt", "7|'p|q'|-\n8||5\n");
    let latin = write(&folder, "latin.dat", b"n;t\n1;M\xfcller\n".as_slice());
    let tabs = write(&folder, "tabs.tsv", "a\tb\n4\tz\n");
    for (call, want) in [
        (format!("read_csv('{plain}')"), vec!["1,x", "2,NA"]),
        (format!("read_csv('{plain}', nullstr = 'NA')"), vec!["1,x", "2,NULL"]),
        (format!("READ_CSV_AUTO('{plain}', nullstr => ['1', 'x'])"), vec!["NULL,NULL", "2,NA"]),
        (format!("read_csv(['{plain}', '{other}'])"), vec!["3,y", "1,x", "2,NA"]),
        (format!("read_csv('{}/*.csv', header := true)", folder.path().display()), {
            vec!["3,y", "1,x", "2,NA"]
        }),
        (format!("read_csv('{tabs}')"), vec!["4,z"]),
        (format!("read_csv('{latin}', encoding = 'latin1')"), vec!["1,Müller"]),
        (
            format!(
                "read_csv('{bare}', delim = '|', header = false, quote = '''', nullstr = '-',
                   columns = {{'n': 'SMALLINT', 't': 'VARCHAR', 'm': 'DECIMAL(5, 2)'}})"
            ),
            vec!["7,p|q,NULL", "8,NULL,5.00"],
        ),
        (
            format!("read_csv('{plain}', columns = {{'x': 'DOUBLE', 'y': 'VARCHAR'}})"),
            vec!["1.0,x", "2.0,NA"],
        ),
        (format!("read_csv('{plain}', types = {{'a': 'DOUBLE'}})"), vec!["1.0,x", "2.0,NA"]),
        (format!("read_csv('{plain}', all_varchar = true) WHERE a = '1'"), vec!["1,x"]),
        (format!("read_csv('{plain}', union_by_name = true) AS t WHERE t.a > 1"), vec!["2,NA"]),
    ] {
        let order = call.contains("other") || call.contains("*.csv");
        // By name, where the first file of a folder has them in another order.
        let columns = if call.contains("*.csv") { "a, b" } else { "*" };
        let mut got = rows(&format!("SELECT {columns} FROM {call}")).await;
        let mut want: Vec<String> = want.iter().map(|row| row.to_string()).collect();
        if order {
            got.sort();
            want.sort();
        }
        assert_eq!(got, want, "{call}");
    }
    // The function's name is the table's, in the shell's short form too.
    let named = format!("SELECT read_csv.a FROM read_csv('{plain}') ORDER BY read_csv.a");
    assert_eq!(rows(&named).await, ["1", "2"]);
    assert_eq!(rows(&format!("FROM read_csv('{plain}')")).await, ["1,x", "2,NA"]);
    // A view and a join read it as any table.
    let view = format!(
        "CREATE VIEW v AS SELECT a FROM read_csv('{plain}');
         SELECT v.a, o.b FROM v JOIN read_csv('{other}') o ON o.a = v.a + 1"
    );
    assert_eq!(rows(&view).await, ["2,y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_and_json_are_read_by_functions() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let lines = write(&folder, "lines.log", "{\"a\":1,\"t\":\"2024-01-01\"}\n{\"a\":2}\n");
    let (one, two) = (path("1.parquet"), path("2.parquet"));
    rows(&format!("COPY (SELECT 1 AS a) TO '{one}'; COPY (SELECT 2.5 AS a) TO '{two}'")).await;
    let sum = format!("SELECT sum(a) FROM read_parquet(['{one}', '{two}'])");
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let Some(engine) = support::engine_on(device) else { return };
        assert_eq!(rows_on(&engine, &sum).await, ["3.5"], "{device}");
    }
    let pattern = path("*.parquet");
    assert_eq!(rows(&format!("SELECT count(*) FROM parquet_scan('{pattern}')")).await, ["2"]);
    let typed = format!(
        "SELECT a, t FROM read_json('{lines}', columns = {{'t': 'TIMESTAMP', 'a': 'DOUBLE'}})"
    );
    assert_eq!(rows(&typed).await, ["1.0,2024-01-01T00:00:00", "2.0,NULL"]);
    assert_eq!(rows(&format!("SELECT sum(a) FROM read_ndjson('{lines}')")).await, ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reader_does_not_take_is_told() {
    let folder = TempDir::new().unwrap();
    let plain = write(&folder, "plain.csv", "a,b\n1,x\n");
    for (call, words) in [
        (
            format!("read_csv('{plain}', colour = 'red')"),
            "unknown option 'colour' of read_csv; available: all_varchar, columns, comment, \
             compression, delim, encoding, escape, header, hive_partitioning, nullstr, quote, \
             types, union_by_name",
        ),
        (
            format!("read_parquet('{plain}', delim = ';')"),
            "unknown option 'delim' of read_parquet; available: hive_partitioning, union_by_name",
        ),
        (format!("read_csv('{plain}', delim = '||')"), "delim: expected one sign"),
        (format!("read_csv('{plain}', header = 3)"), "header: expected true or false, found 3"),
        (format!("read_csv('{plain}', types = {{'a': 'NUMBERS OF'}})"), "types: expected such as"),
        (format!("read_csv('{plain}', types = {{'z': 'INT'}})"), "there is no column 'z'"),
        (format!("read_csv('{plain}', columns = {{'a': 'INT', 'z': 'INT'}})"), "'z' is not in the"),
        (format!("read_csv('{plain}', union_by_name = false)"), "expected true"),
        (format!("read_csv('{plain}', encoding = 'klingon')"), "there is no such encoding"),
        ("read_csv()".to_string(), "read_csv takes a path or a list of paths"),
        ("read_csv('nowhere.csv')".to_string(), "'nowhere.csv' does not exist"),
        (format!("read_csv('{plain}', 7)"), "expected an option, such as name = value, found 7"),
    ] {
        let told = error(&format!("SELECT * FROM {call}")).await;
        assert!(told.contains(words), "{call}: {told}");
    }
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
async fn null_is_as_the_options_spell_it() {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, "n.csv", "a,b\n1,none\n-999,x\n,\n");
    let create = format!(
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{path}'
         OPTIONS ('format.null_regex' '^(none|-999)$'); SELECT a, b FROM t"
    );
    assert_eq!(rows(&create).await, ["1,NULL", "NULL,x", "NULL,NULL"]);
    let wrong = error(&create.replace("none|", "none(|")).await;
    assert!(wrong.contains("format.null_regex"), "{wrong}");
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
