//! Pipelines as tests run them: to their end in this process, or up to a kill in one of its own.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use thalweg::config::{DeviceChoice, Options};
use thalweg::error::Result;
use thalweg::job::{Results, RunOptions};
use thalweg::sql::variables::Values;
use thalweg::stream::progress::Observer;

/// Takes the results of plain SELECTs, as CSV without headers, one after another.
#[derive(Default)]
pub struct Collected(pub Vec<String>);

#[async_trait::async_trait]
impl Results for Collected {
    async fn write(&mut self, rows: SendableRecordBatchStream) -> Result<()> {
        self.0.push(csv(&rows.try_collect::<Vec<_>>().await?));
        Ok(())
    }
}

/// Rows as CSV without a header.
pub fn csv(batches: &[RecordBatch]) -> String {
    let mut out = Vec::new();
    let mut writer = arrow::csv::WriterBuilder::new().with_header(false).build(&mut out);
    for batch in batches {
        writer.write(batch).unwrap();
    }
    drop(writer);
    String::from_utf8(out).unwrap()
}

/// One run of a pipeline, whose file and state lie in a folder.
pub struct Run<'a> {
    pub device: DeviceChoice,
    pub folder: &'a Path,
    pub text: &'a str,
    /// What its `${name}` stand for.
    pub values: Values,
    /// Who is told of every epoch.
    pub observer: Option<Observer>,
}

impl<'a> Run<'a> {
    pub fn new(device: DeviceChoice, folder: &'a Path, text: &'a str) -> Self {
        Self { device, folder, text, values: Values::new(), observer: None }
    }

    /// To the end of its sources; answers what its SELECTs printed.
    pub async fn until_end(self) -> Result<Vec<String>> {
        let pipeline = self.folder.join("pipe.sql");
        std::fs::write(&pipeline, self.text).unwrap();
        let options = RunOptions {
            pipeline,
            values: self.values,
            until_end: true,
            state: Some(self.folder.join("state")),
            observer: self.observer,
            options: Options { device: self.device, ..Options::default() },
            ..RunOptions::default()
        };
        let mut results = Collected::default();
        // On the heap: frames of a build that is not optimized are large.
        Box::pin(thalweg::job::run(options, &mut results)).await?;
        Ok(results.0)
    }

    /// To the end, or to a point where its process is gone; answers whether it was.
    pub fn until_killed(self, point: &str) -> bool {
        let pipeline = self.folder.join("pipe.sql");
        std::fs::write(&pipeline, self.text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command.current_dir(self.folder).env("THALWEG_KILL_AT", point);
        command.args(["run", "--until-end", "--device", &self.device.to_string(), "--state"]);
        command.arg(self.folder.join("state")).arg(&pipeline);
        for (name, value) in &self.values {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        let done = command.output().unwrap();
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.code().is_none_or(|code| code == 0), "{point}: {told}");
        done.status.code().is_none()
    }
}

/// Runs a pipeline to the end of its sources; answers what its SELECTs printed.
pub async fn pipeline_on(device: DeviceChoice, folder: &Path, text: &str) -> Result<Vec<String>> {
    Run::new(device, folder, text).until_end().await
}

/// Runs a pipeline to the end, or to a point where it is gone; answers whether it was.
pub fn killed(device: DeviceChoice, folder: &Path, point: &str, text: &str) -> bool {
    Run::new(device, folder, text).until_killed(point)
}

/// Runs a pipeline that is gone at a point.
pub fn kill(folder: &Path, point: &str, text: &str) {
    let killed = killed(DeviceChoice::Cpu, folder, point, text);
    let epochs = std::fs::read_to_string(folder.join("state/epochs.jsonl"));
    assert!(killed, "{point}: not killed\n{epochs:?}");
}

/// Writes a file, and the folder that it is in.
pub fn write(folder: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(name), text).unwrap();
}

/// Seconds past midnight as a timestamp.
pub fn at(seconds: u64) -> String {
    format!("2026-01-01T00:{:02}:{:02}", seconds / 60, seconds % 60)
}

/// The lines of all CSV files in a folder, in the order of their names, without headers.
pub fn sunk(folder: &Path) -> String {
    let mut lines = String::new();
    for path in
        super::files(folder).iter().filter(|path| path.extension().is_some_and(|e| e == "csv"))
    {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().skip(1).for_each(|line| writeln!(lines, "{line}").unwrap());
    }
    lines
}

/// The lines of a text, sorted.
pub fn sorted(rows: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = rows.lines().collect();
    lines.sort_unstable();
    lines
}
