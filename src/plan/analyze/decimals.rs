//! Decimals beside floats and integers, in results that may have too many digits, and divided.

use arrow::datatypes::{DataType, i256};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, binary_expr, lit,
};
use datafusion::optimizer::AnalyzerRule;

use super::operands::operand::{Mended, Operand, Purpose, cast, constant};
use super::schemas::visible;
use crate::agg::decimal::{digits, most};
use crate::agg::udaf::{Change, changed};
use crate::plan::functions::decimals::{quotient, within};
use crate::plan::options::SqlOptions;

/// Digits of the widest decimal that the device holds.
const DEVICE_DIGITS: u8 = 38;

/// A float that a decimal of 15 digits before and behind the point holds, which is what DataFusion
/// makes of any float beside a decimal.
const FLOAT_DIGITS: u8 = 15;

/// Decimals with floats or integers: see `comparable`.
pub(super) fn common(operands: &[Operand], purpose: Purpose) -> Mended {
    let number = |one: &Operand| one.data_type.is_numeric() || one.data_type.is_null();
    if !operands.iter().all(number) {
        return None;
    }
    let floating = |one: &&Operand| one.data_type.is_floating();
    let mut exact: Vec<Operand> = operands.to_vec();
    if operands.iter().any(|one| floating(&one)) {
        let known = operands.iter().filter(floating).map(|one| written(&one.expr));
        let known: Option<Vec<ScalarValue>> = known.collect();
        let chosen = |known: &Vec<ScalarValue>| known.iter().all(is_short);
        match (known, purpose) {
            (Some(known), Purpose::Compare) => {
                let floats = exact.iter_mut().filter(|one| one.data_type.is_floating());
                for (one, known) in floats.zip(known) {
                    *one = Operand::new(lit(known.clone()), known.data_type());
                }
            }
            (Some(known), Purpose::Choose) if chosen(&known) => return None,
            _ => return Some(as_floats(operands)),
        }
    }
    let widened = match purpose {
        Purpose::Compare => widened(&exact),
        Purpose::Choose => None,
    };
    let changed = || operands.iter().any(|one| floating(&one));
    widened.or_else(|| changed().then(|| exact.into_iter().map(|one| one.expr).collect()))
}

fn as_floats(operands: &[Operand]) -> Vec<Expr> {
    let mended = operands.iter().map(|one| match &one.data_type {
        DataType::Float64 | DataType::Null => one.expr.clone(),
        _ => cast(one.expr.clone(), &DataType::Float64),
    });
    mended.collect()
}

/// Numbers that are written, or sums and products of such, as the decimal that is meant:
/// 0.06 + 0.01 is 0.07, which in floats it is not.
fn written(expr: &Expr) -> Option<ScalarValue> {
    let (integer, scale) = number(expr)?;
    let scale = u8::try_from(scale).ok().filter(|scale| *scale <= DEVICE_DIGITS)?;
    let precision = length(integer).max(scale).max(1);
    (precision <= DEVICE_DIGITS).then_some(ScalarValue::Decimal128(
        Some(integer),
        precision,
        scale as i8,
    ))
}

/// An integer, and how many of its digits are behind the point.
fn number(expr: &Expr) -> Option<(i128, u32)> {
    let raised = |value: i128, by: u32| value.checked_mul(10_i128.checked_pow(by)?);
    match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => {
            // The shortest digits that mean this float are what was written, or equal it.
            let text = format!("{value:e}");
            let (mantissa, exponent) = text.split_once('e')?;
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
            let scale = i32::try_from(fraction.len()).ok()? - exponent.parse::<i32>().ok()?;
            let integer: i128 = format!("{whole}{fraction}").parse().ok()?;
            Some((raised(integer, (-scale).max(0) as u32)?, scale.max(0) as u32))
        }
        Expr::Literal(value, _) => Some((integer_of(value)?, 0)),
        Expr::Alias(alias) => number(&alias.expr),
        Expr::Negative(inner) => number(inner).map(|(integer, scale)| (-integer, scale)),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let ((left, left_scale), (right, right_scale)) = (number(left)?, number(right)?);
            let scale = left_scale.max(right_scale);
            let same =
                || Some((raised(left, scale - left_scale)?, raised(right, scale - right_scale)?));
            match op {
                Operator::Plus => same().and_then(|(l, r)| Some((l.checked_add(r)?, scale))),
                Operator::Minus => same().and_then(|(l, r)| Some((l.checked_sub(r)?, scale))),
                Operator::Multiply => Some((left.checked_mul(right)?, left_scale + right_scale)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Decimal digits of an integer.
fn length(value: i128) -> u8 {
    value.unsigned_abs().checked_ilog10().map_or(1, |log| log as u8 + 1)
}

fn is_short(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Decimal128(_, precision, scale) => {
            *scale as u8 <= FLOAT_DIGITS && precision - *scale as u8 <= FLOAT_DIGITS
        }
        _ => false,
    }
}

/// A sum, product or the like of a narrow decimal and an integer, for which DataFusion takes the
/// integer's type: the decimal in 128 bits.
pub(super) fn arithmetic(left: &Operand, op: Operator, right: &Operand) -> Option<Expr> {
    let widened = |one: &Operand, other: &Operand| match one.data_type {
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale)
            if other.data_type.is_integer() =>
        {
            Some(cast(one.expr.clone(), &DataType::Decimal128(precision, scale)))
        }
        _ => None,
    };
    match (widened(left, right), widened(right, left)) {
        (Some(left), _) => Some(binary_expr(left, op, right.expr.clone())),
        (_, Some(right)) => Some(binary_expr(left.expr.clone(), op, right)),
        (None, None) => None,
    }
}

/// Decimals, and integers among them, as decimals that hold the digits of all, where DataFusion's
/// common type would not.
fn widened(operands: &[Operand]) -> Mended {
    let mut narrow_with_integer = false;
    let (mut before, mut behind) = (0_i16, 0_i16);
    let narrow =
        |one: &Operand| matches!(one.data_type, DataType::Decimal32(..) | DataType::Decimal64(..));
    let any_narrow = operands.iter().any(narrow);
    let mut exprs = Vec::with_capacity(operands.len());
    for one in operands {
        let mut expr = one.expr.clone();
        let (precision, scale) = match (digits(&one.data_type), &one.data_type) {
            (Some(digits), _) => digits,
            (None, DataType::Null) => {
                exprs.push((expr, true));
                continue;
            }
            (None, data_type) => {
                narrow_with_integer |= any_narrow;
                match constant(&expr).and_then(|value| integer_of(&value)) {
                    Some(value) => {
                        expr = lit(ScalarValue::Decimal128(Some(value), length(value), 0));
                        (length(value), 0)
                    }
                    None => (integer_digits(data_type)?, 0),
                }
            }
        };
        before = before.max(i16::from(precision) - i16::from(scale));
        behind = behind.max(i16::from(scale));
        exprs.push((expr, false));
    }
    let needed = u8::try_from(before + behind.max(0)).ok()?;
    let scale = i8::try_from(behind.max(0)).ok()?;
    let wide = operands.iter().any(|one| matches!(one.data_type, DataType::Decimal256(..)));
    let to = match needed <= DEVICE_DIGITS {
        _ if wide || needed > 76 => return None,
        true if narrow_with_integer => DataType::Decimal128(needed, scale),
        true => return None,
        false => DataType::Decimal256(needed, scale),
    };
    let mended = exprs.into_iter().map(|(expr, null)| if null { expr } else { cast(expr, &to) });
    Some(mended.collect())
}

fn integer_of(value: &ScalarValue) -> Option<i128> {
    Some(match *value {
        ScalarValue::Int8(value) => value?.into(),
        ScalarValue::Int16(value) => value?.into(),
        ScalarValue::Int32(value) => value?.into(),
        ScalarValue::Int64(value) => value?.into(),
        ScalarValue::UInt8(value) => value?.into(),
        ScalarValue::UInt16(value) => value?.into(),
        ScalarValue::UInt32(value) => value?.into(),
        ScalarValue::UInt64(value) => value?.into(),
        _ => return None,
    })
}

fn integer_digits(data_type: &DataType) -> Option<u8> {
    Some(match data_type {
        DataType::Int8 | DataType::UInt8 => 3,
        DataType::Int16 | DataType::UInt16 => 5,
        DataType::Int32 | DataType::UInt32 => 10,
        DataType::Int64 => 19,
        DataType::UInt64 => 20,
        _ => return None,
    })
}

/// Arithmetic of decimals whose result may have more digits than its type says so (Arrow keeps it,
/// and all text of it is cut), and division rounds (`thalweg.decimal_division`).
#[derive(Debug)]
pub struct Decimals;

impl AnalyzerRule for Decimals {
    fn name(&self) -> &str {
        "decimals"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let rounds = SqlOptions::of(config).rounds_decimals();
        let rounds = rounds.map_err(DataFusionError::Configuration)?;
        let in_node = |node: LogicalPlan| {
            let schema = visible(&node)?;
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let mended = checked(expr, &schema, rounds)?;
                Ok(mended.update_data(|expr| name.restore(expr)))
            })
        };
        let plan = plan.transform_up_with_subqueries(in_node)?.data;
        if rounds { Ok(plan) } else { changed(plan, Change::CutAverages) }
    }
}

/// Arrow cuts an integer to the width of a narrower decimal before it scales it.
fn is_cut(value: &Expr, to: &DataType, schema: &DFSchema) -> Result<bool> {
    use DataType::{Decimal32, Decimal64, Int64, UInt32, UInt64};
    Ok(matches!(
        (to, value.get_type(schema)?),
        (Decimal32(..), Int64 | UInt64 | UInt32) | (Decimal64(..), UInt64)
    ))
}

/// From below, so that no check is looked at again.
fn checked(expr: Expr, schema: &DFSchema, rounds: bool) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        let value = match &expr {
            Expr::Cast(Cast { expr, .. }) => Some(expr.as_ref()),
            Expr::ScalarFunction(call) if call.name() == "arrow_cast" => call.args.first(),
            _ => None,
        };
        if let Some(value) = value {
            let to = expr.get_type(schema)?;
            return Ok(match is_cut(value, &to, schema)? {
                true => {
                    let wide = cast(value.clone(), &DataType::Decimal128(20, 0));
                    Transformed::yes(cast(wide, &to))
                }
                false => Transformed::no(expr),
            });
        }
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else {
            return Ok(Transformed::no(expr));
        };
        use Operator::{Divide, Minus, Multiply, Plus};
        if !matches!(op, Plus | Minus | Multiply | Divide) {
            return Ok(Transformed::no(expr));
        }
        let result = expr.get_type(schema)?;
        let Some((precision, _)) = digits(&result) else { return Ok(Transformed::no(expr)) };
        if *op == Divide && rounds {
            let (left, right) = (left.as_ref().clone(), right.as_ref().clone());
            return Ok(Transformed::yes(quotient(left, right, result)));
        }
        Ok(match largest(&expr, schema) {
            Some(largest) if largest <= most(precision) => Transformed::no(expr),
            _ => Transformed::yes(within(expr)),
        })
    })
}

/// The largest integer, without its sign, that a decimal expression may have under it.
fn largest(expr: &Expr, schema: &DFSchema) -> Option<i256> {
    let data_type = expr.get_type(schema).ok()?;
    let (precision, scale) = digits(&data_type)?;
    let all = most(precision);
    let ten = i256::from_i128(10);
    let scaled =
        |value: i256, by: i8| (0..by.max(0)).try_fold(value, |value, _| value.checked_mul(ten));
    match expr {
        Expr::Literal(ScalarValue::Decimal128(Some(value), ..), _) => {
            Some(i256::from_i128(value.checked_abs()?))
        }
        Expr::Alias(alias) => largest(&alias.expr, schema),
        // An integer that is written, brought to the scale.
        Expr::Cast(Cast { expr: inner, .. }) => {
            match constant(inner).and_then(|value| integer_of(&value)) {
                Some(value) => scaled(i256::from_i128(value.checked_abs()?), scale),
                None => Some(all),
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let of = |side: &Expr| -> Option<(i256, i8)> {
                let (_, scale) = digits(&side.get_type(schema).ok()?)?;
                Some((largest(side, schema)?, scale))
            };
            let ((left, left_scale), (right, right_scale)) = (of(left)?, of(right)?);
            match op {
                Operator::Plus | Operator::Minus => {
                    let left = scaled(left, scale - left_scale)?;
                    left.checked_add(scaled(right, scale - right_scale)?)
                }
                Operator::Multiply => left.checked_mul(right),
                // The largest for the smallest divisor, one.
                Operator::Divide => scaled(left, scale - left_scale + right_scale),
                _ => Some(all),
            }
        }
        _ => Some(all),
    }
}
