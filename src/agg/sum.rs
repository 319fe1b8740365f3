//! `sum`: of integers (which DataFusion widens to 64 bits first), decimals, durations and floats;
//! NULL if all are.
//!
//! Integers wrap, as DataFusion's do. Decimals do not: the result has ten more digits, as far as
//! the type goes; they are added in more bits than that (`udaf` has the same for the host), and a
//! sum of more digits is an error.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::DataType;

use super::acc::{self, Acc};
use super::float_sum::FloatSum;
use super::plan::{Call, Output, Plan};
use super::states::StateColumn;
use super::{decimal, udaf};
use crate::error::{Declined, Result};

pub(super) fn plan(call: &Call<'_>) -> Result<Plan, Declined> {
    use DataType::*;
    let ([data_type], result) = (&call.types[..], &call.result) else {
        return Err(call.decline());
    };
    let acc = match (data_type, result) {
        (Int64, Int64) | (UInt64, UInt64) => Acc::Sum64,
        (Duration(_), Duration(_)) => Acc::Sum64,
        (Decimal32(..), Decimal32(..))
        | (Decimal64(..), Decimal64(..))
        | (Decimal128(..), Decimal128(..)) => {
            let [sum] = &call.state[..] else { return Err(call.decline()) };
            let acc = match sum.data_type() {
                Decimal128(..) => Acc::Sum128,
                _ => Acc::Sum160,
            };
            let (sum, result) = (sum.data_type().clone(), result.clone());
            return Ok(Plan::one(acc, Decimals { sum, result }));
        }
        (Float64, Float64) => {
            let mergeable = udaf::is_state(call.state.first());
            return Ok(Plan::one(Acc::FloatSum, Floats { mergeable }));
        }
        _ => return Err(call.decline()),
    };
    Ok(Plan::one(acc, Integers { data_type: result.clone() }))
}

#[derive(Debug)]
struct Integers {
    data_type: DataType,
}

impl Output for Integers {
    fn finish(&self, states: &[StateColumn]) -> Result<ArrayRef> {
        states[0].array(&self.data_type)
    }
}

/// Sums that are decimals.
#[derive(Debug)]
struct Decimals {
    /// In which sums are handed on.
    sum: DataType,
    result: DataType,
}

impl Decimals {
    fn column(&self, data_type: &DataType, states: &[StateColumn]) -> Result<ArrayRef> {
        let sums = states[0].seen().map(|sum| Ok(sum.map(acc::signed)));
        Ok(decimal::column(data_type, sums)?)
    }
}

impl Output for Decimals {
    fn finish(&self, states: &[StateColumn]) -> Result<ArrayRef> {
        self.column(&self.result, states)
    }

    fn partial(&self, states: &[StateColumn]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.column(&self.sum, states)?])
    }
}

#[derive(Debug)]
struct Floats {
    /// Partial states are our own, to be merged further; else, with DataFusion's own `sum`, they
    /// are sums.
    mergeable: bool,
}

impl Output for Floats {
    fn finish(&self, states: &[StateColumn]) -> Result<ArrayRef> {
        let values = states[0].iter().map(|state| FloatSum::from_words(state).value());
        Ok(Arc::new(values.collect::<Result<Float64Array>>()?))
    }

    fn partial(&self, states: &[StateColumn]) -> Result<Vec<ArrayRef>> {
        if self.mergeable {
            return Ok(vec![udaf::state_array(states[0].words().iter().copied())]);
        }
        Ok(vec![self.finish(states)?])
    }
}
