//! Sums and averages of decimals in DataFusion's operators: of all rows, of each group, of a frame.
//!
//! They are added in 256 bits, so that the order of the rows decides neither a result nor an error,
//! and what has more digits than the type of the result is an error.

use std::collections::HashSet;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, UInt64Array};
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType,
    UInt64Type, i256,
};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::accumulate::accumulate;

use crate::agg::decimal::{Averager, Wide, column};

/// Digits of a decimal up to which ten thousand million values have a sum in 128 bits.
const SHORT: u8 = 28;

/// The type in which sums of decimals are handed on.
pub(super) fn sum_type(input: &DataType) -> DataType {
    match *input {
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
            DataType::Decimal128(38, scale)
        }
        DataType::Decimal128(..=SHORT, scale) => DataType::Decimal128(38, scale),
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => {
            DataType::Decimal256(76, scale)
        }
        ref other => other.clone(),
    }
}

/// What a call sums, hands on and answers.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    pub input: DataType,
    pub sum: DataType,
    pub result: DataType,
    /// How an average comes of a sum; `None` for a sum.
    pub averager: Option<Averager>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    sum: i256,
    count: u64,
}

impl State {
    fn add(&mut self, sum: i256, count: u64) -> Result<()> {
        match self.sum.checked_add(sum) {
            Some(sum) => *self = Self { sum, count: self.count + count },
            None => return exec_err!("decimal overflow: a sum has more than 76 digits"),
        }
        Ok(())
    }
}

impl Recipe {
    /// Results, one a state.
    fn finish(&self, states: &[State]) -> Result<ArrayRef> {
        let result = |state: &State| match (state.count, &self.averager) {
            (0, _) => Ok(None),
            (_, None) => Ok(Some(state.sum)),
            (count, Some(averager)) => averager.average(state.sum, count),
        };
        column(&self.result, states.iter().map(result))
    }

    /// States as state columns: for an average the counts, and the sums.
    fn columns(&self, states: &[State]) -> Result<Vec<ArrayRef>> {
        let sums = states.iter().map(|state| Ok((state.count > 0).then_some(state.sum)));
        let sums = column(&self.sum, sums)?;
        if self.averager.is_none() {
            return Ok(vec![sums]);
        }
        let counts = states.iter().map(|state| Some(state.count).filter(|count| *count > 0));
        Ok(vec![Arc::new(counts.collect::<UInt64Array>()), sums])
    }

    /// Calls `each` with the row and the state of each row of state columns that is not NULL.
    fn merge(
        &self,
        columns: &[ArrayRef],
        mut each: impl FnMut(usize, State) -> Result<()>,
    ) -> Result<()> {
        let (sums, counts) = match columns {
            [counts, sums] => (sums, Some(counts.as_primitive::<UInt64Type>())),
            columns => (&columns[0], None),
        };
        for (row, sum) in integers(sums)?.into_iter().enumerate() {
            let Some(sum) = sum else { continue };
            let count = match counts {
                Some(counts) if counts.is_null(row) => 0,
                Some(counts) => counts.value(row),
                None => 1,
            };
            each(row, State { sum, count })?;
        }
        Ok(())
    }

    pub(super) fn one(self) -> Result<Box<dyn Accumulator>> {
        Ok(match self.input {
            DataType::Decimal32(..) => Box::new(One::<Decimal32Type>::new(self)),
            DataType::Decimal64(..) => Box::new(One::<Decimal64Type>::new(self)),
            DataType::Decimal128(..) => Box::new(One::<Decimal128Type>::new(self)),
            DataType::Decimal256(..) => Box::new(One::<Decimal256Type>::new(self)),
            ref other => return exec_err!("{other} is no decimal"),
        })
    }

    pub(super) fn grouped(self) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(match self.input {
            DataType::Decimal32(..) => Box::new(Grouped::<Decimal32Type>::new(self)),
            DataType::Decimal64(..) => Box::new(Grouped::<Decimal64Type>::new(self)),
            DataType::Decimal128(..) => Box::new(Grouped::<Decimal128Type>::new(self)),
            DataType::Decimal256(..) => Box::new(Grouped::<Decimal256Type>::new(self)),
            ref other => return exec_err!("{other} is no decimal"),
        })
    }

    pub(super) fn distinct(self) -> Box<dyn Accumulator> {
        Box::new(Distinct { recipe: self, seen: HashSet::new() })
    }
}

/// The integers under decimals.
fn integers(values: &ArrayRef) -> Result<Vec<Option<i256>>> {
    fn of<T: ArrowPrimitiveType<Native: Wide>>(values: &ArrayRef) -> Vec<Option<i256>> {
        values.as_primitive::<T>().iter().map(|value| value.map(Wide::wide)).collect()
    }
    Ok(match values.data_type() {
        DataType::Decimal32(..) => of::<Decimal32Type>(values),
        DataType::Decimal64(..) => of::<Decimal64Type>(values),
        DataType::Decimal128(..) => of::<Decimal128Type>(values),
        DataType::Decimal256(..) => of::<Decimal256Type>(values),
        other => return exec_err!("{other} is no decimal"),
    })
}

/// Of all rows, or of the rows of a frame, which may leave it.
#[derive(Debug)]
struct One<T> {
    recipe: Recipe,
    state: State,
    of: PhantomData<T>,
}

impl<T: DecimalType + ArrowPrimitiveType<Native: Wide>> One<T> {
    fn new(recipe: Recipe) -> Self {
        Self { recipe, state: State::default(), of: PhantomData }
    }
}

impl<T: DecimalType + ArrowPrimitiveType<Native: Wide> + std::fmt::Debug> Accumulator for One<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut values = values[0].as_primitive::<T>().iter().flatten();
        values.try_for_each(|value| self.state.add(value.wide(), 1))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values[0].as_primitive::<T>().iter().flatten() {
            self.state.add(value.wide().wrapping_neg(), 0)?;
            self.state.count = self.state.count.saturating_sub(1);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let recipe = &self.recipe;
        recipe.merge(states, |_, state| self.state.add(state.sum, state.count))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let columns = self.recipe.columns(&[self.state])?;
        columns.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.recipe.finish(&[self.state])?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// Of each group.
#[derive(Debug)]
struct Grouped<T> {
    recipe: Recipe,
    states: Vec<State>,
    of: PhantomData<T>,
}

impl<T> Grouped<T> {
    fn new(recipe: Recipe) -> Self {
        Self { recipe, states: Vec::new(), of: PhantomData }
    }
}

impl<T: DecimalType + ArrowPrimitiveType<Native: Wide>> GroupsAccumulator for Grouped<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.states.resize(total_num_groups, State::default());
        let values = values[0].as_primitive::<T>();
        let mut failed = Ok(());
        accumulate(group_indices, values, opt_filter, |group, value: T::Native| {
            if let Err(error) = self.states[group].add(value.wide(), 1) {
                failed = Err(error);
            }
        });
        failed
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.states.resize(total_num_groups, State::default());
        let states = &mut self.states;
        self.recipe
            .merge(values, |row, state| states[group_indices[row]].add(state.sum, state.count))
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let states = emit_to.take_needed(&mut self.states);
        self.recipe.finish(&states)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let states = emit_to.take_needed(&mut self.states);
        self.recipe.columns(&states)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<T>();
        let mut states = vec![State::default(); values.len()];
        let rows: Vec<usize> = (0..values.len()).collect();
        accumulate(&rows, values, opt_filter, |row, value: T::Native| {
            states[row] = State { sum: value.wide(), count: 1 };
        });
        self.recipe.columns(&states)
    }

    fn size(&self) -> usize {
        self.states.capacity() * size_of::<State>()
    }
}

/// Of the values that differ; the state is a list of them.
#[derive(Debug)]
struct Distinct {
    recipe: Recipe,
    seen: HashSet<i256>,
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.seen.extend(integers(&values[0])?.into_iter().flatten());
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.update_batch(&[values])?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = column(&self.recipe.input, self.seen.iter().map(|value| Ok(Some(*value))))?;
        let values = (0..values.len()).map(|row| ScalarValue::try_from_array(&values, row));
        let values = values.collect::<Result<Vec<_>>>()?;
        let list = ScalarValue::new_list_nullable(&values, &self.recipe.input);
        Ok(vec![ScalarValue::List(list)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut state = State::default();
        self.seen.iter().try_for_each(|value| state.add(*value, 1))?;
        ScalarValue::try_from_array(&self.recipe.finish(&[state])?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.seen.capacity() * size_of::<i256>()
    }
}
