//! `string_agg` and `nth_value` with ORDER BY, which sort what they have collected. DataFusion's
//! ask for sorted rows, so that two of them in one query cannot have different orders.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::functions_aggregate::{array_agg, nth_value, string_agg};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    Signature,
};
use datafusion::physical_expr::expressions::Literal;

use super::bounded::Bounded;

/// Ours, to be registered over DataFusion's of the same names.
pub fn udafs() -> [AggregateUDF; 2] {
    [string_agg::string_agg_udaf(), nth_value::nth_value_udaf()]
        .map(|native| AggregateUDF::new_from_impl(InOrder { native }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct InOrder {
    native: Arc<AggregateUDF>,
}

impl InOrder {
    /// Whether it keeps a sorted list.
    fn is_list(&self, is_ordered: bool) -> bool {
        is_ordered && self.name() == "nth_value"
    }
}

impl InOrder {
    fn unbounded(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if !self.is_list(!args.order_bys.is_empty()) {
            return self.native.inner().accumulator(args);
        }
        let nth = args.exprs.get(1).and_then(|nth| nth.downcast_ref::<Literal>());
        let Some(ScalarValue::Int64(Some(nth))) = nth.map(Literal::value) else {
            return self.native.inner().accumulator(args); // it says what is wrong
        };
        let list = DataType::new_list(args.return_field.data_type().clone(), true);
        let values = array_agg::array_agg_udaf().inner().accumulator(AccumulatorArgs {
            return_field: Arc::new(Field::new("values", list, true)),
            exprs: &args.exprs[..1],
            expr_fields: &args.expr_fields[..1],
            ..args
        })?;
        let null = ScalarValue::try_from(args.return_field.data_type())?;
        Ok(Box::new(Nth { values, nth: *nth, null }))
    }

    fn function(&self) -> &'static str {
        if self.name() == "nth_value" { "nth_value" } else { "string_agg" }
    }
}

impl AggregateUDFImpl for InOrder {
    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let inner = self.unbounded(args)?;
        Ok(Box::new(Bounded { function: self.function(), inner }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match self.is_list(!args.ordering_fields.is_empty()) {
            true => array_agg::array_agg_udaf().inner().state_fields(args),
            false => self.native.inner().state_fields(args),
        }
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::SoftRequirement
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        _: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self)) // what is collected is sorted whether it is or not
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::NotSupported
    }

    fn name(&self) -> &str {
        self.native.name()
    }

    fn signature(&self) -> &Signature {
        self.native.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.native.inner().return_type(types)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        args.order_bys.is_empty() && self.native.inner().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let inner = self.native.inner().create_groups_accumulator(args)?;
        Ok(Box::new(Bounded { function: self.function(), inner }))
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.native.inner().supports_null_handling_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.native.inner().documentation()
    }
}

/// The nth of values in their order; of a negative number, from the last.
#[derive(Debug)]
struct Nth {
    values: Box<dyn Accumulator>,
    nth: i64,
    null: ScalarValue,
}

impl Accumulator for Nth {
    /// The values, the number, what the values are sorted by.
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let columns = columns.iter().enumerate().filter(|(at, _)| *at != 1);
        let columns: Vec<ArrayRef> = columns.map(|(_, column)| column.clone()).collect();
        self.values.update_batch(&columns)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.values.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.values.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let ScalarValue::List(list) = self.values.evaluate()? else {
            return internal_err!("array_agg gives a list");
        };
        if list.is_null(0) {
            return Ok(self.null.clone());
        }
        let values = list.value(0);
        let from_start = match self.nth {
            0 => None,
            1.. => usize::try_from(self.nth - 1).ok(),
            _ => usize::try_from(self.nth.unsigned_abs())
                .ok()
                .and_then(|back| values.len().checked_sub(back)),
        };
        match from_start.filter(|at| *at < values.len()) {
            Some(at) => ScalarValue::try_from_array(&values, at),
            None => Ok(self.null.clone()),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.size() + self.null.size()
    }
}
