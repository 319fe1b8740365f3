//! Our functions over DataFusion's, in its own operators.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, RecordBatch};
use arrow::compute::{sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::MemTable;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{AggregateUDF, LogicalPlan, WindowFunctionDefinition};
use datafusion::physical_plan::collect;
use datafusion::prelude::{Expr, SessionConfig, SessionContext};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use thalweg::agg::float_sum::FloatSum;
use thalweg::agg::udaf;

use super::rows::{Range, SEED, context, table};

/// Answers of one column, in the order of the rows.
async fn column(context: &SessionContext, sql: &str) -> ArrayRef {
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    let schema = batches[0].schema();
    arrow::compute::concat_batches(&schema, &batches).unwrap().column(0).clone()
}

fn floats(rng: &mut ChaCha8Rng, batches: &[usize]) -> (MemTable, Vec<Option<f64>>) {
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int32, false),
        Field::new("r", DataType::Int32, false),
        Field::new("x", DataType::Float64, true),
    ]));
    let mut all = vec![];
    let mut partition = vec![];
    for &rows in batches {
        let first = all.len() as i32;
        let x: Float64Array = (0..rows)
            .map(|_| {
                let scale = 2f64.powi((rng.next_u32() % 160) as i32 - 80);
                let value = (rng.next_u64() as i64) as f64 * scale;
                (!rng.next_u32().is_multiple_of(7)).then_some(value)
            })
            .collect();
        all.extend(x.iter());
        let rows = first..first + rows as i32;
        let keys = Int32Array::from_iter_values(rows.clone().map(|row| row % 5));
        let columns: Vec<ArrayRef> =
            vec![Arc::new(keys), Arc::new(Int32Array::from_iter_values(rows)), Arc::new(x)];
        partition.push(RecordBatch::try_new(schema.clone(), columns).unwrap());
    }
    (MemTable::try_new(schema, vec![partition]).unwrap(), all)
}

fn exact_sum<'a>(values: impl IntoIterator<Item = &'a Option<f64>>) -> (Option<f64>, u64) {
    let (mut sum, mut count) = (FloatSum::EMPTY, 0);
    for value in values.into_iter().flatten() {
        sum.add(*value);
        count += 1;
    }
    (sum.value().unwrap(), count)
}

#[tokio::test]
async fn float_sums_do_not_depend_on_order_batches_or_partitions() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let (table, values) = floats(&mut rng, &[1000, 1, 700, 37, 900]);
    let context = context(table, 4);
    let (sum, count) = exact_sum(&values);
    let average = sum.map(|sum| sum / count as f64);
    for order in ["r", "r DESC", "x", "abs(x) DESC"] {
        for partitions in [1, 3] {
            let set = format!("SET datafusion.execution.target_partitions = {partitions}");
            context.sql(&set).await.unwrap().collect().await.unwrap();
            let sql = format!("FROM (SELECT * FROM t ORDER BY {order})");
            let sums = column(&context, &format!("SELECT sum(x) {sql}")).await;
            assert_eq!(&*sums, &Float64Array::from(vec![sum]), "{order}, {partitions}");
            let averages = column(&context, &format!("SELECT mean(x) {sql}")).await;
            assert_eq!(&*averages, &Float64Array::from(vec![average]), "{order}, {partitions}");
            let by_key = format!("SELECT sum(s) FROM (SELECT sum(x) s {sql} GROUP BY k)");
            let again = column(&context, &by_key).await;
            let groups = (0..5).map(|key| exact_sum(values.iter().skip(key).step_by(5)).0);
            let total = exact_sum(&groups.collect::<Vec<_>>()).0;
            assert_eq!(&*again, &Float64Array::from(vec![total]), "{order}, {partitions}");
        }
    }
}

/// Where grouping does not reduce the rows, they skip the partial aggregate as states.
#[tokio::test]
async fn float_sums_survive_skipped_partial_aggregation() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let (table, values) = floats(&mut rng, &[2000, 2000]);
    let context = context(table, 2);
    for set in ["rows_threshold = 1", "ratio_threshold = 0.0"] {
        let set = format!("SET datafusion.execution.skip_partial_aggregation_probe_{set}");
        context.sql(&set).await.unwrap().collect().await.unwrap();
    }
    let text = "SELECT sum(x) FILTER (WHERE r % 3 <> 0), avg(x), min(x), max(x), k \
                FROM t WHERE r >= 0 GROUP BY r, k ORDER BY r";
    let batches = context.sql(text).await.unwrap().collect().await.unwrap();
    let batch = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
    let rows = values.iter().enumerate();
    let filtered: Float64Array = rows.map(|(row, x)| x.filter(|_| row % 3 != 0)).collect();
    assert_eq!(&**batch.column(0), &filtered);
    let values = Float64Array::from(values);
    for column in 1..4 {
        assert_eq!(&**batch.column(column), &values);
    }
}

#[tokio::test]
async fn float_sums_slide_over_window_frames() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let (table, mut values) = floats(&mut rng, &[300]);
    drop(table);
    // Large numbers, infinities and NaN pass through the frame and leave nothing behind.
    for (row, odd) in [(20, 1e300), (50, f64::INFINITY), (80, f64::NAN), (82, -1e300)] {
        values[row] = Some(odd);
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("r", Arc::new(Int32Array::from_iter_values(0..300))),
        ("x", Arc::new(Float64Array::from(values.clone()))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
    let context = context(table, 2);
    let frames = [("4 PRECEDING AND CURRENT ROW", 4, 0), ("2 PRECEDING AND 3 FOLLOWING", 2, 3)];
    let unbounded = ("UNBOUNDED PRECEDING AND CURRENT ROW", 300, 0);
    for (frame, before, after) in frames.into_iter().chain([unbounded]) {
        for average in [false, true] {
            let name = if average { "avg" } else { "sum" };
            let over = format!("OVER (ORDER BY r ROWS BETWEEN {frame})");
            let sql = format!("SELECT {name}(x) {over} FROM t ORDER BY r");
            let answers = column(&context, &sql).await;
            let expected: Float64Array = (0..300usize)
                .map(|row| {
                    let rows = row.saturating_sub(before)..(row + after + 1).min(300);
                    let (sum, count) = exact_sum(&values[rows]);
                    if average { sum.map(|sum| sum / count as f64) } else { sum }
                })
                .collect();
            assert_eq!(&*answers, &expected, "{name} {frame}");
        }
    }
}

/// What we take over gives what DataFusion gives; in its own functions floats are only near.
#[tokio::test]
async fn calls_through_to_datafusion_agree() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let ours = context(table(&mut rng, Range::Small), 2);
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let theirs = SessionContext::new();
    theirs.register_table("t", Arc::new(table(&mut rng, Range::Small))).unwrap();
    for list in [
        "sum(DISTINCT i32), sum(DISTINCT f64), avg(DISTINCT f64), avg(DISTINCT d15)",
        "sum(f32), avg(f32), sum(f64), avg(f64), avg(i64), mean(u8)",
        "sum(f64 ORDER BY i32), min(f32), max(f64)",
        "sum(f64) FILTER (WHERE i8 > 0), avg(f64) FILTER (WHERE i8 IS NULL)",
        "sum(f64 + 1.5), sum(f64 + 2.5), sum(d15 + 1), avg(d38), min(s), max(s)",
        "count(DISTINCT f64), sum(f64) - sum(f32), sum(arrow_cast(f32, 'Float16'))",
    ] {
        for group in ["", "GROUP BY k ORDER BY k NULLS FIRST"] {
            let sql = format!("SELECT {list} FROM t WHERE r >= 0 {group}");
            let expected = theirs.sql(&sql).await.unwrap().collect().await.unwrap();
            let given = ours.sql(&sql).await.unwrap().collect().await.unwrap();
            assert_eq!(given[0].schema().fields(), expected[0].schema().fields());
            for (column, theirs) in given[0].columns().iter().zip(expected[0].columns()) {
                near(column, theirs, &sql);
            }
        }
    }
}

/// DataFusion's own avg panics there: its grouped accumulator is handed the order as an argument.
#[tokio::test]
async fn averages_may_be_ordered() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let context = context(table(&mut rng, Range::Small), 2);
    let ordered = "SELECT avg(f64 ORDER BY i32), avg(d15 ORDER BY r) FROM t GROUP BY k ORDER BY k";
    let plain = "SELECT avg(f64), avg(d15) FROM t GROUP BY k ORDER BY k";
    let ordered = context.sql(ordered).await.unwrap().collect().await.unwrap();
    let plain = context.sql(plain).await.unwrap().collect().await.unwrap();
    assert_eq!(ordered[0].columns(), plain[0].columns());
}

/// Equal, or for floats nearly.
pub fn near(ours: &ArrayRef, theirs: &ArrayRef, sql: &str) {
    if ours.data_type() != &DataType::Float64 {
        assert_eq!(ours, theirs, "{sql}");
        return;
    }
    assert_eq!(ours.nulls(), theirs.nulls(), "{sql}");
    let (ours, theirs) = (ours.as_primitive::<Float64Type>(), theirs.as_primitive::<Float64Type>());
    for (ours, theirs) in ours.iter().flatten().zip(theirs.iter().flatten()) {
        assert!((ours - theirs).abs() <= 1e-9 * (1.0 + theirs.abs()), "{sql}: {ours}, {theirs}");
    }
}

/// States that are spilled to disk and merged again are the same states.
#[tokio::test]
async fn float_sums_survive_spilling() {
    let text = "SELECT v * 7919 % 60000 AS k, sum(v / 7.0), avg(v / 3.0), max(-v / 0.5) \
                FROM generate_series(1, 120000) t(v) GROUP BY 1";
    let mut answers = vec![];
    for limit in [7_500_000, 1_000_000_000] {
        let runtime = RuntimeEnvBuilder::new().with_memory_limit(limit, 1.0).build_arc().unwrap();
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config_rt(config, runtime);
        udaf::udafs().iter().for_each(|f| context.register_udaf(f.as_ref().clone()));
        let plan = context.sql(text).await.unwrap().create_physical_plan().await.unwrap();
        let batches = collect(plan.clone(), context.task_ctx()).await.unwrap();
        let spills = plan.children()[0].metrics().unwrap().spill_count();
        assert_eq!(spills > Some(0), limit < 10_000_000, "{spills:?} spills in {limit} bytes");
        let batch = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
        let order = sort_to_indices(batch.column(0), None, None).unwrap();
        answers.push(take_record_batch(&batch, &order).unwrap());
    }
    assert_eq!(answers[0].num_rows(), 60000);
    assert!(answers[0] == answers[1], "differs");
}

#[tokio::test]
async fn native_sums_take_our_place_where_asked() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let context = context(table(&mut rng, Range::Small), 1);
    let state = context.state();
    for (sql, ours) in [
        ("SELECT sum(f64) + 1 FROM t GROUP BY k HAVING avg(f64) > 1", 2),
        ("SELECT sum(f64) OVER (PARTITION BY k), max(f64) OVER () FROM t", 2),
        ("SELECT r FROM t WHERE f64 < (SELECT avg(f64) + min(f64) FROM t)", 2),
    ] {
        let plan = state.create_logical_plan(sql).await.unwrap();
        assert_eq!(our_functions(&plan), ours, "{sql}");
        let fast = |plan: &LogicalPlan| calls_of(plan, udaf::is_fast);
        assert_eq!(fast(&plan), 0, "{sql}");
        let plan = udaf::changed(plan, udaf::Change::FastFloats).unwrap();
        let sums = sql.matches("sum(").count() + sql.matches("avg(").count();
        assert_eq!(fast(&plan), sums, "{sql}");
        context.execute_logical_plan(plan).await.unwrap().collect().await.unwrap();
    }
}

/// Calls of our functions in a plan.
fn our_functions(plan: &LogicalPlan) -> usize {
    calls_of(plan, |function| udaf::native(function).is_some())
}

fn calls_of(plan: &LogicalPlan, is: fn(&AggregateUDF) -> bool) -> usize {
    let mut calls = 0;
    let visited = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                calls += match expr {
                    Expr::AggregateFunction(call) => usize::from(is(&call.func)),
                    Expr::WindowFunction(call) => match &call.fun {
                        WindowFunctionDefinition::AggregateUDF(function) => {
                            usize::from(is(function))
                        }
                        WindowFunctionDefinition::WindowUDF(_) => 0,
                    },
                    _ => 0,
                };
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    visited.unwrap();
    calls
}
