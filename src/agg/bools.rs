//! `bool_and` and `bool_or`: over the values that are not NULL; NULL if there are none.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::DataType;

use super::acc::Acc;
use super::plan::{Call, Output, Plan};
use super::states::StateColumn;
use crate::error::{Declined, Result};

pub(super) fn plan_and(call: &Call<'_>) -> Result<Plan, Declined> {
    plan(call, Bools { and: true })
}

pub(super) fn plan_or(call: &Call<'_>) -> Result<Plan, Declined> {
    plan(call, Bools { and: false })
}

fn plan(call: &Call<'_>, output: Bools) -> Result<Plan, Declined> {
    match call.types[..] {
        [DataType::Boolean] => Ok(Plan::one(Acc::Bools, output)),
        _ => Err(call.decline()),
    }
}

#[derive(Debug)]
struct Bools {
    and: bool,
}

impl Output for Bools {
    fn finish(&self, states: &[StateColumn]) -> Result<ArrayRef> {
        const SOME_TRUE: u32 = 1;
        const SOME_FALSE: u32 = 2;
        let values = states[0].words().iter().map(|seen| match seen {
            0 => None,
            seen if self.and => Some(seen & SOME_FALSE == 0),
            seen => Some(seen & SOME_TRUE != 0),
        });
        Ok(Arc::new(values.collect::<BooleanArray>()))
    }
}
