//! `avg`: of decimals, durations and floats (to which DataFusion casts integers); NULL if all are.
//!
//! Decimals gain four digits, as far as the type goes, and are truncated towards zero: the sum is
//! multiplied by the power of ten, divided by the count, and checked against the result's digits,
//! by DataFusion's own code. It sums in the narrowest decimal that is 13 digits wider than the
//! argument; where that has 256 bits (arguments of more than 25 digits) the device declines.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, UInt64Array};
use arrow::compute::DecimalCast;
use arrow::datatypes::{DataType, Decimal64Type, Decimal128Type, DecimalType};
use datafusion::error::DataFusionError;
use datafusion::physical_expr::aggregate::utils::DecimalAverager;

use super::float_sum::{self, FloatSum};
use super::{Acc, Call, Column, Output, Plan, States, acc, array, udaf};
use crate::error::{Declined, Error, Result};

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
        (Decimal32(..) | Decimal64(..), Decimal64(_, 0..)) => Acc::Sum64,
        (Decimal32(..) | Decimal64(..) | Decimal128(..), Decimal128(_, 0..)) => Acc::Sum128,
        _ => return Err(call.decline()),
    };
    let output: Arc<dyn Output> = match acc {
        Acc::FloatSum => Arc::new(Floats { mergeable: udaf::is_state(Some(sum)) }),
        _ => Arc::new(Integers { words: acc.words() - 1, sum_type, result }),
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

/// Sums that are integers: decimals and durations.
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

    /// Averages of decimals, summed in `S` with `scale`; `digits` of the result: precision, scale.
    fn decimals<S: DecimalType<Native: DecimalCast>>(
        &self,
        states: States<'_>,
        scale: i8,
        digits: (u8, i8),
    ) -> Result<ArrayRef> {
        let averager = DecimalAverager::<S>::try_new(scale, digits.0, digits.1)?;
        self.averages(states, |sum, count| {
            let sum = S::Native::from_decimal(sum).ok_or_else(too_large)?;
            let count = S::Native::from_decimal(i128::from(count)).ok_or_else(too_large)?;
            averager.avg(sum, count)?.to_i128().ok_or_else(too_large)
        })
    }

    fn averages(
        &self,
        states: States<'_>,
        average: impl Fn(i128, u64) -> Result<i128>,
    ) -> Result<ArrayRef> {
        let average = |state| self.sum(state).map(|sum| average(sum, count(state))).transpose();
        let averages = states.iter(0).map(average).collect::<Result<Vec<_>>>()?;
        let bits = averages.into_iter().map(|average| average.map(|average| average as u128));
        array::from_bits(&self.result, bits)
    }
}

fn too_large() -> Error {
    DataFusionError::Execution("Arithmetic Overflow in AvgAccumulator".into()).into()
}

impl Output for Integers {
    fn finish(&self, states: States<'_>) -> Result<ArrayRef> {
        use DataType::*;
        match (&self.sum_type, &self.result) {
            (&Decimal64(_, scale), &(Decimal32(p, s) | Decimal64(p, s))) => {
                self.decimals::<Decimal64Type>(states, scale, (p, s))
            }
            (&Decimal128(_, scale), &(Decimal32(p, s) | Decimal64(p, s) | Decimal128(p, s))) => {
                self.decimals::<Decimal128Type>(states, scale, (p, s))
            }
            _ => self.averages(states, |sum, count| Ok(sum / i128::from(count))),
        }
    }

    fn partial(&self, states: States<'_>) -> Result<Vec<ArrayRef>> {
        let sums = states.iter(0).map(|state| self.sum(state).map(|sum| sum as u128));
        Ok(vec![counts(states), array::from_bits(&self.sum_type, sums)?])
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
