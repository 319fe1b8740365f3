//! Every kernel as it runs in a fragment, against DataFusion's operator on one thread and against
//! its own twin.
//!
//! Sides: `kernel` is the device's own time, over columns that lie in its memory (by its
//! timestamps; absent where it has none); `device` is the whole way, encoding, upload and answer
//! included; `datafusion` the CPU plan of the same query on one thread; `twin` the CPU player, at
//! `TWIN_ROWS` rows, as it is there to be right and not to be fast.
//!
//! Rows: a million by default, as that is one slot, and its columns are larger than the caches of
//! a core. `THALWEG_BENCH_ROWS` sets another number: a hundred million shows whether many slots
//! keep the pace. Before a case is timed, a line says which device ran it, what came out (a hash,
//! equal on all sides or the bench ends), and how its bandwidth compares with that of a copy.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends where it stands")]

#[path = "../tests/it/parity/data.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod data;
#[path = "../tests/it/parity/play.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod play;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use criterion::{BenchmarkId, Criterion, Throughput};
use datafusion::prelude::SessionContext;
use tokio::runtime::Runtime;

use thalweg::config::{DeviceChoice, Options};
use thalweg::device::{self, Player, calibrate};
use thalweg::plan::session;
use thalweg::run::SlotLimits;

use data::{Spread, batch, full_column};
use play::{Planned, Setup, encoded, plan};

/// Rows at which a twin takes milliseconds.
const TWIN_ROWS: usize = 10_000;

/// Name, query, bytes of the columns it reads per row, groups expected.
const CASES: [(&str, &str, u64, u32); 14] = [
    ("reduce/sum_i64", "SELECT sum(i) FROM t", 8, 1),
    ("reduce/sum_decimal", "SELECT sum(d) FROM t", 8, 1),
    ("reduce/sum_f64", "SELECT sum(f) FROM t", 8, 1),
    ("reduce/min_max_i64", "SELECT min(i), max(i) FROM t", 8, 1),
    ("select/1_percent", "SELECT i FROM t WHERE p < 1", 4, 1),
    ("select/50_percent", "SELECT i FROM t WHERE p < 50", 4, 1),
    ("select/99_percent", "SELECT i FROM t WHERE p < 99", 4, 1),
    ("group_dense/4", "SELECT s, count(*), sum(i) FROM t GROUP BY s", 12, 4),
    ("group_hash/1k", "SELECT k, count(*), sum(i) FROM t GROUP BY k", 12, 1000),
    ("group_hash/1k_f64", "SELECT k, sum(f) FROM t GROUP BY k", 12, 1000),
    ("group_hash/1m", "SELECT m, count(*), sum(i) FROM t GROUP BY m", 12, 1_000_000),
    ("join/unique", "SELECT count(*), sum(r.x) FROM t JOIN r ON t.k = r.k", 4, 1),
    ("join/10_duplicates", "SELECT count(*), sum(r.x) FROM t JOIN many r ON t.k = r.k", 4, 1),
    ("join/large", "SELECT count(*), sum(r.x) FROM t JOIN large r ON t.m = r.k", 4, 1),
];

fn rows_asked() -> usize {
    // Run as a test, each case runs once, and without optimisation.
    let testing = !std::env::args().any(|arg| arg == "--bench");
    let asked = std::env::var("THALWEG_BENCH_ROWS").ok();
    let asked = asked.map(|rows| rows.parse().expect("THALWEG_BENCH_ROWS is a number of rows"));
    asked.unwrap_or(if testing { TWIN_ROWS } else { 1_000_000 })
}

fn tables(rows: usize) -> Vec<(&'static str, RecordBatch)> {
    use DataType as T;
    let few = |data_type: T, values, seed| full_column(&data_type, rows, Spread::Few(values), seed);
    let t = batch(vec![
        ("i", few(T::Int64, 1 << 20, 1)),
        ("d", few(T::Decimal128(18, 4), 1 << 20, 2)),
        ("f", few(T::Float64, 1 << 20, 3)),
        ("p", numbers(rows, 100, 4)),
        ("s", few(T::Utf8, 4, 5)),
        ("k", numbers(rows, 1000, 6)),
        ("m", numbers(rows, 1_000_000, 7)),
    ]);
    let build = |keys: usize, each: usize| {
        let key = (0..keys * each).map(|row| (row % keys) as i32);
        let key = Arc::new(arrow::array::Int32Array::from_iter_values(key));
        batch(vec![
            ("k", key as _),
            ("x", full_column(&T::Int64, keys * each, Spread::Few(1000), 8)),
        ])
    };
    vec![("t", t), ("r", build(1000, 1)), ("many", build(1000, 10)), ("large", build(rows / 5, 1))]
}

/// Integers from 0 to `below`.
fn numbers(rows: usize, below: u32, seed: u64) -> arrow::array::ArrayRef {
    let bytes = full_column(&DataType::UInt32, rows, Spread::Few(below), seed);
    let values = arrow::array::AsArray::as_primitive::<arrow::datatypes::UInt32Type>(&bytes);
    let small = values.values().iter().map(|value| (value / 77_777) as i32);
    Arc::new(arrow::array::Int32Array::from_iter_values(small))
}

/// The same for the same rows in any order.
fn hash(batches: &[RecordBatch]) -> u64 {
    let Some(first) = batches.first() else { return 0 };
    let all = concat_batches(&first.schema(), batches).expect("batches of one query");
    let of = |row: &Vec<u8>| {
        let mut hasher = DefaultHasher::new();
        row.hash(&mut hasher);
        hasher.finish()
    };
    let rows = encoded(&all).expect("rows that can be encoded");
    rows.iter().fold(rows.len() as u64, |sum, row| sum.wrapping_add(of(row)))
}

/// One case with all its sides.
struct Case {
    name: &'static str,
    sql: &'static str,
    bytes: u64,
    planned: Planned,
    setup: Setup,
}

struct Bench {
    runtime: Runtime,
    device: Arc<dyn Player>,
    twin: Arc<dyn Player>,
    host: SessionContext,
    /// 10^9 bytes a copy on the device moves per second, read and written.
    copy_gb_s: f64,
    rows: usize,
}

impl Bench {
    fn device_once(&self, case: &Case) -> (Vec<RecordBatch>, Duration, Duration) {
        let began = Instant::now();
        let played = case.planned.run(&self.device, self.rows, &case.setup);
        let (batches, stats) = self.runtime.block_on(played).expect(case.name);
        (batches, began.elapsed(), Duration::from_nanos(stats["kernel_ns"]))
    }

    fn host_once(&self, case: &Case) -> Vec<RecordBatch> {
        let run = async { self.host.sql(case.sql).await?.collect().await };
        self.runtime.block_on(run).expect(case.name)
    }

    /// Prints what ran and what came out; ends where the sides differ.
    fn report(&self, case: &Case) -> bool {
        let (batches, all, _) = self.device_once(case);
        let (_, warm, kernel) = self.device_once(case);
        let (found, expected) = (hash(&batches), hash(&self.host_once(case)));
        assert_eq!(found, expected, "{}: the device's answer and the host's differ", case.name);
        let bytes = (case.bytes * self.rows as u64) as f64;
        let rate = bytes / kernel.as_secs_f64().max(1e-9) / 1e9;
        let name = &self.device.capabilities().name;
        println!(
            "{}: {} rows on {name}, result {found:016x}; first {all:?}, then {warm:?}, kernels \
             {kernel:?}: {rate:.2} GB/s read, {:.0} % of a copy's {:.2} GB/s",
            case.name,
            self.rows,
            100.0 * rate / self.copy_gb_s,
            self.copy_gb_s
        );
        !kernel.is_zero()
    }

    fn run(&self, criterion: &mut Criterion, case: &Case) {
        let has_clock = self.report(case);
        let mut group = criterion.benchmark_group(case.name);
        group.sample_size(10).warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_secs(2));
        group.throughput(Throughput::Bytes(case.bytes * self.rows as u64));
        let id = |side| BenchmarkId::new(side, self.rows);
        if has_clock {
            group.bench_function(id("kernel"), |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| self.device_once(case).2).sum());
            });
        }
        group.bench_function(id("device"), |bencher| bencher.iter(|| self.device_once(case)));
        group.bench_function(id("datafusion"), |bencher| bencher.iter(|| self.host_once(case)));
        let rows = self.rows.min(TWIN_ROWS);
        group.throughput(Throughput::Bytes(case.bytes * rows as u64));
        group.bench_function(BenchmarkId::new("twin", rows), |bencher| {
            bencher.iter(|| {
                let played = case.planned.run(&self.twin, rows, &case.setup);
                self.runtime.block_on(played).expect(case.name)
            });
        });
        group.finish();
    }
}

fn main() {
    let rows = rows_asked();
    let runtime = Runtime::new().expect("a runtime");
    let tables = tables(rows);
    let gpu = Options { device: DeviceChoice::Gpu, ..Options::default() };
    let device = device::open(&gpu).expect("a bench of the device needs one");
    let measured = runtime.block_on(calibrate::measure(&*device)).expect("rates");
    let host = session(&Options { device: DeviceChoice::Cpu, ..Options::default() });
    let host = host.expect("a session on the CPU");
    for (name, batch) in &tables {
        host.register_batch(*name, batch.clone()).expect("a table");
    }
    let one_thread = host.sql("SET datafusion.execution.target_partitions = 1");
    runtime.block_on(one_thread).expect("one thread");
    let queries: Vec<String> = CASES.iter().map(|(_, sql, ..)| sql.to_string()).collect();
    let planned = runtime.block_on(plan(&tables, &queries));
    let copy_gb_s = 2.0 * measured.copy_gb_s;
    let bench = Bench { runtime, device, twin: device::twin(), host, copy_gb_s, rows };
    let mut criterion = Criterion::default().configure_from_args();
    for ((name, sql, bytes, groups), planned) in CASES.into_iter().zip(planned) {
        // A table at most half full from the start: its growth is another subject.
        let group_entries = (2 * groups).next_power_of_two().max(1 << 10);
        let limits = SlotLimits { group_entries, ..SlotLimits::default() };
        let setup = Setup { limits, ..Setup::default() };
        bench.run(&mut criterion, &Case { name, sql, bytes, planned, setup });
    }
    criterion.final_summary();
}
