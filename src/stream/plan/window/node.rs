//! Windows in a logical plan.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use datafusion::common::{Column, DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::columns::COLUMNS;
use super::lower;
use super::spec::{Function, Windows};

/// Gives each row once per window that holds it: the columns of the input, then the window's.
/// No time is NULL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowNode {
    pub input: LogicalPlan,
    pub time: Column,
    pub windows: Windows,
    schema: DFSchemaRef,
}

impl WindowNode {
    /// Errors: a time that is none.
    pub fn new(input: LogicalPlan, time: Column, windows: Windows) -> Result<Self> {
        // The columns do not depend on how many windows a row is in.
        let few = Windows { size_ns: windows.step_ns, ..windows };
        let schema = lower::plan(&input, &time, &few)?.schema().clone();
        Ok(Self { input, time, windows, schema })
    }

    /// The same rows by plain expressions.
    pub fn lowered(&self) -> Result<LogicalPlan> {
        lower::plan(&self.input, &self.time, &self.windows)
    }

    /// The column that tells the windows of one row apart, where there may be several.
    pub fn own_order(&self) -> Option<Column> {
        let [start, end, _] = COLUMNS;
        match self.windows.function {
            Function::Tumble => None,
            Function::Hop => Some(Column::new_unqualified(start)),
            Function::Cumulate => Some(Column::new_unqualified(end)),
        }
    }

    /// The length of all its windows, where they have the same.
    pub fn fixed_size_ns(&self) -> Option<i64> {
        let fixed = self.windows.function != Function::Cumulate && !self.are_local();
        fixed.then_some(self.windows.size_ns)
    }

    /// Whether its windows start at the midnights of a time zone.
    pub fn are_local(&self) -> bool {
        lower::window_type(self.input.schema(), &self.time)
            .is_ok_and(|data_type| self.windows.are_local(&data_type))
    }
}

impl PartialOrd for WindowNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for WindowNode {
    fn name(&self) -> &str {
        "Window"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![Expr::Column(self.time.clone())]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = |ns: i64| Duration::from_nanos(ns.unsigned_abs());
        let Windows { function, size_ns, step_ns, offset_ns, .. } = self.windows;
        write!(f, "{function}: time={}, size={:?}", self.time, length(size_ns))?;
        match function {
            Function::Tumble => {}
            Function::Hop => write!(f, ", slide={:?}", length(step_ns))?,
            Function::Cumulate => write!(f, ", step={:?}", length(step_ns))?,
        }
        match offset_ns {
            0 => Ok(()),
            _ => write!(f, ", offset={:?}", length(offset_ns)),
        }
    }

    fn with_exprs_and_inputs(
        &self,
        mut exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        match (exprs.pop(), inputs.pop()) {
            // Rules put nodes together anew by the hundred; their columns are what they were.
            (Some(Expr::Column(time)), Some(input))
                if time == self.time && input.schema() == self.input.schema() =>
            {
                Ok(Self { input, time, windows: self.windows, schema: self.schema.clone() })
            }
            (Some(Expr::Column(time)), Some(input)) => Self::new(input, time, self.windows),
            (expr, _) => internal_err!("windows have an input and a time, not {expr:?}"),
        }
    }
}
