//! Aggregates against DataFusion's own operators: the same plan, the same rows, once through its
//! accumulators and once folded through ours, in random splits, bit for bit.

mod rows;
mod udafs;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use thalweg::agg::{Acc, Aggregate, StateColumn};
use thalweg::expr::ir::Rep;

use rows::{Range, SEED, columns, context, table};

/// The calls that exist on the device, for each column.
fn calls(range: Range) -> Vec<String> {
    use DataType::*;
    let mut calls = vec!["count(*)".to_string(), "count(s)".into()];
    for (name, data_type) in columns() {
        let mut functions = vec!["count", "min", "max"];
        match &data_type {
            Boolean => functions.extend(["bool_and", "bool_or"]),
            // Sums of all digits that a type has do not fit it, nor do averages of 4 more.
            Decimal128(38, _) | Decimal32(9, _) if range == Range::Full => {}
            Duration(_) if range == Range::Full => functions.push("sum"),
            data_type if data_type.is_numeric() => functions.extend(["sum", "avg"]),
            Duration(_) => functions.extend(["sum", "avg"]),
            _ => {}
        }
        calls.extend(functions.iter().map(|function| format!("{function}({name})")));
    }
    calls
}

fn sql(calls: &[String], grouped: bool) -> String {
    let list = calls.join(", ");
    // The filter keeps statistics from answering.
    match grouped {
        true => format!("SELECT k, {list} FROM t WHERE r >= 0 GROUP BY k"),
        false => format!("SELECT {list} FROM t WHERE r >= 0"),
    }
}

/// The plan's aggregate nodes, top first.
fn aggregates(plan: &Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn ExecutionPlan>> {
    let mut found = vec![];
    if plan.downcast_ref::<AggregateExec>().is_some() {
        found.push(plan.clone());
    }
    for child in plan.children() {
        found.extend(aggregates(child));
    }
    found
}

fn node(plan: &Arc<dyn ExecutionPlan>) -> &AggregateExec {
    plan.downcast_ref::<AggregateExec>().unwrap()
}

/// A value's bits in the way of `expr::ir`.
fn value_bits(array: &dyn Array, row: usize, rep: Rep) -> Option<u128> {
    if array.is_null(row) {
        return None;
    }
    let data = array.to_data();
    if array.data_type() == &DataType::Boolean {
        let bits = BooleanBuffer::new(data.buffers()[0].clone(), data.offset(), data.len());
        return Some(u128::from(bits.value(row)));
    }
    let width = array.data_type().primitive_width().unwrap();
    let at = (data.offset() + row) * width;
    let mut bytes = [0; 16];
    bytes[..width].copy_from_slice(&data.buffers()[0].as_slice()[at..at + width]);
    let bits = u128::from_le_bytes(bytes);
    let signed = matches!(rep, Rep::I32 | Rep::I64 | Rep::I128);
    let unused = 128 - 8 * width;
    let wide = if signed { (((bits << unused) as i128) >> unused) as u128 } else { bits };
    Some(wide & (u128::MAX >> (128 - 32 * rep.words())))
}

fn rep_of(data_type: &DataType) -> Rep {
    use DataType::*;
    match data_type {
        Boolean => Rep::B1,
        Int8 | Int16 | Int32 | Date32 | Time32(_) => Rep::I32,
        UInt8 | UInt16 | UInt32 => Rep::U32,
        UInt64 => Rep::U64,
        Float32 => Rep::F32,
        Float64 => Rep::F64,
        Decimal32(..) | Decimal64(..) | Decimal128(..) => Rep::I128,
        _ => Rep::I64,
    }
}

/// Groups in order of appearance, and each one's states of all aggregates.
struct Folded {
    keys: Vec<Vec<ScalarValue>>,
    words: Vec<u32>,
    stride: usize,
}

/// Folds the rows below an aggregate node, each into one of three tables, merged at the end.
fn fold(node: &AggregateExec, batches: &[RecordBatch], rng: &mut ChaCha8Rng) -> Folded {
    let plans = plan_all(node);
    let stride = plans.iter().map(Aggregate::words).sum();
    let mut groups: HashMap<Vec<ScalarValue>, usize> = HashMap::new();
    let mut tables: [Vec<u32>; 3] = Default::default();
    if node.group_expr().expr().is_empty() {
        groups.insert(vec![], 0);
        tables.iter_mut().for_each(|table| table.resize(stride, 0));
    }
    for batch in batches {
        let evaluate = |expr: &Arc<dyn datafusion::physical_plan::PhysicalExpr>| {
            expr.evaluate(batch).unwrap().into_array(batch.num_rows()).unwrap()
        };
        let keys: Vec<_> =
            node.group_expr().expr().iter().map(|(expr, _)| evaluate(expr)).collect();
        let args: Vec<Vec<_>> =
            plans.iter().map(|plan| plan.args().iter().map(evaluate).collect()).collect();
        for row in 0..batch.num_rows() {
            let key = keys.iter().map(|key| ScalarValue::try_from_array(key, row).unwrap());
            let next = groups.len();
            let group = *groups.entry(key.collect()).or_insert(next);
            if group == next {
                tables.iter_mut().for_each(|table| table.resize((group + 1) * stride, 0));
            }
            let table = &mut tables[rng.next_u32() as usize % 3];
            update(&plans, &args, row, &mut table[group * stride..(group + 1) * stride]);
        }
    }
    let mut keys = vec![vec![]; groups.len()];
    groups.into_iter().for_each(|(key, group)| keys[group] = key);
    tables.rotate_left(rng.next_u32() as usize % 3);
    let [mut words, second, third] = tables;
    for other in [second, third] {
        for (into, from) in words.chunks_mut(stride).zip(other.chunks(stride)) {
            merge(&plans, into, from);
        }
    }
    Folded { keys, words, stride }
}

fn plan_all(node: &AggregateExec) -> Vec<Aggregate> {
    let input = node.input().schema();
    let plan = |agg: &Arc<_>| Aggregate::plan(agg, &input).unwrap_or_else(|no| panic!("{no:?}"));
    node.aggr_expr().iter().map(plan).collect()
}

/// The states of one aggregate, from word `offset` of each group's on.
fn states(plan: &Aggregate, words: &[u32], stride: usize, offset: usize) -> Vec<StateColumn> {
    let accs: Vec<Acc> = plan.columns().iter().map(|column| column.acc).collect();
    StateColumn::of_rows(&accs, words, stride, offset).unwrap()
}

fn update(plans: &[Aggregate], args: &[Vec<ArrayRef>], row: usize, mut state: &mut [u32]) {
    for (plan, args) in plans.iter().zip(args) {
        for column in plan.columns() {
            let (words, rest) = state.split_at_mut(column.acc.words());
            state = rest;
            let value = column.arg.map(|arg| &args[arg]).map_or(Some(1), |arg| match column.acc {
                Acc::Count => arg.is_valid(row).then_some(1),
                _ => value_bits(arg, row, rep_of(arg.data_type())),
            });
            column.acc.update(words, value);
        }
    }
}

fn merge(plans: &[Aggregate], mut into: &mut [u32], mut from: &[u32]) {
    for column in plans.iter().flat_map(Aggregate::columns) {
        let (words, rest) = into.split_at_mut(column.acc.words());
        let (more, after) = from.split_at(column.acc.words());
        column.acc.merge(words, more);
        (into, from) = (rest, after);
    }
}

impl Folded {
    /// Final values of each aggregate, or its partial states, by group.
    fn columns(&self, node: &AggregateExec, partial: bool) -> Vec<ArrayRef> {
        let mut offset = 0;
        let mut columns = vec![];
        for plan in plan_all(node) {
            let states = states(&plan, &self.words, self.stride, offset);
            offset += plan.words();
            match partial {
                true => columns.extend(plan.partial(&states).unwrap()),
                false => columns.push(plan.finish(&states).unwrap()),
            }
        }
        columns
    }

    fn key_columns(&self) -> Vec<ArrayRef> {
        let column = |key: usize| {
            ScalarValue::iter_to_array(self.keys.iter().map(|keys| keys[key].clone())).unwrap()
        };
        (0..self.keys[0].len()).map(column).collect()
    }
}

/// One batch, its rows in the order of `keys`, which are its first columns.
fn by_key(batches: &[RecordBatch], keys: &[Vec<ScalarValue>]) -> Vec<ArrayRef> {
    let batch = arrow::compute::concat_batches(&batches[0].schema(), batches).unwrap();
    assert_eq!(batch.num_rows(), keys.len());
    let columns = batch.columns();
    let width = keys[0].len();
    let key_at = |row: usize| -> Vec<ScalarValue> {
        let keys = columns[..width].iter();
        keys.map(|key| ScalarValue::try_from_array(key, row).unwrap()).collect()
    };
    let rows: HashMap<_, _> = (0..batch.num_rows()).map(|row| (key_at(row), row as u32)).collect();
    let order: UInt32Array = keys.iter().map(|key| Some(rows[key])).collect();
    columns[width..].iter().map(|column| take(column, &order, None).unwrap()).collect()
}

/// Rows of the node's input, and of the node.
async fn run(context: &SessionContext, plan: Arc<dyn ExecutionPlan>) -> Vec<RecordBatch> {
    collect(plan, context.task_ctx()).await.unwrap()
}

async fn check(range: Range, grouped: bool, partitions: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let context = context(table(&mut rng, range), partitions);
    let calls = calls(range);
    let frame = context.sql(&sql(&calls, grouped)).await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let nodes = aggregates(&plan);
    let (top, bottom) = (nodes.first().unwrap(), nodes.last().unwrap());
    let input = run(&context, node(bottom).input().clone()).await;
    assert!(input.len() > 1);
    let folded = fold(node(bottom), &input, &mut rng);
    let expected = by_key(&run(&context, top.clone()).await, &folded.keys);
    let finished = folded.columns(node(bottom), false);
    assert_eq!(expected.len(), calls.len());
    for ((ours, theirs), call) in finished.iter().zip(&expected).zip(&calls) {
        assert_eq!(ours, theirs, "{call}, grouped: {grouped}, partitions: {partitions}");
    }
    if partitions == 1 {
        return;
    }
    assert_eq!(node(bottom).mode(), &AggregateMode::Partial);
    let merged = finish_theirs(&context, top, &folded, node(bottom), &input).await;
    // Each row was in our states and once more in theirs: no change to what does not add up.
    for ((ours, theirs), call) in merged.iter().zip(&expected).zip(&calls) {
        if ["min", "max", "avg", "bool"].iter().any(|name| call.starts_with(name)) {
            assert_eq!(ours, theirs, "merged {call}, grouped: {grouped}");
        }
    }
    let alone = finish_theirs(&context, top, &folded, node(bottom), &[]).await;
    for ((ours, theirs), call) in alone.iter().zip(&expected).zip(&calls) {
        assert_eq!(ours, theirs, "partial {call}, grouped: {grouped}");
    }
}

/// DataFusion's final aggregate over our partial states and, of `also`, its own.
async fn finish_theirs(
    context: &SessionContext,
    top: &Arc<dyn ExecutionPlan>,
    folded: &Folded,
    partial: &AggregateExec,
    also: &[RecordBatch],
) -> Vec<ArrayRef> {
    let schema = partial.schema();
    let mut columns = folded.key_columns();
    columns.extend(folded.columns(partial, true));
    let mut batches = vec![RecordBatch::try_new(schema.clone(), columns).unwrap()];
    if !also.is_empty() {
        let rows = MemorySourceConfig::try_new_exec(&[also.to_vec()], also[0].schema(), None);
        let theirs = over(partial, AggregateMode::Partial, rows.unwrap());
        batches.extend(run(context, theirs).await);
    }
    let states = MemorySourceConfig::try_new_exec(&[batches], schema, None).unwrap();
    let last = over(node(top), AggregateMode::Final, states);
    by_key(&run(context, last).await, &folded.keys)
}

/// The same aggregate, in this mode, over other rows.
fn over(
    node: &AggregateExec,
    mode: AggregateMode,
    rows: Arc<dyn ExecutionPlan>,
) -> Arc<dyn ExecutionPlan> {
    let (groups, calls) = (node.group_expr().clone(), node.aggr_expr().to_vec());
    let (filters, schema) = (node.filter_expr().to_vec(), node.input_schema());
    Arc::new(AggregateExec::try_new(mode, groups, calls, filters, rows, schema).unwrap())
}

#[tokio::test]
async fn small_numbers_agree() {
    for (grouped, partitions) in [(false, 1), (true, 1), (false, 2), (true, 2)] {
        check(Range::Small, grouped, partitions).await;
    }
}

#[tokio::test]
async fn all_numbers_agree() {
    for (grouped, partitions) in [(false, 1), (true, 1), (false, 2), (true, 2)] {
        check(Range::Full, grouped, partitions).await;
    }
}

#[tokio::test]
async fn an_average_too_large_for_its_digits_raises_as_in_datafusion() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let context = context(table(&mut rng, Range::Full), 1);
    let plan = context.sql("SELECT avg(d9) FROM t WHERE d9 > 100000").await.unwrap();
    let plan = plan.create_physical_plan().await.unwrap();
    let theirs = collect(plan.clone(), context.task_ctx()).await.unwrap_err().to_string();
    let bottom = aggregates(&plan).pop().unwrap();
    let input = run(&context, node(&bottom).input().clone()).await;
    let folded = fold(node(&bottom), &input, &mut rng);
    let plan = &plan_all(node(&bottom))[0];
    let states = states(plan, &folded.words, folded.stride, 0);
    let ours = plan.finish(&states).unwrap_err().to_string();
    assert_eq!(ours, theirs);
    assert!(ours.contains("decimal overflow"), "{ours}");
}

#[tokio::test]
async fn declines_say_why() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let context = context(table(&mut rng, Range::Small), 1);
    // Two more DISTINCTs keep the optimizer from turning one into a GROUP BY.
    let others = "count(DISTINCT s), count(DISTINCT k)";
    for (call, reason) in [
        ("sum(DISTINCT f64)", "sum(DISTINCT ..) has no device form"),
        ("min(s)", "min(Utf8) has no device form"),
        ("count(k, r)", "count of several columns has no device form"),
        ("stddev(f64)", "the aggregate stddev has no device form"),
        ("array_agg(k ORDER BY r)", "array_agg(.. ORDER BY ..) has no device form"),
        ("min(arrow_cast(k, 'Float16'))", "min(Float16) has no device form"),
    ] {
        let frame =
            context.sql(&format!("SELECT {call}, {others} FROM t WHERE r >= 0")).await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let node = aggregates(&plan).last().unwrap().clone();
        let node = node.downcast_ref::<AggregateExec>().unwrap();
        let declined = Aggregate::plan(&node.aggr_expr()[0], &node.input().schema()).unwrap_err();
        assert_eq!(declined.0, reason);
    }
}

/// With `thalweg.float_sum = 'fast'` DataFusion's own functions are in the plan: their partial
/// states are sums, and results are near.
#[tokio::test]
async fn native_float_sums_run_on_the_device_too() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    context.register_table("t", Arc::new(table(&mut rng, Range::Small))).unwrap();
    let calls = ["sum(f64)", "avg(f64)", "avg(i64)", "sum(d15)"].map(String::from);
    for grouped in [false, true] {
        let frame = context.sql(&sql(&calls, grouped)).await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let nodes = aggregates(&plan);
        let (top, bottom) = (nodes.first().unwrap(), nodes.last().unwrap());
        let input = run(&context, node(bottom).input().clone()).await;
        let folded = fold(node(bottom), &input, &mut rng);
        let expected = by_key(&run(&context, top.clone()).await, &folded.keys);
        let finished = folded.columns(node(bottom), false);
        let merged = finish_theirs(&context, top, &folded, node(bottom), &[]).await;
        for (column, call) in calls.iter().enumerate() {
            udafs::near(&finished[column], &expected[column], call);
            udafs::near(&merged[column], &expected[column], call);
        }
    }
}
