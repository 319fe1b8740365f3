//! How much memory each kernel touches for a row, counted on the device itself: programs are played
//! with calls put into their code that tell each access. What it comes to stands in
//! `snapshots/`, so that a number that rises is seen in review; goals that are reached are held.
//!
//! Columns of the table: bytes of different words read and written; different sectors of 32 bytes
//! of a row by itself, without headers that are the same for all rows; accesses beyond these;
//! atomics, and those whose result is used; bytes moved. These are sectors of a workgroup where
//! loads stay near and stores meet, of 32 invocations in step where atomics go to memory each time.
//! The floor is the columns once and the result once.

mod counted;
mod laws;
mod measured;
mod place;
mod player;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};

use thalweg::device::{AdapterKind, Player, Tier};
use thalweg::record::{Access, Code, Command, Program, Recording};
use thalweg::run::SlotLimits;

use super::parity::block_on;
use super::parity::play::{Setup, Tables, plan, player};
use measured::Ran;
use player::Counting;

/// Rows of a case: several workgroups of several rows an invocation.
const ROWS: usize = 1 << 15;

/// Rows of a case's small table.
const BUILD_ROWS: usize = 1 << 13;

/// A query.
struct Case {
    name: &'static str,
    sql: &'static str,
    tables: Vec<(&'static str, RecordBatch)>,
    group_entries: u32,
    /// At the lowest tier, else at the highest.
    lowest: bool,
    /// Bytes of a row and of a result, where these are not the columns of both.
    widths: Option<[u64; 2]>,
    goal: Option<Goal>,
}

/// What is wanted of the programs whose labels begin so; held if it is reached.
struct Goal {
    kernel: &'static str,
    what: What,
    most: f64,
    reached: bool,
}

#[derive(Debug, Clone, Copy)]
enum What {
    /// Bytes moved, of the floor.
    Ratio,
    /// Sectors of a row in tables.
    Sectors,
}

impl Goal {
    /// As one line. Fails where a goal that was reached is not, or one that was not is.
    fn check(&self, name: &str, ran: &Ran, floor: u64) -> String {
        let Self { kernel, what, most, reached } = self;
        let found = match what {
            What::Ratio => ran.moved_by(kernel) as f64 / floor as f64,
            What::Sectors => ran.table_sectors(kernel),
        };
        let kernel = if kernel.is_empty() { "all" } else { kernel };
        let told = format!("{what:?} of {kernel}: {found:.2}, goal {most}");
        assert!(!*reached || found <= *most, "{name}: {told}, which was reached");
        assert!(*reached || found > *most, "{name}: {told}, which is reached now: hold it");
        let end = if *reached { "held" } else { "NOT reached" };
        format!("  {told}, {end}\n")
    }
}

impl Case {
    fn new(name: &'static str, sql: &'static str, columns: Vec<(&str, ArrayRef)>) -> Self {
        let tables = vec![("t", RecordBatch::try_from_iter(columns).unwrap())];
        let group_entries = SlotLimits::default().group_entries;
        Self { name, sql, tables, group_entries, lowest: false, widths: None, goal: None }
    }

    fn with(mut self, name: &'static str, columns: Vec<(&str, ArrayRef)>) -> Self {
        self.tables.push((name, RecordBatch::try_from_iter(columns).unwrap()));
        self
    }

    fn goal(self, kernel: &'static str, what: What, most: f64, reached: bool) -> Self {
        Self { goal: Some(Goal { kernel, what, most, reached }), ..self }
    }

    /// What must be read and written at least.
    fn floor(&self, result: &RecordBatch) -> u64 {
        match self.widths {
            Some([row, out]) => ROWS as u64 * row + result.num_rows() as u64 * out,
            None => self.tables.iter().map(|(_, batch)| bytes(batch)).sum::<u64>() + bytes(result),
        }
    }
}

/// Row number, scrambled: each of `0..ROWS` once.
fn mixed(row: usize) -> usize {
    (row * 20_011 + 77) % ROWS
}

fn longs(of: impl Fn(usize) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values((0..ROWS).map(of)))
}

fn ints(of: impl Fn(usize) -> i32) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values((0..ROWS).map(of)))
}

fn floats(of: impl Fn(usize) -> f64) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values((0..ROWS).map(of)))
}

fn money(of: impl Fn(usize) -> i128) -> ArrayRef {
    let values = Decimal128Array::from_iter_values((0..ROWS).map(of));
    Arc::new(values.with_precision_and_scale(15, 2).unwrap())
}

fn value(row: usize) -> i64 {
    mixed(row) as i64 * 7919 - 5_000_000
}

/// Keys far apart: each of `count` as often as the others.
fn far(row: usize, count: usize) -> i64 {
    (mixed(row) % count) as i64 * 1_000_003
}

/// Kernel, text, replacement.
type Fault = (String, String, String);

fn cases() -> Vec<Case> {
    let mut cases = folds();
    cases.extend(keys());
    cases.extend(accumulators());
    cases.extend(joins());
    cases
}

/// Aggregates without keys, and filters.
fn folds() -> Vec<Case> {
    let nullable = (0..ROWS).map(|row| (row % 8 != 3).then_some(mixed(row) as i32 - 999));
    let nullable: ArrayRef = Arc::new(Int32Array::from_iter(nullable));
    let days = (0..ROWS).map(|row| 8000 + (mixed(row) % 2500) as i32);
    let q6 = vec![
        ("price", money(|row| 90_000 + mixed(row) as i128)),
        ("discount", money(|row| mixed(row) as i128 % 11)),
        ("quantity", money(|row| mixed(row) as i128 % 50 * 100)),
        ("day", Arc::new(Date32Array::from_iter_values(days)) as ArrayRef),
    ];
    vec![
        Case::new("reduce, sum of 64 bits", "SELECT sum(v) FROM t", vec![("v", longs(value))])
            .goal("reduce", What::Ratio, 1.1, true),
        Case::new(
            "reduce, extremes of 32 bits with NULLs",
            "SELECT min(v), max(v), count(v) FROM t",
            vec![("v", nullable)],
        )
        .goal("reduce", What::Ratio, 1.1, true),
        Case::new(
            "reduce, sum of floats",
            "SELECT sum(v) FROM t",
            vec![("v", floats(|row| mixed(row) as f64 / 8.0))],
        )
        .goal("reduce", What::Ratio, 1.1, true),
        Case::new(
            "filter and reduce, as TPC-H 6",
            "SELECT sum(price * discount) FROM t WHERE day >= DATE '1994-01-01'
             AND day < DATE '1995-01-01' AND discount BETWEEN 0.05 AND 0.07 AND quantity < 24",
            q6,
        )
        .goal("reduce", What::Ratio, 1.1, true),
        Case::new(
            "filter, a computed column, half of the rows",
            "SELECT v + 1 AS w FROM t WHERE v < 124738560",
            vec![("v", longs(value))],
        )
        .goal("", What::Ratio, 1.1, true),
        // Where a row is nothing but columns as they are, the host is told a bit.
        Case {
            widths: Some([4, 0]),
            ..Case::new(
                "filter, a column as it is, a tenth of the rows",
                "SELECT v FROM t WHERE k < 100",
                vec![("k", ints(|row| (mixed(row) % 1000) as i32)), ("v", longs(value))],
            )
        }
        .goal("", What::Ratio, 1.1, true),
    ]
}

const COUNT_AND_SUM: &str = "SELECT k, count(*), sum(v) FROM t GROUP BY k";

/// So many groups, of keys far apart.
fn keyed(name: &'static str, sql: &'static str, count: usize) -> Case {
    Case::new(name, sql, vec![("k", longs(|row| far(row, count))), ("v", longs(value))])
}

/// Groups by keys of all kinds.
fn keys() -> Vec<Case> {
    let flag = BooleanArray::from_iter((0..ROWS).map(|row| Some(row % 3 == 0)));
    let letters = ["A", "N", "R"];
    let letter = StringArray::from_iter_values((0..ROWS).map(|row| letters[mixed(row) % 3]));
    // Four windows, one after the other.
    let time = |row: usize| row as i64 * 1220;
    let times = TimestampMicrosecondArray::from_iter_values((0..ROWS).map(time));
    let few = vec![
        ("f", Arc::new(flag) as ArrayRef),
        ("l", Arc::new(letter)),
        ("p", money(|row| mixed(row) as i128)),
    ];
    let near = vec![("k", ints(|row| (mixed(row) % 1024) as i32)), ("v", longs(value))];
    let pairs = vec![
        ("k", longs(|row| far(row, 1024) * 7_919_777)),
        ("l", longs(|row| far(row, 1024) * -104_729_111)),
        ("v", longs(value)),
    ];
    let backlog = vec![
        ("ts", Arc::new(times) as ArrayRef),
        ("key", longs(|row| far(row, 1024))),
        ("value", longs(value)),
    ];
    let lowest = keyed("groups, 1,024 keys far apart, by 32-bit words", COUNT_AND_SUM, 1024);
    let many = keyed("groups, 2,048 that outgrow a table of 1,024", COUNT_AND_SUM, 2048);
    let goal = |case: Case, reached| case.goal("group_", What::Ratio, 3.0, reached);
    let window = "SELECT window_start, key, count(*) AS n, sum(value) AS total, max(value) AS top
        FROM TUMBLE((SELECT * FROM t), DESCRIPTOR(ts), INTERVAL '10' SECOND)
        GROUP BY window_start, window_end, key";
    let sql = "SELECT f, l, count(*), sum(p) FROM t GROUP BY f, l";
    let pair_sql = "SELECT k, l, count(*), sum(v) FROM t GROUP BY k, l";
    vec![
        Case::new("groups, 6 of a flag and a letter", sql, few),
        goal(Case::new("groups, 1,024 keys side by side", COUNT_AND_SUM, near), true),
        goal(keyed("groups, 1,024 keys far apart", COUNT_AND_SUM, 1024), true),
        Case { lowest: true, ..lowest },
        Case::new("groups, 1,024 pairs of keys of 64 bits", pair_sql, pairs),
        Case { group_entries: 1 << 10, ..many },
        goal(Case::new("groups, window and key of a stream's backlog", window, backlog), true),
    ]
}

/// Groups with accumulators of all kinds.
fn accumulators() -> Vec<Case> {
    let key = || ("k", longs(|row| far(row, 1024)));
    let floats = vec![key(), ("v", floats(|row| mixed(row) as f64 / 8.0))];
    let money = vec![key(), ("v", money(|row| mixed(row) as i128))];
    let average = "SELECT k, avg(v) FROM t GROUP BY k";
    let sum = "SELECT k, sum(v) FROM t GROUP BY k";
    vec![
        keyed("groups, 1,024 keys, only counted", "SELECT k, count(*) FROM t GROUP BY k", 1024),
        keyed("groups, 1,024 keys, greatest", "SELECT k, max(v) FROM t GROUP BY k", 1024),
        Case::new("groups, 1,024 keys, average of floats", average, floats),
        Case::new("groups, 1,024 keys, sum of decimals", sum, money),
    ]
}

/// Joins: what is built, and what a row looks up.
fn joins() -> Vec<Case> {
    let build = |of: fn(usize) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..BUILD_ROWS).map(of)))
    };
    let sql = "SELECT count(*), sum(t.v), sum(r.x) FROM t JOIN r ON t.k = r.k";
    let probe = |name, count: usize| {
        Case::new(name, sql, vec![("k", longs(|row| far(row, count))), ("v", longs(value))])
    };
    let unique =
        || vec![("k", build(|row| row as i64 * 1_000_003)), ("x", build(|row| row as i64 % 99))];
    let four =
        vec![("k", build(|row| (row / 4) as i64 * 1_000_003)), ("x", build(|row| row as i64))];
    vec![
        probe("join, unique keys, each row finds one", BUILD_ROWS).with("r", unique()).goal(
            "reduce",
            What::Sectors,
            1.5,
            true,
        ),
        probe("join, unique keys, a fourth of the rows find one", 4 * BUILD_ROWS)
            .with("r", unique())
            .goal("reduce", What::Sectors, 1.5, true),
        probe("join, four rows of each key", BUILD_ROWS / 4).with("r", four),
    ]
}

/// Bytes of a batch's columns, of bits of validity where there are NULLs.
fn bytes(batch: &RecordBatch) -> u64 {
    let of = |column: &ArrayRef| {
        let width = match column.data_type().primitive_width() {
            // Decimals of up to 18 digits take eight.
            Some(16) => 64,
            Some(width) => 8 * width,
            // Booleans are bits, strings go as codes.
            None if column.data_type() == &arrow::datatypes::DataType::Boolean => 1,
            None => 32,
        };
        let valid = usize::from(column.null_count() > 0);
        (column.len() * (width + valid)).div_ceil(8) as u64
    };
    batch.columns().iter().map(of).sum()
}

/// Plays a case and has it told; the answer is the twin's, also with a fault that only costs.
async fn ran(case: &Case, counting: &Arc<Counting>, fault: Option<Fault>) -> (Ran, u64) {
    let tables: &Tables = &case.tables;
    let planned = &plan(tables, &[case.sql.to_string()]).await[0];
    // As slots of a million rows have it: ranges of keys are looked for.
    let limits =
        SlotLimits { range_rows: 1, group_entries: case.group_entries, ..SlotLimits::default() };
    let setup = Setup { limits, fault, ..Setup::default() };
    let player: Arc<dyn Player> = counting.clone();
    let told = planned.play(&player, ROWS, &setup).await.unwrap();
    let submits = counting.take();
    let expected = planned.play(&thalweg::device::twin(), ROWS, &setup).await.unwrap();
    assert!(told.equals(&expected), "{}: other answers where it is counted", case.name);
    (Ran::of(&submits), case.floor(told.batch()))
}

#[test]
fn traffic() {
    let Some(inner) = player(Tier::T4) else { return };
    let Some(lowest) = player(Tier::T0) else { return };
    let software = inner.capabilities().kind == AdapterKind::Software;
    let mut table = String::new();
    block_on(async {
        let counting = Counting::new(inner).await;
        let counting_lowest = Counting::new(lowest).await;
        for case in cases() {
            let counting = if case.lowest { &counting_lowest } else { &counting };
            let (ran, floor) = ran(&case, counting, None).await;
            let text = ran.text(ROWS as u64, floor);
            let (name, sql) = (case.name, case.sql);
            let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
            table.push_str(&format!("{name}\n  {sql}\n{text}"));
            if let Some(goal) = &case.goal {
                table.push_str(&goal.check(name, &ran, floor));
            }
            table.push('\n');
        }
    });
    // Elsewhere threads meet in other orders.
    if software {
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!("traffic", table);
        });
    } else {
        println!("{table}");
    }
}

/// One load a row more, of which the answer knows nothing.
#[test]
fn a_load_more_is_seen() {
    let Some(inner) = player(Tier::T4) else { return };
    block_on(async {
        let counting = Counting::new(inner).await;
        let case = &folds()[0];
        let more = "process(row); if (slot[row] == 0xfffffffeu) { partials[0] = 1u; }";
        let fault = ("reduce".to_string(), "process(row);".to_string(), more.to_string());
        let (sound, floor) = ran(case, &counting, None).await;
        let (faulty, _) = ran(case, &counting, Some(fault)).await;
        let words = 4.0 * ROWS as f64 / floor as f64;
        let [sound, faulty] = [sound, faulty].map(|ran| ran.moved() as f64 / floor as f64);
        assert!((faulty - sound - words).abs() < 0.05, "{sound:.2} and {faulty:.2} of the floor");
    });
}

/// A kernel of which it is known what it touches.
#[test]
fn what_is_known_is_counted() {
    const KNOWN: &str = "
        @group(0) @binding(0) var<storage, read> a: array<vec4<u32>>;
        @group(0) @binding(1) var<storage, read_write> tab: array<atomic<u32>>;
        @group(0) @binding(2) var<storage, read_write> out: array<u32>;
        var<workgroup> most: atomic<u32>;
        fn process(row: u32) {
            let v = a[row];
            let old = atomicAdd(&tab[16u * (row % 4u)], v.x);
            atomicAdd(&tab[16u * (row % 4u) + 1u], v.y);
            atomicMax(&most, old);
            for (var i = 0u; i < 2u; i++) { out[row] += v[i]; }
        }
        @compute @workgroup_size(256)
        fn main(
            @builtin(workgroup_id) wid: vec3<u32>,
            @builtin(num_workgroups) nwg: vec3<u32>,
            @builtin(local_invocation_index) lane: u32,
        ) {
            for (var row = wid.x * 256u + lane; row < 1024u; row += nwg.x * 256u) {
                process(row);
            }
            workgroupBarrier();
        }";
    const TOLD: &str = "\
  known: 1 x 2 groups, 1024 items, barriers a group 1.00, shared atomics 1.00
    loops: process 2.00
    a                                 16.00    0.00    1.00    0.00    0.00    0.00   16.00
    tab                                0.03    0.03    1.00    1.00    2.00    1.00    4.00
    out                                4.00    4.00    1.00    3.00    0.00    0.00    4.00
";
    let Some(inner) = player(Tier::T0) else { return };
    block_on(async {
        let counting = Counting::new(inner).await;
        let access = vec![Access::Read, Access::ReadWrite, Access::ReadWrite];
        let code = Arc::new(Code::new(KNOWN.into(), access));
        let (label, parts) = ("known".to_string(), Vec::new());
        let program = Arc::new(Program { label, code, parts, twin: Arc::new(|_| Ok(())) });
        let buffer = |bytes| counting.buffer(bytes, "known").unwrap();
        let [a, tab, out] = [16 * 1024, 256, 4 * 1024].map(buffer);
        let mut from = counting.staging(16 * 1024).await.unwrap();
        (0..).zip(from.words()).for_each(|(number, word)| *word = number);
        let commands = vec![
            Command::Upload { from, bytes: 16 * 1024, to: a.clone(), at: 0 },
            Command::Clear { buffer: tab.clone(), range: 0..256 },
            Command::Clear { buffer: out.clone(), range: 0..4 * 1024 },
            Command::Dispatch { program, bindings: vec![a, tab, out.clone()], groups: 2 },
            Command::Download { buffer: out, range: 0..4 * 1024 },
        ];
        let completed = counting.submit(Recording { label: "known".into(), commands }).await;
        let words = completed.unwrap().downloads.remove(0);
        assert!((0..1024).zip(words.iter()).all(|(row, word)| *word == 8 * row + 1));
        let text = Ran::of(&counting.take()).text(1024, 1024);
        assert!(text.contains(TOLD), "{text}");
        assert!(
            text.contains("submits 1, dispatches 1, fills 2 of 4352 bytes, up 16384, down 4096")
        );
    });
}
