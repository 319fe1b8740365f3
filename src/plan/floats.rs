//! Floats that are one value but several patterns of bits: NaN, and zero.
//!
//! DataFusion compares floats by IEEE 754's total order, in which a NaN with its sign set is below
//! all numbers, and -0.0 below 0.0. x86 sets the sign of a NaN that it computes, ARM does not. So
//! `float_value` makes every NaN the same one, and `float_key`, for what groups, joins and sorts,
//! makes -0.0 the other zero as well.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, FieldRef, Float16Type, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

type Half = <Float16Type as ArrowPrimitiveType>::Native;

pub const VALUE: &str = "float_value";
pub const KEY: &str = "float_key";

/// `expr` with one NaN.
pub fn value(expr: Expr) -> Expr {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(VALUE));
    call(&FUNCTION, expr)
}

/// `expr` with one NaN and one zero.
pub fn key(expr: Expr) -> Expr {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(KEY));
    call(&FUNCTION, expr)
}

fn call(function: &Arc<ScalarUDF>, expr: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), vec![expr]))
}

fn function(name: &'static str) -> Arc<ScalarUDF> {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(OnePattern { name, signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OnePattern {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for OnePattern {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [of] => Ok(of.clone()),
            _ => exec_err!("{} takes one float", self.name),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [of] => Ok(Arc::clone(of)),
            _ => exec_err!("{} takes one float", self.name),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(array)] => {
                Ok(ColumnarValue::Array(one_pattern(array, self.name == KEY)))
            }
            [ColumnarValue::Scalar(scalar)] => {
                let array = one_pattern(&scalar.to_array()?, self.name == KEY);
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
            _ => exec_err!("{} takes one float", self.name),
        }
    }
}

fn one_pattern(array: &ArrayRef, zero: bool) -> ArrayRef {
    match array.data_type() {
        DataType::Float16 => of_bits::<Float16Type>(array, |value| {
            let nan = value.is_nan().then_some(Half::NAN);
            nan.or((zero && value.to_bits() == 1 << 15).then_some(Half::ZERO))
        }),
        DataType::Float32 => of_bits::<Float32Type>(array, |value| {
            let nan = value.is_nan().then_some(f32::NAN);
            nan.or((zero && value.to_bits() == 1 << 31).then_some(0.0))
        }),
        DataType::Float64 => of_bits::<Float64Type>(array, |value| {
            let nan = value.is_nan().then_some(f64::NAN);
            nan.or((zero && value.to_bits() == 1 << 63).then_some(0.0))
        }),
        _ => Arc::clone(array),
    }
}

/// The array itself where no value has another pattern.
fn of_bits<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    other: impl Fn(T::Native) -> Option<T::Native>,
) -> ArrayRef {
    let array_of = array.as_primitive::<T>();
    if array_of.values().iter().all(|value| other(*value).is_none()) {
        return Arc::clone(array);
    }
    let values: PrimitiveArray<T> = array_of.unary(|value| other(value).unwrap_or(value));
    Arc::new(values)
}
