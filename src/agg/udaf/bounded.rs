//! Accumulators of text and lists that tell when they hold more than Arrow can: it panics there.

use arrow::array::{ArrayRef, BooleanArray};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use crate::error::Error;
use crate::task;

/// An accumulator of a function, which errors name.
#[derive(Debug)]
pub struct Bounded<A> {
    pub function: &'static str,
    pub inner: A,
}

impl<A> Bounded<A> {
    fn of<T>(&mut self, work: impl FnOnce(&mut A) -> Result<T>) -> Result<T> {
        let (function, inner) = (self.function, &mut self.inner);
        told(function, task::quietly(|| work(inner)))
    }
}

fn told<T>(function: &str, done: std::thread::Result<Result<T>>) -> Result<T> {
    done.unwrap_or_else(|panic| match task::panicked(function, panic.as_ref()) {
        Error::Data(_) => {
            let text = format!("{function}: the text of a group is longer than 2 GiB");
            Err(Error::Data(text).into())
        }
        other => Err(other.into()),
    })
}

impl Accumulator for Bounded<Box<dyn Accumulator>> {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.of(|inner| inner.update_batch(columns))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.of(|inner| inner.merge_batch(states))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.of(|inner| inner.state())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.of(|inner| inner.evaluate())
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.of(|inner| inner.retract_batch(columns))
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}

impl GroupsAccumulator for Bounded<Box<dyn GroupsAccumulator>> {
    fn update_batch(
        &mut self,
        columns: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.of(|inner| inner.update_batch(columns, groups, filter, count))
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.of(|inner| inner.merge_batch(states, groups, count))
    }

    fn state(&mut self, which: EmitTo) -> Result<Vec<ArrayRef>> {
        self.of(|inner| inner.state(which))
    }

    fn evaluate(&mut self, which: EmitTo) -> Result<ArrayRef> {
        self.of(|inner| inner.evaluate(which))
    }

    fn convert_to_state(
        &self,
        columns: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let converted = task::quietly(|| self.inner.convert_to_state(columns, filter));
        told(self.function, converted)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}

#[cfg(test)]
mod tests {
    use arrow::buffer::OffsetBuffer;

    use super::*;

    #[test]
    fn groups_that_are_too_long_are_told_by_the_function() {
        let panic = || Ok(OffsetBuffer::<i32>::from_lengths([i32::MAX as usize, 1]));
        let error = told("string_agg", task::quietly(panic)).unwrap_err().to_string();
        assert!(error.contains("string_agg: the text of a group is longer than 2 GiB"), "{error}");
        let other = told("string_agg", task::quietly(|| -> Result<()> { panic!("other") }));
        assert!(other.unwrap_err().to_string().contains("string_agg panicked: other"));
        assert_eq!(told("string_agg", task::quietly(|| Ok(4))).unwrap(), 4);
    }
}
