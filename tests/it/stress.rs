//! Queries in many small slots, each stage of which is held up by random times, against the same
//! queries in one large slot: what slots under way share must not change an answer.
//!
//! Two queries run at a time, as they share the device. `THALWEG_STRESS_RUNS=10000` says how often,
//! `THALWEG_STRESS_SEED=7` from which seed on; a run that differs prints its own, which alone
//! chooses its data, query, sizes and delays.

use std::collections::HashMap;
use std::time::Instant;

use thalweg::config::DeviceChoice;
use thalweg::fault;
use thalweg::sql::Engine;

use super::support::{self, number};

/// Runs where nobody asks for another number: about half a minute of a debug build on two cores.
const RUNS: u64 = 300;

/// What the shapes read: strings of which ever new ones come up to the end, keys that repeat, keys
/// without a partner, NULLs in all of it. `{0}` is the lane's number: no two have the same rows.
const TABLES: [&str; 2] = [
    "CREATE TABLE t AS SELECT value AS id, value * 7 % 101 AS k,
       CASE WHEN value % 13 <> 5 THEN 's' || (value * value % (50 + value / 2))::TEXT END AS s,
       CASE WHEN value % 17 <> 3 THEN 'g' || cast(value / (300 - 100 * {0}) AS TEXT) END AS g,
       CASE WHEN value % 11 = 1 THEN NULL ELSE value * 31 % 997 - 300 END AS x,
       cast(value * 37 % 1009 AS DOUBLE) / 7 AS f,
       cast(value % 89 AS DECIMAL(12, 2)) / 4 AS d,
       value % 3 = {0} AS b, NULL AS n,
       cast('2024-01-01' AS DATE) + cast(value % 400 AS INT) AS day
     FROM generate_series(1, 1500) AS r(value)",
    "CREATE TABLE u AS SELECT value AS id,
       CASE WHEN value % 9 = 2 THEN NULL ELSE value % 120 END AS k,
       CASE WHEN value % 7 = 0 THEN NULL ELSE 's' || cast(value * 5 % 400 AS VARCHAR) END AS s,
       CASE WHEN value % 5 = {0} THEN NULL ELSE value * 3 END AS v
     FROM generate_series(1, 240) AS r(value)",
];

/// One of each kind of state that slots share, and what is made of it.
const SHAPES: [&str; 32] = [
    "SELECT count(*) FROM t WHERE s LIKE '%7%' AND g LIKE '%3%'",
    "SELECT id, upper(s), length(g) FROM t WHERE length(s) > 3",
    "SELECT id FROM t WHERE cast(substr(s, 2) AS INT) % 3 = 1 OR s IS NULL",
    "SELECT g, count(*), sum(x), min(f), max(d) FROM t GROUP BY g",
    "SELECT s, count(*), sum(f), avg(d) FROM t GROUP BY s",
    "SELECT upper(g), b, count(x), avg(f) FROM t GROUP BY upper(g), b",
    "SELECT k, s, sum(d), count(*) FROM t GROUP BY k, s",
    "SELECT length(upper(s)), count(*) FROM t GROUP BY length(upper(s))",
    "SELECT coalesce(s, 'none'), count(x), sum(x) FROM t GROUP BY coalesce(s, 'none')",
    "SELECT DISTINCT substr(s, 1, 2), g FROM t",
    "SELECT count(*) FILTER (WHERE s LIKE '%1%'), sum(x) FILTER (WHERE g > 'g2'), sum(f) FROM t",
    "SELECT CASE WHEN s LIKE 's1%' THEN x WHEN g = 'g1' THEN -x ELSE 7 END AS c, id
       FROM t WHERE id > 3",
    "SELECT b, day, count(*), max(x) FROM t WHERE x > 0 GROUP BY b, day",
    "SELECT id, x + k, f * 2, n FROM t WHERE s IN ('s1', 's16', 's49', 's100', 's144') OR x < 0",
    "SELECT t.id, u.v FROM t JOIN u ON t.k = u.k",
    "SELECT t.id, u.id, u.v FROM t LEFT JOIN u ON t.s = u.s AND t.id % 2 = 0",
    "SELECT t.id, u.id FROM t RIGHT JOIN u ON upper(t.s) = upper(u.s)",
    "SELECT a.c, t.id, t.p FROM (SELECT k, coalesce(v, -1) AS c FROM u) a
       FULL JOIN (SELECT k + 60 AS k, id, s IS NULL AS p FROM t WHERE id % 4 = 0) t ON a.k = t.k",
    "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.s = t.s AND u.v > t.id / 3)",
    "SELECT id FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND u.v > t.x)",
    "SELECT u.id FROM u WHERE EXISTS (SELECT 1 FROM t WHERE u.s = t.s AND t.x > u.v)",
    "SELECT u.s, count(*), sum(t.x) FROM t JOIN u ON t.k = u.k GROUP BY u.s",
    "SELECT u.s, t.g, count(*) FROM u LEFT JOIN t ON t.s = u.s GROUP BY u.s, t.g",
    "SELECT sum(t.x), count(u.v), count(*) FROM t FULL JOIN u ON t.s = u.s",
    "SELECT a.id, b.id FROM t a JOIN t b ON a.g = b.g AND a.k = b.k AND a.id < b.id",
    "SELECT a.id, b.id FROM t a JOIN t b ON a.k = b.k WHERE a.id % 5 = 0 AND a.s < 's4'",
    "SELECT t.id, u.v, w.id FROM t LEFT JOIN u ON t.s = u.s LEFT JOIN u w ON t.k = w.k",
    "SELECT u.id, t.id, w.c FROM u LEFT JOIN t ON u.k = t.k AND t.s LIKE '%2%'
       LEFT JOIN (SELECT s, 7 AS c FROM u WHERE v > 100) w ON t.s = w.s",
    "SELECT id, (SELECT count(*) FROM t WHERE t.k = u.k) AS n FROM u",
    "SELECT t.g, c.n, sum(t.x) FROM t JOIN (SELECT s, count(*) AS n FROM u GROUP BY s) c
       ON t.s = c.s GROUP BY t.g, c.n",
    "SELECT count(*), sum(length(t.s || u.s)) FROM t JOIN u ON t.k = u.k WHERE t.s <> 's1'",
    "SELECT q.c, count(*)
       FROM (SELECT CASE WHEN length(s) > 3 THEN x END AS c FROM t) q GROUP BY q.c",
];

/// Numbers that follow from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % most
    }
}

/// One engine with one variant of the tables, and what it answered in large slots, by shape.
struct Lane {
    engine: Engine,
    known: HashMap<usize, Vec<Vec<String>>>,
}

impl Lane {
    async fn open(variant: u64) -> Option<Self> {
        let engine = support::engine_on(DeviceChoice::Gpu)?;
        // Batches that end within slots, and begin there.
        support::run(&engine, "SET datafusion.execution.batch_size = 190").await.unwrap();
        for table in TABLES {
            let table = table.replace("{0}", &variant.to_string());
            support::run(&engine, &table).await.unwrap();
        }
        Some(Self { engine, known: HashMap::new() })
    }

    async fn sorted(&self, rows: u64, entries: u64, sql: &str) -> Vec<Vec<String>> {
        let set = format!("SET thalweg.slot_rows = {rows}; SET thalweg.group_entries = {entries}");
        support::run(&self.engine, &set).await.unwrap();
        let mut rows = support::rows(&self.engine, sql).await.rows;
        rows.sort();
        rows
    }

    /// One run: a large slot, if that was not asked before, and small ones.
    async fn once(&mut self, seed: u64) {
        let mut numbers = Numbers(seed);
        let shape = numbers.below(SHAPES.len() as u64) as usize;
        let (rows, entries) = (40 + numbers.below(400), 16 << numbers.below(8));
        let sql = SHAPES[shape];
        if !self.known.contains_key(&shape) {
            let plan = support::rows(&self.engine, &format!("EXPLAIN {sql}")).await;
            let placed = plan.rows.iter().flatten().any(|text| text.contains("DeviceExec"));
            assert!(placed, "nothing of this runs on the device: {sql}");
            fault::delay(0);
            let answer = self.sorted(1 << 20, 1 << 14, sql).await;
            assert!(!answer.is_empty(), "no rows to compare come from: {sql}");
            self.known.insert(shape, answer);
        }
        fault::delay(seed + 1);
        let small = self.sorted(rows, entries, sql).await;
        let large = &self.known[&shape];
        let first = small.iter().zip(large).find(|(small, large)| small != large);
        assert!(
            small == *large,
            "THALWEG_STRESS_SEED={seed} THALWEG_STRESS_RUNS=1: slots of {rows} rows and tables of \
             {entries} groups give {} rows, one slot gives {}; the first that differ: {first:?}\n\
             {sql}",
            small.len(),
            large.len(),
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn small_slots_held_up_answer_as_one_large_slot() {
    let runs = number("THALWEG_STRESS_RUNS", RUNS);
    let first = number("THALWEG_STRESS_SEED", 1);
    let started = Instant::now();
    let (Some(mut even), Some(mut odd)) = (Lane::open(0).await, Lane::open(1).await) else {
        return;
    };
    println!("stress: seeds {first} to {}", first + runs.saturating_sub(1));
    let seeds = |odd: u64| (first..first + runs).filter(move |seed| seed % 2 == odd);
    let evens = async {
        for seed in seeds(0) {
            even.once(seed).await;
        }
    };
    let odds = async {
        for seed in seeds(1) {
            odd.once(seed).await;
        }
    };
    tokio::join!(evens, odds);
    fault::delay(0);
    println!("stress: {runs} runs without a difference in {:?}", started.elapsed());
}
