//! Aggregates: what each needs on the device, how states merge, how they become columns.
//!
//! ```text
//!  AggregateFunctionExpr ──► Aggregate::plan ──► args ──► expr (lowered, fused into the kernel)
//!                                    │
//!                                    ├──► columns: accumulators ──► kernel, twin (acc)
//!                                    │                                  │ words
//!                                    └──► finish / partial  ◄───────────┘
//!                                         final values / DataFusion's partial states
//! ```
//!
//! An aggregate is added by one file beside this one and one line in [`FUNCTIONS`]; a new
//! accumulator by one file in `acc/`. FILTER clauses
//! are no business of this module: a row that a filter excludes is never given to an accumulator.
//! `udaf` holds the functions that are registered over DataFusion's, so that the CPU's operators
//! give the same bits as the device.

mod acc;
pub mod array;
mod avg;
mod bools;
mod count;
pub mod decimal;
pub mod float_sum;
mod min_max;
mod plan;
mod states;
mod sum;
pub mod udaf;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::functions_aggregate::{average, bool_and_or, count as counts, min_max as best};
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use crate::error::{Declined, Error, Result};

pub use acc::{Acc, Accumulator, Argument, Best, Place, Round, order, unorder};
pub use plan::Column;
pub use states::StateColumn;

use plan::{Call, Output, Plan};

/// The functions that have a device form: DataFusion's own, and what plans a call.
const FUNCTIONS: &[(Function, Planner)] = &[
    (counts::count_udaf, count::plan),
    (datafusion::functions_aggregate::sum::sum_udaf, sum::plan),
    (best::min_udaf, min_max::plan_min),
    (best::max_udaf, min_max::plan_max),
    (average::avg_udaf, avg::plan),
    (bool_and_or::bool_and_udaf, bools::plan_and),
    (bool_and_or::bool_or_udaf, bools::plan_or),
];

type Function = fn() -> Arc<AggregateUDF>;

type Planner = fn(&Call<'_>) -> Result<Plan, Declined>;

/// What one call of an aggregate function needs on the device, and what comes of it.
#[derive(Debug, Clone)]
pub struct Aggregate {
    args: Vec<Arc<dyn PhysicalExpr>>,
    columns: Vec<Column>,
    output: Arc<dyn Output>,
    fields: Vec<FieldRef>,
    result: DataType,
}

impl Aggregate {
    /// Lays out a call over rows of `input`.
    ///
    /// Declines DISTINCT, ORDER BY, and functions and types without a device form.
    pub fn plan(agg: &AggregateFunctionExpr, input: &Schema) -> Result<Self, Declined> {
        let name = agg.fun().name();
        if agg.is_distinct() {
            return Err(Declined::new(format!("{name}(DISTINCT ..) has no device form")));
        }
        if !agg.order_bys().is_empty() {
            return Err(Declined::new(format!("{name}(.. ORDER BY ..) has no device form")));
        }
        let known = |(native, _): &&(fn() -> Arc<AggregateUDF>, Planner)| {
            let native = native();
            *agg.fun() == *native || udaf::native(agg.fun()) == Some(&native)
        };
        let Some((_, planner)) = FUNCTIONS.iter().find(known) else {
            return Err(Declined::new(format!("the aggregate {name} has no device form")));
        };
        let failed = |error| Declined::new(format!("{name}: {error}"));
        let args = agg.expressions();
        let types = args.iter().map(|arg| arg.data_type(input));
        let types = types.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let call = Call {
            name,
            rounds: udaf::rounds(agg.fun()).unwrap_or(false),
            args: &args,
            types,
            result: agg.field().data_type().clone(),
            state: agg.state_fields().map_err(failed)?,
        };
        let Plan { columns, output } = planner(&call)?;
        let Call { result, state: fields, .. } = call;
        let used = columns.iter().any(|column| column.arg.is_some());
        let args = if used { args } else { vec![] };
        Ok(Self { args, columns, output, fields, result })
    }

    /// What is added, over the input's rows.
    pub fn args(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.args
    }

    /// The accumulators, in order; their words one after another are the aggregate's state.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Words of a state.
    pub fn words(&self) -> usize {
        self.columns.iter().map(|column| column.acc.words()).sum()
    }

    fn complete<'a>(&self, states: &'a [StateColumn]) -> Result<&'a [StateColumn]> {
        if states.len() != self.columns.len() {
            let (wanted, given) = (self.columns.len(), states.len());
            return Err(Error::Bug(format!("an aggregate of {wanted} states is given {given}")));
        }
        Ok(states)
    }

    /// Final values, one per group, of the call's result type. `states` are of its accumulators.
    ///
    /// Errors: what DataFusion raises at the end, such as an average too large for its type.
    pub fn finish(&self, states: &[StateColumn]) -> Result<ArrayRef> {
        let array = self.output.finish(self.complete(states)?)?;
        checked(array, &self.result)
    }

    /// The same states as DataFusion's partial-state columns, of the types of `state_fields()`.
    pub fn partial(&self, states: &[StateColumn]) -> Result<Vec<ArrayRef>> {
        let arrays = self.output.partial(self.complete(states)?)?;
        if arrays.len() != self.fields.len() {
            return Err(Error::Bug(format!("{self:?} gives {} state columns", arrays.len())));
        }
        arrays
            .into_iter()
            .zip(&self.fields)
            .map(|(array, field)| checked(array, field.data_type()))
            .collect()
    }
}

fn checked(array: ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    if array.data_type() != wanted {
        let given = array.data_type();
        return Err(Error::Bug(format!("an aggregate gives {given} where {wanted} is due")));
    }
    Ok(array)
}
