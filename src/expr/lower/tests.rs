//! Lowered expressions, evaluated by the twin, against DataFusion's own evaluation of the same SQL
//! on batches of one row: the same value, and an error exactly where DataFusion raises one.

use std::cell::RefCell;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionContext;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::expr::eval::{Env, LookupEntry, eval};

/// Strings and their codes, for all columns and tables alike.
#[derive(Default)]
pub struct Interner(RefCell<Vec<ScalarValue>>);

impl Interner {
    fn code(&self, value: ScalarValue) -> u128 {
        let value = match value {
            ScalarValue::Dictionary(_, value) => *value,
            other => other,
        };
        let text = ScalarValue::Utf8(value.try_as_str().flatten().map(str::to_owned));
        let mut known = self.0.borrow_mut();
        let at = known.iter().position(|old| *old == text).unwrap_or_else(|| {
            known.push(text);
            known.len() - 1
        });
        at as u128 + 1
    }

    fn bits(&self, value: ScalarValue) -> Option<u128> {
        if value.is_null() {
            return None;
        }
        if is_string(&value.data_type()) {
            return Some(self.code(value));
        }
        match literal(&value).unwrap().kind {
            Kind::Literal(bits) => bits,
            _ => unreachable!(),
        }
    }
}

pub struct TestScope {
    schema: SchemaRef,
    floats: FloatExactness,
    tables: Vec<(usize, Arc<dyn PhysicalExpr>)>,
}

impl Scope for TestScope {
    fn column(&mut self, index: usize) -> Result<Expr, Declined> {
        let field = self.schema.field(index);
        Ok(Expr::input(index, rep_of(field.data_type())?, field.is_nullable()))
    }

    fn lookup(
        &mut self,
        index: usize,
        expr: Arc<dyn PhysicalExpr>,
        _: &DataType,
    ) -> Result<usize, Declined> {
        self.tables.push((index, expr));
        Ok(self.tables.len() - 1)
    }

    fn floats(&self) -> FloatExactness {
        self.floats
    }
}

/// One row of the bench as the twin sees it.
pub struct Row<'a> {
    batch: &'a RecordBatch,
    scope: &'a TestScope,
    strings: &'a Interner,
}

impl Env for Row<'_> {
    fn input(&self, index: usize) -> Option<u128> {
        self.strings.bits(ScalarValue::try_from_array(self.batch.column(index), 0).unwrap())
    }

    fn lookup(&self, table: usize, code: u32) -> LookupEntry {
        let (index, expr) = &self.scope.tables[table];
        // The row holds the string that the code stands for.
        assert_eq!(u128::from(code), self.input(*index).unwrap_or(0));
        let one = self.batch.project(&[*index]).unwrap();
        match expr.evaluate(&one).and_then(|value| value.into_array(1)) {
            Ok(array) => {
                let value = ScalarValue::try_from_array(&array, 0).unwrap();
                let bits = self.strings.bits(value);
                LookupEntry { value: bits.unwrap_or(0), valid: bits.is_some(), failed: false }
            }
            Err(_) => LookupEntry { failed: true, ..LookupEntry::default() },
        }
    }
}

/// Columns of every type, named after it; `n_` ones are never NULL.
fn columns() -> Vec<Field> {
    use DataType::*;
    let nullable = [
        ("i8", Int8),
        ("i8b", Int8),
        ("i16", Int16),
        ("i32", Int32),
        ("i32b", Int32),
        ("i64", Int64),
        ("i64b", Int64),
        ("u8", UInt8),
        ("u16", UInt16),
        ("u32", UInt32),
        ("u64", UInt64),
        ("u64b", UInt64),
        ("f32", Float32),
        ("f32b", Float32),
        ("f64", Float64),
        ("f64b", Float64),
        ("b", Boolean),
        ("b2", Boolean),
        ("d15", Decimal128(15, 2)),
        ("d15b", Decimal128(15, 2)),
        ("d38", Decimal128(38, 10)),
        ("d38b", Decimal128(38, 0)),
        ("d7", Decimal32(7, 2)),
        ("d16", Decimal64(16, 4)),
        ("date", Date32),
        ("dateb", Date32),
        ("date64", Date64),
        ("ts", Timestamp(TimeUnit::Second, None)),
        ("tms", Timestamp(TimeUnit::Millisecond, None)),
        ("tus", Timestamp(TimeUnit::Microsecond, None)),
        ("tns", Timestamp(TimeUnit::Nanosecond, None)),
        ("tnsb", Timestamp(TimeUnit::Nanosecond, None)),
        ("tutc", Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ("s", Utf8View),
        ("s2", Utf8),
        ("dict", Dictionary(Box::new(Int32), Box::new(Utf8))),
    ];
    let mut fields: Vec<Field> =
        nullable.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect();
    fields.push(Field::new("n_i64", Int64, false));
    fields.push(Field::new("n_d15", Decimal128(15, 2), false));
    fields
}

const WORDS: [&str; 9] =
    ["", "MAIL", "SHIP", "PROMO x", "1-URGENT", "special requests", "12", "-7", "1999-02-28"];

/// A value of a type: an edge, a small one, or any bits.
fn random(data_type: &DataType, rng: &mut ChaCha8Rng) -> ScalarValue {
    let any: i64 = rng.random();
    let near = |rng: &mut ChaCha8Rng| rng.random_range(-5_i64..20);
    let number = match rng.random_range(0..6) {
        0 => *[0, 1, -1, 2, i64::MIN, i64::MAX, i64::MIN + 1].choose(rng).unwrap(),
        1 => any,
        2 => any >> rng.random_range(1..63),
        _ => near(rng),
    };
    let small = |low: i64, high: i64, rng: &mut ChaCha8Rng| match rng.random_range(0..5) {
        0 => low,
        1 => high,
        _ => rng.random_range(low..=high),
    };
    match data_type {
        DataType::Boolean => ScalarValue::Boolean(Some(any & 1 == 1)),
        DataType::Float32 => ScalarValue::Float32(Some(float(number, rng) as f32)),
        DataType::Float64 => ScalarValue::Float64(Some(float(number, rng))),
        DataType::Utf8View => ScalarValue::Utf8View(Some((*WORDS.choose(rng).unwrap()).into())),
        DataType::Utf8 => ScalarValue::Utf8(Some((*WORDS.choose(rng).unwrap()).into())),
        DataType::Dictionary(key, value) => {
            ScalarValue::Dictionary(key.clone(), Box::new(random(value, rng)))
        }
        DataType::Date32 => {
            let days = match rng.random_range(0..4) {
                0 => small(-96_465_292, 95_026_236, rng),
                1 => small(-3_000_000, 3_000_000, rng),
                _ => small(-800, 20_000, rng),
            };
            ScalarValue::Date32(Some(days as i32))
        }
        DataType::Timestamp(unit, zone) => {
            let second = per_second(*unit);
            // A day short of the type: at its ends date_trunc itself overflows.
            let reach = (i64::MAX / second).min(8_000_000_000_000) - 86_400;
            let value = match rng.random_range(0..4) {
                0 => small(-reach, reach, rng).saturating_mul(second),
                1 => small(-100_000, 100_000, rng),
                _ => rng.random_range(0..1_700_000_000_i64).saturating_mul(second) + any % second,
            };
            let value = ScalarValue::Int64(Some(value));
            value.cast_to(&DataType::Timestamp(*unit, zone.clone())).unwrap()
        }
        DataType::Decimal128(precision, scale) => {
            let most = 10_i128.pow(u32::from(*precision)) - 1;
            let value = match rng.random_range(0..4) {
                0 => *[most, -most, 0, 1, -1, most / 2].choose(rng).unwrap(),
                1 => rng.random_range(-most..=most),
                _ => i128::from(rng.random_range(-12_345_i64..100_000)),
            };
            ScalarValue::Decimal128(Some(value), *precision, *scale)
        }
        DataType::Decimal32(precision, scale) => {
            let most = 10_i64.pow(u32::from(*precision)) - 1;
            let value = if any & 1 == 0 { near(rng) } else { small(-most, most, rng) };
            ScalarValue::Decimal32(Some(value as i32), *precision, *scale)
        }
        DataType::Decimal64(precision, scale) => {
            let most = 10_i64.pow(u32::from(*precision)) - 1;
            let value = if any & 1 == 0 { near(rng) } else { small(-most, most, rng) };
            ScalarValue::Decimal64(Some(value), *precision, *scale)
        }
        DataType::Date64 => ScalarValue::Date64(Some(small(-30_000, 30_000, rng) * 86_400_000)),
        other => {
            // The low bits, as any integer type.
            let wide = match other {
                DataType::Int8 => i128::from(number as i8),
                DataType::Int16 => i128::from(number as i16),
                DataType::Int32 => i128::from(number as i32),
                DataType::Int64 => i128::from(number),
                DataType::UInt8 => i128::from(number as u8),
                DataType::UInt16 => i128::from(number as u16),
                DataType::UInt32 => i128::from(number as u32),
                _ => i128::from(number as u64),
            };
            ScalarValue::Decimal128(Some(wide), 38, 0).cast_to(other).unwrap()
        }
    }
}

fn float(number: i64, rng: &mut ChaCha8Rng) -> f64 {
    let edges = [
        0.0,
        -0.0,
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        0.5,
        -1.5,
        2.5,
        1e-40,
        -0.49999999999999994,
        4503599627370497.5,
        9.223372036854775807e18,
        -9.223372036854775808e18,
        1.8446744073709552e19,
        2147483647.5,
        16777217.0,
    ];
    match rng.random_range(0..4) {
        0 => *edges.choose(rng).unwrap(),
        1 => f64::from_bits(number as u64),
        2 => number as f64 / 8.0,
        _ => rng.random_range(-100_i64..100) as f64 / 4.0,
    }
}

pub struct Bench {
    context: SessionContext,
    schema: SchemaRef,
    rows: Vec<RecordBatch>,
    /// What the adapter computes exactly; nothing, unless a test says so.
    pub floats: FloatExactness,
}

impl Bench {
    /// `THALWEG_TEST_SEED=N` gives other rows.
    pub fn new(rows: usize, seed: u64) -> Self {
        let more = std::env::var("THALWEG_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed + 1000 * more.unwrap_or(0_u64);
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let schema = Arc::new(Schema::new(columns()));
        let mut row = || {
            let values = schema.fields().iter().map(|field| {
                let null = field.is_nullable() && rng.random_range(0..7) == 0;
                if null {
                    new_null_array(field.data_type(), 1)
                } else {
                    random(field.data_type(), &mut rng).to_array().unwrap()
                }
            });
            RecordBatch::try_new(Arc::clone(&schema), values.collect()).unwrap()
        };
        let rows = (0..rows).map(|_| row()).collect();
        Self { context: SessionContext::new(), schema, rows, floats: FloatExactness::default() }
    }

    pub fn physical(&self, sql: &str) -> Arc<dyn PhysicalExpr> {
        let schema = DFSchema::try_from(self.schema.as_ref().clone()).unwrap();
        let logical = self.context.parse_sql_expr(sql, &schema);
        let logical = logical.unwrap_or_else(|error| panic!("{sql}: {error}"));
        // As the optimizer does, before whom some functions cannot be evaluated.
        let info = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
        let simplifier = ExprSimplifier::new(info);
        let logical = simplifier.coerce(logical, &schema);
        let logical = logical.and_then(|logical| simplifier.simplify(logical));
        let logical = logical.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let physical = self.context.create_physical_expr(logical, &schema);
        physical.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The expression, and the scope it was lowered in.
    pub fn lower(&self, sql: &str) -> (Expr, TestScope) {
        let mut scope = self.scope();
        let lowered = lower(&self.physical(sql), &self.schema, &mut scope);
        (lowered.unwrap_or_else(|reason| panic!("{sql}: {}", reason.0)), scope)
    }

    /// All rows, for expressions of `scope`.
    pub fn rows<'a>(&'a self, scope: &'a TestScope, strings: &'a Interner) -> Vec<Row<'a>> {
        self.rows.iter().map(|batch| Row { batch, scope, strings }).collect()
    }

    fn scope(&self) -> TestScope {
        TestScope { schema: Arc::clone(&self.schema), floats: self.floats, tables: Vec::new() }
    }

    pub fn declines(&self, sql: &str) -> String {
        let expr = self.physical(sql);
        match lower(&expr, &self.schema, &mut self.scope()) {
            Ok(lowered) => panic!("{sql} was lowered: {lowered:?}"),
            Err(reason) => reason.0,
        }
    }

    /// Fails with the first row that differs; returns the rows that had a value and those that
    /// raised.
    pub fn check(&self, sql: &str) -> (usize, usize) {
        let expr = self.physical(sql);
        let mut scope = self.scope();
        let lowered = match lower(&expr, &self.schema, &mut scope) {
            Ok(lowered) => lowered,
            Err(reason) => panic!("{sql} ({expr}): {}", reason.0),
        };
        let data_type = expr.data_type(&self.schema).unwrap();
        assert_eq!(lowered.rep, rep_of(&data_type).unwrap(), "{sql}");
        let strings = Interner::default();
        let (mut values, mut errors) = (0, 0);
        for batch in &self.rows {
            let mut faults = 0;
            let actual =
                eval(&lowered, &Row { batch, scope: &scope, strings: &strings }, &mut faults);
            let expected = expr.evaluate(batch).and_then(|value| value.into_array(1));
            let inputs = || {
                let used = datafusion::physical_expr::utils::collect_columns(&expr);
                let mut text = String::new();
                for column in used {
                    let value = ScalarValue::try_from_array(batch.column(column.index()), 0);
                    text.push_str(&format!("{} = {:?}, ", column.name(), value.unwrap()));
                }
                text
            };
            match expected {
                Ok(array) => {
                    let value = ScalarValue::try_from_array(&array, 0).unwrap();
                    assert_eq!(faults, 0, "{sql}: {value:?} but raised; {}", inputs());
                    let bits = strings.bits(value.clone());
                    assert_eq!(
                        actual,
                        bits,
                        "{sql} ({expr}): {actual:x?}, expected {value:?} {bits:x?}; {}",
                        inputs()
                    );
                    assert!(lowered.nullable || bits.is_some(), "{sql}: NULL; {}", inputs());
                    values += usize::from(bits.is_some());
                }
                Err(error) => {
                    assert_ne!(faults, 0, "{sql}: {actual:x?}, expected {error}; {}", inputs());
                    errors += 1;
                }
            }
        }
        (values, errors)
    }

    pub fn check_all(&self, expressions: &[&str]) {
        for sql in expressions {
            let (values, _) = self.check(sql);
            assert!(values > 0, "{sql} was NULL or raised in every row");
        }
    }
}

#[test]
fn tpch_expressions() {
    let bench = Bench::new(60, 1);
    bench.check_all(&[
        "d15 * (1 - d15b)",
        "d15 * (1 - d15b) * (1 + n_d15)",
        "date <= date '1998-09-02'",
        "date >= date '1994-01-01' and date < date '1995-01-01'
            and d15 between 0.05 and 0.07 and d15b < 24",
        "case when s like 'PROMO%' then d15 * (1 - d15b) else 0 end",
        "s in ('MAIL', 'SHIP') and date < dateb and dateb > date '1994-01-01'",
        "case when s = '1-URGENT' or s = '2-HIGH' then 1 else 0 end",
        "case when s <> '1-URGENT' and s <> '2-HIGH' then 1 else 0 end",
        "extract(year from date)",
        "d15 * (1 - d15b) - n_d15 * i32",
    ]);
}

#[test]
fn comparisons() {
    let bench = Bench::new(150, 2);
    let columns = columns();
    for field in &columns {
        let name = field.name().as_str();
        let twin = columns.iter().map(|other| other.name().as_str());
        let pair = twin.clone().find(|other| *other == format!("{name}b")).unwrap_or(name);
        for op in ["=", "<>", "<", "<=", ">", ">=", "is distinct from", "is not distinct from"] {
            bench.check(&format!("{name} {op} {pair}"));
        }
        bench.check(&format!("{name} is null"));
        bench.check(&format!("{name} is not null"));
    }
    bench.check_all(&["d15 < d38", "n_i64 > i32", "u8 < i8", "tms < tus", "date < ts", "d7 < 5"]);
}

#[test]
fn logic() {
    let bench = Bench::new(150, 3);
    bench.check_all(&[
        "b and b2",
        "b or b2",
        "not b",
        "b and (i32 / i32b > 0)",
        "b or (i32 / i32b > 0)",
        "b is true",
        "b is not true",
        "b is unknown",
        "b = b2",
        "i32 in (1, 2, 3, 7)",
        "i32 not in (1, 2, null)",
        "i64 in (i64b, 3, 5)",
        "f64 in (0.0, 'NaN'::double, 0.5, 2.5)",
        "d15 in (0.01, -0.01, 99.9)",
        "case when b then i32 when b2 then i32b end",
        "case when i32 = 0 then 0 else 100 / i32 end",
        "case i32 when 1 then d15 when 2 then d15b else 0.5 end",
        "case s when 'MAIL' then i64 when 'SHIP' then i64b end",
        "case when i32 > 0 then true else b end",
        "coalesce(i32, i32b, 7)",
        "coalesce(i32, 100 / i32b)",
        "nullif(i32, 1)",
        "nvl(i64, 3)",
        "nvl2(i64, i32, 9)",
        "greatest(i64, i64b, 3)",
        "least(d15, d15b)",
        "greatest(f64, f64b)",
        "i32 between -1 and i32b",
    ]);
}

#[test]
fn integers() {
    let bench = Bench::new(250, 4);
    let pairs = [
        ("i8", "i8b"),
        ("i16", "i8"),
        ("i32", "i32b"),
        ("i64", "i64b"),
        ("u8", "u16"),
        ("u32", "u32"),
        ("u64", "u64b"),
        ("i64", "n_i64"),
    ];
    for (left, right) in pairs {
        for op in ["+", "-", "*", "/", "%", "&", "|", "#", "<<", ">>"] {
            let op = if op == "#" { "^" } else { op };
            bench.check_all(&[&format!("{left} {op} {right}")]);
        }
    }
    bench.check_all(&[
        "-i8",
        "-i16",
        "-i32",
        "-i64",
        "i64 / 7",
        "i64 % 7",
        "i64 / -1",
        "i32 / 10",
        "u64 / 3",
        "u64 % 10",
        "arrow_cast(i8, 'Int8') * i8",
        "abs(i8)",
        "abs(i32)",
        "abs(i64)",
        "abs(u16)",
    ]);
}

#[test]
fn decimals() {
    let bench = Bench::new(250, 5);
    for (left, right) in [
        ("d15", "d15b"),
        ("d15", "d38"),
        ("d38", "d38b"),
        ("d38b", "d15"),
        ("d15", "i64"),
        ("d7", "d7"),
        ("d16", "d16"),
        ("d7", "d16"),
        ("n_d15", "n_i64"),
    ] {
        for op in ["+", "-", "*", "/", "%", "<", "="] {
            bench.check_all(&[&format!("{left} {op} {right}")]);
        }
    }
    bench.check_all(&[
        "-d15",
        "-d38",
        "-d7",
        "abs(d15)",
        "abs(d38)",
        "trunc(d15)",
        "d15 / 3",
        "d38 % 7",
        "d16 * 2",
        "d15 * d15b * n_d15",
    ]);
}

#[test]
fn casts() {
    let bench = Bench::new(250, 6);
    let integers = ["tinyint", "smallint", "int", "bigint"];
    let unsigned = ["tinyint unsigned", "smallint unsigned", "int unsigned", "bigint unsigned"];
    let numbers = [
        "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "b", "d15", "d38", "d38b", "d7",
        "d16",
    ];
    for from in numbers {
        for to in integers.iter().chain(&unsigned) {
            bench.check_all(&[&format!("cast({from} as {to})")]);
            bench.check_all(&[&format!("try_cast({from} as {to})")]);
        }
        if from != "b" {
            for to in [
                "decimal(10, 2)",
                "decimal(38, 10)",
                "decimal(20, 0)",
                "decimal(5, 4)",
                "decimal(38, 38)",
            ] {
                bench.check(&format!("cast({from} as {to})"));
                bench.check(&format!("try_cast({from} as {to})"));
            }
        }
        if !from.starts_with('d') {
            bench.check_all(&[&format!("cast({from} as boolean)")]);
        }
    }
    bench.check_all(&[
        "cast(s as int) + 1",
        "try_cast(s as int)",
        "cast(dict as varchar)",
        "cast(s as varchar)",
    ]);
}

#[test]
fn floats() {
    let bench = Bench::new(400, 9);
    for (left, right) in [("f32", "f32b"), ("f64", "f64b"), ("f64", "f32"), ("f64", "i32")] {
        for op in ["+", "-", "*", "/", "=", "<", "is distinct from"] {
            bench.check_all(&[&format!("{left} {op} {right}")]);
        }
    }
    for column in ["f32", "f64"] {
        for function in ["abs", "floor", "ceil", "trunc", "round", "signum", "sqrt", "-"] {
            bench.check_all(&[&format!("{function}({column})")]);
        }
        for to in ["tinyint", "int", "bigint", "bigint unsigned", "smallint unsigned"] {
            bench.check_all(&[&format!("cast({column} as {to})")]);
            bench.check_all(&[&format!("try_cast({column} as {to})")]);
        }
        bench.check_all(&[
            &format!("round({column}, 2)"),
            &format!("round({column}, -1)"),
            &format!("cast({column} as boolean)"),
            &format!("cast({column} as decimal(20, 4))"),
            &format!("cast({column} as float)"),
            &format!("cast({column} as double)"),
            &format!("{column} in (0.0, 0.5, -1.5)"),
            &format!("case {column} when 0.0 then 1 when 0.5 then 2 end"),
            &format!("nullif({column}, 0.0)"),
        ]);
    }
    for column in ["i8", "i32", "i64", "u32", "u64", "b", "d15", "d38", "d38b", "d7", "d16"] {
        bench.check_all(&[&format!("cast({column} as double)")]);
        bench.check_all(&[&format!("cast({column} as float)")]);
    }
    bench.check_all(&["0.2 * d15", "f64 * d15b", "100.00 * d15 / d15b", "floor(d15)", "ceil(d15)"]);
    bench.check_all(&["floor(d38)", "ceil(d38)", "floor(d7)", "round(i32)", "ceil(i64)"]);
    for column in ["date", "ts", "tms", "tus", "tns"] {
        bench.check_all(&[&format!("date_part('epoch', {column})")]);
    }
}

#[test]
fn times() {
    let bench = Bench::new(250, 7);
    let parts = [
        "year",
        "month",
        "day",
        "hour",
        "minute",
        "second",
        "millisecond",
        "microsecond",
        "nanosecond",
        "dow",
        "isodow",
        "doy",
        "quarter",
        "week",
        "isoyear",
    ];
    for column in ["date", "ts", "tms", "tus", "tns", "tutc"] {
        for part in parts {
            bench.check_all(&[&format!("date_part('{part}', {column})")]);
        }
        for unit in ["Second", "Millisecond", "Microsecond", "Nanosecond"] {
            bench.check_all(&[&format!("arrow_cast({column}, 'Timestamp({unit}, None)')")]);
        }
        bench.check_all(&[
            &format!("cast({column} as bigint)"),
            &format!("{column} + interval '3 days'"),
            &format!("{column} - interval '1 month'"),
            &format!("{column} + interval '1 year 2 days'"),
            &format!("interval '5 days' + {column}"),
        ]);
    }
    for column in ["ts", "tms", "tus", "tns"] {
        for part in ["second", "minute", "hour", "day", "week", "month", "quarter", "year"] {
            bench.check_all(&[&format!("date_trunc('{part}', {column})")]);
        }
        bench.check_all(&[
            &format!("date_bin(interval '10 seconds', {column})"),
            &format!("date_bin(interval '7 days', {column}, timestamp '2020-01-01T00:00:03')"),
            &format!("cast({column} as date)"),
            &format!("{column} + interval '90 seconds'"),
            &format!("{column} - {column}"),
            &format!("{column} < timestamp '2001-01-01T00:00:00'"),
        ]);
    }
    bench.check_all(&[
        "date - dateb",
        "tns - tnsb",
        "cast(i64 as date)",
        "cast(i32 as date)",
        "cast(date64 as date)",
    ]);
}

#[test]
fn strings() {
    let bench = Bench::new(60, 8);
    bench.check_all(&[
        "s like '%requests%'",
        "upper(s)",
        "substr(s, 1, 2)",
        "length(s)",
        "cast(s as int)",
        "s2 || 'x'",
        "dict = 'MAIL'",
        "dict in ('MAIL', 'SHIP')",
        "coalesce(s, 'none')",
        "case when s like 'M%' then 'm' else 'other' end",
        "s is null or i32 > 3",
        "length(s) + i32",
        "s is distinct from 'MAIL'",
        "cast(s as int) > 0 and b",
    ]);
    for (sql, words) in [
        ("s = s2", "strings are compared by code"),
        ("case when i32 > 0 then s else s2 end", "chooses between strings"),
        ("random() > i32", "volatile"),
        ("s || s2", "||"),
    ] {
        let reason = bench.declines(sql);
        assert!(reason.contains(words), "{sql}: {reason}");
    }
}
