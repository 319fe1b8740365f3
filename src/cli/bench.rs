//! `thalweg bench`: measures this machine's side of known benchmarks, and prints what ran where.

mod backlog;
mod device;
mod kernels;
mod latency;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, StringArray, UInt64Array};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use parking_lot::Mutex;

use super::args::{Bench, NexmarkBench};
use super::failure::{Failure, Outcome};
use super::output::Output;
use crate::config::{DeviceChoice, Options};
use crate::error::{Error, Result};
use crate::job::{Results, RunOptions};
use crate::plan::Side;
use crate::stream::progress::{Observer, Progress};

/// The queries, and what Flink's own table says of them: thousands of events a second and core
/// (nexmark-flink, GUIDE_V2: 8 slots on 4 workers of 16 cores).
const QUERIES: [(&str, &str, Option<f64>); 11] = [
    ("q0", include_str!("../../examples/nexmark/q0.sql"), Some(379.0)),
    ("q1", include_str!("../../examples/nexmark/q1.sql"), Some(395.0)),
    ("q2", include_str!("../../examples/nexmark/q2.sql"), Some(414.0)),
    ("q5", include_str!("../../examples/nexmark/q5.sql"), Some(74.0)),
    ("q7", include_str!("../../examples/nexmark/q7.sql"), Some(23.0)),
    ("q8", include_str!("../../examples/nexmark/q8.sql"), Some(162.0)),
    ("q11", include_str!("../../examples/nexmark/q11.sql"), Some(46.0)),
    ("q12", include_str!("../../examples/nexmark/q12.sql"), Some(194.0)),
    ("q14", include_str!("../../examples/nexmark/q14.sql"), None),
    ("q21", include_str!("../../examples/nexmark/q21.sql"), None),
    ("q22", include_str!("../../examples/nexmark/q22.sql"), None),
];

/// What one run took.
struct Measured {
    query: &'static str,
    device: DeviceChoice,
    store: bool,
    wall: Duration,
    /// Of the process, all threads; `None` where the system does not tell.
    cpu: Option<Duration>,
    results: u64,
    /// Where fragments ran: `gpu`, `cpu`, both or none.
    sides: String,
    flink: Option<f64>,
}

pub async fn run(bench: Bench) -> Outcome {
    match bench {
        Bench::Nexmark(arguments) => nexmark(arguments).await,
        Bench::Device(arguments) => device::run(&arguments).await,
        Bench::Kernels(arguments) => kernels::run(&arguments).await,
        Bench::Backlog(arguments) => backlog::run(&arguments).await,
        Bench::Latency(arguments) => {
            let run = tokio::task::spawn_blocking(move || latency::run(&arguments));
            run.await.unwrap_or_else(|error| Err(Failure::ended("a run", error)))
        }
    }
}

async fn nexmark(arguments: NexmarkBench) -> Outcome {
    let known = QUERIES.map(|(name, ..)| name);
    for name in &arguments.queries {
        if !known.contains(&name.as_str()) {
            let known = known.join(", ");
            return Err(Failure::failed(format!("there is no query {name}; there are {known}")));
        }
    }
    let events = arguments.events.unwrap_or((arguments.scale * 1e6).round().max(1.0) as u64);
    let wanted = |name: &str| {
        arguments.queries.is_empty() || arguments.queries.iter().any(|query| query == name)
    };
    let mut measured = Vec::new();
    for (query, text, flink) in QUERIES.into_iter().filter(|(name, ..)| wanted(name)) {
        for device in &arguments.device {
            for store in [false, true] {
                let one = measure(query, text, *device, store, events, flink).await?;
                let rate = events as f64 / one.wall.as_secs_f64() / 1e3;
                eprintln!("{query}, {device}, store {store}: {rate:.0} thousand events/s");
                measured.push(one);
            }
        }
    }
    publish(table(&measured, events)?, arguments.json.as_deref()).await
}

/// Prints what was measured; writes it as JSON, an object a line, where that is asked for.
async fn publish(table: RecordBatch, json: Option<&Path>) -> Outcome {
    if let Some(path) = json {
        let wrong = |error| Failure::failed(format!("{}: {error}", path.display()));
        let mut file = std::fs::File::create(path).map_err(wrong)?;
        let mut writer = arrow::json::LineDelimitedWriter::new(&mut file);
        writer.write(&table).and_then(|()| writer.finish()).map_err(Error::from)?;
    }
    let mut output = Output::open(super::args::Format::Table, None)?;
    let schema = table.schema();
    let rows = futures::stream::iter([Ok(table)]);
    let rows = datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(schema, rows);
    output.write(Box::pin(rows)).await.map_err(Error::from)?;
    output.finish()
}

/// Runs one query over this many events in a folder of its own.
async fn measure(
    query: &'static str,
    text: &str,
    device: DeviceChoice,
    store: bool,
    events: u64,
    flink: Option<f64>,
) -> Result<Measured> {
    let folder = std::env::temp_dir().join(format!("thalweg-bench-{}-{query}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let done = run_in(&folder, query, text, device, store, events, flink).await;
    std::fs::remove_dir_all(&folder)?;
    done
}

async fn run_in(
    folder: &Path,
    query: &'static str,
    text: &str,
    device: DeviceChoice,
    store: bool,
    events: u64,
    flink: Option<f64>,
) -> Result<Measured> {
    let ran = run_pipeline(folder, &adapted(text, folder, query, store, events), device).await?;
    let Ran { wall, cpu, results, sides, .. } = ran;
    Ok(Measured { query, device, store, wall, cpu, results, sides, flink })
}

/// What a pipeline took, from its start to its end.
struct Ran {
    wall: Duration,
    /// Of the process, all threads; `None` where the system does not tell.
    cpu: Option<Duration>,
    /// What queries took of `wall`.
    queries: Duration,
    results: u64,
    sides: String,
}

/// Runs a pipeline anew, until its streams end.
async fn run_pipeline(folder: &Path, text: &str, device: DeviceChoice) -> Result<Ran> {
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

/// The query's file with other numbers: events, a sink that keeps nothing, a store.
fn adapted(text: &str, folder: &Path, query: &str, store: bool, events: u64) -> String {
    let sink = format!("connector = 'delta', path = 'nexmark/{query}'");
    let text = text.replace(&sink, "connector = 'blackhole'");
    let mut parts = text.split("events = 1000000");
    let mut out = parts.next().unwrap_or_default().to_string();
    for (nth, part) in parts.enumerate() {
        out.push_str(&format!("events = {events}"));
        if store {
            out.push_str(&format!(", store = '{}'", folder.join(format!("store{nth}")).display()));
        }
        out.push_str(part);
    }
    out
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

fn table(measured: &[Measured], events: u64) -> Result<RecordBatch> {
    let text = |value: fn(&Measured) -> String| {
        Arc::new(StringArray::from_iter_values(measured.iter().map(value))) as ArrayRef
    };
    let number = |value: &dyn Fn(&Measured) -> Option<f64>| {
        let round = |value: f64| (value * 10.0).round() / 10.0;
        let values = measured.iter().map(|one| value(one).map(round));
        Arc::new(Float64Array::from_iter(values)) as ArrayRef
    };
    let rate = |one: &Measured| Some(events as f64 / 1e3 / one.wall.as_secs_f64());
    let per_core = |one: &Measured| Some(events as f64 / 1e3 / one.cpu?.as_secs_f64().max(1e-9));
    let results = UInt64Array::from_iter_values(measured.iter().map(|one| one.results));
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("query", text(|one| one.query.to_string()), false),
        ("device", text(|one| one.device.to_string()), false),
        ("ran_on", text(|one| one.sides.clone()), false),
        ("store", text(|one| if one.store { "yes" } else { "no" }.to_string()), false),
        ("events", Arc::new(UInt64Array::from(vec![events; measured.len()])) as ArrayRef, false),
        ("result_rows", Arc::new(results) as ArrayRef, false),
        ("seconds", number(&|one| Some(one.wall.as_secs_f64())), false),
        ("thousands_per_second", number(&rate), false),
        ("per_core", number(&per_core), true),
        ("flink_v2_per_core", number(&|one| one.flink), true),
    ])?)
}
