//! `avg`: of decimals, durations and floats (to which DataFusion casts integers); NULL if all are.
//!
//! Decimals gain four digits, as far as the type goes, and round half away from zero, or are cut
//! (`thalweg.decimal_division`). They are summed in the decimal that `udaf` names, which is 13
//! digits wider than the argument.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, UInt64Array};
use arrow::datatypes::{DataType, i256};

use super::decimal::{self, Averager};
use super::float_sum::{self, FloatSum};
use super::{Acc, Call, Column, Output, Plan, States, acc, array, udaf};
use crate::error::{Declined, Result};

/// Words of the count, which comes first.
const COUNT: usize = Acc::Count.words();

pub(super) fn plan(call: &Call<'_>) -> Result<Plan, Declined> {
    use DataType::*;
    let ([data_type], [_, sum]) = (&call.types[..], &call.state[..]) else {
        return Err(call.decline());
    };
    let (sum_type, result) = (sum.data_type().clone(), call.result.clone());
    let acc = match (data_type, &sum_type) {
        (Float64, _) => Acc::FloatSum,
        (Duration(_), Duration(_)) => Acc::Sum64,
        (Decimal32(..) | Decimal64(..) | Decimal128(..), Decimal128(..)) => Acc::Sum128,
        (Decimal128(..), Decimal256(..)) => Acc::Sum160,
        _ => return Err(call.decline()),
    };
    let output: Arc<dyn Output> = match acc {
        Acc::FloatSum => Arc::new(Floats { mergeable: udaf::is_state(Some(sum)) }),
        Acc::Sum64 => Arc::new(Integers { words: acc.words() - 1, sum_type, result }),
        _ => {
            let averager = Averager::new(&sum_type, &result, call.rounds);
            let averager = averager.map_err(|error| Declined::new(error.to_string()))?;
            Arc::new(Decimals { last: acc.words() - 1, sum_type, result, averager })
        }
    };
    let columns = [Acc::Count, acc].map(|acc| Column { acc, arg: Some(0) });
    Ok(Plan { columns: columns.to_vec(), output })
}

fn count(state: &[u32]) -> u64 {
    acc::join(&state[..COUNT]) as u64
}

/// The counts as a partial state. They are NULL where there was no value: DataFusion's grouped
/// accumulator would take a zero for a group that has an average.
fn counts(states: States<'_>) -> ArrayRef {
    let counts = states.iter(0).map(|state| Some(count(state)).filter(|&count| count > 0));
    Arc::new(counts.collect::<UInt64Array>())
}

/// Sums that are durations.
#[derive(Debug)]
struct Integers {
    /// Of the sum, without the one that tells if there was a value.
    words: usize,
    sum_type: DataType,
    result: DataType,
}

impl Integers {
    fn sum(&self, state: &[u32]) -> Option<i128> {
        let (sum, seen) = state[COUNT..].split_at(self.words);
        let unused = 128 - 32 * self.words;
        let sum = (acc::join(sum) << unused) as i128 >> unused;
        (seen[0] != 0).then_some(sum)
    }
}

impl Output for Integers {
    fn finish(&self, states: States<'_>) -> Result<ArrayRef> {
        let average = |state| self.sum(state).map(|sum| sum / i128::from(count(state)));
        let bits = states.iter(0).map(|state| average(state).map(|average| average as u128));
        array::from_bits(&self.result, bits)
    }

    fn partial(&self, states: States<'_>) -> Result<Vec<ArrayRef>> {
        let sums = states.iter(0).map(|state| self.sum(state).map(|sum| sum as u128));
        Ok(vec![counts(states), array::from_bits(&self.sum_type, sums)?])
    }
}

/// Sums that are decimals.
#[derive(Debug)]
struct Decimals {
    /// The word of the sum that tells if there was a value.
    last: usize,
    sum_type: DataType,
    result: DataType,
    averager: Averager,
}

impl Decimals {
    fn sum(&self, state: &[u32]) -> Option<i256> {
        let sum = &state[COUNT..];
        (sum[self.last] != 0).then(|| acc::signed(&sum[..self.last]))
    }
}

impl Output for Decimals {
    fn finish(&self, states: States<'_>) -> Result<ArrayRef> {
        let averages = states.iter(0).map(|state| match self.sum(state) {
            Some(sum) => self.averager.average(sum, count(state)),
            None => Ok(None),
        });
        Ok(decimal::column(&self.result, averages)?)
    }

    fn partial(&self, states: States<'_>) -> Result<Vec<ArrayRef>> {
        let sums = states.iter(0).map(|state| Ok(self.sum(state)));
        Ok(vec![counts(states), decimal::column(&self.sum_type, sums)?])
    }
}

/// Sums that are floats.
#[derive(Debug)]
struct Floats {
    /// Partial states are our own, to be merged further; else, with DataFusion's own `avg`, they
    /// are sums.
    mergeable: bool,
}

impl Output for Floats {
    fn finish(&self, states: States<'_>) -> Result<ArrayRef> {
        let average = |state: &[u32]| {
            let sum = FloatSum::from_words(&state[COUNT..]).value()?;
            Ok(sum.map(|sum| sum / count(state) as f64))
        };
        Ok(Arc::new(states.iter(0).map(average).collect::<Result<Float64Array>>()?))
    }

    fn partial(&self, states: States<'_>) -> Result<Vec<ArrayRef>> {
        let sums: ArrayRef = if self.mergeable {
            let words = states.iter(COUNT).map(|state| &state[..float_sum::WORDS]);
            udaf::state_array(words.flatten().copied())
        } else {
            let sums = states.iter(COUNT).map(|state| FloatSum::from_words(state).value());
            Arc::new(sums.collect::<Result<Float64Array>>()?)
        };
        Ok(vec![counts(states), sums])
    }
}
