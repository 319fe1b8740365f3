//! Float sums and averages in DataFusion's operators: of all rows, or of each group.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, Float64Array, UInt64Array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{Float64Type, UInt64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::accumulate::accumulate;

use crate::agg::float_sum::{self, FloatSum, WORDS};

/// Bytes of a float sum's state on the wire: its words, each with its low byte first.
pub(super) const STATE_BYTES: i32 = 4 * float_sum::WORDS as i32;

/// Float sums as a state column, out of their words.
pub(in crate::agg) fn state_array(words: impl Iterator<Item = u32>) -> ArrayRef {
    let words: Vec<u32> = words.map(u32::to_le).collect();
    Arc::new(FixedSizeBinaryArray::new(STATE_BYTES, Buffer::from_vec(words), None))
}

/// What is kept of some values: for a sum the count is not used.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State {
    pub(super) sum: FloatSum,
    pub(super) count: u64,
}

impl State {
    fn add(&mut self, value: f64) {
        self.sum.add(value);
        self.count += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.sum.merge(&other.sum);
        self.count += other.count;
    }

    pub(super) fn value(&self, average: bool) -> Result<Option<f64>> {
        let sum = self.sum.value()?;
        Ok(if average { sum.map(|sum| sum / self.count as f64) } else { sum })
    }
}

/// States as state columns: for an average the counts, and the sums.
pub(super) fn to_columns(states: &[State], average: bool) -> Vec<ArrayRef> {
    let sums = state_array(states.iter().flat_map(|state| state.sum.to_words()));
    if !average {
        return vec![sums];
    }
    let counts = UInt64Array::from_iter_values(states.iter().map(|state| state.count));
    vec![Arc::new(counts), sums]
}

/// Calls `each` with the row and the state of each row of state columns that is not NULL.
fn from_columns(columns: &[ArrayRef], mut each: impl FnMut(usize, State)) {
    let (sums, counts) = match columns {
        [counts, sums] => (sums, Some(counts.as_primitive::<UInt64Type>())),
        columns => (&columns[0], None),
    };
    let sums = sums.as_fixed_size_binary();
    for row in (0..sums.len()).filter(|&row| sums.is_valid(row)) {
        let (bytes, _) = sums.value(row).as_chunks::<4>();
        let words: [u32; WORDS] = std::array::from_fn(|word| u32::from_le_bytes(bytes[word]));
        let count = counts.map_or(0, |counts| counts.value(row));
        each(row, State { sum: FloatSum::from_words(&words), count });
    }
}

/// The sum or average of all rows.
#[derive(Debug)]
pub(super) struct OneFloatSum {
    average: bool,
    state: State,
}

impl OneFloatSum {
    pub(super) fn new(average: bool) -> Self {
        Self { average, state: State::default() }
    }
}

impl Accumulator for OneFloatSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<Float64Type>();
        if values.null_count() == 0 {
            values.values().iter().for_each(|&value| self.state.add(value));
        } else {
            values.iter().flatten().for_each(|value| self.state.add(value));
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        from_columns(states, |_, state| self.state.merge(&state));
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let columns = to_columns(&[self.state], self.average);
        columns.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.state.value(self.average)?))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sum or average of each group.
#[derive(Debug)]
pub(super) struct GroupedFloatSum {
    average: bool,
    states: Vec<State>,
}

impl GroupedFloatSum {
    pub(super) fn new(average: bool) -> Self {
        Self { average, states: vec![] }
    }
}

impl GroupsAccumulator for GroupedFloatSum {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.states.resize(total_num_groups, State::default());
        let values = values[0].as_primitive::<Float64Type>();
        let add = |group: usize, value| self.states[group].add(value);
        accumulate(group_indices, values, opt_filter, add);
        Ok(())
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.states.resize(total_num_groups, State::default());
        from_columns(values, |row, state| self.states[group_indices[row]].merge(&state));
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let states = emit_to.take_needed(&mut self.states);
        let values = states.iter().map(|state| state.value(self.average));
        Ok(Arc::new(values.collect::<Result<Float64Array>>()?))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let states = emit_to.take_needed(&mut self.states);
        Ok(to_columns(&states, self.average))
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<Float64Type>();
        let mut states = vec![State::default(); values.len()];
        let rows: Vec<usize> = (0..values.len()).collect();
        accumulate(&rows, values, opt_filter, |row, value| states[row].add(value));
        Ok(to_columns(&states, self.average))
    }

    fn size(&self) -> usize {
        self.states.capacity() * size_of::<State>()
    }
}
