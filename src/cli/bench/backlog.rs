//! `thalweg bench backlog`: how fast a windowed count, sum and maximum works off what has piled up,
//! by device and by how many rows it is given at once; and from how many rows on the device is the
//! faster side. The rows lie in Parquet files, results are dropped.

use std::future::ready;
use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;

use super::pipeline::run_pipeline;
use crate::cli::args::BacklogBench;
use crate::cli::failure::{self, Failure};
use crate::config::{DeviceChoice, Options};
use crate::error::Result;
use crate::sql::{Engine, Outcome};

/// Of the rows.
const SEED: u64 = 7;

/// Rows a second of event time.
const RATE: u64 = 10_000;

/// A commit costs the same however many rows it is for, and is no part of this: few of them.
const EPOCH_MS: u64 = 60_000;

/// One side with one size of batches.
struct Measured {
    device: DeviceChoice,
    batch_rows: usize,
    queries: Duration,
}

pub async fn run(arguments: &BacklogBench) -> failure::Outcome {
    let folder = std::env::temp_dir().join(format!("thalweg-backlog-{}", std::process::id()));
    let wrong = |error| Failure::failed(format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder.join("rows")).map_err(wrong)?;
    let done = compare(arguments, &folder).await;
    std::fs::remove_dir_all(&folder).map_err(wrong)?;
    report(arguments, &done?);
    Ok(())
}

async fn compare(arguments: &BacklogBench, folder: &Path) -> Result<Vec<Measured>> {
    write(arguments, &folder.join("rows")).await?;
    let mut all: Vec<Measured> = Vec::new();
    println!("device  batch rows  ran on   results  seconds  thousand rows/s  in queries");
    for batch_rows in &arguments.batch_rows {
        for device in &arguments.device {
            let text = statements(&folder.join("rows"), *batch_rows);
            let mut best = run_pipeline(folder, &text, *device).await?;
            for _ in 1..arguments.runs {
                let again = run_pipeline(folder, &text, *device).await?;
                if again.queries < best.queries {
                    best = again;
                }
            }
            let rate = |time: Duration| arguments.rows as f64 / 1e3 / time.as_secs_f64().max(1e-9);
            println!(
                "{:6}  {batch_rows:10}  {:6}  {:8}  {:7.2}  {:15.0}  {:10.0}",
                device.to_string(),
                best.sides,
                best.results,
                best.wall.as_secs_f64(),
                rate(best.wall),
                rate(best.queries),
            );
            let (device, batch_rows) = (*device, *batch_rows);
            all.push(Measured { device, batch_rows, queries: best.queries });
        }
    }
    Ok(all)
}

/// A file of rows: a time, a key and a value.
async fn write(arguments: &BacklogBench, folder: &Path) -> Result<()> {
    let text = format!(
        "CREATE STREAM made (
  nth BIGINT, ts TIMESTAMP, \"key\" BIGINT, value BIGINT,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (connector = 'random', events = {}, rate = {RATE}, seed = {SEED},
  'fields.nth.kind' = 'sequence', 'fields.ts.jitter' = '4 seconds',
  'fields.key.min' = '1', 'fields.key.max' = '{}',
  'fields.value.min' = '0', 'fields.value.max' = '999999');
COPY (SELECT ts, key, value FROM made ORDER BY nth) TO '{}' STORED AS PARQUET;
",
        arguments.rows,
        arguments.keys,
        folder.join("rows.parquet").display(),
    );
    let engine = Engine::new(Options { device: DeviceChoice::Cpu, ..Options::default() })?;
    for statement in engine.parse(&text)? {
        if let Outcome::Rows(rows) = engine.execute(statement).await? {
            rows.try_for_each(|_| ready(Ok(()))).await?;
        }
    }
    Ok(())
}

fn statements(rows: &Path, batch_rows: usize) -> String {
    format!(
        "SET thalweg.batch_rows = {batch_rows};
SET thalweg.epoch_rows = {};
SET thalweg.epoch_ms = {EPOCH_MS};
CREATE STREAM events (
  ts TIMESTAMP, \"key\" BIGINT, value BIGINT, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (connector = 'file', path = '{}', format = 'parquet');
CREATE SINK results WITH (connector = 'blackhole');
INSERT INTO results
SELECT window_start, key, count(*) AS n, sum(value) AS total, max(value) AS top
FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, key;
",
        batch_rows.max(1 << 20),
        rows.display(),
    )
}

/// From how many rows at once on the device is faster than the CPU, in what was measured.
fn report(arguments: &BacklogBench, measured: &[Measured]) {
    let time = |device, batch_rows: usize| {
        let mut of = measured.iter().filter(|one| one.device == device);
        of.find(|one| one.batch_rows == batch_rows).map(|one| one.queries)
    };
    let both = |rows: &usize| {
        let (gpu, cpu) = (time(DeviceChoice::Gpu, *rows)?, time(DeviceChoice::Cpu, *rows)?);
        Some((*rows, gpu < cpu))
    };
    let mut sizes: Vec<(usize, bool)> = arguments.batch_rows.iter().filter_map(both).collect();
    sizes.sort_unstable();
    let Some((most, _)) = sizes.last() else { return };
    let behind = sizes.iter().rposition(|(_, faster)| !faster);
    match sizes.get(behind.map_or(0, |at| at + 1)) {
        Some((rows, _)) => println!("crossover: the gpu is faster from {rows} rows at once on"),
        None => println!("crossover: none, the cpu is faster with {most} rows at once too"),
    }
}
