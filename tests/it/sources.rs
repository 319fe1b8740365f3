//! Sources by themselves: files that grow, come and go; blocks; generators.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use tempfile::TempDir;
use thalweg::config::{DeviceChoice, Options};
use thalweg::error::Result;
use thalweg::sql::Engine;
use thalweg::stream::connector::api::{Opening, Place, Read, Segment, Source};
use thalweg::stream::log::definition::Stream;

/// The stream that a statement makes.
async fn try_stream(sql: &str) -> Result<Arc<Stream>> {
    let options = Options { device: DeviceChoice::Cpu, ..Options::default() };
    let engine = Engine::new(options).unwrap();
    for statement in engine.parse(sql)? {
        engine.execute(statement).await?;
    }
    Ok(engine.streams().remove(0))
}

async fn stream(sql: &str) -> Arc<Stream> {
    try_stream(sql).await.unwrap()
}

/// A partition as it is read: offsets and the first column of what comes, and the segments.
struct Reading {
    source: Box<dyn Source>,
    segments: Vec<Segment>,
}

impl Reading {
    fn open(stream: &Stream, follow: bool, from: Place) -> Self {
        Self::partition(stream, follow, from, 0)
    }

    fn partition(stream: &Stream, follow: bool, from: Place, partition: usize) -> Self {
        let opening = Opening { from, partition, ..Opening::new(stream, follow) };
        Self { source: stream.connector.open(opening).unwrap(), segments: Vec::new() }
    }

    /// All there is now.
    fn rest(&mut self, limit: usize) -> Result<Vec<(i64, i64)>> {
        let mut rows = Vec::new();
        loop {
            let before = self.source.offset();
            let Read::Rows(read) = self.source.next(limit)? else { return Ok(rows) };
            assert!(self.source.offset() - before <= limit as i64);
            self.segments.extend(self.source.segments());
            let values = read.batch.column(0).as_primitive::<Int64Type>().values();
            rows.extend(read.offsets.values().iter().copied().zip(values.iter().copied()));
        }
    }
}

fn append(folder: &Path, name: &str, text: &str) {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(folder.join(name));
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

fn numbers(folder: &Path, format: &str, more: &str) -> String {
    let path = folder.display();
    format!(
        "CREATE STREAM s (n BIGINT) WITH (connector = 'file', path = '{path}', format = '{format}'
         {more})"
    )
}

#[tokio::test]
async fn files_that_grow_come_and_go_keep_their_offsets() {
    for (format, head) in [("csv", "n\n"), ("json", "")] {
        let folder = TempDir::new().unwrap();
        let line = |n: i64| match format {
            "csv" => format!("{n}\n"),
            _ => format!("{{\"n\":{n}}}\n"),
        };
        let lines = |numbers: &[i64]| numbers.iter().map(|n| line(*n)).collect::<String>();
        let (a, b) = (format!("a.{format}"), format!("b.{format}"));
        let stream = stream(&numbers(folder.path(), format, "")).await;
        let mut live = Reading::open(&stream, true, Place::default());
        let mut all = Vec::new();
        let mut read = |live: &mut Reading, want: &[i64]| {
            std::thread::sleep(std::time::Duration::from_millis(30));
            let rows = live.rest(2).unwrap();
            assert_eq!(rows.iter().map(|row| row.1).collect::<Vec<_>>(), want, "{format}");
            all.extend(rows);
        };
        read(&mut live, &[]);
        append(folder.path(), &a, head);
        read(&mut live, &[]);
        // The last line is read when it is whole.
        let text = lines(&[10, 20, 30]);
        append(folder.path(), &a, &text[..text.len() - 2]);
        read(&mut live, &[10, 20]);
        append(folder.path(), &a, &text[text.len() - 2..]);
        append(folder.path(), &a, &lines(&[40]));
        read(&mut live, &[30, 40]);
        append(folder.path(), &b, &format!("{head}{}", lines(&[50, 60])));
        read(&mut live, &[50, 60]);
        // A file that is not the last goes on: it comes again, behind.
        append(folder.path(), &a, &lines(&[70, 80, 90]));
        append(folder.path(), &b, &lines(&[100]));
        read(&mut live, &[70, 80, 90, 100]);
        append(folder.path(), &b, &lines(&[110]));
        read(&mut live, &[110]);
        let (end, segments) = (live.source.offset(), live.segments.clone());
        assert_eq!(all.iter().map(|row| row.0).collect::<Vec<_>>(), (0..end).collect::<Vec<_>>());
        for offset in 0..=end {
            for follow in [false, true] {
                let place = Place { offset, segments: segments.clone() };
                let rest = Reading::open(&stream, follow, place).rest(3).unwrap();
                assert_eq!(rest, all[offset as usize..], "{format} {offset} {follow}");
            }
        }
        // The torn line belongs to a reading that comes to an end, and is none of the next.
        append(folder.path(), &b, line(120).trim_end());
        let place = Place { offset: end, segments: segments.clone() };
        let mut bounded = Reading::open(&stream, false, place);
        assert_eq!(bounded.rest(9).unwrap(), [(end, 120)]);
        append(folder.path(), &b, &format!("\n{}", line(130)));
        let place = Place { offset: end + 1, segments: [segments, bounded.segments].concat() };
        let next = Reading::open(&stream, false, place.clone()).rest(9).unwrap();
        assert_eq!(next, [(end + 1, 130)]);
        // Gone, when read to the end.
        let mut last = Reading::open(&stream, true, place.clone());
        last.rest(9).unwrap();
        let segments = [place.segments, last.segments].concat();
        std::fs::remove_file(folder.path().join(&b)).unwrap();
        std::fs::remove_file(folder.path().join(&a)).unwrap();
        let place = |offset| Place { offset, segments: segments.clone() };
        let none = Reading::open(&stream, false, place(end + 2)).rest(9).unwrap();
        assert!(none.is_empty(), "{none:?}");
        append(folder.path(), &format!("c.{format}"), &format!("{head}{}", line(7)));
        let next = Reading::open(&stream, true, place(end + 2)).rest(9).unwrap();
        assert_eq!(next, [(end + 2, 7)]);
        let error = Reading::open(&stream, false, place(0)).rest(9).unwrap_err().to_string();
        assert!(error.contains(&a) && error.contains("the file is gone"), "{error}");
    }
}

/// A file that was read and has another name now: followed, by the next run, and when it grows.
#[tokio::test]
async fn a_renamed_file_is_not_read_again() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let stream = stream(&numbers(folder.path(), "csv", "")).await;
    let wait = || std::thread::sleep(std::time::Duration::from_millis(30));
    append(folder.path(), "a.csv", "n\n1\n2\n");
    let mut live = Reading::open(&stream, true, Place::default());
    assert_eq!(live.rest(9).unwrap(), [(0, 1), (1, 2)]);
    let before = Place { offset: 2, segments: live.segments.clone() };
    wait();
    std::fs::rename(path("a.csv"), path("b.csv")).unwrap();
    append(folder.path(), "a.csv", "n\n5\n6\n7\n");
    let new = [(2, 5), (3, 6), (4, 7)];
    assert_eq!(live.rest(9).unwrap(), new, "while it is followed");
    let mut next = Reading::open(&stream, false, before.clone());
    assert_eq!(next.rest(9).unwrap(), new, "by the next run");
    // And by the one after that, which knows both.
    let segments = [before.segments, next.segments].concat();
    let after = Place { offset: 5, segments };
    assert!(Reading::open(&stream, false, after.clone()).rest(9).unwrap().is_empty());
    append(folder.path(), "b.csv", "3\n");
    assert_eq!(
        Reading::open(&stream, false, after).rest(9).unwrap(),
        [(5, 3)],
        "what is new of it"
    );
    wait();
    assert_eq!(live.rest(9).unwrap(), [(5, 3)]);
    // The same content in a file that was written by itself is new.
    std::fs::copy(path("a.csv"), path("c.csv")).unwrap();
    wait();
    assert_eq!(live.rest(9).unwrap(), [(6, 5), (7, 6), (8, 7)]);
}

#[tokio::test]
async fn blocks_are_read_in_order_with_their_lines() {
    let folder = TempDir::new().unwrap();
    let mut text = String::from("n,note\n");
    let (mut want, mut line, mut bad) = (Vec::new(), 2, Vec::new());
    let filler = "x".repeat(900);
    for n in 0..3_500_i64 {
        match n % 700 {
            // A record of three lines, one of which looks like a record.
            13 => writeln!(text, "{n},\"a \"\"quote\n{n},{filler}\n\"").unwrap(),
            500 => writeln!(text, "{n}x,{filler}").unwrap(),
            _ => writeln!(text, "{n},{filler}").unwrap(),
        }
        match n % 700 {
            500 => bad.push(line),
            _ => want.push((n, n)),
        }
        line += if n % 700 == 13 { 3 } else { 1 };
    }
    std::fs::write(folder.path().join("a.csv"), &text).unwrap();
    let sql = numbers(folder.path(), "csv", ", on_error = 'skip'");
    let stream = stream(&sql.replace("n BIGINT", "n BIGINT, note VARCHAR")).await;
    let rejects = folder.path().join("rejects.jsonl");
    for (limit, from) in [(8192, 0), (100, 0), (8192, 2_000)] {
        let opening = Opening {
            rejects: Some(rejects.clone()),
            from: Place { offset: from, ..Place::default() },
            ..Opening::new(&stream, false)
        };
        let segment = Segment::new(folder.path().join("a.csv").display().to_string(), 0, 1);
        let from_place = Place { offset: from, segments: vec![segment] };
        let from_place = if from > 0 { from_place } else { Place::default() };
        let source = stream.connector.open(Opening { from: from_place, ..opening }).unwrap();
        let mut reading = Reading { source, segments: Vec::new() };
        let rest: Vec<_> = want.iter().copied().filter(|row| row.0 >= from).collect();
        assert!(reading.rest(limit).unwrap() == rest, "{limit} {from}");
        let kept = std::fs::read_to_string(&rejects).unwrap();
        let places: Vec<_> = kept.lines().collect();
        assert_eq!(places.len(), bad.len(), "{limit} {from}");
        for (place, line) in places.iter().zip(&bad) {
            assert!(place.contains(&format!("a.csv, line {line}\"")), "{line}: {place}");
        }
    }
}

#[tokio::test]
async fn schemas_may_drift_within_bounds() {
    let folder = TempDir::new().unwrap();
    append(folder.path(), "a.csv", "n,new\n1,x\n");
    append(folder.path(), "b.csv", "m\n1\n");
    let stream_of = |more: &str| numbers(folder.path(), "csv", more);
    let mut failing = Reading::open(stream(&stream_of("")).await.as_ref(), false, Place::default());
    let told = failing.rest(9).unwrap_err().to_string();
    assert!(told.contains("b.csv: there is no column n; there are m (missing = 'null'"), "{told}");
    let lenient = stream(&stream_of(", missing = 'null'")).await;
    let mut source = lenient.connector.open(Opening::new(&lenient, false)).unwrap();
    let (mut rows, mut nulls) = (0, 0);
    while let Read::Rows(read) = source.next(10).unwrap() {
        rows += read.batch.num_rows();
        nulls += read.batch.column(0).null_count();
    }
    assert_eq!((rows, nulls), (2, 1));
    // A type that is another is refused with both.
    let options = Options { device: DeviceChoice::Cpu, ..Options::default() };
    let engine = Engine::new(options).unwrap();
    let path = folder.path().join("p");
    std::fs::create_dir(&path).unwrap();
    let copy = format!("COPY (SELECT 1.5::DOUBLE AS n) TO '{}/x.parquet'", path.display());
    for statement in engine.parse(&copy).unwrap() {
        engine.execute(statement).await.unwrap();
    }
    let stream = stream(&numbers(&path, "parquet", "")).await;
    let told = Reading::open(&stream, false, Place::default()).rest(9).unwrap_err().to_string();
    assert!(told.ends_with("x.parquet: column n: Float64 in the file, Int64 in the stream"));
}

/// Fields of JSON that are not declared: passed over, malformed, or kept as they are written.
#[tokio::test]
async fn unknown_fields_go_by_the_option() {
    let folder = TempDir::new().unwrap();
    let lines = [
        r#"{"n":1}"#,
        r#"{"n":2,"x":[1.10, {"y":"}"}], "z":null}"#,
        r#"{"n":"three","w":1}"#,
        r#"{"N":4,"w":12345678901234567890123}"#,
    ];
    append(folder.path(), "a.json", &(lines.join("\n") + "\n"));
    let of = |columns: &str, more: &str| {
        let path = folder.path().display();
        format!(
            "CREATE STREAM s ({columns}) WITH (connector = 'file', path = '{path}',
             format = 'json', on_error = 'skip' {more})"
        )
    };
    let ignored = stream(&of("n BIGINT", "")).await;
    assert_eq!(all(&ignored, 0, 0, 9), ["1", "2", "4"]);
    let failing = stream(&of("n BIGINT", ", unknown_fields = 'fail'")).await;
    assert_eq!(all(&failing, 0, 0, 9), ["1"]);
    let kept = ", unknown_fields = 'rescue', rescued_data_column = 'more'";
    let kept = stream(&of("more VARCHAR, n BIGINT", kept)).await;
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let want = [
        ",1".to_string(),
        quoted(r#"{"x":[1.10, {"y":"}"}],"z":null}"#) + ",2",
        quoted(r#"{"w":12345678901234567890123}"#) + ",4",
    ];
    for limit in [1, 9] {
        assert_eq!(all(&kept, 0, 0, limit), want);
    }
    for (columns, more, want) in [
        ("n BIGINT", ", unknown_fields = 'rescue'", "in the column _rescued_data: declare it as"),
        ("n BIGINT", ", rescued_data_column = 'n'", "goes with unknown_fields = 'rescue'"),
        ("n BIGINT", ", unknown_fields = 'keep'", "one of ignore, fail, rescue is wanted"),
    ] {
        let told = try_stream(&of(columns, more)).await.unwrap_err().to_string();
        assert!(told.contains(want), "{told}");
    }
    let csv = of("n BIGINT", ", unknown_fields = 'fail'").replace("'json'", "'csv'");
    let told = try_stream(&csv).await.unwrap_err().to_string();
    assert!(told.contains("are of JSON"), "{told}");
}

/// All rows of a partition, each as a line of text.
fn all(stream: &Stream, partition: usize, from: i64, limit: usize) -> Vec<String> {
    let from = Place { offset: from, ..Place::default() };
    let mut reading = Reading::partition(stream, false, from, partition);
    let mut lines = Vec::new();
    while let Read::Rows(rows) = reading.source.next(limit).unwrap() {
        let mut out = Vec::new();
        let mut writer = arrow::csv::WriterBuilder::new().with_header(false).build(&mut out);
        writer.write(&rows.batch).unwrap();
        drop(writer);
        lines.extend(String::from_utf8(out).unwrap().lines().map(str::to_string));
    }
    lines
}

#[tokio::test]
async fn generators_begin_anywhere_and_divide_into_partitions() {
    let random = |more: &str| {
        format!(
            "CREATE STREAM s (id BIGINT, card INT NOT NULL, amount DECIMAL(10, 2), part DOUBLE,
               name VARCHAR, day DATE, yes BOOLEAN, ts TIMESTAMP,
               WATERMARK FOR ts AS ts - INTERVAL '2' SECOND)
             WITH (connector = 'random', seed = 5, rate = 100, events = 1000,
               'fields.id.kind' = 'sequence', 'fields.id.start' = 7, 'fields.card.min' = 1,
               'fields.card.max' = '3', 'fields.amount.max' = '99.50', 'fields.part.min' = '-1',
               'fields.name.length' = 4, 'fields.name.cardinality' = 9,
               'fields.day.min' = '2026-01-01', 'fields.day.max' = '2026-01-03',
               'fields.yes.null-rate' = '0.5', 'fields.ts.jitter' = '3 seconds'{more})"
        )
    };
    let nexmark = |more: &str| {
        format!(
            "CREATE STREAM s (auction BIGINT, price BIGINT, ts TIMESTAMP)
             WITH (connector = 'nexmark', events = 1000{more})"
        )
    };
    let one = stream(&random("")).await;
    let rows = all(&one, 0, 0, 8192);
    assert_eq!(rows.len(), 1000);
    assert_eq!(rows[..2].iter().map(|row| &row[..2]).collect::<Vec<_>>(), ["7,", "8,"]);
    let columns: Vec<Vec<&str>> =
        (0..8).map(|at| rows.iter().map(|row| row.split(',').nth(at).unwrap()).collect()).collect();
    let distinct = |at: usize| {
        let distinct: std::collections::BTreeSet<&str> = columns[at].iter().copied().collect();
        distinct.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(distinct(1), ["1", "2", "3"]);
    assert_eq!(distinct(4).len(), 9);
    assert_eq!(distinct(5), ["2026-01-01", "2026-01-02", "2026-01-03"]);
    assert_eq!(distinct(6), ["", "false", "true"]);
    let nulls = columns[6].iter().filter(|value| value.is_empty()).count();
    assert!((400..600).contains(&nulls), "{nulls}");
    assert!(columns[2].iter().all(|amount| amount.parse::<f64>().unwrap() <= 99.5));
    assert!(columns[3].iter().any(|part| part.starts_with('-')));
    // Some rows come when the watermark has passed their time.
    let order: Vec<_> = columns[7].windows(2).map(|pair| pair[0] <= pair[1]).collect();
    assert!(order.contains(&true) && order.contains(&false));
    for make in [&random as &dyn Fn(&str) -> String, &nexmark] {
        let one = stream(&make("")).await;
        let rows = all(&one, 0, 0, 8192);
        assert_eq!(all(&one, 0, 0, 7), rows);
        assert_eq!(all(&one, 0, 900, 64), rows[900.min(rows.len())..]);
        let three = stream(&make(", partitions = 3")).await;
        assert_eq!(three.connector.partitions(), 3);
        for partition in 0..3 {
            let of = || rows.iter().skip(partition).step_by(3).cloned();
            assert_eq!(all(&three, partition, 0, 50), of().collect::<Vec<_>>());
            assert_eq!(all(&three, partition, 11, 50), of().skip(11).collect::<Vec<_>>());
        }
    }
    for (more, want) in [
        (", 'fields.card.min' = 'x'", "each option once"),
        (", 'fields.amount.min' = 'x'", "fields.amount.min = 'x': a value of Decimal128(10, 2)"),
        (", 'fields.amount.min' = '100'", "fields.amount: min is more than max"),
        (", 'fields.card.null-rate' = '0.1'", "0 of a NOT NULL column is wanted"),
        (", 'fields.nobody.min' = 1", "there is no option 'fields.nobody.min' here"),
        (", partitions = 0", "partitions = '0': one at least"),
    ] {
        let told = try_stream(&random(more)).await.unwrap_err().to_string();
        assert!(told.contains(want), "{more}\n{told}");
    }
    let later = try_stream(&nexmark("").replace("'nexmark'", "'kafka'")).await.unwrap_err();
    assert!(later.to_string().contains("'kafka' comes in a later version; there are file, http"));
}
