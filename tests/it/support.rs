//! What several subjects share: engines, rows as text, pipelines.

pub mod pipelines;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;

use thalweg::config::{DeviceChoice, Options};
use thalweg::error::{DeviceError, Error, Result};
use thalweg::sql::{Engine, Outcome};

/// Tests that did not run because there is no adapter, in this process.
static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// An engine for `options`.
///
/// Without an adapter, a test that asks for the GPU **fails**; only `THALWEG_ALLOW_NO_DEVICE=1`
/// makes it `None`, and then the number of tests skipped so far is printed.
pub fn engine(options: Options) -> Option<Engine> {
    match Engine::new(options) {
        Ok(engine) => Some(engine),
        Err(Error::Device(DeviceError::NoAdapter(reason)))
            if std::env::var("THALWEG_ALLOW_NO_DEVICE").is_ok_and(|value| value == "1") =>
        {
            let skipped = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
            eprintln!("SKIPPED by THALWEG_ALLOW_NO_DEVICE: {skipped} so far ({reason})");
            None
        }
        Err(error) => panic!("{error}\n(THALWEG_ALLOW_NO_DEVICE=1 skips tests that need a GPU)"),
    }
}

/// An engine on one side, all else by default.
pub fn engine_on(device: DeviceChoice) -> Option<Engine> {
    engine(Options { device, ..Options::default() })
}

/// A query's answer: its columns, and its rows as text.
pub struct Answer {
    pub schema: SchemaRef,
    pub rows: Vec<Vec<String>>,
}

/// Runs every statement of `sql`; the last query's answer.
pub async fn run(engine: &Engine, sql: &str) -> Result<Option<Answer>> {
    let mut answer = None;
    for statement in engine.parse(sql)? {
        if let Outcome::Rows(stream) = engine.execute(statement).await? {
            let schema = stream.schema();
            let batches: Vec<RecordBatch> = stream.try_collect().await?;
            answer = Some(Answer { schema, rows: texts(&batches)? });
        }
    }
    Ok(answer)
}

/// Runs every statement of `sql`; the rows of each, none of those that answer nothing.
pub async fn each(engine: &Engine, sql: &str) -> Result<Vec<Vec<Vec<String>>>> {
    let mut all = Vec::new();
    for statement in engine.parse(sql)? {
        all.push(match engine.execute(statement).await? {
            Outcome::Rows(stream) => texts(&stream.try_collect::<Vec<_>>().await?)?,
            Outcome::Done => Vec::new(),
        });
    }
    Ok(all)
}

/// The rows of batches as text.
pub fn texts(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for batch in batches {
        append_rows(batch, &mut rows)?;
    }
    Ok(rows)
}

fn append_rows(batch: &RecordBatch, rows: &mut Vec<Vec<String>>) -> Result<()> {
    let columns: Result<Vec<Vec<String>>> =
        batch.columns().iter().map(|column| column_text(column.as_ref())).collect();
    let columns = columns?;
    for row in 0..batch.num_rows() {
        rows.push(columns.iter().map(|column| column[row].clone()).collect());
    }
    Ok(())
}

/// The values of a column as text: floats with all their digits, NULL as `NULL`.
fn column_text(column: &dyn Array) -> Result<Vec<String>> {
    let options = FormatOptions::new().with_null("NULL").with_display_error(false);
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let text = |row: usize| -> Result<String> {
        if column.is_null(row) {
            return Ok("NULL".to_owned());
        }
        Ok(match column.data_type() {
            DataType::Float16 => format!("{:?}", column.as_primitive::<Float16Type>().value(row)),
            DataType::Float32 => format!("{:?}", column.as_primitive::<Float32Type>().value(row)),
            DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
            _ => formatter.value(row).try_to_string()?,
        })
    };
    (0..column.len()).map(text).collect()
}

/// A folder of the data that stands beside the repository and is not ours to copy.
///
/// Missing, it fails the test where `CI` is set, and elsewhere says that the test did not run.
pub fn shared_data(name: &str) -> Option<PathBuf> {
    let folder = Path::new("../shared/data").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    let missing = format!("{} is missing: this test cannot run", folder.display());
    assert!(std::env::var_os("CI").is_none(), "{missing}");
    eprintln!("NOT RUN: {missing}");
    None
}

/// The number that a variable of the environment names, else the usual one.
pub fn number(variable: &str, usual: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} = '{text}': a number")),
        Err(_) => usual,
    }
}

/// All files below a folder, in order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// Copies a folder with all below it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// Whether a program is there that a test has as its peer.
///
/// Missing, it fails the test where `CI` is set, and elsewhere says what did not run.
pub fn has_program(name: &str) -> bool {
    let found = std::process::Command::new(name).arg("--help").output().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "{name} is missing: this test cannot run");
    if !found {
        eprintln!("NOT RUN: {name} is missing");
    }
    found
}

/// The rows of a query that must answer, as text.
pub async fn rows(engine: &Engine, sql: &str) -> Answer {
    match run(engine, sql).await {
        Ok(Some(answer)) => answer,
        Ok(None) => panic!("no rows come from: {sql}"),
        Err(error) => panic!("{error}\nin: {sql}"),
    }
}
