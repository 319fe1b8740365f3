//! The host's part of a run alone: fragments on a player that answers at once with what the device
//! has answered before (`device::replay`). What is left is encoding, the driver of slots, and what
//! becomes of the results.
//!
//! Beside it, in the same run, stand yardsticks of this machine: `memcpy` of the column's bytes (of
//! strings: of their codes), and Arrow's `take` of the columns that come out. A line before each
//! case tells nanoseconds a row, by the clock and of all threads, and how many times the yardstick
//! that is: at most 2 for numbers and results, and 4 for strings with a dictionary, are the aims.
//!
//! `THALWEG_BENCH_ROWS` sets the rows, a million by default. `THALWEG_BENCH_TPCH` names a folder
//! with TPC-H's tables as Parquet (`thalweg gen tpch`): then five of its queries are timed as well,
//! over tables in memory, so that reading files is no part of it.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends where it stands")]

#[path = "../tests/it/parity/data.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod data;
#[path = "../tests/it/parity/play.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod play;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int32Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use criterion::{Criterion, Throughput};
use datafusion::datasource::MemTable;
use datafusion::physical_plan::collect;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use tokio::runtime::Runtime;

use thalweg::config::{DeviceChoice, Options};
use thalweg::device::replay::{Recorder, Replay};
use thalweg::device::{self, Player};
use thalweg::plan::{played_by, session};
use thalweg::run::SlotLimits;

use data::{Spread, batch, full_column};
use play::{Planned, Setup, plan};

/// Name, query, bytes a row that the yardstick copies.
const ENCODED: [(&str, &str, usize); 8] = [
    ("i32", "SELECT max(i32) FROM t", 4),
    ("i64", "SELECT max(i64) FROM t", 8),
    ("f64", "SELECT max(f64) FROM t", 8),
    ("date", "SELECT max(date) FROM t", 4),
    ("decimal", "SELECT max(decimal) FROM t", 16),
    ("string", "SELECT string, count(*) FROM t GROUP BY string", 4),
    ("string_view", "SELECT view, count(*) FROM t GROUP BY view", 4),
    ("dictionary", "SELECT dictionary, count(*) FROM t GROUP BY dictionary", 4),
];

/// As many groups as rows, and the same columns without groups.
const GROUPS: &str = "SELECT key, count(*), sum(i64) FROM t GROUP BY key";
const NO_GROUPS: &str = "SELECT max(key), count(*), sum(i64) FROM t";

/// All rows come out.
const SELECTED: &str = "SELECT key, i64, i64 + 1 FROM t WHERE i64 >= -1";

/// Strings of a column, and slots of a run of many.
const STRINGS: u32 = 1000;
const SLOTS: usize = 64;

/// Queries of TPC-H whose results or strings are large.
const TPCH: [u32; 5] = [1, 12, 13, 18, 20];

/// What one time costs.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    /// Of all threads; as `wall` where the system does not tell.
    cpu: f64,
}

/// Nanoseconds that all threads of the process have computed, in steps of 10 ms.
fn cpu_ns() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks * 1e7)
}

/// Nanoseconds of one time of this work, over at least `least`.
fn cost(least: Duration, mut work: impl FnMut()) -> Cost {
    work();
    let (began, cpu, mut times) = (Instant::now(), cpu_ns(), 0);
    while times < 3 || began.elapsed() < least {
        work();
        times += 1;
    }
    let wall = began.elapsed().as_secs_f64() * 1e9 / f64::from(times);
    let cpu = cpu_ns().zip(cpu).map(|(after, before)| (after - before) / f64::from(times));
    Cost { wall, cpu: cpu.unwrap_or(wall) }
}

/// A fragment and the player that answers it.
struct Case {
    planned: Planned,
    replay: Arc<Replay>,
    setup: Setup,
    rows: usize,
}

struct Bench {
    runtime: Runtime,
    device: Arc<dyn Player>,
    rows: usize,
    /// For the lines that are printed.
    least: Duration,
}

impl Bench {
    /// Plays it once on the device, and keeps the answers.
    fn case(&self, planned: Planned, rows: usize, slot_rows: usize) -> Case {
        let entries = (2 * rows).next_power_of_two().clamp(1 << 10, 1 << 26) as u32;
        let limits =
            SlotLimits { rows: slot_rows, group_entries: entries, ..SlotLimits::default() };
        let setup = Setup { limits, ..Setup::default() };
        let recorder = Arc::new(Recorder::new(self.device.clone()));
        let player: Arc<dyn Player> = recorder.clone();
        let played = self.runtime.block_on(planned.run(&player, rows, &setup));
        played.expect("a run on the device");
        Case { planned, replay: recorder.replay(), setup, rows }
    }

    fn play(&self, case: &Case) {
        case.replay.rewind();
        let player: Arc<dyn Player> = case.replay.clone();
        let played = self.runtime.block_on(case.planned.run(&player, case.rows, &case.setup));
        black_box(played.expect("a run of recorded answers"));
    }

    /// Prints what a row costs in `case` beside the yardstick, both without what no row costs.
    fn tell(&self, name: &str, case: &Case, without: Cost, yardstick: (&str, Cost)) -> Cost {
        let all = cost(self.least, || self.play(case));
        let rows = case.rows as f64;
        let row = |all: f64, without: f64| (all - without).max(0.0) / rows;
        let (wall, cpu) = (row(all.wall, without.wall), row(all.cpu, without.cpu));
        let (of, yardstick) = yardstick;
        println!(
            "{name}: {wall:.2} ns a row, {cpu:.2} ns of all threads; {of} {:.2} ns: {:.1} times",
            yardstick.wall / rows,
            cpu / (yardstick.wall / rows).max(1e-9)
        );
        all
    }

    fn time(&self, criterion: &mut Criterion, group: &str, name: &str, case: &Case) {
        let mut group = criterion.benchmark_group(group);
        group.sample_size(10).warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_secs(2));
        group.throughput(Throughput::Elements(case.rows as u64));
        group.bench_function(name, |bencher| bencher.iter(|| self.play(case)));
        group.finish();
    }
}

fn table(rows: usize) -> RecordBatch {
    use DataType as T;
    let of = |data_type: T, seed| full_column(&data_type, rows, Spread::Few(1 << 20), seed);
    let texts = full_column(&T::Utf8, rows, Spread::Few(STRINGS), 7);
    let dictionary = T::Dictionary(Box::new(T::Int32), Box::new(T::Utf8));
    let keys = Int32Array::from_iter_values((0..rows as u32).map(|row| scattered(row) as i32));
    batch(vec![
        ("i32", of(T::Int32, 1)),
        ("i64", of(T::Int64, 2)),
        ("f64", of(T::Float64, 3)),
        ("date", of(T::Date32, 4)),
        ("decimal", of(T::Decimal128(18, 2), 5)),
        ("string", texts.clone()),
        ("view", cast(&texts, &T::Utf8View).expect("views")),
        ("dictionary", cast(&texts, &dictionary).expect("a dictionary")),
        ("key", Arc::new(keys) as ArrayRef),
    ])
}

/// Another number for each number, in no order.
fn scattered(number: u32) -> u32 {
    number.wrapping_mul(2_654_435_761)
}

fn rows_asked(testing: bool) -> usize {
    let asked = std::env::var("THALWEG_BENCH_ROWS").ok();
    let asked = asked.map(|rows| rows.parse().expect("THALWEG_BENCH_ROWS is a number of rows"));
    asked.unwrap_or(if testing { 10_000 } else { 1_000_000 })
}

/// What copying so many bytes takes, between memory that was touched before.
fn memcpy(bench: &Bench, bytes: usize) -> Cost {
    let from: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
    let mut to = vec![0; bytes];
    cost(bench.least, || black_box(&mut to).copy_from_slice(black_box(&from)))
}

fn encode(bench: &Bench, criterion: &mut Criterion) {
    let tables = [("t", table(bench.rows))];
    let queries: Vec<String> = ENCODED.iter().map(|(_, sql, _)| sql.to_string()).collect();
    let all = bench.runtime.block_on(plan(&tables, &queries));
    let few = bench.runtime.block_on(plan(&tables, &queries));
    for (((name, _, bytes), planned), few) in ENCODED.into_iter().zip(all).zip(few) {
        let few = bench.case(few, bench.rows / 1000, 1 << 20);
        let fixed = cost(bench.least, || bench.play(&few));
        let case = bench.case(planned, bench.rows, 1 << 20);
        let name = format!("encode/{name}");
        bench.tell(&name, &case, fixed, ("memcpy", memcpy(bench, bytes * bench.rows)));
        bench.time(criterion, "host", &name, &case);
    }
}

fn results(bench: &Bench, criterion: &mut Criterion) {
    let tables = [("t", table(bench.rows))];
    let queries = [NO_GROUPS, GROUPS, SELECTED].map(str::to_string);
    let planned = bench.runtime.block_on(plan(&tables, &queries));
    let mut cases = planned.into_iter().map(|planned| bench.case(planned, bench.rows, 1 << 20));
    let (without, groups, selected) =
        (cases.next().unwrap(), cases.next().unwrap(), cases.next().unwrap());
    let encoding = cost(bench.least, || bench.play(&without));
    let indices = UInt32Array::from_iter_values(0..bench.rows as u32);
    let columns: Vec<ArrayRef> =
        ["key", "i64", "i64"].map(|name| tables[0].1.column_by_name(name).unwrap().clone()).into();
    let taken = cost(bench.least, || {
        for column in &columns {
            black_box(take(column, &indices, None).expect("rows"));
        }
    });
    for (name, case) in [("results/groups", &groups), ("results/selected", &selected)] {
        bench.tell(name, case, encoding, ("take", taken));
        bench.time(criterion, "host", name, case);
    }
}

fn slots(bench: &Bench, criterion: &mut Criterion) {
    let slot_rows = (bench.rows / SLOTS).clamp(16, 4096);
    let rows = SLOTS * slot_rows;
    let tables = [("t", table(rows))];
    let sql = "SELECT count(*), sum(i64), max(date) FROM t".to_string();
    let planned = bench.runtime.block_on(plan(&tables, &[sql.clone(), sql.clone(), sql]));
    let mut planned = planned.into_iter();
    let mut case = |rows, slot_rows| bench.case(planned.next().unwrap(), rows, slot_rows);
    let (one, many, batch) = (case(rows, 1 << 20), case(rows, slot_rows), case(1000, 1 << 20));
    let [one_cost, many_cost, batch_cost] =
        [&one, &many, &batch].map(|case| cost(bench.least, || bench.play(case)));
    let us = |ns: f64| ns / 1e3;
    println!(
        "slot: {:.1} us, {:.1} us of all threads; a micro-batch of 1000 rows: {:.1} us, {:.1} us \
         of all threads",
        us(many_cost.wall - one_cost.wall) / (SLOTS - 1) as f64,
        us(many_cost.cpu - one_cost.cpu) / (SLOTS - 1) as f64,
        us(batch_cost.wall),
        us(batch_cost.cpu)
    );
    bench.time(criterion, "host", "slots_64", &many);
    bench.time(criterion, "host", "micro_batch", &batch);
}

/// TPC-H's tables in memory, as the files have them.
async fn tables(folder: &Path, context: &SessionContext) {
    for name in
        ["lineitem", "orders", "partsupp", "part", "customer", "supplier", "nation", "region"]
    {
        let file = folder.join(format!("{name}.parquet"));
        let file = file.to_str().expect("a path");
        let frame = context.read_parquet(file, ParquetReadOptions::default()).await;
        let frame = frame.expect("a table of TPC-H");
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let parts = frame.collect_partitioned().await.expect("rows");
        let table = MemTable::try_new(schema, vec![parts.concat()]).expect("a table");
        context.register_table(name, Arc::new(table)).expect("a name");
    }
}

/// Whole queries: what the host does beside the device, reading apart. In one partition: where the
/// rows of several come in the order of the day, slots are others than those that were recorded.
fn tpch(bench: &Bench, folder: &Path) {
    // Strict: what leaves the recorded answers fails, and does not go on without the device.
    let options = Options { device: DeviceChoice::Gpu, strict: true, ..Options::default() };
    let context = session(&options).expect("a session");
    let one = context.sql("SET datafusion.execution.target_partitions = 1");
    bench.runtime.block_on(one).expect("one partition");
    bench.runtime.block_on(tables(folder, &context));
    for number in TPCH {
        let sql = std::fs::read_to_string(format!("benches/tpch/q{number:02}.sql")).unwrap();
        let planned = bench.runtime.block_on(async {
            context.sql(sql.trim().trim_end_matches(';')).await?.create_physical_plan().await
        });
        let planned = planned.expect("a plan");
        let recorder = Arc::new(Recorder::new(bench.device.clone()));
        let recording: Arc<dyn Player> = recorder.clone();
        let run = |player: &Arc<dyn Player>| {
            let plan = played_by(reset_plan_states(planned.clone())?, player)?;
            bench.runtime.block_on(collect(plan, context.task_ctx()))
        };
        let expected: usize = match run(&recording) {
            Ok(batches) => batches.iter().map(RecordBatch::num_rows).sum(),
            Err(error) => {
                println!("tpch/q{number}: not on this device: {error}");
                continue;
            }
        };
        let replay = recorder.replay();
        let player: Arc<dyn Player> = replay.clone();
        let mut failed = None;
        let all = cost(Duration::from_secs(1), || {
            replay.rewind();
            match run(&player) {
                Ok(batches) => assert_eq!(
                    batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
                    expected,
                    "rows of q{number}"
                ),
                Err(error) => failed = Some(error),
            }
        });
        match failed {
            None => println!(
                "tpch/q{number}: {:.1} ms, {:.1} ms of all threads",
                all.wall / 1e6,
                all.cpu / 1e6
            ),
            Some(error) => println!("tpch/q{number}: not as it was recorded: {error}"),
        }
    }
}

fn main() {
    let testing = !std::env::args().any(|arg| arg == "--bench");
    let gpu = Options { device: DeviceChoice::Gpu, ..Options::default() };
    let device = device::open(&gpu).expect("a device to record the answers of");
    println!("answers of {}", device.capabilities().name);
    let least = Duration::from_millis(if testing { 1 } else { 500 });
    let runtime = Runtime::new().expect("a runtime");
    let bench = Bench { runtime, device, rows: rows_asked(testing), least };
    let mut criterion = Criterion::default().configure_from_args();
    encode(&bench, &mut criterion);
    results(&bench, &mut criterion);
    slots(&bench, &mut criterion);
    if let Some(folder) = std::env::var_os("THALWEG_BENCH_TPCH") {
        tpch(&bench, Path::new(&folder));
    }
    criterion.final_summary();
}
