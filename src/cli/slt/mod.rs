//! `thalweg slt`: runs sqllogictest files and counts what passes. One engine for each file; a
//! record that fails, panics or takes too long is counted, and the next one runs.

mod database;
pub mod styles;
pub mod values;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use sqllogictest::{MakeConnection, Record, RecordOutput, Runner};

use super::args::Slt;
use super::failure::{Failure, Outcome};
use crate::config::Options;
use crate::sql::Engine;
use database::{Database, Shared};
use styles::Style;
use values::Column;

/// Endings of files in a folder that are run.
const ENDINGS: [&str; 3] = ["slt", "test", "test_slow"];

/// Names by which `onlyif` and `skipif` may mean this engine, beside the device's.
const LABELS: [&str; 4] = ["datafusion", "DataFusion", "Datafusion", "thalweg"];

/// Partitions of a plan, as DataFusion's own runner has them: plans are part of its files.
const PARTITIONS: &str = "SET datafusion.execution.target_partitions = 4";

/// What became of records.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Runs the files and those in folders.
///
/// Errors: a file that is not there; records that failed.
pub async fn run(arguments: Slt) -> Outcome {
    let mut files = Vec::new();
    for path in &arguments.files {
        collect(path, &mut files)?;
    }
    let options = arguments.device.options();
    // The side must be there; each file opens an engine of its own.
    drop(Engine::new(options.clone())?);
    let mut all = Count::default();
    let mut differences = arguments.differences;
    for path in &files {
        let file = File { path, options: &options, arguments: &arguments };
        let count = file.run(&mut differences).await?;
        say(&format!("{}: {count}\n", path.display()))?;
        all.add(count);
    }
    say(&format!("{} files: {all}\n", files.len()))?;
    match all.failed {
        0 => Ok(()),
        failed => {
            let records = all.passed + failed;
            Err(Failure::failed(format!("{failed} of {records} records failed")))
        }
    }
}

fn say(text: &str) -> Outcome {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A file, or all files below a folder, by name.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Outcome {
    let told = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    if !std::fs::metadata(path).map_err(told)?.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    let entries: std::io::Result<Vec<_>> = std::fs::read_dir(path).map_err(told)?.collect();
    let mut entries: Vec<PathBuf> =
        entries.map_err(told)?.into_iter().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        let ending = entry.extension().map(|ending| ending.to_string_lossy().into_owned());
        if entry.is_dir() {
            collect(&entry, files)?;
        } else if ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) {
            files.push(entry);
        }
    }
    Ok(())
}

/// One file on its way.
struct File<'a> {
    path: &'a Path,
    options: &'a Options,
    arguments: &'a Slt,
}

impl File<'_> {
    async fn run(&self, differences: &mut usize) -> Outcome<Count> {
        let mut count = Count::default();
        let records = match self.records() {
            Ok(records) => records,
            Err(message) => {
                count.failed += 1;
                self.show(differences, &message)?;
                return Ok(count);
            }
        };
        self.scratch();
        let engine = Arc::new(Engine::new(self.options.clone())?);
        let timeout = Duration::from_secs_f64(self.arguments.timeout);
        let shared = Arc::new(Shared::new(engine, self.arguments.style, timeout));
        shared.run(PARTITIONS).await?;
        let made = Arc::clone(&shared);
        let mut runner = Runner::new(move || {
            let shared = Arc::clone(&made);
            async move { Ok(Database(shared)) }
        });
        self.prepare(&mut runner);
        for record in records {
            if let Record::Halt { .. } = record {
                break;
            }
            let counts = is_counted(&record);
            if let Record::System { .. } = record {
                // A file of others must not run programs.
                count.skipped += 1;
                continue;
            }
            shared.expect(&record);
            let ran = AssertUnwindSafe(runner.run_async(record)).catch_unwind().await;
            match ran {
                _ if !counts => {}
                Ok(Ok(RecordOutput::Nothing)) => count.skipped += 1,
                Ok(Ok(_)) => count.passed += 1,
                Ok(Err(error)) => {
                    count.failed += 1;
                    self.show(differences, &error.display(false).to_string())?;
                }
                Err(_) => {
                    count.failed += 1;
                    self.show(differences, &format!("{}: panicked", self.path.display()))?;
                }
            }
        }
        Ok(count)
    }

    /// Errors: what is no record, with its line.
    fn records(&self) -> Result<Vec<Record<Column>>, String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", self.path.display());
        // The parser takes for granted that a file can be read.
        std::fs::read_to_string(self.path).map_err(|error| told(&error))?;
        let parsed = std::panic::catch_unwind(|| sqllogictest::parse_file(self.path));
        match parsed {
            Ok(parsed) => parsed.map_err(|error| told(&error)),
            Err(_) => Err(told(&"a file that it includes cannot be read")),
        }
    }

    fn prepare<M: MakeConnection<Conn = Database>>(&self, runner: &mut Runner<Database, M>) {
        for label in LABELS {
            runner.add_label(label);
        }
        for label in &self.arguments.label {
            runner.add_label(label);
        }
        runner.add_label(&self.options.device.to_string());
        runner.with_normalizer(styles::line);
        runner.with_validator(self.arguments.style.validator());
        if self.arguments.style == Style::Datafusion {
            runner.with_column_validator(sqllogictest::strict_column_validator);
        }
    }

    /// DataFusion's files that write do it in a folder of their name, which is theirs alone.
    fn scratch(&self) {
        let Some(stem) = self.path.file_stem() else { return };
        let scratch = Path::new("test_files/scratch");
        if scratch.parent().is_some_and(Path::is_dir) && self.arguments.style == Style::Datafusion {
            let folder = scratch.join(stem);
            // Where it cannot be made, the records that need it say so.
            let _ = std::fs::remove_dir_all(&folder);
            let _ = std::fs::create_dir_all(&folder);
        }
    }

    fn show(&self, differences: &mut usize, message: &str) -> Outcome {
        if *differences == 0 {
            return Ok(());
        }
        *differences -= 1;
        say(&format!("{}\n\n", message.trim_end()))
    }
}

/// Whether a record is one of those that pass or fail.
fn is_counted(record: &Record<Column>) -> bool {
    matches!(record, Record::Statement { .. } | Record::Query { .. } | Record::Let { .. })
}
