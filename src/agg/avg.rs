//! `avg`: of decimals, durations and floats (to which DataFusion casts integers); NULL if all are.
//!
//! Decimals gain four digits, as far as the type goes, and round half away from zero, or are cut
//! (`thalweg.decimal_division`). They are summed in the decimal that `udaf` names, which is 13
//! digits wider than the argument.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use super::acc::{self, Acc};
use super::decimal::{self, Averager};
use super::float_sum::FloatSum;
use super::plan::{Call, Column, Output, Plan};
use super::states::StateColumn;
use super::udaf;
use crate::error::{Declined, Result};

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
        Acc::Sum64 => Arc::new(Integers { sum_type, result }),
        _ => {
            let averager = Averager::new(&sum_type, &result, call.rounds);
            let averager = averager.map_err(|error| Declined::new(error.to_string()))?;
            Arc::new(Decimals { sum_type, result, averager })
        }
    };
    let columns = [Acc::Count, acc].map(|acc| Column { acc, arg: Some(0) });
    Ok(Plan { columns: columns.to_vec(), output })
}

/// The count of each group.
fn counts(states: &[StateColumn]) -> impl Iterator<Item = u64> {
    states[0].iter().map(|count| acc::join(count) as u64)
}

/// The counts as a partial state. They are NULL where there was no value: DataFusion's grouped
/// accumulator would take a zero for a group that has an average.
fn counted(states: &[StateColumn]) -> ArrayRef {
    Arc::new(counts(states).map(|count| (count > 0).then_some(count)).collect::<UInt64Array>())
}

/// Sums that are durations.
#[derive(Debug)]
struct Integers {
    sum_type: DataType,
    result: DataType,
}

impl Output for Integers {
    fn finish(&self, states: &[StateColumn]) -> Result<ArrayRef> {
        let sums = states[1].array(&DataType::Int64)?;
        let sums = sums.as_primitive::<Int64Type>();
        let averages = sums
            .iter()
            .zip(counts(states))
            .map(|(sum, count)| sum.map(|sum| (i128::from(sum) / i128::from(count)) as i64));
        Ok(cast(&averages.collect::<Int64Array>(), &self.result)?)
    }

    fn partial(&self, states: &[StateColumn]) -> Result<Vec<ArrayRef>> {
        Ok(vec![counted(states), states[1].array(&self.sum_type)?])
    }
}

/// Sums that are decimals.
#[derive(Debug)]
struct Decimals {
    sum_type: DataType,
    result: DataType,
    averager: Averager,
}

impl Output for Decimals {
    fn finish(&self, states: &[StateColumn]) -> Result<ArrayRef> {
        let averages = states[1].seen().zip(counts(states)).map(|(sum, count)| match sum {
            Some(sum) => self.averager.average(acc::signed(sum), count),
            None => Ok(None),
        });
        Ok(decimal::column(&self.result, averages)?)
    }

    fn partial(&self, states: &[StateColumn]) -> Result<Vec<ArrayRef>> {
        let sums = states[1].seen().map(|sum| Ok(sum.map(acc::signed)));
        Ok(vec![counted(states), decimal::column(&self.sum_type, sums)?])
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
    fn finish(&self, states: &[StateColumn]) -> Result<ArrayRef> {
        let averages = states[1].iter().zip(counts(states)).map(|(state, count)| {
            let sum = FloatSum::from_words(state).value()?;
            Ok(sum.map(|sum| sum / count as f64))
        });
        Ok(Arc::new(averages.collect::<Result<Float64Array>>()?))
    }

    fn partial(&self, states: &[StateColumn]) -> Result<Vec<ArrayRef>> {
        let sums: ArrayRef = if self.mergeable {
            udaf::state_array(states[1].words().iter().copied())
        } else {
            let sums = states[1].iter().map(|state| FloatSum::from_words(state).value());
            Arc::new(sums.collect::<Result<Float64Array>>()?)
        };
        Ok(vec![counted(states), sums])
    }
}
