//! A pipeline that is measured.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use parking_lot::Mutex;

use crate::config::{DeviceChoice, Options};
use crate::error::Result;
use crate::job::{Results, RunOptions};
use crate::plan::Side;
use crate::stream::progress::{Observer, Progress};

/// What a pipeline took, from its start to its end.
pub struct Ran {
    pub wall: Duration,
    /// Of the process, all threads; `None` where the system does not tell.
    pub cpu: Option<Duration>,
    /// What queries took of `wall`.
    pub queries: Duration,
    pub results: u64,
    pub sides: String,
}

/// Runs a pipeline anew, until its streams end.
pub async fn run_pipeline(folder: &Path, text: &str, device: DeviceChoice) -> Result<Ran> {
    let pipeline = folder.join("pipeline.sql");
    std::fs::write(&pipeline, text)?;
    let seen: Arc<Mutex<(u64, u64, Vec<String>)>> = Arc::default();
    let told = seen.clone();
    let observer = Observer(Arc::new(move |progress: &Progress| {
        let mut seen = told.lock();
        seen.0 += progress.sink.num_output_rows;
        seen.1 += progress.duration_ms.get("addBatch").copied().unwrap_or_default();
        note_sides(&mut seen.2, progress);
    }));
    let options = RunOptions {
        pipeline,
        state: Some(folder.join("state")),
        start_fresh: true,
        until_end: true,
        observer: Some(observer),
        options: Options { device, ..Options::default() },
        ..RunOptions::default()
    };
    let (begun, cpu) = (Instant::now(), cpu_time());
    crate::job::run(options, &mut Nothing).await?;
    let wall = begun.elapsed();
    let cpu = cpu_time().zip(cpu).map(|(after, before)| after.saturating_sub(before));
    let (results, queries, sides) = std::mem::take(&mut *seen.lock());
    let (queries, sides) = (Duration::from_millis(queries), sides.join("+"));
    Ok(Ran { wall, cpu, queries, results, sides })
}

/// Adds the sides of an epoch's fragments to those seen before; where none is named, all is on the
/// CPU.
fn note_sides(seen: &mut Vec<String>, progress: &Progress) {
    let sides = progress.fragments.iter().map(|fragment| fragment.side.clone());
    let none = progress.fragments.is_empty().then(|| Side::Cpu.to_string());
    seen.extend(sides.chain(none));
    seen.sort();
    seen.dedup();
}

/// Plain SELECTs are no part of the measurement.
struct Nothing;

#[async_trait]
impl Results for Nothing {
    async fn write(&mut self, _: SendableRecordBatchStream) -> Result<()> {
        Ok(())
    }
}

/// What the process has computed so far, on Linux.
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Fields 14 and 15 in ticks of 10 ms; the second field may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(10 * ticks))
}
