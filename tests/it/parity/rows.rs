//! Rows of the source that pass filters and semi joins: a bit for each comes down.

use arrow::datatypes::DataType;

use thalweg::device::Tier;
use thalweg::run::SlotLimits;

use super::data::{Spread, batch, column, full_column};
use super::play::{Setup, plan, player};
use super::{ROWS, SIZES, block_on, same};

#[test]
fn semi_joins_and_filters_mark_rows() {
    block_on(async {
        let side = |rows: usize, seed: u64| {
            batch(vec![
                ("k", column(&DataType::Int64, rows, Spread::Few(19), seed)),
                ("x", column(&DataType::Int32, rows, Spread::Few(50), seed + 1)),
                ("s", column(&DataType::Utf8, rows, Spread::Few(9), seed + 2)),
            ])
        };
        let tables = [("a", side(60, 1)), ("b", side(90, 2)), ("p", side(ROWS, 3))];
        let queries = [
            "SELECT p.x, p.s FROM a RIGHT SEMI JOIN p ON a.k = p.k",
            "SELECT p.x, p.s FROM a RIGHT ANTI JOIN p ON a.k = p.k AND a.x < p.x WHERE p.x > 0",
            "SELECT q.s FROM b RIGHT ANTI JOIN
               (SELECT p.* FROM a RIGHT SEMI JOIN p ON a.s = p.s) q ON b.k = q.k AND b.x = q.x",
        ];
        let planned = plan(&tables, &queries.map(String::from)).await;
        same(&planned, &[Tier::T0, Tier::T4], &SIZES, &Setup::default()).await;
    });
}

#[test]
fn rows_come_down_as_bits() {
    const ROWS: usize = 200_000;
    /// Of a submit: its status, and what it rounds up.
    const SUBMIT: u64 = 4096;
    let Some(player) = player(Tier::T4) else { return };
    let rows = batch(vec![("n", full_column(&DataType::Int32, ROWS, Spread::Few(9), 4))]);
    block_on(async {
        let planned = &plan(&[("t", rows)], &["SELECT n FROM t WHERE n <> 3".into()]).await[0];
        for rows in [1 << 16, ROWS] {
            let limits = SlotLimits { rows, ..SlotLimits::default() };
            let setup = Setup { limits, ..Setup::default() };
            let played = planned.play(&player, ROWS, &setup).await.unwrap();
            assert!(played.num_rows() > ROWS / 2);
            let (down, slots) = (played.stats["bytes_down"], played.stats["slots"]);
            let most = ROWS as u64 / 8 * 105 / 100 + SUBMIT * slots;
            assert!(down <= most, "{down} bytes down, expected at most {most}; {slots} slots");
        }
    });
}
