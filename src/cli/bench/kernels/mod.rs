//! `thalweg bench kernels`: each family of kernels beside the CPU operators of the same query, on
//! this machine, by rows. Columns lie in memory; a time is that of the whole query, with encoding,
//! upload and answer, the median of some runs after one that is not counted.

pub mod cases;
pub mod data;
mod measured;
mod picture;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, StringArray, UInt64Array};
use arrow::record_batch::RecordBatch;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;

use super::publish::publish;
use crate::cli::args::KernelBench;
use crate::cli::failure::{self, Failure};
use crate::config::{DeviceChoice, Options};
use crate::device::{self, calibrate};
use crate::error::{Error, Result};
use crate::plan::{DeviceExec, session};
use cases::{CASES, Case};
use measured::Measured;

/// Measures, and prints a table; writes it as JSON and as a picture where that is asked for.
pub async fn run(arguments: &KernelBench) -> failure::Outcome {
    let wanted = |case: &&Case| {
        arguments.families.is_empty() || arguments.families.iter().any(|name| name == case.family)
    };
    let cases: Vec<&'static Case> = CASES.iter().filter(wanted).collect();
    if cases.is_empty() {
        return Err(Failure::failed(
            "there is no such family; there are reduce, select, group, join",
        ));
    }
    let adapter = arguments.adapter.clone();
    let gpu = Options { device: DeviceChoice::Gpu, adapter, ..Options::default() };
    let player = device::open(&gpu).map_err(Error::from)?;
    let rates = calibrate::measure(&*player).await.map_err(Error::from)?;
    let mut all = Vec::new();
    for rows in &arguments.rows {
        let sides = Sides::new(&gpu, *rows)?;
        for case in &cases {
            let one = sides.measure(case, *rows, arguments.runs).await?;
            eprintln!(
                "{}, {}, {rows} rows: cpu {:.1}, gpu {:.1} million rows/s",
                case.family,
                case.name,
                one.rate(one.cpu),
                one.rate(one.gpu)
            );
            all.push(one);
        }
    }
    if let Some(path) = &arguments.svg {
        let text = picture::draw(&all, player.as_ref());
        std::fs::write(path, text)
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    }
    publish(table(&all, rates.copy_gb_s)?, arguments.json.as_deref()).await
}

/// The same tables on both sides.
struct Sides {
    cpu: SessionContext,
    gpu: SessionContext,
}

/// What one side has taken.
struct Took {
    time: Duration,
    kernels: Duration,
    ran_on: String,
    rows: Vec<RecordBatch>,
}

impl Sides {
    fn new(gpu: &Options, rows: u64) -> Result<Self> {
        let cpu = session(&Options { device: DeviceChoice::Cpu, ..gpu.clone() })?;
        let gpu = session(gpu)?;
        for (name, table) in data::tables(rows)? {
            cpu.register_table(name, table.clone())?;
            gpu.register_table(name, table)?;
        }
        Ok(Self { cpu, gpu })
    }

    /// Errors: the sides give other rows.
    async fn measure(&self, case: &'static Case, rows: u64, runs: usize) -> Result<Measured> {
        let (cpu, gpu) = (once(&self.cpu, case.sql).await?, once(&self.gpu, case.sql).await?);
        if sorted(&cpu.rows)? != sorted(&gpu.rows)? {
            let text = format!("{}, {}: cpu and gpu give other rows", case.family, case.name);
            return Err(Error::Bug(text));
        }
        let (mut cpus, mut gpus, mut kernels) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..runs {
            // In turn: what else the machine does meets both.
            cpus.push(once(&self.cpu, case.sql).await?.time);
            let gpu = once(&self.gpu, case.sql).await?;
            gpus.push(gpu.time);
            kernels.push(gpu.kernels);
        }
        let [cpu, gpu_time, kernels] = [cpus, gpus, kernels].map(median);
        Ok(Measured { case, rows, cpu, gpu: gpu_time, kernels, ran_on: gpu.ran_on })
    }
}

async fn once(session: &SessionContext, sql: &str) -> Result<Took> {
    let plan = session.sql(sql).await?.create_physical_plan().await?;
    let begun = Instant::now();
    let rows = datafusion::physical_plan::collect(plan.clone(), session.task_ctx()).await?;
    let time = begun.elapsed();
    let mut ran = Ran::default();
    ran.add(&plan);
    Ok(Took { time, kernels: ran.kernels, ran_on: ran.on(), rows })
}

/// What the fragments of a plan say that has run.
#[derive(Default)]
struct Ran {
    adapters: Vec<String>,
    kernels: Duration,
    reran: bool,
}

impl Ran {
    fn add(&mut self, plan: &Arc<dyn ExecutionPlan>) {
        if let Some(device) = plan.downcast_ref::<DeviceExec>() {
            self.adapters.push(device.adapter().to_string());
            let metrics = device.metrics().unwrap_or_default();
            let value = |name: &str| metrics.sum_by_name(name).map_or(0, |value| value.as_usize());
            self.kernels += Duration::from_nanos(value("kernel_time") as u64);
            self.reran |= value("reran_on_cpu") > 0;
        }
        plan.children().into_iter().for_each(|child| self.add(child));
    }

    fn on(mut self) -> String {
        self.adapters.dedup();
        match (self.reran, self.adapters.is_empty()) {
            (true, _) => "cpu: the device gave up".to_string(),
            (_, true) => "cpu".to_string(),
            _ => self.adapters.join(", "),
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The rows of an answer as text, in an order that does not depend on the side.
fn sorted(batches: &[RecordBatch]) -> Result<Vec<String>> {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter();
        let columns = columns.map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        rows.extend((0..batch.num_rows()).map(|row| {
            columns.iter().map(|column| column.value(row).to_string() + "|").collect::<String>()
        }));
    }
    rows.sort_unstable();
    Ok(rows)
}

fn table(all: &[Measured], copy_gb_s: f64) -> Result<RecordBatch> {
    let text = |value: fn(&Measured) -> String| {
        Arc::new(StringArray::from_iter_values(all.iter().map(value))) as ArrayRef
    };
    let number = |value: &dyn Fn(&Measured) -> Option<f64>| {
        let round = |value: f64| (value * 100.0).round() / 100.0;
        Arc::new(Float64Array::from_iter(all.iter().map(|one| value(one).map(round)))) as ArrayRef
    };
    let rows = UInt64Array::from_iter_values(all.iter().map(|one| one.rows));
    let ratio = |one: &Measured| Some(one.cpu.as_secs_f64() / one.gpu.as_secs_f64().max(1e-9));
    let milliseconds = |one: &Measured| Some(one.kernels.as_secs_f64() * 1e3);
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("family", text(|one| one.case.family.to_string()), false),
        ("kernel", text(|one| one.case.name.to_string()), false),
        ("rows", Arc::new(rows) as ArrayRef, false),
        ("cpu_mrows_s", number(&|one| Some(one.rate(one.cpu))), false),
        ("gpu_mrows_s", number(&|one| Some(one.rate(one.gpu))), false),
        ("gpu_to_cpu", number(&ratio), false),
        ("kernels_ms", number(&milliseconds), false),
        ("of_bandwidth", number(&|one| one.bandwidth(copy_gb_s)), true),
        ("ran_on", text(|one| one.ran_on.clone()), false),
    ])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_case_gives_the_same_rows_on_both_sides() {
        let gpu = Options { device: DeviceChoice::Gpu, ..Options::default() };
        let Ok(player) = device::open(&gpu) else {
            assert!(std::env::var_os("THALWEG_ALLOW_NO_DEVICE").is_some(), "no device");
            return;
        };
        let sides = Sides::new(&gpu, 5000).unwrap();
        let mut all = Vec::new();
        for case in &CASES {
            let one = sides.measure(case, 5000, 1).await.unwrap();
            assert_eq!(one.ran_on, player.capabilities().name, "{}", case.sql);
            all.push(one);
        }
        let table = table(&all, 10.0).unwrap();
        assert_eq!((table.num_rows(), table.num_columns()), (CASES.len(), 9));
        let picture = picture::draw(&all, player.as_ref());
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
        assert_eq!(picture.matches("<g class=\"kernel\"").count(), CASES.len());
    }
}
