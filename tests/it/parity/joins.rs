//! Joins of every kind, with duplicates, NULL keys, residuals, several tables and tails.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::DataType;

use thalweg::device::Tier;

use super::data::{Spread, batch, column, full_column};
use super::play::{Setup, plan};
use super::{ROWS, SIZES, block_on, same};

/// Keys `k` (19 values, so that each has many rows) and `s`, values `x` and `y`.
pub fn side(rows: usize, seed: u64) -> RecordBatch {
    batch(vec![
        ("k", column(&DataType::Int64, rows, Spread::Few(19), seed)),
        ("s", column(&DataType::Utf8, rows, Spread::Few(9), seed + 1)),
        ("x", column(&DataType::Int32, rows, Spread::Few(50), seed + 2)),
        ("y", full_column(&DataType::Decimal128(12, 2), rows, Spread::Wide, seed + 3)),
    ])
}

/// Each join as rows, and fused with an aggregate.
pub fn both(from: &str, columns: &str) -> [String; 2] {
    let names: Vec<String> =
        columns.split(", ").enumerate().map(|(at, name)| format!("{name} AS c{at}")).collect();
    let x = columns.split(", ").next().unwrap();
    [
        format!("SELECT {} FROM {from}", names.join(", ")),
        format!("SELECT count(*), sum({x}), min({x}) FROM {from}"),
    ]
}

pub const KINDS: [(&str, &str); 8] = [
    ("INNER", "b.x, p.x, p.y, b.s"),
    ("LEFT", "b.x, p.x, p.y, b.s"),
    ("RIGHT", "p.x, b.x, b.y, p.s"),
    ("FULL", "b.x, p.x, p.y, b.s"),
    ("LEFT SEMI", "b.x, b.y, b.s"),
    ("LEFT ANTI", "b.x, b.y, b.s"),
    ("RIGHT SEMI", "p.x, p.y, p.s"),
    ("RIGHT ANTI", "p.x, p.y, p.s"),
];

#[test]
fn every_kind_of_join() {
    block_on(async {
        let tables = [("b", side(60, 1)), ("p", side(ROWS, 2))];
        let conditions = [
            "b.k = p.k AND b.s = p.s",
            "b.k = p.k AND b.x < p.x",
            "(b.s IS NOT DISTINCT FROM p.s) AND (b.k IS NOT DISTINCT FROM p.k)",
        ];
        for (at, condition) in conditions.iter().enumerate() {
            let mut queries = Vec::new();
            for (kind, columns) in KINDS {
                queries.extend(both(&format!("b {kind} JOIN p ON {condition}"), columns));
            }
            let planned = plan(&tables, &queries).await;
            // The tiers differ in arithmetic only: one condition on both is enough.
            let tiers: &[Tier] = if at == 0 { &[Tier::T0, Tier::T4] } else { &[Tier::T4] };
            same(&planned, tiers, &[0, 1, 33, 1025, ROWS], &Setup::default()).await;
        }
    });
}

#[test]
fn several_tables_and_tails() {
    block_on(async {
        let tables = [("a", side(40, 5)), ("b", side(70, 6)), ("p", side(2 * 1024 + 7, 7))];
        let queries: Vec<String> = [
            "SELECT count(*), sum(a.x), max(b.x), sum(p.y) FROM p JOIN b ON p.k = b.k
               JOIN a ON b.s = a.s",
            "SELECT a.s, count(*), sum(p.x) FROM p JOIN b ON p.k = b.k LEFT JOIN a ON b.s = a.s
               GROUP BY a.s",
            "SELECT b.k, count(*), count(p.x), sum(p.x) FROM b LEFT JOIN p ON p.k = b.k
               AND p.x > b.x GROUP BY b.k",
            "SELECT a.x, b.x AS bx, p.x AS px FROM a FULL JOIN
               (b JOIN p ON p.k = b.k AND p.s = b.s) ON a.k = b.k AND a.s = p.s",
            "SELECT p.x, p.y FROM p LEFT ANTI JOIN b ON p.k = b.k AND p.s = b.s
               WHERE p.x > 0",
            "SELECT a.x, b.y FROM a RIGHT JOIN b ON a.k = b.k + 1 WHERE b.x > 0 OR a.x IS NULL",
        ]
        .map(String::from)
        .into();
        let planned = plan(&tables, &queries).await;
        same(&planned, &[Tier::T0, Tier::T4], &[0, 1, 1025, 2 * 1024 + 7], &Setup::default()).await;
    });
}

/// Keys that are their own places, that are packed and hashed, and that are hashed by all their
/// words; of one row each, of several, of none.
const FORMS: [&str; 6] = [
    "b.k / 77777 = p.k / 77777",
    "b.k = p.k",
    "b.k * 1000003 = p.k * 1000003",
    "b.k * 1000000007 = p.k * 1000000007 AND b.x * 4000000000 = p.x * 4000000000",
    "b.k + 0.5::DECIMAL(30, 1) = p.k + 0.5::DECIMAL(30, 1) AND b.s = p.s",
    "b.k / 7.0::DOUBLE = p.k / 7.0::DOUBLE AND b.k IS NOT DISTINCT FROM p.k",
];

#[test]
fn every_form_of_a_table() {
    block_on(async {
        let several = side(60, 1);
        // One row a key: the first.
        let numbers = Int64Array::from_iter_values((0..50).map(|row| row * 3 - 70));
        let mut columns = several.slice(0, 50).columns().to_vec();
        columns[0] = Arc::new(numbers);
        let single = RecordBatch::try_new(several.schema(), columns).unwrap();
        for build in [several.clone(), single, several.slice(0, 0)] {
            let tables = [("b", build), ("p", side(ROWS, 2))];
            let mut queries = Vec::new();
            for condition in FORMS {
                for (kind, columns) in KINDS {
                    let [rows, folded] = both(&format!("b {kind} JOIN p ON {condition}"), columns);
                    queries.push(if kind.contains("SEMI") { rows } else { folded });
                }
            }
            let planned = plan(&tables, &queries).await;
            same(&planned, &[Tier::T4], &[0, 33, ROWS], &Setup::default()).await;
        }
    });
}

/// Build sides that are filtered, computed and joined where they stay: flags, strings, decimals and
/// NULLs of several slots, tails, tables of tables; how many do is told.
#[test]
fn build_sides_that_stay_on_the_device() {
    block_on(async {
        let flags = column(&DataType::Boolean, 1300, Spread::Few(2), 9);
        let large = side(1300, 8);
        let mut columns = vec![("f", flags)];
        columns.extend(
            ["k", "s", "x", "y"].map(|name| (name, large.column_by_name(name).unwrap().clone())),
        );
        let tables = [("a", side(40, 5)), ("b", batch(columns)), ("p", side(ROWS, 7))];
        let cases: [(&str, usize); 7] = [
            (
                "SELECT count(*), sum(q.x), sum(q.y), count(q.f), count(q.s), sum(p.x) FROM p
               JOIN (SELECT * FROM b WHERE x > 20) q ON p.k = q.k AND p.s = q.s",
                1,
            ),
            (
                "SELECT q.s, q.f, count(*), sum(p.x) FROM p
               RIGHT JOIN (SELECT k + 1 AS j, x * 2 AS x, f, s FROM b WHERE NOT f) q
               ON p.k = q.j AND p.x < q.x GROUP BY q.s, q.f",
                1,
            ),
            (
                "SELECT count(*), sum(p.x) FROM p
               LEFT ANTI JOIN (SELECT k FROM b WHERE x < 3) q ON p.k = q.k",
                1,
            ),
            ("SELECT p.x FROM p LEFT SEMI JOIN (SELECT k FROM b WHERE x < 3) q ON p.k = q.k", 1),
            (
                "SELECT c.s, count(*), sum(c.y), sum(p.x) FROM p
               JOIN (SELECT b.s, b.y, b.k FROM b JOIN a ON b.k = a.k AND b.x > a.x WHERE b.f) c
               ON p.k = c.k GROUP BY c.s",
                1,
            ),
            (
                "SELECT count(*), sum(p.x), count(c.z), sum(c.y) FROM p
               JOIN (SELECT b.k, a.x AS z, b.y FROM a RIGHT JOIN b ON a.k = b.k AND a.x = b.x
                     WHERE b.x < 25) c ON p.k = c.k",
                2,
            ),
            ("SELECT q.x, p.y FROM p JOIN (SELECT * FROM b WHERE x = 7) q ON p.k = q.k", 0),
        ];
        for (sql, stored) in cases {
            let planned = plan(&tables, &[sql.to_string()]).await;
            assert_eq!(planned[0].stored(), stored, "{sql}");
            let setup = Setup::default();
            same(&planned, &[Tier::T0, Tier::T4], &[0, 33, ROWS], &setup).await;
        }
    });
}

/// Keys that one row has, so that columns are read beside them: by place and hashed, with NULLs, of
/// every width, with a residual, before another join and behind one.
#[test]
fn columns_beside_unique_keys() {
    block_on(async {
        let rows = 700;
        let key = |far: i64| {
            let keys = (0..rows as i64).map(|row| (row * 7 % rows as i64) * far);
            Arc::new(Int64Array::from_iter_values(keys)) as ArrayRef
        };
        let of = |data_type: DataType, seed| column(&data_type, rows, Spread::Wide, seed);
        let unique = batch(vec![
            ("near", key(1)),
            ("far", key(1 << 40)),
            ("i", of(DataType::Int32, 1)),
            ("j", of(DataType::Int64, 2)),
            ("d", full_column(&DataType::Decimal128(38, 6), rows, Spread::Wide, 3)),
            ("e", of(DataType::Decimal128(12, 2), 4)),
            ("f", of(DataType::Float64, 5)),
            ("s", column(&DataType::Utf8, rows, Spread::Few(9), 6)),
            ("b", of(DataType::Boolean, 7)),
        ]);
        let probing = batch(vec![
            ("near", full_column(&DataType::Int64, ROWS, Spread::Few(900), 8)),
            ("x", column(&DataType::Int32, ROWS, Spread::Wide, 9)),
        ]);
        let few = side(90, 11);
        let tables = [("u", unique), ("p", probing), ("m", few)];
        // Values of few kinds are multiples of 77777.
        let near = "p JOIN u ON p.near / 77777 = u.near";
        let far = "p JOIN u ON p.near / 77777 * 1099511627776 = u.far";
        let mut queries = Vec::new();
        for join in [near, far] {
            for columns in [
                "min(u.i), count(u.i)",
                "sum(u.j), max(u.i)",
                "sum(u.d), count(u.d)",
                "sum(u.e), max(u.f), count(u.f)",
                "count(u.s), min(u.j)",
                "count(u.b)",
                "sum(u.i), bool_or(u.b)",
            ] {
                queries.push(format!("SELECT count(*), {columns} FROM {join}"));
            }
            queries.push(format!("SELECT u.s, sum(u.j), sum(p.x) FROM {join} GROUP BY u.s"));
            queries.push(format!("SELECT u.j + 1 AS j, p.x FROM {join} AND u.i < p.x"));
            queries.push(format!(
                "SELECT count(*), sum(u.i), sum(m.y) FROM {join} JOIN m ON m.x = u.i % 50"
            ));
            queries.push(format!(
                "SELECT count(*), sum(u.i), count(m.y) FROM {join} LEFT JOIN m ON m.x = u.i % 50"
            ));
        }
        let planned = plan(&tables, &queries).await;
        same(&planned, &[Tier::T0, Tier::T4], &[33, ROWS], &Setup::default()).await;
    });
}

/// Every key of a join and of a group on one probe sequence.
#[test]
fn every_hash_the_same() {
    block_on(async {
        let tables = [("b", side(60, 1)), ("p", side(ROWS, 2))];
        let mut queries: Vec<String> = vec![
            "SELECT k, count(*), sum(y), max(x) FROM p GROUP BY k".into(),
            "SELECT x, k IS NULL AS n, count(*), sum(y) FROM p GROUP BY x, k IS NULL".into(),
        ];
        for (kind, columns) in [KINDS[0], KINDS[3], KINDS[5]] {
            for condition in &FORMS[2..5] {
                queries.extend(both(&format!("b {kind} JOIN p ON {condition}"), columns));
            }
        }
        let planned = plan(&tables, &queries).await;
        let setup = Setup { collide: true, ..Setup::default() };
        same(&planned, &[Tier::T0, Tier::T4], &SIZES[4..], &setup).await;
    });
}
