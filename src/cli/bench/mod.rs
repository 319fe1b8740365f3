//! `thalweg bench`: measures this machine's side of known benchmarks, and prints what ran where.

mod backlog;
mod device;
mod kernels;
mod latency;
mod nexmark;
mod pipeline;
mod publish;

use super::args::Bench;
use super::failure::{Failure, Outcome};

pub async fn run(bench: Bench) -> Outcome {
    match bench {
        Bench::Nexmark(arguments) => nexmark::run(arguments).await,
        Bench::Device(arguments) => device::run(&arguments).await,
        Bench::Kernels(arguments) => kernels::run(&arguments).await,
        Bench::Backlog(arguments) => backlog::run(&arguments).await,
        Bench::Latency(arguments) => {
            let run = tokio::task::spawn_blocking(move || latency::run(&arguments));
            run.await.unwrap_or_else(|error| Err(Failure::ended("a run", error)))
        }
    }
}
