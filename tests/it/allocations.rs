//! Allocations of a run do not grow with its groups or rows: what comes down is columns, handed on
//! as they are. Counted in a process of its own, over a player that answers from what the CPU
//! player has answered before, so that nobody else allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use tokio::runtime::Runtime;

use thalweg::device::replay::Recorder;
use thalweg::device::{self, Player};
use thalweg::run::SlotLimits;

use super::parity::data::{Spread, batch, full_column};
use super::parity::play::{Planned, Setup, plan};

/// The system's allocator, which counts while it is asked to.
pub struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);

fn count() {
    if COUNTS.load(Ordering::Relaxed) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: all of it is the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Allocations of all threads meanwhile.
fn counted<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = COUNT.load(Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
    let done = work();
    COUNTS.store(false, Ordering::Relaxed);
    (done, COUNT.load(Ordering::Relaxed) - before)
}

/// Groups, or rows of a selection, of the small and of the large run.
const FEW: usize = 10_000;
const MANY: usize = 100_000;

/// How many more allocations the large run may have: batches of results, and vectors that double.
const MORE: u64 = 1000;

const QUERIES: [(&str, &str); 4] = [
    ("numbers", "SELECT k, count(*), sum(k), min(i), max(i) FROM t GROUP BY k"),
    ("averages", "SELECT k, avg(d), sum(f), count(i) FROM t GROUP BY k"),
    ("strings", "SELECT s, count(*), max(i) FROM t GROUP BY s"),
    ("selection", "SELECT k, s, i + 1 FROM t WHERE k >= 0"),
];

/// Rows of as many keys.
fn table(rows: usize) -> RecordBatch {
    let of = |data_type, seed| full_column(&data_type, rows, Spread::Few(1 << 20), seed);
    let keys = Int64Array::from_iter_values((0..rows as i64).map(|row| row * 7));
    let texts = StringArray::from_iter_values((0..rows).map(|row| format!("text {row}")));
    batch(vec![
        ("k", Arc::new(keys) as ArrayRef),
        ("s", Arc::new(texts)),
        ("i", of(DataType::Int64, 1)),
        ("d", of(DataType::Decimal128(15, 2), 2)),
        ("f", of(DataType::Float64, 3)),
    ])
}

/// Allocations of each query over so many rows, once the answers are known.
fn allocations(runtime: &Runtime, rows: usize) -> Vec<u64> {
    let tables = [("t", table(rows))];
    let queries: Vec<String> = QUERIES.iter().map(|(_, sql)| sql.to_string()).collect();
    let planned = runtime.block_on(plan(&tables, &queries));
    // One slot, and a table with room for all: both runs have the same submits.
    let limits = SlotLimits { rows: 1 << 20, group_entries: 1 << 18, ..SlotLimits::default() };
    let setup = Setup { limits, ..Setup::default() };
    let count = |planned: &Planned| {
        let recorder = Arc::new(Recorder::new(device::twin()));
        let recording: Arc<dyn Player> = recorder.clone();
        let run = |player: &Arc<dyn Player>| {
            runtime.block_on(planned.run(player, rows, &setup)).unwrap().0
        };
        let expected: usize = run(&recording).iter().map(RecordBatch::num_rows).sum();
        assert_eq!(expected, rows, "{}", planned.sql);
        let replay: Arc<dyn Player> = recorder.replay();
        let (batches, count) = counted(|| run(&replay));
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), rows);
        count
    };
    planned.iter().map(count).collect()
}

#[test]
fn allocations_do_not_grow_with_groups() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "allocations::all", "--nocapture"]);
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told: HashMap<&str, (u64, u64)> = text
        .lines()
        .filter_map(|line| {
            let (name, counts) = line.split_once("allocations of ")?.1.split_once(": ")?;
            let (few, many) = counts.split_once(", ")?;
            Some((name, (few.parse().ok()?, many.parse().ok()?)))
        })
        .collect();
    let missing = || format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.len() == QUERIES.len() + 1, "{}", missing());
    for (name, (few, many)) in told {
        println!("{name}: {few} allocations of {FEW} groups, {many} of {MANY}");
        let grows = many > few + MORE;
        // What allocates for each group is seen to.
        assert_eq!(grows, name == "boxes", "{name}: {few} allocations, then {many}");
    }
}

/// Not a test by itself: what the one above runs.
#[test]
#[ignore = "run by the test above, in a process of its own"]
fn all() {
    let runtime = Runtime::new().unwrap();
    let (few, many) = (allocations(&runtime, FEW), allocations(&runtime, MANY));
    for ((name, _), (few, many)) in QUERIES.iter().zip(few.iter().zip(&many)) {
        println!("\nallocations of {name}: {few}, {many}");
    }
    let boxes = [FEW, MANY].map(|groups| {
        counted(|| (0..groups).map(|group| Box::new(group as u64)).collect::<Vec<_>>()).1
    });
    println!("\nallocations of boxes: {}, {}", boxes[0], boxes[1]);
}
