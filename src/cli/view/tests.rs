//! Results and plans as drawn at 80 and at 200 columns, compared with golden files.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};

use super::plan::{Cost, Node, draw};
use super::{Expanded, Look, Sample, Screen, width};
use crate::cli::output::encode::Encoder;

/// Rows of numbers, words in several scripts, long texts and NULLs.
fn rows(count: i64, texts: usize) -> RecordBatch {
    let words = ["plain", "grün", "日本語", "two\nlines", "\u{1b}[31mred"];
    let words = (0..count).map(|row| (row % 7 != 3).then(|| words[row as usize % words.len()]));
    let numbers: Vec<i64> = (0..count).map(|row| (row - 2) * 10_i64.pow(row as u32 % 12)).collect();
    let fractions = (0..count).map(|row| (row % 5 != 1).then_some(row as f64 / 8.0));
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("n".into(), Arc::new(Int64Array::from(numbers))),
        ("word".into(), Arc::new(words.collect::<StringArray>())),
        ("a number with a long name".into(), Arc::new(fractions.collect::<Float64Array>())),
    ];
    for column in 0..texts {
        let texts = (0..count).map(|row| {
            let word = format!("text {column} of row {row} ");
            word.repeat(1 + (row as usize + column) % 4).trim_end().to_string()
        });
        columns
            .push((format!("text_{column}"), Arc::new(texts.map(Some).collect::<StringArray>())));
    }
    RecordBatch::try_from_iter_with_nullable(
        columns.iter().map(|(name, column)| (name, Arc::clone(column), true)),
    )
    .unwrap()
}

fn shown(batch: &RecordBatch, look: Look, screen: Screen) -> String {
    let mut sample = Sample::new(batch.schema(), look, screen);
    // However the rows come, they are the same.
    for from in (0..batch.num_rows()).step_by(7) {
        sample.push(&batch.slice(from, 7.min(batch.num_rows() - from)));
    }
    let text = sample.draw().unwrap();
    for line in text.lines() {
        assert!(width(line) <= screen.columns, "{} columns: {line}", width(line));
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    text
}

const NARROW: Screen = Screen { columns: 80, lines: 24 };
const WIDE: Screen = Screen { columns: 200, lines: 50 };

#[track_caller]
fn golden(name: &str, text: &str) {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn tables_fit_the_screen() {
    for (screen, at) in [(NARROW, 80), (WIDE, 200)] {
        let types = Look { types: true, ..Look::default() };
        golden(&format!("few_rows_{at}"), &shown(&rows(6, 2), types, screen));
        golden(&format!("many_rows_{at}"), &shown(&rows(1_000, 3), Look::default(), screen));
        golden(&format!("many_columns_{at}"), &shown(&rows(12, 16), Look::default(), screen));
    }
}

#[test]
fn a_table_is_no_higher_than_the_screen() {
    for count in 0..60 {
        let text = shown(&rows(count, 2), Look::default(), NARROW);
        // One line is left for the prompt.
        assert!(text.lines().count() < NARROW.lines, "{count} rows: {text}");
        let is_cut = text.contains("rows (");
        assert_eq!(is_cut, count > 18, "{count} rows: {text}");
    }
}

#[test]
fn expanded_rows_show_every_value() {
    let look = Look { expanded: true, ..Look::default() };
    for (screen, at) in [(NARROW, 80), (WIDE, 200)] {
        golden(&format!("expanded_{at}"), &shown(&rows(40, 8), look, screen));
    }
    assert_eq!(shown(&rows(0, 1), look, NARROW), "0 rows\n");
    let batch = rows(2, 1);
    let mut all = Expanded::default();
    let mut text = all.write(&batch).unwrap();
    text.extend(all.finish().unwrap());
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count(), 2 * 5);
    assert!(text.contains("-[ 2 ]-"), "{text}");
}

fn of(text: &str, cost: (u64, u64, u64), children: Vec<Node>) -> Node {
    let (rows, nanoseconds, bytes) = cost;
    let some = |value| Some(value).filter(|value| *value > 0);
    let cost = Cost { rows: some(rows), nanoseconds: some(nanoseconds), bytes: some(bytes) };
    Node { text: text.to_string(), cost: Some(cost), children, ..Node::default() }
}

/// A join of which one side runs on the device.
fn plan() -> Node {
    let scan = of(
        "DataSourceExec: file_groups={2 groups: [[data/tpch/lineitem.parquet:0..1090519040], \
         [data/tpch/lineitem.parquet:1090519040..2181038080]]}, projection=[l_orderkey, \
         l_extendedprice, l_discount, l_shipdate], file_type=parquet",
        (6_001_215, 812_000_000, 181_000_000),
        Vec::new(),
    );
    let device = of(
        "DeviceExec: side=gpu, reason=an aggregate over 6.0 M rows is faster there by the measured \
         rates, adapter=Some Adapter (vendor 1), tier=T4, pipeline=[upload(l_orderkey, \
         l_extendedprice, l_discount, l_shipdate) -> filter -> group(1 keys: sum160)]",
        (1_500_000, 95_000_000, 312_000_000),
        vec![scan],
    );
    let orders =
        of("DataSourceExec: file_groups={1 group: [[orders.csv]]}", (1_500_000, 0, 0), vec![]);
    let cpu =
        of("CpuExec: side=cpu, reason=sorts do not run on the device", (0, 0, 0), vec![orders]);
    let join = of(
        "HashJoinExec: mode=Partitioned, join_type=Inner, on=[(o_orderkey@0, \
                   l_orderkey@0)]",
        (1_500_000, 430_000_000, 0),
        vec![cpu, device],
    );
    of("SortPreservingMergeExec: [revenue@1 DESC]", (10, 12_300, 480), vec![join])
}

#[test]
fn plans_fit_the_screen() {
    fn without_costs(node: &Node) -> Node {
        let children = node.children.iter().map(without_costs).collect();
        Node { cost: None, children, ..node.clone() }
    }
    for columns in [80, 200] {
        let text = draw(&plan(), Some(columns));
        assert!(text.lines().all(|line| width(line) <= columns), "{text}");
        golden(&format!("analyzed_{columns}"), &text);
        let text = draw(&without_costs(&plan()), Some(columns));
        assert!(text.lines().all(|line| width(line) <= columns), "{text}");
        golden(&format!("plan_{columns}"), &text);
    }
    let all = draw(&without_costs(&plan()), None);
    assert_eq!(all.lines().count(), 6);
    assert!(all.contains("181038080]]}, projection=") && !all.contains('…'), "{all}");
}
