//! Binary operators over operands that are brought to types in which none of them changes.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, binary_expr};
use datafusion::prelude::col;

use super::comparable::common;
use super::dates;
use super::operand::{Operand, Purpose};
use crate::plan::analyze::decimals;

/// Whether the operator computes.
pub fn is_arithmetic(op: Operator) -> bool {
    use Operator::{Divide, Minus, Modulo, Multiply, Plus};
    matches!(op, Plus | Minus | Multiply | Divide | Modulo)
}

/// Whether the operator compares.
pub fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// The operator over mended operands; `None` where there is nothing to mend.
pub fn binary(left: Operand, op: Operator, right: Operand) -> Option<Expr> {
    if is_arithmetic(op) {
        let decimal = decimals::arithmetic(&left, op, &right);
        return decimal.or_else(|| dates::arithmetic(left, op, right));
    }
    let [left, right] = pair(common(&[left, right], Purpose::Compare)?)?;
    Some(binary_expr(left, op, right))
}

/// Two expressions, where there are as many.
pub fn pair(exprs: Vec<Expr>) -> Option<[Expr; 2]> {
    exprs.try_into().ok()
}

/// The type of `left % right`.
///
/// Errors: there is no remainder of such.
pub fn remainder_type(left: &DataType, right: &DataType) -> Result<DataType> {
    use arrow::datatypes::{Field, Schema};
    let types = [("l", left), ("r", right)];
    let fields = types.map(|(name, of)| Field::new(name, of.clone(), true));
    let schema = DFSchema::try_from(Schema::new(fields.to_vec()))?;
    let operand = |(name, of): (&str, &DataType)| Operand::new(col(name), of.clone());
    match binary(operand(types[0]), Operator::Modulo, operand(types[1])) {
        Some(mended) => mended.get_type(&schema),
        None => BinaryTypeCoercer::new(left, &Operator::Modulo, right).get_result_type(),
    }
}
