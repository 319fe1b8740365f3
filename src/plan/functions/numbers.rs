//! `mod` and `sign`, which a rule writes out as `%` and as CASE, so that both sides have them.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int32Type};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::over_arrays;
use crate::plan::analyze::operands::binary::remainder_type;

/// The name of `mod`.
pub const MOD: &str = "mod";

/// The name of `sign`.
pub const SIGN: &str = "sign";

/// The functions of numbers.
pub fn numbers() -> [ScalarUDF; 2] {
    let signature = || Signature::variadic_any(Volatility::Immutable);
    [
        ScalarUDF::new_from_impl(Mod { signature: signature() }),
        ScalarUDF::new_from_impl(Sign { signature: signature() }),
    ]
}

/// `mod(a, b)` is `a % b`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Mod {
    signature: Signature,
}

impl ScalarUDFImpl for Mod {
    fn name(&self) -> &str {
        MOD
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [left, right] => remainder_type(left, right),
            _ => plan_err!("mod takes 2 arguments, found {}", types.len()),
        }
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("mod is planned as %")
    }
}

/// -1, 0 or 1. Of NaN it is 0, of NULL it is NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Sign {
    signature: Signature,
}

impl ScalarUDFImpl for Sign {
    fn name(&self) -> &str {
        SIGN
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [number] if number.is_numeric() || number.is_null() => Ok(DataType::Int32),
            [other] => plan_err!("sign takes a number, found {other}"),
            _ => plan_err!("sign takes 1 argument, found {}", types.len()),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    /// Of what must be computed once, such as `random()`; all else is planned as CASE.
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_arrays(&args, |arrays| {
            // Every number that is not zero has a float of its sign.
            let values = cast(&arrays[0], &DataType::Float64)?;
            let sign = |value: f64| i32::from(value > 0.0) - i32::from(value < 0.0);
            Ok(Arc::new(values.as_primitive::<Float64Type>().unary::<_, Int32Type>(sign)))
        })
    }
}
