//! `min` and `max`: of numbers, decimals, dates, times and booleans; NULL if all are.
//!
//! Floats are in Arrow's total order, in which -0 is below +0 and NaN above infinity. That is what
//! DataFusion's ungrouped accumulators do; its grouped ones depend on the order of the rows there,
//! for which `udaf` registers better ones.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use super::acc::{self, Acc};
use super::array;
use super::plan::{Call, Output, Plan};
use super::states::StateColumn;
use crate::error::{Declined, Result};

pub(super) fn plan_min(call: &Call<'_>) -> Result<Plan, Declined> {
    plan(call, false)
}

pub(super) fn plan_max(call: &Call<'_>) -> Result<Plan, Declined> {
    plan(call, true)
}

fn plan(call: &Call<'_>, max: bool) -> Result<Plan, Declined> {
    let [data_type] = &call.types[..] else { return Err(call.decline()) };
    match array::rep(data_type) {
        Some(rep) if data_type == &call.result => {
            Ok(Plan::one(Acc::Best(acc::Best { rep, max }), Best { data_type: data_type.clone() }))
        }
        _ => Err(call.decline()),
    }
}

#[derive(Debug)]
struct Best {
    data_type: DataType,
}

impl Output for Best {
    fn finish(&self, states: &[StateColumn]) -> Result<ArrayRef> {
        states[0].array(&self.data_type)
    }
}
