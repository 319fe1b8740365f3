//! Every fault that a kernel lists is planted, and must be noticed by the comparison with the
//! twin: so the samples reach what the faults break.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array};
use arrow::datatypes::DataType;

use thalweg::device::{self, Tier};
use thalweg::kernel::{GENERATED, KERNELS, PART_FAULTS};
use thalweg::run::SlotLimits;

use super::data::{Spread, batch, column, full_column, table};
use super::groups::shifting;
use super::play::{Planned, Played, Setup, plan, player};
use super::{ROWS, block_on};

/// What a kernel's faults are looked for with: queries, rows of a slot, entries of a group table.
fn samples(kernel: &str) -> (Vec<&'static str>, usize, u32) {
    const ROOM: u32 = 1 << 13;
    const NO_ROOM: u32 = 64;
    let keyed = "SELECT k, w, count(*), sum(v), max(v), sum(CAST(w AS DECIMAL(38, 6))) FROM t
        GROUP BY k, w";
    match kernel {
        "reduce" => (vec!["SELECT count(*), sum(v), max(v) FROM t"], 1 << 12, ROOM),
        // Of booleans alone, the last entry is a group.
        "group_dense" => (vec!["SELECT b, count(*), sum(v) FROM t GROUP BY b"], 1024, ROOM),
        // Several tuples of one row that have no room.
        "group_hash" => {
            let joined = "SELECT t.w, r.x, count(*), sum(r.x) FROM t JOIN r ON t.k = r.k
                GROUP BY t.w, r.x";
            (vec![keyed, joined], 1024, NO_ROOM)
        }
        "settle" => (vec!["SELECT b, sum(v) FROM f GROUP BY b"], 1024, ROOM),
        "rehash" => (vec![keyed], 1024, NO_ROOM),
        // More entries than a tile has; a last entry that is a group.
        "compact" => {
            let last = "SELECT b, count(*), sum(v) FROM t GROUP BY b";
            (vec![keyed, last], 1024, ROOM)
        }
        "mark" => (vec!["SELECT n, s FROM t WHERE n < 200"], 1 << 12, ROOM),
        // Computed columns: what a fault leaves unwritten is wrong, but is no row to be taken.
        // Those of a build side stay on the device.
        "select" => {
            let built = "SELECT count(*), sum(j.m) FROM t
                JOIN (SELECT k, n + 1 AS m FROM t WHERE n <> 3) j ON t.k = j.k";
            (vec!["SELECT n + 1 FROM t WHERE n < 4000000", built], 1 << 12, ROOM)
        }
        // More tiles than the workgroup has invocations.
        "scan" => (vec!["SELECT x, count(*) FROM large GROUP BY x"], 1 << 20, ROOM),
        // Flags, NULLs and numbers of more than one slot.
        "append" => {
            let built = "SELECT count(*), count(j.v), sum(j.n), sum(CASE WHEN j.b THEN j.n END)
                FROM t JOIN (SELECT * FROM t WHERE n <> 3) j ON t.k = j.k AND t.n = j.n";
            (vec![built], 1024, ROOM)
        }
        // Keys that are their own places, that are hashed, and of which only existence is asked.
        "build" => {
            let direct = "SELECT count(*), sum(r.x) FROM t JOIN r ON t.k / 77777 = r.k / 77777";
            let hashed = "SELECT count(*), sum(r.x) FROM t
                JOIN r ON t.k * 1000003 = r.k * 1000003";
            let exists = "SELECT count(*), sum(t.n) FROM r RIGHT SEMI JOIN t
                ON t.k / 77777 = r.k / 77777";
            // Columns beside keys that one row has.
            let near = "SELECT count(*), sum(u.y) FROM t JOIN u ON t.k / 77777 = u.x / 77777";
            let far = "SELECT count(*), sum(u.y) FROM t JOIN u ON t.k = u.x";
            (vec![direct, hashed, exists, near, far], 1024, ROOM)
        }
        other => panic!("no sample for the kernel {other}: add one"),
    }
}

async fn planned(queries: &[&str]) -> Vec<Planned> {
    let rows = 300_000;
    let right = batch(vec![
        ("k", column(&DataType::Int32, 40, Spread::Few(20), 12)),
        ("x", column(&DataType::Int64, 40, Spread::Wide, 14)),
    ]);
    let numbers = Int32Array::from_iter_values(0..rows);
    let keys = Int32Array::from_iter_values((0..40).map(|number| number * 77777));
    let unique = batch(vec![
        ("x", Arc::new(keys) as ArrayRef),
        ("y", full_column(&DataType::Int64, 40, Spread::Wide, 15)),
    ]);
    let tables = [
        ("t", table(&DataType::Int64, ROWS, 11)),
        ("f", shifting(ROWS)),
        ("r", right),
        ("large", batch(vec![("x", Arc::new(numbers) as ArrayRef)])),
        ("u", unique),
    ];
    let queries: Vec<String> = queries.iter().map(|sql| sql.to_string()).collect();
    plan(&tables, &queries).await
}

#[test]
fn every_planted_fault_is_noticed() {
    let Some(device) = player(Tier::T4) else { return };
    let twin = device::twin();
    let mut missed = Vec::new();
    block_on(async {
        for kernel in KERNELS {
            assert!(!kernel.faults.is_empty(), "{} lists no fault", kernel.name);
            let (queries, rows, group_entries) = samples(kernel.name);
            let limits = SlotLimits { rows, group_entries, ..Setup::default().limits };
            let sound = Setup { limits, ..Setup::default() };
            let samples = planned(&queries).await;
            let mut expected: Vec<Played> = Vec::new();
            for sample in &samples {
                let twin = sample.play(&twin, sample.rows(), &sound).await.unwrap();
                let found = sample.play(&device, sample.rows(), &sound).await.unwrap();
                assert!(twin.equals(&found), "without a fault: {}", sample.sql);
                expected.push(twin);
            }
            for (from, _) in kernel.faults {
                assert!(kernel.wgsl.contains(from), "{} has no text {from:?}", kernel.name);
            }
            let own = kernel.faults.iter().map(|(from, to)| (kernel.name, *from, *to));
            let parts = PART_FAULTS.iter().filter(|(_, noticed_in, ..)| *noticed_in == kernel.name);
            let parts = parts.map(|(part, _, from, to)| (*part, *from, *to));
            for (place, from, to) in own.chain(parts) {
                let fault = Some((place.into(), from.to_string(), to.to_string()));
                let faulty = Setup { fault, ..sound.clone() };
                let mut noticed = false;
                for (sample, expected) in samples.iter().zip(&expected) {
                    // None of them raises: an error would be one of planting, or of the device.
                    let found = sample.play(&device, sample.rows(), &faulty).await;
                    let found = found.unwrap_or_else(|error| panic!("{from:?} -> {to:?}: {error}"));
                    noticed |= !found.equals(expected);
                }
                if !noticed {
                    missed.push(format!("{place}: {from:?} -> {to:?}"));
                }
            }
        }
    });
    assert!(missed.is_empty(), "nothing notices:\n{}", missed.join("\n"));
}

/// The twin has its constants from the plan, a kernel from the slot: of those that are at another
/// place there, or are others, the comparison tells.
#[test]
fn a_wrong_parameter_is_noticed() {
    let Some(device) = player(Tier::T4) else { return };
    let twin = device::twin();
    let queries = [
        "SELECT n + 5, w * 3 FROM t WHERE n > 7 AND w < 9000000000",
        "SELECT sum(n * 2), min(w - 9) FROM t WHERE n BETWEEN -100 AND 100",
        "SELECT k + 3, count(*), max(n * 5) FROM t WHERE n > 7 GROUP BY k + 3",
        "SELECT count(*), sum(t.n * 4) FROM t JOIN r ON t.k = r.k AND t.n + r.k > 6",
    ];
    let faults = [("u + word]", "u + word + 1u]"), ("u + word]", "u + word] ^ 2u")];
    block_on(async {
        for sample in planned(&queries).await {
            let sound = Setup::default();
            let expected = sample.play(&twin, sample.rows(), &sound).await.unwrap();
            let found = sample.play(&device, sample.rows(), &sound).await.unwrap();
            assert!(expected.equals(&found), "without a fault: {}", sample.sql);
            for (from, to) in faults {
                let fault = Some((GENERATED.to_string(), from.to_string(), to.to_string()));
                let faulty = Setup { fault, ..sound.clone() };
                let found = sample.play(&device, sample.rows(), &faulty).await.unwrap();
                assert!(!found.equals(&expected), "{to}: {}", sample.sql);
            }
        }
    });
}
