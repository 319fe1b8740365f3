//! Values that are equal, as one value: -0.0 is 0.0, and all NaN are one, as in GROUP BY and joins.
//! What compares bytes, or by a total order of floats, sees keys through here.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, make_array};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float16Type, Float32Type, Float64Type};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

type F16 = <Float16Type as ArrowPrimitiveType>::Native;

/// Whether equal values of a type may differ in their bits.
pub fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::Dictionary(_, values) => has_floats(values),
        DataType::RunEndEncoded(_, values) => has_floats(values.data_type()),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => has_floats(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| has_floats(field.data_type())),
        _ => false,
    }
}

/// Keys of which those that are equal have the same bits.
pub fn normal(keys: &ArrayRef) -> Result<ArrayRef> {
    if !has_floats(keys.data_type()) {
        return Ok(keys.clone());
    }
    // A sum with plus zero has no minus zero; a NaN is the type's own.
    Ok(match keys.data_type() {
        DataType::Float16 => {
            let one = |key: F16| match key.is_nan() {
                true => F16::NAN,
                false => key + F16::ZERO,
            };
            Arc::new(keys.as_primitive::<Float16Type>().unary::<_, Float16Type>(one))
        }
        DataType::Float32 => {
            let one = |key: f32| if key.is_nan() { f32::NAN } else { key + 0.0 };
            Arc::new(keys.as_primitive::<Float32Type>().unary::<_, Float32Type>(one))
        }
        DataType::Float64 => {
            let one = |key: f64| if key.is_nan() { f64::NAN } else { key + 0.0 };
            Arc::new(keys.as_primitive::<Float64Type>().unary::<_, Float64Type>(one))
        }
        _ => {
            let data = keys.to_data();
            let parts = data
                .child_data()
                .iter()
                .map(|part| Ok(normal(&make_array(part.clone()))?.to_data()));
            let parts = parts.collect::<Result<Vec<_>>>()?;
            make_array(data.into_builder().child_data(parts).build()?)
        }
    })
}

/// The expression with equal values as one; itself where they are.
pub fn one_of_equals(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::from(OneOfEquals { signature }))
    });
    let is_done = matches!(
        &expr, Expr::ScalarFunction(call) if call.func.inner().is::<OneOfEquals>()
    );
    if is_done || !has_floats(&expr.get_type(schema)?) {
        return Ok(expr);
    }
    Ok(FUNCTION.call(vec![expr]))
}

const NAME: &str = "one_of_equals";

#[derive(Debug, PartialEq, Eq, Hash)]
struct OneOfEquals {
    signature: Signature,
}

impl ScalarUDFImpl for OneOfEquals {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match &args.args[0] {
            ColumnarValue::Array(keys) => ColumnarValue::Array(normal(keys)?),
            ColumnarValue::Scalar(key) => {
                let key = normal(&key.to_array()?)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&key, 0)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, ListArray, StructArray};
    use arrow::datatypes::Field;

    use super::*;

    fn bits(keys: &ArrayRef) -> Vec<Option<u64>> {
        keys.as_primitive::<Float64Type>().iter().map(|key| key.map(f64::to_bits)).collect()
    }

    #[test]
    fn equal_floats_have_the_same_bits_at_any_depth() {
        let (nan, zero) = (f64::NAN, 0.0_f64);
        let floats = vec![Some(-0.0), Some(-nan), None, Some(f64::from_bits(nan.to_bits() + 1))];
        let floats: ArrayRef = Arc::new(Float64Array::from(floats));
        let want: Vec<_> = [Some(zero), Some(nan), None, Some(nan)].to_vec();
        let want: Vec<_> = want.into_iter().map(|key| key.map(f64::to_bits)).collect();
        assert_eq!(bits(&normal(&floats).unwrap()), want);
        let field = Arc::new(Field::new("f", DataType::Float64, true));
        let pairs: ArrayRef = Arc::new(StructArray::from(vec![(field, floats.slice(1, 3))]));
        let pairs = normal(&pairs).unwrap();
        assert_eq!(bits(pairs.as_struct().column(0)), want[1..]);
        let list = vec![Some(vec![Some(-0.0), None]), None];
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(list));
        let list = normal(&list).unwrap();
        assert_eq!(bits(list.as_list::<i32>().values())[0], Some(0));
    }
}
