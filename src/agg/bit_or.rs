//! `bit_or` of integers of 64 bits; NULL if all are.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use super::acc::Acc;
use super::plan::{Call, Output, Plan};
use super::states::StateColumn;
use crate::error::{Declined, Result};

pub(super) fn plan(call: &Call<'_>) -> Result<Plan, Declined> {
    match call.types[..] {
        [DataType::Int64] => Ok(Plan::one(Acc::BitOr, BitOr)),
        _ => Err(call.decline()),
    }
}

#[derive(Debug)]
struct BitOr;

impl Output for BitOr {
    fn finish(&self, states: &[StateColumn]) -> Result<ArrayRef> {
        states[0].array(&DataType::Int64)
    }
}
