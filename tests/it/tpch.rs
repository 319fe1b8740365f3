//! The 22 queries of TPC-H at scale 1, on data made here, against answers computed by two other
//! engines, in debug as in release.
//!
//! The data is made once, in `target/tpch/1` (about half a minute in debug, 300 MB). On two cores
//! in debug all 22 queries take a minute and a half on the CPU. The answers stand beside the
//! repository (`support::shared_data`).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::DataType;
use datafusion::parquet::arrow::ArrowWriter;

use thalweg::config::{DeviceChoice, Options};
use thalweg::generate::tpch;
use thalweg::sql::Engine;

use super::support::{Answer, engine, engine_on, rows, run, shared_data};

/// Rows of a part, and so of a row group: small enough that several are read at a time.
const PART_ROWS: u64 = 1 << 18;

/// The folder with the eight tables at scale 1; made at the first call, which others wait for.
fn data() -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = PathBuf::from("target/tpch/1");
    if folder.is_dir() {
        return folder;
    }
    // Made aside and moved when complete, for other processes.
    let made = folder.with_extension(std::process::id().to_string());
    std::fs::create_dir_all(&made).unwrap();
    for name in tpch::NAMES {
        let table = tpch::table(name, 1.0, PART_ROWS).unwrap();
        let file = std::fs::File::create(made.join(format!("{name}.parquet"))).unwrap();
        let mut writer = ArrowWriter::try_new(file, Arc::clone(&table.schema), None).unwrap();
        for part in 0..table.parts {
            table.part(part).for_each(|batch| writer.write(&batch).unwrap());
            writer.flush().unwrap();
        }
        writer.close().unwrap();
    }
    if std::fs::rename(&made, &folder).is_err() {
        std::fs::remove_dir_all(&made).unwrap();
    }
    folder
}

async fn register(engine: &Engine) {
    let folder = data();
    for name in tpch::NAMES {
        let path = folder.join(format!("{name}.parquet"));
        let sql =
            format!("CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{}'", path.display());
        run(engine, &sql).await.unwrap();
    }
}

async fn query(engine: &Engine, number: u32) -> Answer {
    let path = format!("benches/tpch/q{number:02}.sql");
    rows(engine, &std::fs::read_to_string(path).unwrap()).await
}

/// Why an answer is not the expected one, or nothing. Exact for all types but floats; an expected
/// decimal is rounded to the digits of the column's type, as an average is.
fn difference(answer: &Answer, expected: &str) -> Option<String> {
    let mut expected = expected.lines().map(fields);
    let header = expected.next()?;
    if header.len() != answer.schema.fields().len() {
        return Some(format!("columns: {header:?}"));
    }
    let expected: Vec<Vec<String>> = expected.collect();
    if expected.len() != answer.rows.len() {
        return Some(format!("{} rows instead of {}", answer.rows.len(), expected.len()));
    }
    for (number, (found, expected)) in answer.rows.iter().zip(&expected).enumerate() {
        for (column, field) in answer.schema.fields().iter().enumerate() {
            let (found, expected) = (&found[column], &expected[column]);
            if !same(found, expected, field.data_type()) {
                let name = field.name();
                return Some(format!("row {number}, {name}: {found} instead of {expected}"));
            }
        }
    }
    None
}

fn same(found: &str, expected: &str, data_type: &DataType) -> bool {
    match data_type {
        DataType::Decimal128(_, scale) => {
            let (whole, digits) = expected.split_once('.').unwrap_or((expected, ""));
            let scale = usize::try_from(*scale).unwrap();
            let up = digits.chars().nth(scale).is_some_and(|digit| digit >= '5');
            let digits: String =
                digits.chars().chain("0".repeat(scale).chars()).take(scale).collect();
            let integer = |text: &str| text.replace('.', "").parse::<i128>().ok();
            let expected = integer(&format!("{whole}{digits}"));
            let step = if whole.starts_with('-') { -1 } else { 1 };
            let places = found.split_once('.').map_or(0, |(_, places)| places.len());
            let expected = expected.map(|value| if up { value + step } else { value });
            places == scale && integer(found).is_some() && integer(found) == expected
        }
        DataType::Float64 => {
            let (found, expected): (f64, f64) = (found.parse().unwrap(), expected.parse().unwrap());
            (found - expected).abs() <= 1e-12 * expected.abs()
        }
        _ => found == expected,
    }
}

/// The fields of a line of the answers: between bars, quoted where a bar stands inside.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut().unwrap();
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            '"' => quoted = !quoted,
            '|' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields
}

fn expected(folder: &Path, number: u32) -> String {
    std::fs::read_to_string(folder.join(format!("q{number:02}.csv"))).unwrap()
}

/// Runs queries and compares each with the answers; fails with all that differ.
fn check(engine: &Engine, numbers: &[u32]) {
    let Some(folder) = shared_data("tpch_answers_sf1") else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(register(engine));
    let mut wrong = Vec::new();
    for number in numbers {
        let started = std::time::Instant::now();
        let answer = runtime.block_on(query(engine, *number));
        println!("query {number}: {:.1} s", started.elapsed().as_secs_f64());
        let difference = difference(&answer, &expected(&folder, *number));
        wrong.extend(difference.map(|what| format!("query {number}: {what}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn tpch_cpu_answers_all() {
    let all: Vec<u32> = (1..=22).collect();
    check(&engine_on(DeviceChoice::Cpu).unwrap(), &all);
}

/// Filters, aggregates and joins of these run on the device entirely, or this fails.
#[test]
fn tpch_gpu_strict_answers() {
    let options = Options { device: DeviceChoice::Gpu, strict: true, ..Options::default() };
    let Some(engine) = engine(options) else { return };
    check(&engine, &[1, 3, 5, 6, 10, 12, 14]);
}

/// What of the others can run on the device does; the rest is DataFusion's, and both meet.
#[test]
fn tpch_gpu_answers_the_others() {
    let Some(engine) = engine_on(DeviceChoice::Gpu) else { return };
    check(&engine, &[2, 4, 7, 8, 9, 11, 13, 15, 16, 17, 18, 19, 20, 21, 22]);
}

/// The comparison must be able to fail, and must not ask for digits that the type has not.
#[test]
fn differences_are_seen() {
    let decimal = DataType::Decimal128(15, 2);
    assert!(same("12.35", "12.349", &decimal) && same("12.30", "12.3", &decimal));
    assert!(!same("12.34", "12.349", &decimal) && !same("-12.34", "12.34", &decimal));
    assert!(same("-12.35", "-12.345", &decimal) && !same("-12.34", "-12.345", &decimal));
    assert!(same("0.1", "0.1000000000000001", &DataType::Float64));
    assert!(!same("0.1", "0.10000000001", &DataType::Float64));
    assert_eq!(fields(r#"a|"b|c ""d"""||e"#), ["a", "b|c \"d\"", "", "e"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = engine_on(DeviceChoice::Cpu).unwrap();
    let answer = runtime.block_on(rows(&engine, "SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, 'y'"));
    let mut answer = answer;
    answer.rows.sort();
    assert_eq!(difference(&answer, "a|b\n1|x\n2|y"), None);
    for wrong in ["a|b\n1|x\n2|z", "a|b\n1|x", "a\n1\n2"] {
        assert!(difference(&answer, wrong).is_some(), "{wrong}");
    }
}
