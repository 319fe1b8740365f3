//! `thalweg bench nexmark`: queries of Nexmark, each by itself, with and without a store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, StringArray, UInt64Array};
use arrow::record_batch::RecordBatch;

use super::pipeline::{Ran, run_pipeline};
use super::publish::publish;
use crate::cli::args::NexmarkBench;
use crate::cli::failure::{self, Failure};
use crate::config::DeviceChoice;
use crate::error::Result;

/// The queries, and what Flink's own table says of them: thousands of events a second and core
/// (nexmark-flink, GUIDE_V2: 8 slots on 4 workers of 16 cores).
const QUERIES: [(&str, &str, Option<f64>); 11] = [
    ("q0", include_str!("../../../examples/nexmark/q0.sql"), Some(379.0)),
    ("q1", include_str!("../../../examples/nexmark/q1.sql"), Some(395.0)),
    ("q2", include_str!("../../../examples/nexmark/q2.sql"), Some(414.0)),
    ("q5", include_str!("../../../examples/nexmark/q5.sql"), Some(74.0)),
    ("q7", include_str!("../../../examples/nexmark/q7.sql"), Some(23.0)),
    ("q8", include_str!("../../../examples/nexmark/q8.sql"), Some(162.0)),
    ("q11", include_str!("../../../examples/nexmark/q11.sql"), Some(46.0)),
    ("q12", include_str!("../../../examples/nexmark/q12.sql"), Some(194.0)),
    ("q14", include_str!("../../../examples/nexmark/q14.sql"), None),
    ("q21", include_str!("../../../examples/nexmark/q21.sql"), None),
    ("q22", include_str!("../../../examples/nexmark/q22.sql"), None),
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

/// Measures the queries asked for, and prints a table.
pub async fn run(arguments: NexmarkBench) -> failure::Outcome {
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
