//! An operand, and what all that mend operands ask of one.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator};

use crate::plan::functions::intervals::nanos_per;

/// An expression and its type.
#[derive(Debug, Clone)]
pub struct Operand {
    pub expr: Expr,
    pub data_type: DataType,
}

/// What values are brought together for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Compare,
    /// One of them is the answer.
    Choose,
}

/// The values, mended.
pub type Mended = Option<Vec<Expr>>;

impl Operand {
    pub fn new(expr: Expr, data_type: DataType) -> Self {
        Self { expr, data_type }
    }

    /// Of a time or a duration.
    pub fn unit(&self) -> Option<TimeUnit> {
        match self.data_type {
            DataType::Timestamp(unit, _) | DataType::Duration(unit) => Some(unit),
            DataType::Time32(unit) | DataType::Time64(unit) => Some(unit),
            _ => None,
        }
    }

    /// Whether the type has no value but NULL.
    pub fn is_null(&self) -> bool {
        self.data_type.is_null()
    }
}

pub fn cast(expr: Expr, to: &DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), to.clone()))
}

/// The finer of two units.
pub fn finer(left: TimeUnit, right: TimeUnit) -> TimeUnit {
    if nanos_per(left) <= nanos_per(right) { left } else { right }
}

/// The value of a literal, of a cast of one, or of a sum of such.
pub fn constant(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Alias(alias) => constant(&alias.expr),
        Expr::Cast(Cast { expr, field }) => constant(expr)?.cast_to(field.data_type()).ok(),
        Expr::Negative(inner) => constant(inner)?.arithmetic_negate().ok(),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (left, right) = (constant(left)?, constant(right)?);
            // Sums of other types go on in types that are not known here.
            let moves = matches!(left.data_type(), DataType::Timestamp(_, None))
                && matches!(right.data_type(), DataType::Interval(_) | DataType::Duration(_));
            match op {
                Operator::Plus if moves => left.add(&right).ok(),
                Operator::Minus if moves => left.sub(&right).ok(),
                _ => None,
            }
        }
        _ => None,
    }
}
