//! SQL logic tests: every file of `tests/slt` under every placement.
//!
//! The answers in the files hold for `cpu`, `gpu` and `auto` alike. One file alone:
//! `THALWEG_SLT=join cargo test --test it sql::`. After adding queries, `THALWEG_SLT_COMPLETE=1`
//! writes the answers of the CPU into the files, to be reviewed one by one before they are
//! committed.

use std::path::{Path, PathBuf};

use sqllogictest::{AsyncDB, DBOutput, Runner};

use thalweg::cli::slt::values::Column;
use thalweg::config::DeviceChoice;
use thalweg::error::{Error, Result};
use thalweg::sql::Engine;

use super::support;

/// An engine as the runner sees it.
struct Database {
    engine: Engine,
    device: DeviceChoice,
}

#[async_trait::async_trait]
impl AsyncDB for Database {
    type Error = Error;
    type ColumnType = Column;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Column>> {
        let Some(answer) = support::run(&self.engine, sql).await? else {
            return Ok(DBOutput::StatementComplete(0));
        };
        let types = answer.schema.fields().iter();
        let types = types.map(|field| Column::of(field.data_type())).collect();
        let mut rows = answer.rows;
        for value in rows.iter_mut().flatten() {
            *value = visible(value);
        }
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}

    /// For `onlyif` and `skipif` in the files.
    fn engine_name(&self) -> &str {
        match self.device {
            DeviceChoice::Auto => "auto",
            DeviceChoice::Cpu => "cpu",
            DeviceChoice::Gpu => "gpu",
        }
    }
}

/// A value as it stands in the files, where a row is a line and blanks separate columns.
fn visible(value: &str) -> String {
    if value.is_empty() { "(empty)".to_owned() } else { value.replace('\n', "\\n") }
}

/// The files to run, by name.
fn files() -> Vec<PathBuf> {
    let wanted = std::env::var("THALWEG_SLT").unwrap_or_default();
    let entries = std::fs::read_dir("tests/slt").unwrap();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "slt"))
        .filter(|path| path.file_stem().unwrap().to_string_lossy().contains(&wanted))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no file of tests/slt matches THALWEG_SLT='{wanted}'");
    files
}

/// Runs one file on an engine of its own; false when there is no adapter and that is allowed.
async fn run_file(path: &Path, device: DeviceChoice) -> Result<bool, String> {
    let Some(engine) = support::engine_on(device) else { return Ok(false) };
    let database = std::sync::Mutex::new(Some(Database { engine, device }));
    let mut runner = Runner::new(|| {
        let database = database.lock().unwrap().take();
        async { database.ok_or_else(|| Error::user("one connection a file")) }
    });
    runner.with_column_validator(sqllogictest::strict_column_validator);
    if std::env::var_os("THALWEG_SLT_COMPLETE").is_some() {
        let completed = runner.update_test_file(
            path,
            " ",
            sqllogictest::default_validator,
            sqllogictest::default_normalizer,
            sqllogictest::strict_column_validator,
        );
        completed.await.map_err(|error| error.to_string())?;
    } else {
        let run = runner.run_file_async(path).await;
        run.map_err(|error| error.display(false).to_string())?;
    }
    Ok(true)
}

/// Runs every file, then fails with all that went wrong.
fn run_all(device: DeviceChoice) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let files = files();
    let mut failed = Vec::new();
    for path in &files {
        match runtime.block_on(run_file(path, device)) {
            Ok(true) => println!("{} with device = {device}: ok", path.display()),
            Ok(false) => return,
            Err(error) => failed.push(error),
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} files failed with device = {device}:\n{}",
        failed.len(),
        files.len(),
        failed.join("\n")
    );
}

#[test]
fn slt_cpu() {
    run_all(DeviceChoice::Cpu);
}

#[test]
fn slt_auto() {
    run_all(DeviceChoice::Auto);
}

#[test]
fn slt_gpu() {
    run_all(DeviceChoice::Gpu);
}

/// The runner itself must be able to see a wrong answer, a wrong type and a missing error.
#[test]
fn runner_sees_wrong_answers() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = |text: &str| {
        let path = folder.path().join("planted.slt");
        std::fs::write(&path, text).unwrap();
        runtime.block_on(run_file(&path, DeviceChoice::Cpu))
    };
    run("query IR\nSELECT 1, 0.1::double\n----\n1 0.1\n").unwrap();
    for wrong in [
        "query I\nSELECT 1\n----\n2\n",
        "query T\nSELECT 1\n----\n1\n",
        "query R\nSELECT 0.30000000000000004::double\n----\n0.3\n",
        "query R\nSELECT -0.0::double\n----\n0.0\n",
        "query T\nSELECT ''\n----\nNULL\n",
        "query error overflow\nSELECT 1\n",
        "statement ok\nSELECT * FROM nowhere\n",
    ] {
        run(wrong).expect_err(wrong);
    }
}
