//! `thalweg bench device`: what this machine's adapter gives to kernels, copies and the host, in
//! about a minute, as a table and JSON.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, StringArray};
use arrow::record_batch::RecordBatch;
use datafusion::physical_plan::collect;
use serde::Serialize;

use super::kernels::{CASES, Case, data};
use super::publish;
use crate::cli::args::DeviceBench;
use crate::cli::failure::{self, Failure};
use crate::config::{DeviceChoice, Options};
use crate::device::apart::{Apart, Dispatched};
use crate::device::measure::{Bench, Experiment, Measurement};
use crate::device::memories::Memories;
use crate::device::{AdapterKind, Capabilities, Player};
use crate::error::{Error, Result};
use crate::plan::{played_by, session};
use crate::record::Program;

/// Rows of the queries whose dispatches are timed, on a GPU and in software.
const ROWS: u64 = 4_000_000;
const SOFTWARE_ROWS: u64 = 100_000;

/// All that was measured.
#[derive(Serialize)]
struct Report {
    adapter: Capabilities,
    memories: Memories,
    seconds: f64,
    measurements: Vec<Measurement>,
}

pub async fn run(arguments: &DeviceBench) -> failure::Outcome {
    let adapter = arguments.adapter.clone();
    let options = Options { device: DeviceChoice::Gpu, adapter, ..Options::default() };
    let bench = Bench::open(&options, None).map_err(Error::from)?;
    let rows = match bench.player().capabilities().kind {
        AdapterKind::Software => SOFTWARE_ROWS,
        _ => ROWS,
    };
    let report = measure(bench, &options, rows, &CASES).await?;
    match arguments.json.as_deref() {
        Some(path) if path == Path::new("-") => {
            println!("{}", json(&report)?);
            Ok(())
        }
        Some(path) => {
            let wrong = |error| Failure::failed(format!("{}: {error}", path.display()));
            std::fs::write(path, json(&report)?).map_err(wrong)?;
            publish(table(&report.measurements)?, None).await
        }
        None => publish(table(&report.measurements)?, None).await,
    }
}

fn json(report: &Report) -> Result<String> {
    let text = serde_json::to_string_pretty(report);
    text.map_err(|error| Error::Bug(format!("measurements as JSON: {error}")))
}

/// Does all experiments, and says on stderr which one it is at.
async fn measure(mut bench: Bench, options: &Options, rows: u64, cases: &[Case]) -> Result<Report> {
    let began = Instant::now();
    let mut programs = Vec::new();
    for experiment in Experiment::ALL {
        eprintln!("{} ..", experiment.name());
        match experiment {
            Experiment::Dispatches => {
                programs = dispatches(&mut bench, options, rows, cases).await?;
            }
            _ => bench.run(experiment, &programs).await?,
        }
    }
    Ok(Report {
        adapter: bench.player().capabilities().clone(),
        memories: bench.memories.clone(),
        seconds: began.elapsed().as_secs_f64(),
        measurements: bench.measured().to_vec(),
    })
}

/// Runs queries with each dispatch by itself; returns the kernels that they are made of.
async fn dispatches(
    bench: &mut Bench,
    options: &Options,
    rows: u64,
    cases: &[Case],
) -> Result<Vec<Arc<Program>>> {
    let session = session(options)?;
    for (name, table) in data::tables(rows)? {
        session.register_table(name, table)?;
    }
    let apart = Arc::new(Apart::new(bench.player()));
    let player: Arc<dyn Player> = apart.clone();
    let mut programs: Vec<Arc<Program>> = Vec::new();
    for case in cases {
        let plan = session.sql(case.sql).await?.create_physical_plan().await?;
        let plan = played_by(plan, &player)?;
        // The first run compiles, and finds how large tables of groups become.
        for _ in 0..2 {
            apart.take();
            let again = datafusion::physical_plan::execution_plan::reset_plan_states(plan.clone())?;
            collect(again, session.task_ctx()).await?;
        }
        let ran = apart.take();
        for one in &ran {
            if programs.iter().all(|known| known.code != one.program.code) {
                programs.push(one.program.clone());
            }
        }
        note(bench, case, rows, &ran)?;
    }
    Ok(programs)
}

/// The time of each kernel of a query, all of its dispatches.
fn note(bench: &mut Bench, case: &Case, rows: u64, ran: &[Dispatched]) -> Result<()> {
    let mut kernels: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for one in ran {
        let (count, ns) = kernels.entry(&one.program.label).or_default();
        *count += 1;
        *ns += one.kernel_ns;
    }
    let query = format!("{}, {}", case.family, case.name);
    if kernels.values().all(|(_, ns)| *ns == 0) {
        bench.lacks(Experiment::Dispatches, query, &[("rows", rows)], "us");
        return Ok(());
    }
    for (label, (count, ns)) in kernels {
        let at = [("rows", rows), ("dispatches", count)];
        let us = Ok(ns as f64 / 1e3);
        bench.note(Experiment::Dispatches, format!("{query}: {label}"), &at, us, "us")?;
    }
    Ok(())
}

fn table(all: &[Measurement]) -> Result<RecordBatch> {
    let text = |value: fn(&Measurement) -> String| {
        Arc::new(StringArray::from_iter_values(all.iter().map(value))) as ArrayRef
    };
    Ok(RecordBatch::try_from_iter([
        ("experiment", text(|one| one.experiment.name().to_string())),
        ("what", text(|one| one.what.clone())),
        ("at", text(at)),
        ("value", text(value)),
        ("ran_on", text(|one| one.ran_on.clone())),
    ])?)
}

/// Sizes and numbers as a person writes them.
fn at(one: &Measurement) -> String {
    let part = |(name, number): (&&str, &u64)| match *name {
        "bytes" if *number >= 1 << 20 => format!("{} MiB", number >> 20),
        "bytes" => format!("{number} bytes"),
        name => format!("{number} {name}"),
    };
    one.at.iter().map(part).collect::<Vec<_>>().join(", ")
}

/// Three digits and the unit, or why there is no value.
fn value(one: &Measurement) -> String {
    match (one.value, &one.missing) {
        (Some(value), _) => {
            let whole = value.abs().max(1e-9).log10().floor() as i32 + 1;
            let places = (3 - whole).clamp(0, 6) as usize;
            format!("{value:.places$} {}", one.unit).trim_end().to_string()
        }
        (None, Some(missing)) => missing.clone(),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::measure::Effort;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_experiment_gives_numbers_of_the_adapter() {
        let options = Options { device: DeviceChoice::Gpu, ..Options::default() };
        let bench = match Bench::open(&options, Some(Effort::small())) {
            Ok(bench) => bench,
            Err(error) => {
                assert!(std::env::var_os("THALWEG_ALLOW_NO_DEVICE").is_some(), "{error}");
                return;
            }
        };
        let name = bench.player().capabilities().name.clone();
        let cases: Vec<Case> = CASES.into_iter().filter(|case| case.family != "join").collect();
        let report = measure(bench, &options, 2000, &cases).await.unwrap();
        let json: serde_json::Value = serde_json::from_str(&json(&report).unwrap()).unwrap();
        assert_eq!(json["adapter"]["name"], name);
        assert!(json["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
        let all = json["measurements"].as_array().unwrap();
        for one in all {
            assert_eq!(one["ran_on"], name, "{one}");
            let value = one["value"].as_f64();
            let missing = one["missing"].as_str();
            assert!(value.is_some_and(|value| value > 0.0) ^ missing.is_some(), "{one}");
            let allowed = ["not supported by this adapter", "not available"];
            let known = missing.is_none_or(|text| allowed.iter().any(|one| text.starts_with(one)));
            assert!(known, "{one}");
        }
        for experiment in Experiment::ALL {
            let of = |one: &&serde_json::Value| one["experiment"] == experiment.name();
            let measured = all.iter().filter(of).filter(|one| one["value"].is_f64()).count();
            assert!(measured > 0, "nothing of {experiment:?} was measured");
        }
        let staging = |one: &&serde_json::Value| {
            one["experiment"] == "staging" && one["at"]["threads"] == 2 && one["unit"] == "GB/s"
        };
        assert!(all.iter().any(|one| staging(&one)));
        let table = table(&report.measurements).unwrap();
        assert_eq!((table.num_rows(), table.num_columns()), (all.len(), 5));
    }

    #[test]
    fn values_have_three_digits() {
        let one = |value| Measurement {
            experiment: Experiment::Memory,
            what: String::new(),
            at: BTreeMap::from([("bytes", 4 << 20), ("threads", 2)]),
            value,
            unit: "GB/s",
            ran_on: String::new(),
            missing: value.is_none().then(|| "no".to_string()),
        };
        let texts = [0.012_345, 1.2345, 123.45, 12345.0].map(|number| value(&one(Some(number))));
        assert_eq!(texts, ["0.0123 GB/s", "1.23 GB/s", "123 GB/s", "12345 GB/s"]);
        assert_eq!((value(&one(None)), at(&one(None))), ("no".into(), "4 MiB, 2 threads".into()));
    }
}
