//! The link and the memory of the device: upload, download, copy, and how much of an upload hides
//! behind the kernels of the slot before.
//!
//! Pieces of 32 MiB, as a slot has at most: large enough that the fixed cost of a submit is below
//! a hundredth. The overlap is the same query over eight slots with one of them in flight, and
//! with three: its result is printed as a hash, equal for both or the bench ends.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends where it stands")]

#[path = "../tests/it/parity/data.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod data;
#[path = "../tests/it/parity/play.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod play;

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::DataType;
use criterion::{Criterion, Throughput};
use tokio::runtime::Runtime;

use thalweg::config::{DeviceChoice, Options};
use thalweg::device::{self, Player};
use thalweg::record::{Buffer, Command, Completed, Recording};
use thalweg::run::SlotLimits;

use data::{Spread, batch, full_column};
use play::{Setup, plan};

struct Bench {
    runtime: Runtime,
    device: Arc<dyn Player>,
    /// Run as a test: each once, and small.
    testing: bool,
}

impl Bench {
    fn submit(&self, commands: Vec<Command>) -> Completed {
        let recording = Recording { label: "bench".into(), commands };
        self.runtime.block_on(self.device.submit(recording)).expect("a submit")
    }

    fn upload(&self, words: &[u32], to: &Buffer) {
        let bytes = 4 * words.len() as u64;
        let mut from = self.runtime.block_on(self.device.staging(bytes)).expect("staging");
        from.words()[..words.len()].copy_from_slice(words);
        self.submit(vec![Command::Upload { from, bytes, to: to.clone(), at: 0 }]);
    }

    fn transfers(&self, criterion: &mut Criterion) {
        let bytes: u64 = if self.testing { 1 << 20 } else { 32 << 20 };
        let words: Vec<u32> = (0..bytes as u32 / 4).collect();
        let buffer = |what| self.device.buffer(bytes, what).expect("device memory");
        let (a, b) = (buffer("bench a"), buffer("bench b"));
        let copy = |from: &Buffer, to: &Buffer| Command::Copy {
            from: from.clone(),
            from_at: 0,
            to: to.clone(),
            to_at: 0,
            bytes,
        };
        let download = |from: &Buffer| Command::Download { buffer: from.clone(), range: 0..bytes };
        self.upload(&words, &a);
        let there = self.submit(vec![copy(&a, &b), download(&b)]);
        assert!(there.downloads[0] == words, "what came back is not what went there");
        let mut group = criterion.benchmark_group("transfer");
        group.sample_size(10).warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_secs(2)).throughput(Throughput::Bytes(bytes));
        group.bench_function("upload", |bencher| bencher.iter(|| self.upload(&words, &a)));
        group.bench_function("download", |bencher| {
            bencher.iter(|| self.submit(vec![download(&a)]));
        });
        // Sixteen in one submit, so that the copies are timed and not the submit.
        group.throughput(Throughput::Bytes(16 * bytes));
        group.bench_function("copy_16", |bencher| {
            bencher.iter(|| self.submit((0..16).map(|_| copy(&a, &b)).collect()));
        });
        group.finish();
    }

    fn overlap(&self, criterion: &mut Criterion) {
        let slot_rows = if self.testing { 1024 } else { 1 << 18 };
        let rows = 8 * slot_rows;
        let column = |seed| full_column(&DataType::Int64, rows, Spread::Few(1000), seed);
        let t = batch(vec![("a", column(1)), ("b", column(2))]);
        let sql = "SELECT a, count(*), sum(b), max(b) FROM t GROUP BY a".to_string();
        let planned = self.runtime.block_on(plan(&[("t", t)], &[sql]));
        let setup = |in_flight| {
            let limits = SlotLimits { rows: slot_rows, in_flight, ..SlotLimits::default() };
            Setup { limits, ..Setup::default() }
        };
        let play = |setup: &Setup| {
            let played = planned[0].play(&self.device, rows, setup);
            self.runtime.block_on(played).expect("a run")
        };
        let (one, three) = (play(&setup(1)), play(&setup(3)));
        assert!(one.equals(&three), "the result depends on the slots in flight");
        let name = &self.device.capabilities().name;
        println!("overlap: {rows} rows in 8 slots on {name}, {} groups", three.num_rows());
        let mut group = criterion.benchmark_group("overlap");
        group.sample_size(10).warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_secs(2));
        group.throughput(Throughput::Bytes(16 * rows as u64));
        for in_flight in [1, 3] {
            let setup = setup(in_flight);
            group.bench_function(format!("{in_flight}_in_flight"), |bencher| {
                bencher.iter(|| play(&setup));
            });
        }
        group.finish();
    }
}

fn main() {
    let gpu = Options { device: DeviceChoice::Gpu, ..Options::default() };
    let device = device::open(&gpu).expect("a bench of the device needs one");
    let testing = !std::env::args().any(|arg| arg == "--bench");
    let runtime = Runtime::new().expect("a runtime");
    println!("device: {}", device.capabilities().name);
    let bench = Bench { runtime, device, testing };
    let mut criterion = Criterion::default().configure_from_args();
    bench.transfers(&mut criterion);
    bench.overlap(&mut criterion);
    criterion.final_summary();
}
