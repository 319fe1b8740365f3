//! The watermark filter in a logical plan.

use std::cmp::Ordering;
use std::fmt;

use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore};

use crate::stream::log::partition::WATERMARK;

/// Keeps the rows of a stream's log whose time is after the watermark before them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WatermarkFilterNode {
    pub input: LogicalPlan,
    /// The end of the row's window, or the time of the row itself.
    pub time: Column,
    watermark: Column,
}

impl WatermarkFilterNode {
    /// Errors: an input without the columns of a log.
    pub fn new(input: LogicalPlan, time: Column) -> Result<Self> {
        let watermark = log_column(input.schema(), WATERMARK)?;
        Ok(Self { input, time, watermark })
    }

    /// What holds of the rows that are kept.
    pub fn predicate(&self) -> Expr {
        Expr::Column(self.time.clone()).gt(Expr::Column(self.watermark.clone()))
    }

    /// The same rows by a plain filter.
    pub fn lowered(&self) -> Result<LogicalPlan> {
        LogicalPlanBuilder::from(self.input.clone()).filter(self.predicate())?.build()
    }
}

/// A column of a stream's log by its name, where a plan passes it on.
pub fn log_column(schema: &DFSchema, name: &str) -> Result<Column> {
    let (qualifier, field) = schema.qualified_field_with_unqualified_name(name)?;
    Ok(Column::new(qualifier.cloned(), field.name()))
}

impl PartialOrd for WatermarkFilterNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for WatermarkFilterNode {
    fn name(&self) -> &str {
        "WatermarkFilter"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        [&self.time, &self.watermark].map(|column| Expr::Column(column.clone())).to_vec()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WatermarkFilter: {}", self.predicate())
    }

    fn with_exprs_and_inputs(
        &self,
        exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        match (exprs.as_slice(), inputs.pop()) {
            ([Expr::Column(time), Expr::Column(watermark)], Some(input)) => {
                Ok(Self { input, time: time.clone(), watermark: watermark.clone() })
            }
            _ => internal_err!("a watermark filter has an input and two columns, not {exprs:?}"),
        }
    }
}
