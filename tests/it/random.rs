//! Random data and queries: the GPU, the CPU and stock DataFusion give the same rows.
//!
//! Each run is a function of its seed: `THALWEG_RANDOM_SEED=17 THALWEG_RANDOM_RUNS=1` repeats run
//! 17. A run that differs is shrunk: parts of its query and of its rows are taken away while it
//! still differs, and what is left is printed with the seed.

mod compare;
mod data;
mod query;

use std::process::Command;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use compare::{Bench, Faults};
use data::Data;
use query::Query;

use super::support::number;

/// Runs in CI; `scripts/full` asks for more.
const RUNS: u64 = 300;

/// Runs with planted faults in CI.
const FAULTED: u64 = 40;

/// A run's data and query.
fn case(seed: u64) -> (Data, Query) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let data = Data::random(&mut random);
    let query = Query::random(&mut random, &data);
    (data, query)
}

/// Takes parts away while the run still differs.
async fn shrunk(bench: &Bench, data: Data, query: Query) -> (Data, Query) {
    let (mut data, mut query) = (data, query);
    // Each step makes it smaller; the bound is on time.
    for _ in 0..200 {
        let mut smaller = None;
        for candidate in query.smaller() {
            if bench.differs(&data, &candidate).await.is_some() {
                smaller = Some((data.clone(), candidate));
                break;
            }
        }
        if smaller.is_none() {
            for candidate in data.smaller() {
                if bench.differs(&candidate, &query).await.is_some() {
                    smaller = Some((candidate, query.clone()));
                    break;
                }
            }
        }
        match smaller {
            Some(found) => (data, query) = found,
            None => break,
        }
    }
    (data, query)
}

async fn run_all(first: u64, runs: u64, faults: Faults) {
    let Some(bench) = Bench::new(faults) else { return };
    let mut failed = Vec::new();
    for seed in first..first + runs {
        let (data, query) = case(seed);
        bench.begin(seed);
        if let Some(difference) = bench.differs(&data, &query).await {
            let whole = query.to_string();
            let (data, query) = shrunk(&bench, data, query).await;
            let left = bench.differs(&data, &query).await;
            let left = left.unwrap_or_else(|| "it does not differ each time".to_string());
            let data = data.as_sql();
            let told = format!("{whole}\n{difference}\nshrunk:\n{data}{query}\n{left}");
            failed.push(format!("THALWEG_RANDOM_SEED={seed}\n{told}\n"));
            if failed.len() == 5 {
                break;
            }
        }
    }
    let told = bench.told();
    println!("{runs} random queries from seed {first}: {told}");
    assert!(failed.is_empty(), "{} runs differ:\n{}", failed.len(), failed.join("\n"));
}

fn run_here(faults: Faults, runs: u64) {
    let (first, runs) = (number("THALWEG_RANDOM_SEED", 1), number("THALWEG_RANDOM_RUNS", runs));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run_all(first, runs, faults));
}

#[test]
fn random_queries_agree() {
    run_here(Faults::None, RUNS);
}

/// In a process of its own: a lost device is lost for all who share it.
#[test]
fn random_queries_agree_through_faults() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "random::faulted", "--nocapture"]);
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && text.contains("random queries"), "{text}\n{errors}");
}

/// Not a test by itself: what the one above runs.
#[test]
#[ignore = "run by the test above, in a process of its own"]
fn faulted() {
    run_here(Faults::Planted, FAULTED);
}

/// The comparison must be able to see a wrong answer, and the shrinking to make it small.
#[test]
fn a_planted_difference_is_seen_and_shrunk() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let Some(mut bench) = Bench::new(Faults::None) else { return };
        // As if the device lost each first row of an answer of more than one.
        bench.loses_rows = true;
        let mut seen = 0;
        for seed in 1..20 {
            let (data, query) = case(seed);
            if bench.differs(&data, &query).await.is_none() {
                continue;
            }
            let before = query.to_string().len();
            let (data, query) = shrunk(&bench, data, query).await;
            assert!(bench.differs(&data, &query).await.is_some(), "{query}");
            assert!(query.to_string().len() <= before);
            seen += 1;
            if seen == 2 {
                return;
            }
        }
        panic!("a lost row was not seen");
    });
}
