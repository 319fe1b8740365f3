//! `coalesce` and its kin over times of day of different units, for which DataFusion knows no
//! common type: the finest. All else is DataFusion's function, called through.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use datafusion::common::Result;
use datafusion::functions::core;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

/// Functions to be registered over DataFusion's of the same names.
pub fn choices() -> Vec<ScalarUDF> {
    [core::coalesce(), core::nvl2(), core::greatest(), core::least()]
        .map(|native| ScalarUDF::new_from_impl(Choice { native }))
        .into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Choice {
    native: Arc<ScalarUDF>,
}

impl Choice {
    fn inner(&self) -> &Arc<dyn ScalarUDFImpl> {
        self.native.inner()
    }
}

/// How fine the unit of a time of day is.
fn fineness(data_type: &DataType) -> Option<(u8, DataType)> {
    let unit = match data_type {
        DataType::Time32(unit) | DataType::Time64(unit) => unit,
        _ => return None,
    };
    let rank = match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    };
    Some((rank, data_type.clone()))
}

impl ScalarUDFImpl for Choice {
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let finest = types.iter().filter_map(fineness).max_by_key(|(rank, _)| *rank);
        let Some((_, finest)) = finest else { return self.inner().coerce_types(types) };
        let common = |data_type: &DataType| match data_type {
            DataType::Time32(_) | DataType::Time64(_) => finest.clone(),
            other => other.clone(),
        };
        self.inner().coerce_types(&types.iter().map(common).collect::<Vec<_>>())
    }

    // From here on, all is DataFusion's.

    fn name(&self) -> &str {
        self.inner().name()
    }

    fn aliases(&self) -> &[String] {
        self.inner().aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner().schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner().signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner().return_field_from_args(args)
    }

    fn is_strict(&self) -> bool {
        self.inner().is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner().invoke_with_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner().simplify(args, info)
    }

    fn short_circuits(&self) -> bool {
        self.inner().short_circuits()
    }

    fn conditional_arguments<'a>(
        &self,
        args: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner().conditional_arguments(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner().documentation()
    }
}
