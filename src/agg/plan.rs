//! What the file of a function is asked, and what it answers.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::physical_expr::PhysicalExpr;

use super::acc::Acc;
use super::states::StateColumn;
use crate::error::{Declined, Result};

/// One accumulator of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub acc: Acc,
    /// Index into [`super::Aggregate::args`] of what is added; `None` is `count(*)`: every row
    /// counts.
    pub arg: Option<usize>,
}

/// A call, as the file of its function sees it.
pub struct Call<'a> {
    pub name: &'a str,
    pub args: &'a [Arc<dyn PhysicalExpr>],
    /// Of the arguments.
    pub types: Vec<DataType>,
    /// Of the final value.
    pub result: DataType,
    /// Of the partial state.
    pub state: Vec<FieldRef>,
    /// An average of decimals is rounded.
    pub rounds: bool,
}

impl Call<'_> {
    /// The function exists, but not for these types.
    pub fn decline(&self) -> Declined {
        let types: Vec<String> = self.types.iter().map(ToString::to_string).collect();
        Declined::new(format!("{}({}) has no device form", self.name, types.join(", ")))
    }
}

/// What the file of a function answers.
pub struct Plan {
    pub columns: Vec<Column>,
    pub output: Arc<dyn Output>,
}

impl Plan {
    /// An accumulator over the only argument.
    pub fn one(acc: Acc, output: impl Output + 'static) -> Self {
        Self { columns: vec![Column { acc, arg: Some(0) }], output: Arc::new(output) }
    }
}

/// How states become columns.
pub trait Output: std::fmt::Debug + Send + Sync {
    /// Final values, one per group.
    fn finish(&self, states: &[StateColumn]) -> Result<ArrayRef>;

    /// Partial states. Most functions have their value so far as the only one.
    fn partial(&self, states: &[StateColumn]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.finish(states)?])
    }
}
