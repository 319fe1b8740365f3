//! For tests: lowered expressions, evaluated by the twin, against DataFusion's own evaluation of
//! the same SQL on batches of one row: the same value, and an error exactly where DataFusion
//! raises one.

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

use super::eval::{Env, LookupEntry, eval};
use super::ir::{Expr, Kind};
use super::lower::{Scope, is_string, literal, lower, per_second, rep_of};
use crate::device::FloatExactness;
use crate::error::Declined;

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
            Kind::Parameter(constant) => Some(constant.bits()),
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
pub fn columns() -> Vec<Field> {
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
        other => integer(other, number),
    }
}

/// The low bits, as any integer type.
fn integer(data_type: &DataType, number: i64) -> ScalarValue {
    let wide = match data_type {
        DataType::Int8 => i128::from(number as i8),
        DataType::Int16 => i128::from(number as i16),
        DataType::Int32 => i128::from(number as i32),
        DataType::Int64 => i128::from(number),
        DataType::UInt8 => i128::from(number as u8),
        DataType::UInt16 => i128::from(number as u16),
        DataType::UInt32 => i128::from(number as u32),
        _ => i128::from(number as u64),
    };
    ScalarValue::Decimal128(Some(wide), 38, 0).cast_to(data_type).unwrap()
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
        i64::MAX as f64,
        i64::MIN as f64,
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
        let context = SessionContext::new();
        context.register_udf(crate::plan::date_bin().as_ref().clone());
        Self { context, schema, rows, floats: FloatExactness::default() }
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
