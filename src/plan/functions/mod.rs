//! Scalar functions that rules of `analyze` put in the place of operations in which Arrow's kernels
//! are wrong: no query calls them by name, `EXPLAIN` shows them. And some that DataFusion lacks
//! (`dates`, `numbers`).

pub mod choices;
pub mod dates;
pub mod decimals;
pub mod intervals;
pub mod numbers;
pub mod zones;

use std::sync::Arc;

use arrow::array::ArrayRef;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};

/// A call of a function.
pub(super) fn call(function: impl ScalarUDFImpl + 'static, args: Vec<Expr>) -> Expr {
    Arc::new(ScalarUDF::new_from_impl(function)).call(args)
}

/// Evaluates a function of arrays: over one row where all arguments are constants.
fn over_arrays(
    args: &ScalarFunctionArgs,
    function: impl FnOnce(&[ArrayRef]) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let rows = if constant { 1 } else { args.number_rows };
    let arrays = args.args.iter().map(|arg| arg.clone().into_array(rows));
    let result = function(&arrays.collect::<Result<Vec<_>>>()?)?;
    match constant {
        true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)),
        false => Ok(ColumnarValue::Array(result)),
    }
}
