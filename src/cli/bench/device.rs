//! `thalweg bench device`: what this machine's adapter gives to kernels, copies and the host, in
//! about a minute, as text and JSON.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use datafusion::physical_plan::collect;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::prelude::SessionContext;
use serde::Serialize;

use super::kernels::cases::{CASES, Case};
use super::kernels::data;
use crate::cli::args::DeviceBench;
use crate::cli::failure::{self, Failure};
use crate::config::{DeviceChoice, Options};
use crate::device::apart::{Apart, Dispatched};
use crate::device::measure::{Asked, Bench, Experiment, Measurement, UNSUPPORTED};
use crate::device::{AdapterKind, Capabilities, Memories, Player};
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
            print!("{}", text(&report.measurements));
            Ok(())
        }
        None => {
            print!("{}", text(&report.measurements));
            Ok(())
        }
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
        let ran = match by_itself(&session, case.sql, &apart, &player).await {
            Ok(ran) => ran,
            Err(error) => {
                bench.missing(asked(case, rows), error.to_string());
                continue;
            }
        };
        for one in &ran {
            if programs.iter().all(|known| known.code != one.program.code) {
                programs.push(one.program.clone());
            }
        }
        note(bench, case, rows, &ran)?;
    }
    Ok(programs)
}

/// The dispatches of a query's second run: the first compiles, and finds how large tables of groups
/// become.
async fn by_itself(
    session: &SessionContext,
    sql: &str,
    apart: &Apart,
    player: &Arc<dyn Player>,
) -> Result<Vec<Dispatched>> {
    let plan = session.sql(sql).await?.create_physical_plan().await?;
    let plan = played_by(plan, player)?;
    collect(plan.clone(), session.task_ctx()).await?;
    apart.take();
    collect(reset_plan_states(plan)?, session.task_ctx()).await?;
    Ok(apart.take())
}

fn asked(case: &Case, rows: u64) -> Asked {
    let query = format!("{}, {}", case.family, case.name);
    Asked::new(Experiment::Dispatches, query, "us").at("rows", rows)
}

/// The time of each kernel of a query, all of its dispatches.
fn note(bench: &mut Bench, case: &Case, rows: u64, ran: &[Dispatched]) -> Result<()> {
    let mut kernels: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for one in ran {
        let (count, ns) = kernels.entry(&one.program.label).or_default();
        *count += 1;
        *ns += one.kernel_ns;
    }
    if kernels.is_empty() {
        bench.missing(asked(case, rows), "not available: it ran on the CPU");
    } else if kernels.values().all(|(_, ns)| *ns == 0) {
        bench.missing(asked(case, rows), UNSUPPORTED);
        return Ok(());
    }
    for (label, (count, ns)) in kernels {
        let asked = asked(case, rows).part(label).at("dispatches", count);
        bench.note(asked, Ok(ns as f64 / 1e3))?;
    }
    Ok(())
}

/// Each experiment with what ran it, and below it each thing with its numbers at all sizes.
fn text(all: &[Measurement]) -> String {
    let mut things: Vec<(&Measurement, Vec<[String; 2]>)> = Vec::new();
    for one in all {
        let same = |(first, _): &&mut (&Measurement, Vec<[String; 2]>)| {
            (first.asked.experiment, &first.asked.what) == (one.asked.experiment, &one.asked.what)
        };
        match things.iter_mut().find(same) {
            // What is not supported is not at any size.
            Some((_, numbers)) if numbers.iter().any(|known| *known == number(one)) => {}
            Some((_, numbers)) => numbers.push(number(one)),
            None => things.push((one, vec![number(one)])),
        }
    }
    let labels = things.iter().flat_map(|(_, numbers)| numbers).map(|[label, _]| label.len());
    let width = labels.max().unwrap_or_default();
    let mut text = String::new();
    let mut last = None;
    for (one, numbers) in things {
        if last != Some(one.asked.experiment) {
            text += &format!("{}, by {}\n", one.asked.experiment.name(), one.ran_on);
            last = Some(one.asked.experiment);
        }
        match numbers.as_slice() {
            [[label, value]] if label.is_empty() => {
                text += &format!("  {}: {value}\n", one.asked.what);
            }
            _ => {
                text += &format!("  {}\n", one.asked.what);
                for [label, value] in numbers {
                    text += format!("    {label:width$}  {value}").trim_end();
                    text.push('\n');
                }
            }
        }
    }
    text
}

/// The sizes it was measured at, and the value; or why there is none.
fn number(one: &Measurement) -> [String; 2] {
    let Some(value) = one.value else {
        return [String::new(), one.missing.clone().unwrap_or_default()];
    };
    let whole = value.abs().max(1e-9).log10().floor() as i32 + 1;
    let places = (3 - whole).clamp(0, 6) as usize;
    let text = format!("{value:.places$} {}", one.asked.unit);
    let part = one.asked.part.iter().cloned();
    let at: Vec<String> = part.chain(one.asked.at.iter().map(size)).collect();
    [at.join(", "), text.trim_end().to_string()]
}

/// A size or number as a person writes it.
fn size((name, number): (&&'static str, &u64)) -> String {
    match (*name, *number) {
        ("bytes", bytes) if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        ("repeats", 1) => "once in a submit".to_string(),
        ("repeats", repeats) => format!("{repeats} times"),
        ("addresses", 1) => "1 address".to_string(),
        ("dispatches", 1) => "1 dispatch".to_string(),
        (name, 1) => format!("1 {}", name.trim_end_matches('s')),
        (name, number) => format!("{number} {name}"),
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
        let staging = |one: &serde_json::Value| {
            one["experiment"] == "staging" && one["at"]["threads"] == 2 && one["unit"] == "GB/s"
        };
        assert!(all.iter().any(staging));
        let text = text(&report.measurements);
        let experiments = Experiment::ALL.map(|one| format!("{}, by {name}\n", one.name()));
        assert!(experiments.iter().all(|head| text.contains(head)), "{text}");
    }

    #[test]
    fn numbers_have_three_digits_and_their_sizes() {
        let asked = Asked::new(Experiment::Memory, "a copy", "GB/s");
        let one = |asked: &Asked, value: Option<f64>| Measurement {
            asked: asked.clone(),
            value,
            ran_on: "card".into(),
            missing: value.is_none().then(|| "no".to_string()),
        };
        let values = [0.012_345, 1.2345, 123.45, 12345.0];
        let texts = values.map(|value| number(&one(&asked, Some(value))).concat());
        assert_eq!(texts, ["0.0123 GB/s", "1.23 GB/s", "123 GB/s", "12345 GB/s"]);
        let sized = asked.clone().part("there").at("bytes", 4_u64 << 20).at("threads", 1_u64);
        let later = Asked { what: "another copy".into(), ..asked };
        let all =
            [one(&sized, Some(2.0)), one(&later, None), one(&sized, Some(30.0)), one(&later, None)];
        let expected = "memory, by card
  a copy
    there, 4 MiB, 1 thread  2.00 GB/s
    there, 4 MiB, 1 thread  30.0 GB/s
  another copy: no
";
        assert_eq!(text(&all), expected);
    }
}
