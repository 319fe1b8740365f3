//! What sources make of values, texts and folders: every digit is kept or its row is malformed, and
//! no row is passed over without a word.

use std::path::Path;

use tempfile::TempDir;
use thalweg::config::DeviceChoice;
use thalweg::error::Result;
use thalweg::sql::Engine;
use thalweg::stream::connector::api::{Opening, Place, Read};

use crate::support;
use crate::support::pipelines::write;

/// Rows of `SELECT * FROM s ORDER BY 1` over files in a folder, a row as its values with spaces.
async fn rows_of(folder: &Path, columns: &str, more: &str) -> Result<Vec<String>> {
    let engine = engine().with_state(Some(folder.join("_rejected")));
    let path = folder.display();
    let sql = format!(
        "CREATE STREAM s ({columns}) WITH (connector = 'file', path = '{path}' {more});
         SELECT * FROM s ORDER BY 1"
    );
    let answer = support::run(&engine, &sql).await?.unwrap();
    Ok(answer.rows.iter().map(|row| row.join(" ")).collect())
}

fn engine() -> Engine {
    support::engine_on(DeviceChoice::Cpu).unwrap()
}

async fn read(folder: &Path, columns: &str, more: &str) -> Vec<String> {
    rows_of(folder, columns, more).await.unwrap()
}

async fn refused(folder: &Path, columns: &str, more: &str) -> String {
    rows_of(folder, columns, more).await.unwrap_err().to_string()
}

const SKIP: &str = ", on_error = 'skip'";

/// A folder with one file.
fn file(name: &str, text: impl AsRef<[u8]>) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join(name), text).unwrap();
    folder
}

#[tokio::test]
async fn values_keep_every_digit_or_their_rows_are_malformed() {
    let json =
        file("a.json", "{\"n\":1,\"d\":1.50}\n{\"n\":2.5,\"d\":1}\n{\"n\":1e1,\"d\":1e-3}\n");
    let columns = "n BIGINT, d DECIMAL(9, 2)";
    assert_eq!(read(json.path(), columns, SKIP).await, ["1 1.50"]);
    let told = refused(json.path(), columns, "").await;
    assert!(told.contains("a.json, line 2: column n: 2.5 is not Int64"), "{told}");
    let within = file("a.json", "{\"r\":{\"xs\":[1,2.5]}}\n{\"r\":{\"xs\":[3.0]}}\n{\"r\":null}\n");
    let got = read(within.path(), "r STRUCT<xs BIGINT[]>", SKIP).await;
    assert_eq!(got, ["{xs: [3]}", "NULL"]);
    let text = "d,day,t,ts\n1.234,2026-01-01,1:02:03,2026-01-01\n1.2,2026-01-01 05:00:00,1:02:03,\n\
                1.3,2026-01-01T00:00:00,01:02:03.5,2026-01-01T00:00:00.120\n\
                1.4,2026-01-01,01:02:03,2026-01-01T00:00:00.1234\n";
    let csv = file("a.csv", text);
    let columns = "d DECIMAL(9, 2), day DATE, t TIME, ts TIMESTAMP(3)";
    let got = read(csv.path(), columns, SKIP).await;
    assert_eq!(got, ["1.30 2026-01-01 01:02:03.500 2026-01-01T00:00:00.120"]);
    let engine = engine();
    let folder = TempDir::new().unwrap();
    let copy = format!(
        "COPY (SELECT * FROM (VALUES
           (1, 1.25::DECIMAL(9,3), 9007199254740993, 2.00::DECIMAL(9,2), 0.5::DOUBLE),
           (2, 1.255::DECIMAL(9,3), 1, 2.00::DECIMAL(9,2), 0.5::DOUBLE),
           (3, 1.25::DECIMAL(9,3), 1, 2.50::DECIMAL(9,2), 0.5::DOUBLE),
           (4, 1.25::DECIMAL(9,3), 1, 2.00::DECIMAL(9,2), 0.1::DOUBLE),
           (5, 1.25::DECIMAL(9,3), 1, 2.00::DECIMAL(9,2), 0.5::DOUBLE)) AS t(id, d, f, n, r))
         TO '{}/x.parquet'",
        folder.path().display()
    );
    support::run(&engine, &copy).await.unwrap();
    let columns = "id BIGINT, d DECIMAL(9, 2), f DOUBLE, n BIGINT, r REAL";
    assert_eq!(read(folder.path(), columns, SKIP).await, ["5 1.25 1.0 2 0.5"]);
    // The first row again, where a double holds what an integer does.
    let got = read(folder.path(), "id BIGINT, f BIGINT", SKIP).await;
    assert_eq!(got.len(), 5);
}

#[tokio::test]
async fn json_is_read_however_it_is_laid_out() {
    let columns = "id BIGINT, userName VARCHAR";
    for text in [
        "\u{feff}{\"id\":1}\n{\"id\":2,\"userName\":\"b\"}\n",
        "[{\"id\":1},\n{\"id\":2,\"username\":\"b\"}]",
        "[\n  {\n    \"id\": 1\n  },\n  {\n    \"id\": 2,\n    \"UserName\": \"b\"\n  }\n]\n",
        "{\n  \"id\": 1\n}\n{\n  \"ID\": 2,\n  \"userName\": \"b\"\n}\n",
        "{\"id\":1}{\"id\":2,\"userName\":\"x\",\"username\":\"b\"}",
    ] {
        let folder = file("a.json", text);
        let got = read(folder.path(), columns, ", format = 'json'").await;
        assert_eq!(got, ["1 NULL", "2 b"], "{text}");
    }
    let twice = file("a.json", "{\"id\":1,\"userName\":\"a\",\"USERNAME\":\"b\"}\n");
    let told = refused(twice.path(), columns, "").await;
    assert!(told.contains("differ in case only"), "{told}");
    let torn = file("a.json", "[{\"id\":1},\n{\"id\":2}\n");
    let told = refused(torn.path(), columns, "").await;
    assert!(told.contains("line 1: the array that begins here is not closed"), "{told}");
    assert_eq!(read(torn.path(), columns, SKIP).await, ["1 NULL", "2 NULL"]);
    // What an option says of other fields holds for fields by another case.
    let folder = file("a.json", "{\"id\":1,\"username\":\"a\",\"userName\":\"b\",\"ID\":3}\n");
    let rescue = ", unknown_fields = 'rescue', rescued_data_column = 'more'";
    let got = read(folder.path(), "id BIGINT, userName VARCHAR, more VARCHAR", rescue).await;
    assert_eq!(got, ["1 a {\"userName\":\"b\",\"ID\":3}"]);
    let told = refused(folder.path(), columns, ", unknown_fields = 'fail'").await;
    assert!(told.contains("there is no column userName"), "{told}");
}

/// Objects are read from a file that grows wherever its end was.
#[tokio::test]
async fn objects_over_lines_may_grow() {
    let text = "{\n \"n\": 1\n}\n{\"n\": 2}\n[\n{\"n\": 3}, {\"n\": 4}\n]\n{\"n\": 5}\n";
    let folder = TempDir::new().unwrap();
    let engine = engine();
    let path = folder.path().display();
    let sql = format!(
        "CREATE STREAM s (n BIGINT) WITH (connector = 'file', path = '{path}', format = 'json')"
    );
    write(folder.path(), "a.json", "");
    support::run(&engine, &sql).await.unwrap();
    let stream = engine.streams().remove(0);
    let opening = |from| Opening { from, ..Opening::new(&stream, true) };
    let mut live = stream.connector.open(opening(Place::default())).unwrap();
    let (mut got, mut segments) = (Vec::new(), Vec::new());
    let mut take = |source: &mut Box<dyn thalweg::stream::connector::api::Source>| {
        std::thread::sleep(std::time::Duration::from_millis(2));
        let mut got = Vec::new();
        while let Read::Rows(rows) = source.next(1).unwrap() {
            got.extend(rows.offsets.values().iter().copied());
        }
        segments.extend(source.segments());
        (got, segments.clone())
    };
    let mut known = Vec::new();
    for to in (0..=text.len()).step_by(7).chain([text.len()]) {
        write(folder.path(), "a.json", &text[..to]);
        let (rows, segments) = take(&mut live);
        got.extend(rows);
        known = segments;
    }
    std::thread::sleep(std::time::Duration::from_millis(20));
    got.extend(take(&mut live).0);
    assert_eq!(got, [0, 1, 2, 3, 4]);
    for offset in 0..5 {
        let place = Place { offset, segments: known.clone() };
        let mut again = stream.connector.open(opening(place)).unwrap();
        let (rows, _) = take(&mut again);
        assert_eq!(rows, got[offset as usize..], "{offset}");
    }
}

#[tokio::test]
async fn a_quote_that_is_never_closed_is_told() {
    let folder = file("a.csv", "id,name\n1,\"a\nb\"\n2,\"bolt\n3,nut\n4,\n");
    let columns = "id BIGINT, name VARCHAR";
    let told = refused(folder.path(), columns, "").await;
    assert!(told.contains("a.csv, line 4: a quote that opens here is never closed"), "{told}");
    assert_eq!(read(folder.path(), columns, SKIP).await, ["1 a\nb"]);
}

#[tokio::test]
async fn folders_tell_columns() {
    let folder = TempDir::new().unwrap();
    let day = |name: &str| folder.path().join(name);
    write(&day("dt=2026-01-02"), "a.csv", "v,Kind\n3,x\n");
    write(&day("dt=2026-01-01/k=a%2Fb"), "b.csv", "v\n2\n");
    write(&day("dt=__HIVE_DEFAULT_PARTITION__/k=c"), "c.csv", "dt,v\n9,4\n");
    write(folder.path(), "b.csv", "v,dt,k\n1,2025-12-31,z\n");
    write(&day("old"), "d.csv", "v\n5\n");
    let got = read(folder.path(), "v BIGINT, DT DATE, k VARCHAR", ", missing = 'null'").await;
    assert_eq!(got, ["1 2025-12-31 z", "2 2026-01-01 a/b", "3 2026-01-02 NULL", "4 NULL c"]);
    // Without a header columns go by their place, those of folders apart.
    let plain = TempDir::new().unwrap();
    write(&plain.path().join("dt=7"), "a.csv", "1,x\n");
    write(&plain.path().join("dt=8"), "a.csv", "2,y\n");
    let columns = "v BIGINT, dt BIGINT, k VARCHAR";
    assert_eq!(read(plain.path(), columns, ", header = 'false'").await, ["1 7 x", "2 8 y"]);
    write(&plain.path().join("dt=x"), "a.csv", "3,z\n");
    let told = refused(plain.path(), columns, ", header = 'false'").await;
    assert!(told.contains("dt=x/a.csv, line 1: column dt: 'x' is not Int64"), "{told}");
    let path = folder.path().display().to_string();
    let sql = format!(
        "CREATE STREAM s (v BIGINT) WITH (connector = 'file', path = '{path}', format = 'csv');
         SELECT count(*) AS n FROM s"
    );
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(["sql", "--device", "cpu", "--format", "csv", "-c", &sql])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "n\n4\n", "{told}");
    assert!(told.contains("old: a folder that is passed over"), "{told}");
}

#[tokio::test]
async fn columns_are_divided_by_any_sign() {
    let columns = "id BIGINT, name VARCHAR";
    let want = ["1 a,b", "2 x|y"];
    let bars = file("a.csv", "name|id\na,b|1\n\"x|y\"|2\n");
    assert_eq!(read(bars.path(), columns, ", delimiter = '|'").await, want);
    let tabs = file("a.tsv", "id\tname\n1\ta,b\n2\tx|y\n");
    assert_eq!(read(tabs.path(), columns, "").await, want);
    assert_eq!(read(tabs.path(), columns, ", format = 'tsv'").await, want);
    std::fs::write(tabs.path().join("b.csv"), "id,name\n3,z\n").unwrap();
    assert_eq!(read(tabs.path(), columns, "").await, ["1 a,b", "2 x|y", "3 z"]);
    // One sign for all of a folder, where it is said.
    let both = file("a.tsv", "id;name\n1;a,b\n");
    std::fs::write(both.path().join("b.csv"), "id;name\n2;x|y\n").unwrap();
    assert_eq!(read(both.path(), columns, ", delimiter = ';'").await, want);
    // A malformed row is kept as it stands; a quote opens a value behind the sign only.
    let wrong = file("a.csv", "id|name\nx|1\n2|\"a\n\"\n3,\"|b\n");
    let told = refused(wrong.path(), columns, ", delimiter = '|'").await;
    assert!(told.contains("a.csv, line 2: column id: 'x' is not Int64"), "{told}");
    let got = read(wrong.path(), columns, ", delimiter = '|', on_error = 'skip'").await;
    assert_eq!(got, ["2 a\n"]);
    for (option, want) in [
        ("delimiter = '\n'", "expected one sign"),
        ("delimiter = ''", "expected one sign"),
        ("delimiter = ';', format = 'json'", "a delimiter goes with CSV"),
    ] {
        let told = refused(bars.path(), columns, &format!(", {option}")).await;
        assert!(told.contains(want), "{option}: {told}");
    }
}

#[tokio::test]
async fn other_encodings_are_read_where_they_are_said() {
    let columns = "id BIGINT, name VARCHAR";
    let latin = file("a.csv", b"id,name\n1,M\xfcller\n2,Bob\n");
    let told = refused(latin.path(), columns, "").await;
    assert!(told.contains("field 2 is not UTF-8") && told.contains("encoding ="), "{told}");
    let encoding = |name: &str| format!(", encoding = '{name}'");
    let want = ["1 Müller", "2 Bob"];
    assert_eq!(read(latin.path(), columns, &encoding("latin1")).await, want);
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let marked = file("a.csv", wide("\u{feff}id,name\r\n1,Müller\r\n2,Bob"));
    assert_eq!(read(marked.path(), columns, "").await, want);
    let plain = file("a.json", wide("{\"id\":1,\"name\":\"Müller\"}\n{\"id\":2,\"name\":\"Bob\"}"));
    assert_eq!(read(plain.path(), columns, &encoding("UTF-16LE")).await, want);
    let told = refused(plain.path(), columns, "").await;
    assert!(told.contains("is it UTF-16"), "{told}");
    let told = refused(plain.path(), columns, &encoding("klingon")).await;
    assert!(told.contains("encoding = 'klingon': one of the web's is wanted"), "{told}");
}

#[tokio::test]
async fn event_time_may_be_computed() {
    let line = |id: u32, ms: &str| format!("{{\"id\":{id},\"ts_ms\":{ms},\"d\":{}}}\n", id - 1);
    let lines = [line(1, "1767225600123"), line(2, "\"1767225605000\""), line(3, "null")];
    let folder = file("a.json", lines.concat());
    let more = " WITH (connector = 'file', path = 'PATH', format = 'json', on_error = 'skip');";
    let more = more.replace("PATH", &folder.path().display().to_string());
    let engine = engine().with_state(Some(folder.path().join("_rejected")));
    for (nth, computed) in [
        "t TIMESTAMP AS (to_timestamp_millis(ts_ms))",
        "t AS to_timestamp_millis(ts_ms)",
        "t TIMESTAMP(3) NOT NULL AS (to_timestamp_millis(ts_ms))",
        "t AS to_timestamp_millis(ts_ms), share AS 6 / d",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("s{nth}");
        let sql = format!(
            "CREATE STREAM {name} (id BIGINT, ts_ms BIGINT, d BIGINT, {computed},
               WATERMARK FOR t AS t - INTERVAL '1' SECOND) {more}
             SELECT t, id FROM {name} ORDER BY id"
        );
        let answer = support::rows(&engine, &sql).await;
        let got: Vec<String> = answer.rows.iter().map(|row| row.join(" ")).collect();
        // A row whose expression fails is malformed, as is one without event time.
        let want = ["2026-01-01T00:00:00.123 1", "2026-01-01T00:00:05 2"];
        assert_eq!(got, want[usize::from(computed.contains("share"))..], "{computed}");
        let windows = format!(
            "SELECT window_start, count(*) AS n FROM TABLE(TUMBLE(TABLE {name}, DESCRIPTOR(t),
             INTERVAL '10' SECOND)) GROUP BY window_start, window_end"
        );
        assert_eq!(support::rows(&engine, &windows).await.rows.len(), 1);
    }
    for (column, want) in [
        ("t AS now()", "now() is not a function of the row alone"),
        ("t AS sum(id)", "is not a function of the row alone"),
        ("t AS nobody + 1", "column 'nobody' not found; available: id"),
        ("t AS NULL", "say its type"),
        ("t TIMESTAMP AS (id + 1)", "Int64 is not read as Timestamp(µs): cast it"),
        ("t TIMESTAMP(9)", "microseconds are the finest"),
        ("id AS 1", "two columns are called id"),
    ] {
        let sql = format!("CREATE STREAM x (id BIGINT, {column}) {more}");
        let told = support::run(&engine, &sql).await.map(|_| ()).unwrap_err().to_string();
        assert!(told.contains(want), "{column}: {told}");
    }
    let random = "CREATE STREAM r (n BIGINT, t AS to_timestamp_seconds(n), WATERMARK FOR t AS t)
        WITH (connector = 'random', events = 3, 'fields.n.kind' = 'sequence',
          'fields.n.start' = 5, 'fields.n.end' = 7); SELECT max(t) AS t FROM r";
    assert_eq!(support::rows(&engine, random).await.rows, [["1970-01-01T00:00:07"]]);
}

#[tokio::test]
async fn times_may_be_spelled_otherwise() {
    let epochs = file("a.csv", "ts,n\n1767225600,1\n1767225600.25,2\n2026-01-01T00:00:01,3\n");
    let columns = "n BIGINT, ts TIMESTAMP";
    let got = read(epochs.path(), columns, ", timestamp_unit = 's'").await;
    let want = ["1 2026-01-01T00:00:00", "2 2026-01-01T00:00:00.250", "3 2026-01-01T00:00:01"];
    assert_eq!(got, want);
    let told = refused(epochs.path(), columns, "").await;
    assert!(told.contains("'1767225600' is not Timestamp(µs)"), "{told}");
    let json = file(
        "a.json",
        "{\"n\":1,\"ts\":1767225600000001500}\n{\"n\":2,\"ts\":1767225600000001000}",
    );
    let got = read(json.path(), columns, ", timestamp_unit = 'ns', on_error = 'skip'").await;
    assert_eq!(got, ["2 2026-01-01T00:00:00.000001"]);
    let german = file("a.csv", "n,ts\n1,31.01.2026 05:06\n");
    let got = read(german.path(), columns, ", timestamp_format = '%d.%m.%Y %H:%M'").await;
    assert_eq!(got, ["1 2026-01-31T05:06:00"]);
    let told = refused(german.path(), columns, ", timestamp_format = '%Q'").await;
    assert!(told.contains("strftime has it so"), "{told}");
    let engine = engine();
    let folder = TempDir::new().unwrap();
    let copy = format!(
        "COPY (SELECT 1 AS n, 1767225600000 AS ts) TO '{}/x.parquet'",
        folder.path().display()
    );
    support::run(&engine, &copy).await.unwrap();
    let got = read(folder.path(), columns, ", timestamp_unit = 'ms'").await;
    assert_eq!(got, ["1 2026-01-01T00:00:00"]);
}
