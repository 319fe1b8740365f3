//! Files: what Parquet's statistics are trusted with, times of 96 bits, folders whose files differ,
//! values that do not fit, text in other forms and encodings.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::data_type::{Int96, Int96Type};
use datafusion::parquet::file::metadata::{ParquetMetaDataReader, ParquetMetaDataWriter};
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::file::statistics::Statistics;
use datafusion::parquet::file::writer::SerializedFileWriter;
use datafusion::parquet::schema::parser::parse_message_type;
use futures::TryStreamExt;

use super::{answers, refuses, stock};

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

async fn gzip(text: &str) -> Vec<u8> {
    let bytes = Bytes::from(text.to_string());
    let stream = futures::stream::iter([Ok(bytes)]);
    let packed = FileCompressionType::GZIP.convert_to_compress_stream(Box::pin(stream)).unwrap();
    let parts: Vec<Bytes> = packed.try_collect().await.unwrap();
    parts.concat()
}

/// A Parquet file of a number and of text of which every second is NULL, two row groups, whose
/// statistics do not count the NULLs of the text.
fn uncounted(bounds: bool) -> Vec<u8> {
    let batch = |from: i64| {
        let ids = Int64Array::from_iter_values(from..from + 4);
        let texts = (0..4).map(|at| (at % 2 == 0).then(|| format!("text {}", from + at)));
        let texts = StringArray::from_iter(texts);
        RecordBatch::try_from_iter([
            ("id", Arc::new(ids) as ArrayRef),
            ("body", Arc::new(texts) as ArrayRef),
        ])
        .unwrap()
    };
    let mut file = Vec::new();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(4)).build();
    let mut writer = ArrowWriter::try_new(&mut file, batch(0).schema(), Some(properties)).unwrap();
    writer.write(&batch(0)).unwrap();
    writer.write(&batch(4)).unwrap();
    writer.close().unwrap();
    let bytes = Bytes::from(file.clone());
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
    let footer = u32::from_le_bytes(file[file.len() - 8..file.len() - 4].try_into().unwrap());
    file.truncate(file.len() - 8 - footer as usize);
    let mut built = metadata.into_builder();
    let groups = built.take_row_groups().into_iter().map(|group| {
        let mut group = group.into_builder();
        let columns = group.take_columns().into_iter().map(|column| {
            let Some(Statistics::ByteArray(found)) = column.statistics().cloned() else {
                return column;
            };
            let (min, max) = (found.min_opt().cloned(), found.max_opt().cloned());
            let (min, max) = if bounds { (min, max) } else { (None, None) };
            let told = Statistics::byte_array(min, max, None, None, false);
            let column = column.into_builder().clear_statistics().set_statistics(told);
            column.set_column_index_offset(None).set_column_index_length(None).build().unwrap()
        });
        let columns = columns.collect();
        group.set_column_metadata(columns).build().unwrap()
    });
    let groups = groups.collect();
    let metadata = built.set_row_groups(groups).build();
    ParquetMetaDataWriter::new(&mut file, &metadata).finish().unwrap();
    file
}

#[tokio::test]
async fn nulls_that_are_not_counted_are_not_none() {
    let folder = tempfile::tempdir().unwrap();
    let bare = write(folder.path(), "bare/a.parquet", uncounted(false));
    write(folder.path(), "bare/b.parquet", uncounted(false));
    let bound = write(folder.path(), "bound.parquet", uncounted(true));
    let dir = folder.path().join("bare").display().to_string();
    let table = format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{dir}/'");
    let count = |from: &str| {
        format!(
            "SELECT count(*), count(body), count(*) FILTER (WHERE body IS NULL), \
             (SELECT count(*) FROM {from} WHERE body IS NULL) AS a, \
             (SELECT count(*) FROM {from} WHERE body IS NULL AND id >= 4) AS b, \
             (SELECT count(*) FROM {from} AS l LEFT JOIN {from} AS r ON l.body = r.body \
              WHERE r.body IS NULL) AS c FROM {from}"
        )
    };
    let eight: &[&[&str]] = &[&["8", "4", "4", "4", "2", "4"]];
    answers(&[&count(&format!("'{bare}'"))], eight).await;
    answers(&[&count(&format!("'{bound}'"))], eight).await;
    let sixteen: &[&[&str]] = &[&["16", "8", "8", "8", "4", "8"]];
    answers(&[&count(&format!("'{dir}'"))], sixteen).await;
    answers(&[&table, &count("t")], sixteen).await;
    let wrong = stock(&[&format!("SELECT count(body) FROM '{bare}'")]).await.unwrap();
    assert!(wrong.contains("| 8 "), "DataFusion has mended it: {wrong}");
}

/// Floats that are alike but for NaN, whose bounds leave it out, in two row groups, by id.
fn nans(folder: &Path) -> String {
    let ids = Int64Array::from_iter_values(0..8);
    let nan = f64::NAN;
    let values = [20.5, 20.5, nan, 20.5, -0.0, 0.0, -nan, 0.0];
    let floats: ArrayRef = Arc::new(Float64Array::from_iter_values(values));
    let single = arrow::compute::cast(&floats, &arrow::datatypes::DataType::Float32).unwrap();
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("d", floats),
        ("f", single),
    ])
    .unwrap();
    let mut file = Vec::new();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(4))
        .set_bloom_filter_enabled(true)
        .build();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    write(folder, "nan.parquet", file)
}

#[tokio::test]
async fn bounds_of_floats_say_nothing_of_nan() {
    let folder = tempfile::tempdir().unwrap();
    let file = nans(folder.path());
    let memory = "(VALUES (0, 20.5::double), (1, 20.5), (2, 'NaN'::double), (3, 20.5), \
                  (4, -0.0::double), (5, 0.0), (6, 0.0), (7, 0.0)) AS m(id, d)";
    for (column, file) in [("d", &file), ("f", &file)] {
        let query = format!("SELECT count(*) FROM '{file}' WHERE isnan({column})");
        answers(&[&query], &[&["2"]]).await;
        let above = format!("SELECT id FROM '{file}' WHERE {column} > 30 ORDER BY id");
        answers(&[&above], &[&["2"]]).await;
        let largest = format!("SELECT max({column}) FROM '{file}'");
        answers(&[&largest], &[&["NaN"]]).await;
        let first = format!("SELECT id FROM '{file}' WHERE id < 4 ORDER BY {column} DESC LIMIT 1");
        answers(&[&first], &[&["2"]]).await;
    }
    // A file of one value and NaN, as our own writers write it.
    let one = folder.path().join("one.parquet").display().to_string();
    let copy =
        format!("COPY (SELECT * FROM (VALUES (20.5::double), ('NaN'::double)) AS v(x)) TO '{one}'");
    let table = format!("CREATE EXTERNAL TABLE o STORED AS PARQUET LOCATION '{one}'");
    let nan: &[&[&str]] = &[&["1", "NaN", "1"]];
    let what = "SELECT count(*) FILTER (WHERE isnan(x)), max(x), \
                (SELECT count(*) FROM o WHERE x > 30) FROM o";
    answers(&[&copy, &table, what], nan).await;
    let join = format!("SELECT count(*) FROM o JOIN {memory} ON o.x = m.d");
    answers(&[&table, &join], &[&["4"]]).await;
    let wrong = stock(&[&format!("SELECT count(*) FROM '{one}' WHERE isnan(x)")]).await.unwrap();
    assert!(wrong.contains("| 0 "), "DataFusion has mended it: {wrong}");
}

/// A Parquet file of times of 96 bits: by day since 1970 and nanosecond of it.
fn int96(times: &[(i64, u64)]) -> Vec<u8> {
    let schema = parse_message_type("message m { optional int96 t; }").unwrap();
    let mut file = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut file, Arc::new(schema), Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let time = |(day, nanos): &(i64, u64)| {
        let mut time = Int96::new();
        let julian = u32::try_from(day + 2_440_588).unwrap();
        time.set_data(*nanos as u32, (*nanos >> 32) as u32, julian);
        time
    };
    let values: Vec<Int96> = times.iter().map(time).collect();
    let levels = vec![1; values.len()];
    column.typed::<Int96Type>().write_batch(&values, Some(&levels), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    file
}

#[tokio::test]
async fn times_of_96_bits_reach_beyond_nanoseconds() {
    let folder = tempfile::tempdir().unwrap();
    let noon = 43_200_000_000_000;
    // The last day of 9999, a leap day of 1600, one of today.
    let far = int96(&[(2_932_896, 0), (-135_081, noon), (19_782, noon + 123_456_000)]);
    let old = write(folder.path(), "mixed/1.parquet", &far);
    let new = folder.path().join("mixed/2.parquet").display().to_string();
    let all = format!("SELECT t FROM '{old}' ORDER BY t");
    let times: &[&[&str]] =
        &[&["1600-02-29T12:00:00"], &["2024-02-29T12:00:00.123456"], &["9999-12-31T00:00:00"]];
    answers(&[&all], times).await;
    let table = format!("CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '{old}'");
    let micros = |time: &str| format!("arrow_cast('{time}', 'Timestamp(Microsecond, None)')");
    let (late, early) = (micros("2300-01-01"), micros("1650-01-01"));
    let far = format!("SELECT count(*) FROM x WHERE t > {late} OR t < {early}");
    answers(&[&table, &far], &[&["2"]]).await;
    // Asked for in nanoseconds, they are refused and not taken for others.
    let nanos = "SET datafusion.execution.parquet.coerce_int96 = 'ns'";
    refuses(&[nanos, &all], &["ns"]).await;
    // Beside one of today's form, which says that it is of UTC.
    let utc = "arrow_cast('2024-01-01T00:00:00Z', 'Timestamp(Microsecond, Some(\"UTC\"))')";
    let copy = format!("COPY (SELECT {utc} AS t) TO '{new}'");
    let dir = folder.path().join("mixed").display().to_string();
    let count = format!("SELECT count(*), count(*) FILTER (WHERE t >= {utc}) FROM '{dir}'");
    answers(&[&copy, &count], &[&["4", "3"]]).await;
    let wrong = stock(&[&format!("SELECT max(t) FROM '{old}'")]).await.unwrap();
    assert!(!wrong.contains("9999-12-31"), "DataFusion has mended it: {wrong}");
}

#[tokio::test]
async fn files_of_delta_tables_are_not_passed_over_by_bounds_of_floats() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d").display().to_string();
    let Some(engine) = super::support::engine_on(thalweg::config::DeviceChoice::Cpu) else {
        return;
    };
    let made = format!(
        "CREATE SINK k WITH (connector = 'delta', path = '{path}'); \
         INSERT INTO k SELECT column1 AS id, column2 AS x \
         FROM (VALUES (1, 20.5::double), (2, 'NaN'::double)); DROP SINK k;"
    );
    super::support::run(&engine, &made).await.map(|_| ()).unwrap();
    let query = format!("SELECT id FROM '{path}' WHERE x > 30 AND id > 0");
    answers(&[&query], &[&["2"]]).await;
    let table = format!("CREATE EXTERNAL TABLE d STORED AS DELTA LOCATION '{path}'");
    answers(&[&table, "SELECT id, isnan(x) FROM d WHERE x > 30"], &[&["2", "true"]]).await;
}

#[tokio::test]
async fn directories_that_stand_for_null_are_null() {
    let folder = tempfile::tempdir().unwrap();
    let null = "__HIVE_DEFAULT_PARTITION__";
    for (year, v) in [("2023", 1), ("2024", 2), (null, 3)] {
        write(folder.path(), &format!("n/year={year}/a.csv"), format!("v\n{v}\n"));
    }
    let days = [("2024-01-01", "a%20b", 1), (null, null, 2), ("2024-01-02", "c", 3)];
    for (day, text, v) in days {
        write(folder.path(), &format!("d/day={day}/t={text}/a.csv"), format!("v\n{v}\n"));
    }
    write(folder.path(), &format!("o/k={null}/a.csv"), "v\n1\n");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (n, d, o) = (path("n"), path("d"), path("o"));
    let years =
        format!("SELECT v, year + 1 FROM '{n}' WHERE year >= 2024 OR year IS NULL ORDER BY v");
    answers(&[&years], &[&["2", "2025"], &["3", "NULL"]]).await;
    answers(&[&format!("SELECT count(*), count(k) FROM '{o}'")], &[&["1", "0"]]).await;
    let declared = format!(
        "CREATE EXTERNAL TABLE p (v INT, day DATE, t VARCHAR) STORED AS CSV \
         PARTITIONED BY (day, t) LOCATION '{d}/'"
    );
    let found = "SELECT v, day, t FROM p WHERE day > '2023-01-01' OR t IS NULL ORDER BY v";
    let rows: &[&[&str]] =
        &[&["1", "2024-01-01", "a b"], &["2", "NULL", "NULL"], &["3", "2024-01-02", "c"]];
    answers(&[&declared, found], rows).await;
    answers(&[&declared, "SELECT v FROM p WHERE day = DATE '2024-01-02'"], &[&["3"]]).await;
    // What is written is read again.
    for device in ["cpu", "gpu"] {
        let w = path(&format!("w-{device}"));
        std::fs::create_dir(&w).unwrap();
        let table = format!(
            "CREATE EXTERNAL TABLE w (v INT, k INT) STORED AS PARQUET PARTITIONED BY (k) \
             LOCATION '{w}/'"
        );
        let engine = super::support::engine(thalweg::config::Options {
            device: device.parse().unwrap(),
            ..Default::default()
        });
        let Some(engine) = engine else { continue };
        let copy = format!(
            "COPY (SELECT * FROM (VALUES (3, DATE '2024-01-02', 9), (4, NULL, NULL)) \
             AS t(v, d, k)) TO '{w}-copy/' STORED AS CSV PARTITIONED BY (d, k)"
        );
        let copied = format!("{copy}; SELECT v, d, k + 1 FROM '{w}-copy' ORDER BY v");
        let answer = super::support::rows(&engine, &copied).await;
        assert_eq!(answer.rows, [["3", "2024-01-02", "10"], ["4", "NULL", "NULL"]]);
        let insert = format!("{table}; INSERT INTO w VALUES (1, 7), (2, NULL);");
        let answer =
            super::support::rows(&engine, &format!("{insert} SELECT v, k FROM w ORDER BY v")).await;
        assert_eq!(answer.rows, [["1", "7"], ["2", "NULL"]]);
    }
    let wrong = stock(&[&format!("SELECT count(*) FROM '{o}' WHERE k IS NULL")]).await.unwrap();
    assert!(wrong.contains("| 0 "), "DataFusion has mended it: {wrong}");
}

#[tokio::test]
async fn json_is_read_however_it_is_laid_out() {
    let folder = tempfile::tempdir().unwrap();
    let array =
        "\u{feff}[\n  {\n    \"id\": 1,\n    \"t\": \"],{\"\n  },\n  {\"id\": 2, \"t\": null}\n]\n";
    let one = "{\n \"id\": 1,\n \"t\": \"],{\"\n}\n{ \"id\": 2 }{\"id\":3}\n";
    for (name, text, count) in [
        ("array.json", array.as_bytes().to_vec(), "2"),
        ("array.json.gz", gzip(array).await, "2"),
        ("one.json", one.as_bytes().to_vec(), "3"),
        ("lines.json", b"[{\"id\":1,\"t\":\"],{\"}]\n[{\"id\":2}]\n".to_vec(), "2"),
    ] {
        let path = write(folder.path(), name, text);
        let query = format!("SELECT count(*), max(id), min(t) FROM '{path}'");
        answers(&[&query], &[&[count, count, "],{"]]).await;
        let table =
            format!("CREATE EXTERNAL TABLE j (ID INT, t VARCHAR) STORED AS JSON LOCATION '{path}'");
        answers(&[&table, "SELECT max(id) FROM j"], &[&[count]]).await;
    }
    let wrong = write(folder.path(), "wrong.json", "[\n{\"id\":1},\n{\"id\":2}\n{\"id\":3}]");
    let empty = write(folder.path(), "empty.json", "[\n]");
    refuses(&[&format!("SELECT * FROM '{wrong}'")], &["line 4", "','"]).await;
    refuses(&[&format!("SELECT * FROM '{empty}'")], &["holds no rows"]).await;
}

#[tokio::test]
async fn numbers_of_json_are_exact_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "{\"n\":1e3,\"x\":18446744073709551615,\"d\":1234567890123456789.123456789}\n\
                {\"n\":2.0,\"x\":1,\"d\":1e-9}\n";
    let path = write(folder.path(), "n.json", rows);
    let declared = |kind: &str| {
        format!(
            "CREATE EXTERNAL TABLE j (n {kind}, d DECIMAL(28,9)) STORED AS JSON LOCATION '{path}'"
        )
    };
    let exact: &[&[&str]] = &[&["1002", "1234567890123456789.123456790"]];
    answers(&[&declared("BIGINT"), "SELECT sum(n), sum(d) FROM j"], exact).await;
    let large: &[&[&str]] = &[&["18446744073709551615"]];
    answers(&[&format!("SELECT max(x) FROM '{path}'")], large).await;
    for (column, value, kind, why) in [
        ("a", "20.9", "BIGINT", "fraction"),
        ("a", "-1.5", "SMALLINT", "fraction"),
        ("a", "9223372036854775808", "BIGINT", "out of range"),
        ("a", "1e400", "DOUBLE", "out of range"),
        ("a", "0.125", "DECIMAL(4,2)", "behind the point"),
        ("a", "\"2024-01-01T00:00:01\"", "DATE", "time of day"),
        ("a", "1704067200000", "TIMESTAMP", "BIGINT"),
    ] {
        let text = format!("[{{\"{column}\": null}},\n\n {{\"{column}\": {value}}}]");
        let path = write(folder.path(), "wrong.json", text);
        let table = format!("CREATE EXTERNAL TABLE w (a {kind}) STORED AS JSON LOCATION '{path}'");
        refuses(&[&table, "SELECT * FROM w"], &["wrong.json', line 3, column 'a'", why]).await;
    }
    let late = "{\"a\":1}\n".repeat(100_001) + "{\"a\":2.5}\n";
    let late = write(folder.path(), "late.json", late);
    let what = ["late.json', line 100002, column 'a'", "fraction"];
    refuses(&[&format!("SELECT sum(a) FROM '{late}'")], &what).await;
}

#[tokio::test]
async fn files_of_a_folder_are_merged_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write(folder.path(), "c/1.csv", "id,name\n1,Ann\n");
    write(folder.path(), "c/2.csv", "name,id,mail\nBob,2.5,b@x\n");
    write(folder.path(), "c/3.csv", "mail\nc@x\n");
    let c = path("c");
    let rows: &[&[&str]] =
        &[&["1.0", "Ann", "NULL"], &["2.5", "Bob", "b@x"], &["NULL", "NULL", "c@x"]];
    answers(&[&format!("SELECT * FROM '{c}' ORDER BY id")], rows).await;
    let table =
        format!("CREATE EXTERNAL TABLE t (mail VARCHAR, ID DOUBLE) STORED AS CSV LOCATION '{c}/'");
    let picked: &[&[&str]] = &[&["NULL", "1.0"], &["b@x", "2.5"], &["c@x", "NULL"]];
    answers(&[&table, "SELECT * FROM t ORDER BY id"], picked).await;
    for (name, first, second, expected) in [
        ("i", "CAST(1 AS INT)", "CAST(5000000000 AS BIGINT)", "5000000000"),
        (
            "p",
            "CAST(1.25 AS DECIMAL(7,2))",
            "CAST(5000000000.25 AS DECIMAL(18,2))",
            "5000000000.25",
        ),
        ("f", "CAST(1.5 AS REAL)", "CAST(2.5 AS DOUBLE)", "2.5"),
        ("m", "CAST(1 AS INT)", "CAST(2.5 AS DOUBLE)", "2.5"),
        ("n", "NULL", "'x'", "x"),
        (
            "s",
            "arrow_cast('2024-01-01', 'Timestamp(Second, None)')",
            "arrow_cast('2024-01-02', 'Timestamp(Microsecond, None)')",
            "2024-01-02T00:00:00",
        ),
    ] {
        let (dir, a) = (path(name), path(&format!("{name}/1.parquet")));
        std::fs::create_dir(&dir).unwrap();
        let b = path(&format!("{name}/2.parquet"));
        let made = [
            format!("COPY (SELECT {first} AS v) TO '{a}'"),
            format!("COPY (SELECT {second} AS v, 1 AS more) TO '{b}'"),
        ];
        let query = format!(
            "SELECT max(v), (SELECT count(*) FROM '{dir}' WHERE v = (SELECT max(v) FROM '{dir}')), \
             (SELECT count(more) FROM '{dir}') FROM '{dir}'"
        );
        answers(&[&made[0], &made[1], &query], &[&[expected, "1", "1"]]).await;
    }
    let dir = path("x");
    std::fs::create_dir(&dir).unwrap();
    let text = format!("COPY (SELECT 'a' AS v) TO '{dir}/1.parquet'");
    let number = format!("COPY (SELECT 1 AS v) TO '{dir}/2.parquet'");
    let what = ["column 'v'", "1.parquet", "2.parquet"];
    refuses(&[&text, &number, &format!("SELECT * FROM '{dir}'")], &what).await;
}

#[tokio::test]
async fn csv_is_read_as_it_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    // Names that are empty or there already.
    let odd = write(folder.path(), "odd.csv", "day,a,a,,\n1,2,3,,5\n");
    let named = format!("SELECT day, a_1, column3, column4 FROM '{odd}'");
    answers(&[&named], &[&["1", "3", "NULL", "5"]]).await;
    let table =
        format!("CREATE EXTERNAL TABLE o (a_1 INT, day INT) STORED AS CSV LOCATION '{odd}'");
    answers(&[&table, "SELECT * FROM o"], &[&["3", "1"]]).await;
    // Packed, its delimiter is looked for as well.
    let packed = write(folder.path(), "p.csv.gz", gzip("a;b\nx;\"1,5\"\n").await);
    answers(&[&format!("SELECT a, b FROM '{packed}'")], &[&["x", "1,5"]]).await;
    // Quotes that are never closed, one within a value, line breaks in values.
    for (name, text) in [
        ("q.csv", "a,b\n1,\"x\n2,y\n".as_bytes().to_vec()),
        ("q.csv.gz", gzip("a,b\n1,\"x\n2,y\n").await),
    ] {
        let open = write(folder.path(), name, text);
        refuses(&[&format!("SELECT * FROM '{open}'")], &[name, "line 2", "never closed"]).await;
        let table =
            format!("CREATE EXTERNAL TABLE q (a INT, b VARCHAR) STORED AS CSV LOCATION '{open}'");
        refuses(&[&table, "SELECT count(*) FROM q"], &[name, "line 2", "never closed"]).await;
    }
    let fine = write(folder.path(), "fine.csv", "a,b\n1,5\" pipe\n2,\"x\n\"\"y\"\n");
    let fine = format!("SELECT b FROM '{fine}' ORDER BY a");
    answers(&[&fine], &[&["5\" pipe"], &["x\n\"y"]]).await;
    // Values with more digits than their columns have.
    let digits = write(
        folder.path(),
        "v.csv",
        "m,d,t\n1.239,2024-01-01 10:00:00,2024-01-01T00:00:00.1234567\n",
    );
    for (column, kind) in [("m", "DECIMAL(5,2)"), ("d", "DATE"), ("t", "TIMESTAMP(6)")] {
        let table =
            format!("CREATE EXTERNAL TABLE v ({column} {kind}) STORED AS CSV LOCATION '{digits}'");
        let what = ["v.csv', line 2", &format!("column '{column}'")];
        refuses(&[&table, "SELECT * FROM v"], &what).await;
    }
}

#[tokio::test]
async fn big_files_with_line_breaks_in_values_are_not_cut_within_them() {
    let folder = tempfile::tempdir().unwrap();
    let row = format!("{},\"two\n1,lines\"\n", 7);
    let text = "n,t\n".to_string() + &row.repeat(1_000);
    let path = write(folder.path(), "big.csv", &text);
    let open = write(folder.path(), "open.csv", text + "8,\"\n" + &"9,x\n".repeat(1_000));
    let settings = "SET datafusion.optimizer.repartition_file_min_size = 1000; \
                    SET datafusion.execution.target_partitions = 4";
    let table = |path: &str| {
        format!("CREATE EXTERNAL TABLE b (n INT, t VARCHAR) STORED AS CSV LOCATION '{path}'")
    };
    let sum = "SELECT count(*), sum(n) FROM b";
    answers(&[settings, &table(&path), sum], &[&["1000", "7000"]]).await;
    refuses(&[settings, &table(&open), sum], &["open.csv', line 2002", "never closed"]).await;
    // Objects over lines are not either.
    let rows = "{\n\"n\": 7,\n\"l\": [{\"n\": 1},\n{\"n\": 2}]\n}\n".repeat(1_000);
    let json = write(folder.path(), "big.json", rows);
    let query = format!("SELECT count(*), sum(n) FROM '{json}'");
    answers(&[settings, &query], &[&["1000", "7000"]]).await;
    let lines = write(folder.path(), "lines.json", "{\"n\":7,\"t\":\"xx\"}\n".repeat(1_000));
    answers(&[settings, &format!("SELECT count(*), sum(n) FROM '{lines}'")], &[&["1000", "7000"]])
        .await;
}

#[tokio::test]
async fn text_in_other_encodings_is_known_or_told() {
    let folder = tempfile::tempdir().unwrap();
    let latin = write(folder.path(), "k.csv", b"id,name\n1,Bob\n2,M\xfcller\n");
    refuses(&[&format!("SELECT * FROM '{latin}'")], &["line 3", "UTF-8", "format.encoding"]).await;
    let table = format!(
        "CREATE EXTERNAL TABLE k STORED AS CSV LOCATION '{latin}' \
         OPTIONS ('format.encoding' 'windows-1252')"
    );
    let declared = table.replace("TABLE k", "TABLE k (NAME VARCHAR, id INT)");
    answers(&[&table, "SELECT name FROM k WHERE id = 2"], &[&["Müller"]]).await;
    answers(&[&declared, "SELECT name FROM k WHERE id = 2"], &[&["Müller"]]).await;
    let none = table.replace("windows-1252", "utf-99");
    refuses(&[&none], &["utf-99", "windows-1252"]).await;
    let wide = |text: &str| -> Vec<u8> {
        format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
    };
    let csv = write(folder.path(), "u.csv", wide("id\tname\r\n1\tMüller\r\n"));
    answers(&[&format!("SELECT id, name FROM '{csv}'")], &[&["1", "Müller"]]).await;
    let json = write(folder.path(), "u.json", wide("[{\"id\": 1, \"name\": \"Müller\"}]"));
    answers(&[&format!("SELECT id, name FROM '{json}'")], &[&["1", "Müller"]]).await;
    let marked = write(folder.path(), "m.csv", "\u{feff}id,name\n1,x\n");
    let table =
        format!("CREATE EXTERNAL TABLE m (id INT, name VARCHAR) STORED AS CSV LOCATION '{marked}'");
    answers(&[&table, "SELECT id, name FROM m"], &[&["1", "x"]]).await;
}
