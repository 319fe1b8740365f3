//! `count(*)` and `count(x)`: rows, and rows where x is not NULL, of any type.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::physical_expr::expressions::Literal;

use super::acc::Acc;
use super::plan::{Call, Column, Output, Plan};
use super::states::StateColumn;
use crate::error::{Declined, Result};

pub(super) fn plan(call: &Call<'_>) -> Result<Plan, Declined> {
    let ([arg], [data_type]) = (call.args, &call.types[..]) else {
        return Err(Declined::new("count of several columns has no device form"));
    };
    if data_type == &DataType::Null {
        return Err(call.decline());
    }
    // `count(*)` comes as `count(1)`.
    let every_row = arg.downcast_ref::<Literal>().is_some_and(|arg| !arg.value().is_null());
    let column = Column { acc: Acc::Count, arg: (!every_row).then_some(0) };
    Ok(Plan { columns: vec![column], output: Arc::new(Count) })
}

#[derive(Debug)]
struct Count;

impl Output for Count {
    fn finish(&self, states: &[StateColumn]) -> Result<ArrayRef> {
        states[0].array(&DataType::Int64)
    }
}
