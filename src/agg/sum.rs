//! `sum`: of integers (which DataFusion widens to 64 bits first), decimals, durations and floats;
//! NULL if all are.
//!
//! Integers wrap, as DataFusion's do. Decimals do not: the result has ten more digits, as far as the
//! type goes; they are added in more bits than that (`udaf` has the same for the host), and a sum of
//! more digits is an error.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::DataType;

use super::float_sum::{self, FloatSum};
use super::{Acc, Call, Output, Plan, States, acc, array, decimal, udaf};
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
            return Ok(Plan::one(acc, Decimals { last: acc.words() - 1, sum, result }));
        }
        (Float64, Float64) => {
            let mergeable = udaf::is_state(call.state.first());
            return Ok(Plan::one(Acc::FloatSum, Floats { mergeable }));
        }
        _ => return Err(call.decline()),
    };
    Ok(Plan::one(acc, Integers { last: acc.words() - 1, data_type: result.clone() }))
}

#[derive(Debug)]
struct Integers {
    /// The word that tells if there was a value.
    last: usize,
    data_type: DataType,
}

impl Output for Integers {
    fn finish(&self, states: States<'_>) -> Result<ArrayRef> {
        let last = self.last;
        let values =
            states.iter(0).map(|state| (state[last] != 0).then(|| acc::join(&state[..last])));
        array::from_bits(&self.data_type, values)
    }
}

/// Sums that are decimals.
#[derive(Debug)]
struct Decimals {
    /// The word that tells if there was a value.
    last: usize,
    /// In which sums are handed on.
    sum: DataType,
    result: DataType,
}

impl Decimals {
    fn column(&self, data_type: &DataType, states: States<'_>) -> Result<ArrayRef> {
        let last = self.last;
        let sums =
            states.iter(0).map(|state| Ok((state[last] != 0).then(|| acc::signed(&state[..last]))));
        Ok(decimal::column(data_type, sums)?)
    }
}

impl Output for Decimals {
    fn finish(&self, states: States<'_>) -> Result<ArrayRef> {
        self.column(&self.result, states)
    }

    fn partial(&self, states: States<'_>) -> Result<Vec<ArrayRef>> {
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
    fn finish(&self, states: States<'_>) -> Result<ArrayRef> {
        let values = states.iter(0).map(|state| FloatSum::from_words(state).value());
        Ok(Arc::new(values.collect::<Result<Float64Array>>()?))
    }

    fn partial(&self, states: States<'_>) -> Result<Vec<ArrayRef>> {
        if self.mergeable {
            let words = states.iter(0).map(|state| &state[..float_sum::WORDS]);
            return Ok(vec![udaf::state_array(words.flatten().copied())]);
        }
        Ok(vec![self.finish(states)?])
    }
}
