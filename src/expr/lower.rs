//! DataFusion's physical expressions become `ir` expressions, exactly or not at all.
//!
//! Whatever depends on one string column alone is not lowered but evaluated once per distinct
//! string by DataFusion itself, and looked up by code; that is the rule tried first. A constant
//! subexpression is evaluated here. Everything else is lowered node by node: `logic` (comparisons,
//! CASE, IN), `arith`, `cast`, `dates`, `functions`.

mod arith;
mod cast;
mod dates;
mod float;
mod functions;
mod logic;
#[cfg(test)]
mod tests;
mod types;

use std::ops::Not;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, DynamicFilterPhysicalExpr, InListExpr, IsNotNullExpr,
    IsNullExpr, LikeExpr, Literal, NegativeExpr, NotExpr, TryCastExpr,
};

use crate::device::FloatExactness;
use crate::error::Declined;
use crate::expr::ir::{Expr, Kind, Prim, Rep};
use crate::expr::prim::bits_of;

/// What the operator around an expression provides.
pub trait Scope {
    /// What stands for column `index` of the operator's input schema: for strings an expression of
    /// rep `U32` (code, 0 = NULL).
    fn column(&mut self, index: usize) -> Result<Expr, Declined>;

    /// Registers a per-string table: for each distinct value of the string column `index` (and for
    /// NULL, code 0) `expr` - a function of that column alone, rewritten so that it reads column 0
    /// of a one-column batch - is evaluated once on the CPU. Returns the table's number.
    fn lookup(
        &mut self,
        index: usize,
        expr: Arc<dyn PhysicalExpr>,
        data_type: &DataType,
    ) -> Result<usize, Declined>;

    /// Which float operations the adapter computes exactly.
    fn floats(&self) -> FloatExactness;
}

/// How values of a type are held; strings, binaries and dictionaries of them are codes (`U32`).
///
/// Errors: types that the device does not hold, such as nested ones, intervals, 256-bit decimals.
pub fn rep_of(data_type: &DataType) -> Result<Rep, Declined> {
    match data_type {
        DataType::Null | DataType::Boolean => Ok(Rep::B1),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => Ok(Rep::I32),
        DataType::Date32 | DataType::Time32(_) | DataType::Decimal32(..) => Ok(Rep::I32),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => Ok(Rep::U32),
        DataType::Int64 | DataType::Date64 | DataType::Time64(_) => Ok(Rep::I64),
        DataType::Timestamp(..) | DataType::Duration(_) | DataType::Decimal64(..) => Ok(Rep::I64),
        DataType::UInt64 => Ok(Rep::U64),
        DataType::Float32 => Ok(Rep::F32),
        DataType::Float64 => Ok(Rep::F64),
        DataType::Decimal128(..) => Ok(Rep::I128),
        other if is_string(other) => Ok(Rep::U32),
        other => Err(Declined::new(format!("values of type {other} are not held on the device"))),
    }
}

/// True for the types that reach the device as dictionary codes.
pub fn is_string(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_string(values),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::FixedSizeBinary(_) => true,
        _ => false,
    }
}

/// The constant of a scalar, a parameter unless it is NULL or boolean. NULL of any type that
/// `rep_of` takes; else no strings: a code means something only beside its dictionary.
pub fn literal(value: &ScalarValue) -> Result<Expr, Declined> {
    use ScalarValue::*;
    let rep = rep_of(&value.data_type())?;
    if value.is_null() {
        return Ok(Expr::literal(None, rep));
    }
    let number = match value {
        Boolean(Some(value)) => i128::from(*value),
        Int8(Some(value)) => i128::from(*value),
        Int16(Some(value)) => i128::from(*value),
        Int32(Some(value)) | Date32(Some(value)) => i128::from(*value),
        Time32Second(Some(value)) | Time32Millisecond(Some(value)) => i128::from(*value),
        Decimal32(Some(value), ..) => i128::from(*value),
        Int64(Some(value)) | Date64(Some(value)) => i128::from(*value),
        Time64Microsecond(Some(value)) | Time64Nanosecond(Some(value)) => i128::from(*value),
        TimestampSecond(Some(value), _) | TimestampMillisecond(Some(value), _) => {
            i128::from(*value)
        }
        TimestampMicrosecond(Some(value), _) | TimestampNanosecond(Some(value), _) => {
            i128::from(*value)
        }
        DurationSecond(Some(value)) | DurationMillisecond(Some(value)) => i128::from(*value),
        DurationMicrosecond(Some(value)) | DurationNanosecond(Some(value)) => i128::from(*value),
        Decimal64(Some(value), ..) => i128::from(*value),
        UInt8(Some(value)) => i128::from(*value),
        UInt16(Some(value)) => i128::from(*value),
        UInt32(Some(value)) => i128::from(*value),
        UInt64(Some(value)) => i128::from(*value),
        Float32(Some(value)) => i128::from(value.to_bits()),
        Float64(Some(value)) => i128::from(value.to_bits()),
        Decimal128(Some(value), ..) => *value,
        other => {
            return Err(Declined::new(format!(
                "the constant {other} of type {} has no code outside a string column's table",
                other.data_type()
            )));
        }
    };
    let bits = bits_of(number, rep);
    Ok(match rep {
        Rep::B1 => Expr::literal(Some(bits), rep),
        _ => Expr::parameter(bits, rep),
    })
}

/// Lowers an expression over `schema`.
///
/// Errors: the reason, naming the expression and its types, if it has no exact form on the device.
pub fn lower(
    expr: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
    scope: &mut dyn Scope,
) -> Result<Expr, Declined> {
    refuse_changing(expr)?;
    Lowering { schema, scope, depth: 0, constants: Vec::new() }.lower(expr)
}

/// Nodes of an expression at most. Each is a line or two of a kernel, and compiling takes time with
/// their number whatever the rows: a software adapter compiled 4,000 in three seconds.
const MOST_NODES: usize = 2_000;

/// Nodes above one another at most: lowering and emitting go down as deep on the stack.
const MOST_DEPTH: usize = 200;

/// Values of a list, or branches of a CASE, at most. The CPU looks them up by hash.
const MOST_CHOICES: usize = 64;

/// Refuses expressions whose value is not a function of the row.
fn refuse_changing(expr: &Arc<dyn PhysicalExpr>) -> Result<(), Declined> {
    let mut found = None;
    let visited = expr.apply(|node| {
        if node.is_volatile_node() {
            found = Some(format!("{node} is volatile: it is evaluated anew for each row"));
        } else if node.downcast_ref::<DynamicFilterPhysicalExpr>().is_some() {
            found = Some(format!("{node} is a filter that changes while the query runs"));
        } else if node.is::<ScalarSubqueryExpr>() {
            found = Some(format!("{node} is the result of a subquery, known only at run time"));
        }
        Ok(match found {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    });
    match (visited, found) {
        (Ok(_), None) => Ok(()),
        (Err(error), _) => Err(Declined::new(format!("{expr}: {error}"))),
        (_, Some(reason)) => Err(Declined::new(reason)),
    }
}

/// One expression on its way to the device.
struct Lowering<'a> {
    schema: &'a Schema,
    scope: &'a mut dyn Scope,
    depth: usize,
    /// What the constants seen so far became: a node that is lowered twice is one parameter, so
    /// that what is computed of it is computed once.
    constants: Vec<(Arc<dyn PhysicalExpr>, Expr)>,
}

/// Whoever has no exact form says so with these words.
fn no_form(expr: &dyn PhysicalExpr, why: impl std::fmt::Display) -> Declined {
    Declined::new(format!("{} has no exact form on the device: {why}", shortened(expr)))
}

/// What is right on the device, but slower than on the CPU, says so with these.
fn too_large(expr: &dyn PhysicalExpr, why: impl std::fmt::Display) -> Declined {
    Declined::new(format!("{} is faster on the CPU: {why}", shortened(expr)))
}

/// The text of an expression, or its start: lists that programs write have thousands of values.
fn shortened(expr: &dyn PhysicalExpr) -> String {
    let text = expr.to_string();
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{} ..", &text[..end]),
        None => text,
    }
}

/// The constant `value` held as `rep`, which what is computed means whatever the query's own
/// constants are.
fn int(value: i128, rep: Rep) -> Expr {
    Expr::literal(Some(bits_of(value, rep)), rep)
}

fn call1(prim: &'static Prim, a: Expr) -> Expr {
    Expr::call(prim, vec![a])
}

fn call2(prim: &'static Prim, a: Expr, b: Expr) -> Expr {
    Expr::call(prim, vec![a, b])
}

/// The first value whose condition is true, else `otherwise`; all of rep `rep`.
fn case(branches: Vec<(Expr, Expr)>, otherwise: Expr) -> Expr {
    let nullable = otherwise.nullable || branches.iter().any(|(_, then)| then.nullable);
    let rep = otherwise.rep;
    Expr { kind: Kind::Case(branches, Some(Arc::new(otherwise))), rep, nullable }
}

/// `value` where `condition` is true, else NULL.
fn only_if(condition: Expr, value: Expr) -> Expr {
    let otherwise = Expr::literal(None, value.rep);
    case(vec![(condition, value)], otherwise)
}

/// True for the time zones in which local time is universal time.
fn is_utc(zone: Option<&str>) -> bool {
    matches!(zone, None | Some("UTC" | "utc" | "Utc" | "Z" | "+00:00" | "-00:00" | "+00" | "+0000"))
}

/// Units of a timestamp in a second.
pub(super) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

impl Lowering<'_> {
    fn type_of(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<DataType, Declined> {
        expr.data_type(self.schema).map_err(|error| no_form(expr.as_ref(), error))
    }

    fn lower(&mut self, expr: &Arc<dyn PhysicalExpr>) -> Result<Expr, Declined> {
        if self.depth == MOST_DEPTH {
            return Err(too_large(expr.as_ref(), format!("it stands {MOST_DEPTH} levels deep")));
        }
        self.depth += 1;
        let lowered = self.any(expr);
        self.depth -= 1;
        lowered
    }

    fn any(&mut self, expr: &Arc<dyn PhysicalExpr>) -> Result<Expr, Declined> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return self.scope.column(column.index());
        }
        if let Some(value) = expr.downcast_ref::<Literal>() {
            return self.constant(expr, value.value());
        }
        let columns = collect_columns(expr);
        if columns.is_empty()
            && let Some(value) = constant(expr)
        {
            return self.constant(expr, &value);
        }
        let mut indices: Vec<usize> = columns.iter().map(Column::index).collect();
        indices.sort_unstable();
        indices.dedup();
        if let [index] = indices[..]
            && self.schema.fields().get(index).is_some_and(|field| is_string(field.data_type()))
        {
            return self.by_string(expr, index);
        }
        let lowered = self.node(expr)?;
        if lowered.has_over(MOST_NODES) {
            return Err(too_large(expr.as_ref(), format!("it takes over {MOST_NODES} steps")));
        }
        Ok(lowered)
    }

    fn constant(
        &mut self,
        expr: &Arc<dyn PhysicalExpr>,
        value: &ScalarValue,
    ) -> Result<Expr, Declined> {
        let known = self.constants.iter().find(|(known, _)| Arc::ptr_eq(known, expr));
        if let Some((_, lowered)) = known {
            return Ok(lowered.clone());
        }
        let lowered = literal(value)?;
        self.constants.push((Arc::clone(expr), lowered.clone()));
        Ok(lowered)
    }

    /// A function of one string column: a table of its values.
    fn by_string(&mut self, expr: &Arc<dyn PhysicalExpr>, index: usize) -> Result<Expr, Declined> {
        let is_column = |inner: &Arc<dyn PhysicalExpr>| inner.downcast_ref::<Column>().is_some();
        let code = self.scope.column(index)?;
        let data_type = self.type_of(expr)?;
        if let Some(test) = expr.downcast_ref::<IsNullExpr>()
            && is_column(test.arg())
        {
            return Ok(code.is_null());
        }
        if let Some(test) = expr.downcast_ref::<IsNotNullExpr>()
            && is_column(test.arg())
        {
            return Ok(code.is_null().not());
        }
        if let Some(cast) = expr.downcast_ref::<CastExpr>()
            && is_column(cast.expr())
            && same_strings(self.schema.field(index).data_type(), &data_type)
        {
            return Ok(code);
        }
        let rep = rep_of(&data_type).map_err(|reason| no_form(expr.as_ref(), reason.0))?;
        let moved = Arc::clone(expr).transform(|node| {
            Ok(match node.downcast_ref::<Column>() {
                Some(column) => Transformed::yes(Arc::new(Column::new(column.name(), 0)) as Arc<_>),
                None => Transformed::no(node),
            })
        });
        let moved = moved.map_err(|error| no_form(expr.as_ref(), error))?.data;
        let table = self.scope.lookup(index, moved, &data_type)?;
        Ok(Expr { kind: Kind::Lookup { table, code: Arc::new(code) }, rep, nullable: true })
    }

    fn node(&mut self, expr: &Arc<dyn PhysicalExpr>) -> Result<Expr, Declined> {
        if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            return self.binary(binary);
        }
        if let Some(not) = expr.downcast_ref::<NotExpr>() {
            return self.boolean(not.arg()).map(Expr::not);
        }
        if let Some(test) = expr.downcast_ref::<IsNullExpr>() {
            return self.lower(test.arg()).map(Expr::is_null);
        }
        if let Some(test) = expr.downcast_ref::<IsNotNullExpr>() {
            return self.lower(test.arg()).map(|arg| arg.is_null().not());
        }
        if let Some(negative) = expr.downcast_ref::<NegativeExpr>() {
            return self.negative(negative);
        }
        if let Some(case) = expr.downcast_ref::<CaseExpr>() {
            return self.case(expr, case);
        }
        if let Some(list) = expr.downcast_ref::<InListExpr>() {
            return self.in_list(list);
        }
        if let Some(cast) = expr.downcast_ref::<CastExpr>() {
            let safe = cast.cast_options().safe;
            return self.cast_node(expr, cast.expr(), cast.cast_type(), safe);
        }
        if let Some(cast) = expr.downcast_ref::<TryCastExpr>() {
            return self.cast_node(expr, cast.expr(), cast.cast_type(), true);
        }
        if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
            return self.function(expr, function);
        }
        if expr.downcast_ref::<LikeExpr>().is_some() {
            return Err(no_form(expr.as_ref(), "it reads more than one string column"));
        }
        Err(no_form(expr.as_ref(), "this kind of expression is not known"))
    }

    fn boolean(&mut self, expr: &Arc<dyn PhysicalExpr>) -> Result<Expr, Declined> {
        let lowered = self.lower(expr)?;
        match lowered.rep {
            Rep::B1 => Ok(lowered),
            _ => Err(no_form(expr.as_ref(), "it is used as a condition but is not boolean")),
        }
    }
}

/// The value of an expression without columns; `None` if evaluating it fails, which is then left
/// to the rows that reach it.
fn constant(expr: &Arc<dyn PhysicalExpr>) -> Option<ScalarValue> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let one =
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).ok()?;
    match expr.evaluate(&one).ok()? {
        ColumnarValue::Scalar(value) => Some(value),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0).ok(),
    }
}

/// True if a cast between two string types leaves each value as it is.
fn same_strings(from: &DataType, to: &DataType) -> bool {
    fn plain(data_type: &DataType) -> &DataType {
        match data_type {
            DataType::Dictionary(_, values) => plain(values),
            other => other,
        }
    }
    let utf8 = |data_type| matches!(data_type, Utf8 | LargeUtf8 | Utf8View);
    use DataType::{LargeUtf8, Utf8, Utf8View};
    utf8(plain(from).clone()) && utf8(plain(to).clone())
}
