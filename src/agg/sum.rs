//! `sum`: of integers (which DataFusion widens to 64 bits first), decimals, durations and floats;
//! NULL if all are.
//!
//! Integers wrap, as DataFusion's do. So do decimals: DataFusion gives the result ten more digits,
//! as far as the type goes, adds in the native integer with wrapping, and does not check the digits
//! at the end; sums in 64 or 128 bits cut down to that integer give the same bits.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::DataType;

use super::float_sum::{self, FloatSum};
use super::{Acc, Call, Output, Plan, States, acc, array, udaf};
use crate::error::{Declined, Result};

pub(super) fn plan(call: &Call<'_>) -> Result<Plan, Declined> {
    use DataType::*;
    let ([data_type], result) = (&call.types[..], &call.result) else {
        return Err(call.decline());
    };
    let acc = match (data_type, result) {
        (Int64, Int64) | (UInt64, UInt64) => Acc::Sum64,
        (Duration(_), Duration(_)) => Acc::Sum64,
        (Decimal32(..), Decimal32(..)) | (Decimal64(..), Decimal64(..)) => Acc::Sum64,
        (Decimal128(..), Decimal128(..)) => Acc::Sum128,
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
