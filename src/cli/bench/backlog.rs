//! `thalweg bench backlog`: how fast a windowed count, sum and maximum works off what has piled up,
//! by device and by how many rows it is given at once; and from how many rows on the device is the
//! faster side. The rows lie in Parquet files, results are dropped.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::ArrowWriter;
use parking_lot::Mutex;

use super::{Nothing, note_sides};
use crate::cli::args::BacklogBench;
use crate::cli::failure::{Failure, Outcome};
use crate::config::{DeviceChoice, Options};
use crate::error::Result;
use crate::generate::draw::Draw;
use crate::job::RunOptions;
use crate::stream::progress::{Observer, Progress};

/// Of the rows.
const SEED: u64 = 7;

/// Rows a second of event time; they come up to `JITTER_US` late.
const RATE: u64 = 10_000;
const JITTER_US: u64 = 4_000_000;

/// Rows written at once, and files they go to.
const CHUNK: u64 = 1 << 16;
const FILES: u64 = 4;

/// A commit costs the same however many rows it is for, and is no part of this: seconds.
const EPOCH_MS: u64 = 60_000;

/// One side with one size of batches.
struct Measured {
    device: DeviceChoice,
    batch_rows: usize,
    sides: String,
    results: u64,
    wall: Duration,
    /// Of that, what queries took.
    queries: Duration,
}

pub async fn run(arguments: &BacklogBench) -> Outcome {
    let folder = std::env::temp_dir().join(format!("thalweg-backlog-{}", std::process::id()));
    let wrong = |error| Failure::failed(format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(folder.join("rows")).map_err(wrong)?;
    let done = compare(arguments, &folder).await;
    std::fs::remove_dir_all(&folder).map_err(wrong)?;
    report(arguments, &done?);
    Ok(())
}

async fn compare(arguments: &BacklogBench, folder: &Path) -> Result<Vec<Measured>> {
    write(arguments, &folder.join("rows"))?;
    let mut all: Vec<Measured> = Vec::new();
    println!("device  batch rows  ran on   results  seconds  thousand rows/s  in queries");
    for batch_rows in &arguments.batch_rows {
        for device in &arguments.device {
            let mut best = measure(folder, *device, *batch_rows).await?;
            for _ in 1..arguments.runs {
                let again = measure(folder, *device, *batch_rows).await?;
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
            all.push(best);
        }
    }
    Ok(all)
}

/// Files of rows: a time, a key and a value.
fn write(arguments: &BacklogBench, folder: &Path) -> datafusion::common::Result<()> {
    for file in 0..FILES {
        let mut writer = None;
        let (low, high) = (arguments.rows * file / FILES, arguments.rows * (file + 1) / FILES);
        let mut row = low;
        while row < high {
            let end = high.min(row + CHUNK);
            let batch = rows(arguments.keys, row..end)?;
            if writer.is_none() {
                let file = std::fs::File::create(folder.join(format!("part{file}.parquet")))?;
                writer = Some(ArrowWriter::try_new(file, batch.schema(), None)?);
            }
            if let Some(writer) = &mut writer {
                writer.write(&batch)?;
            }
            row = end;
        }
        if let Some(writer) = writer {
            writer.close()?;
        }
    }
    Ok(())
}

fn rows(keys: u64, rows: std::ops::Range<u64>) -> std::result::Result<RecordBatch, ArrowError> {
    let (mut times, mut ids, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let mut draw = Draw::new(SEED, row);
        let late = draw.below(JITTER_US);
        times.push((JITTER_US + row * 1_000_000 / RATE - late) as i64);
        ids.push(draw.below(keys) as i64);
        values.push(draw.below(1_000_000) as i64);
    }
    RecordBatch::try_from_iter([
        ("ts", Arc::new(TimestampMicrosecondArray::from(times)) as ArrayRef),
        ("key", Arc::new(Int64Array::from(ids)) as ArrayRef),
        ("value", Arc::new(Int64Array::from(values)) as ArrayRef),
    ])
}

async fn measure(folder: &Path, device: DeviceChoice, batch_rows: usize) -> Result<Measured> {
    let pipeline = folder.join("pipeline.sql");
    std::fs::write(&pipeline, statements(&folder.join("rows"), batch_rows))?;
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
    let begun = Instant::now();
    crate::job::run(options, &mut Nothing).await?;
    let wall = begun.elapsed();
    let (results, queries, sides) = std::mem::take(&mut *seen.lock());
    let queries = Duration::from_millis(queries);
    Ok(Measured { device, batch_rows, sides: sides.join("+"), results, wall, queries })
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
