//! The aggregate on top of a fragment: which of DataFusion's modes, what it folds.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};

use super::{Lowering, Stage, plus_zero, refuse_limit, strip};
use crate::agg::{Acc, Aggregate};
use crate::error::Declined;
use crate::expr::ir::{Expr, Rep};
use crate::expr::lower::is_string;
use crate::expr::prim;
use crate::fragment::spec::{Aggregation, Fold, Key, Sink};

/// An aggregate as a sink of its input's stage; `None` if the plan is none.
pub(super) fn lower(
    lowering: &mut Lowering,
    plan: &Arc<dyn ExecutionPlan>,
) -> Result<Option<(Stage, Sink)>, Declined> {
    let Some(top) = plan.downcast_ref::<AggregateExec>() else { return Ok(None) };
    refuse_limit(top)?;
    let (bottom, partial) = match top.mode() {
        AggregateMode::Single | AggregateMode::SinglePartitioned => (top, false),
        AggregateMode::Partial => (top, true),
        AggregateMode::Final | AggregateMode::FinalPartitioned => {
            let below = strip(top.input()).downcast_ref::<AggregateExec>();
            match below {
                Some(below) if *below.mode() == AggregateMode::Partial => (below, false),
                _ => return Err(Declined::new("a final aggregate without its partial one")),
            }
        }
        other => return Err(Declined(format!("an aggregate in mode {other:?} runs on the CPU"))),
    };
    if !bottom.group_expr().is_single() {
        return Err(Declined::new("grouping sets run on the CPU"));
    }
    if top.properties().output_ordering().is_some() && !bottom.group_expr().is_empty() {
        return Err(Declined::new("an aggregate whose order the plan relies on runs on the CPU"));
    }
    refuse_limit(bottom)?;
    let mut stage = lowering.stage(bottom.input())?;
    let aggregation = aggregation(lowering, &mut stage, bottom, top, partial)?;
    if bottom.group_expr().is_empty() {
        return Ok(Some((stage, Sink::Reduce(aggregation))));
    }
    let mut keys = Vec::new();
    for (expr, name) in bottom.group_expr().expr() {
        let data_type = expr
            .data_type(&bottom.input().schema())
            .map_err(|error| Declined(format!("key {name}: {error}")))?;
        let lowered = plus_zero(lowering.lower(&mut stage, expr)?);
        let domain = lowering.domain_of(&stage, &lowered);
        if is_string(&data_type) && domain.is_none() {
            return Err(Declined(format!(
                "key {name}: strings computed from several columns run on the CPU"
            )));
        }
        keys.push(Key { expr: lowered, data_type, domain });
    }
    Ok(Some((stage, Sink::Group { keys, aggregation })))
}

/// Decimals of 32 and 64 bits in the 128 in which they are accumulated.
fn widened(acc: Acc, arg: Expr) -> Expr {
    let wide = acc.takes_i128();
    let long = |value| Expr::call(&prim::I128_FROM_I64, vec![value]);
    match arg.rep {
        Rep::I32 if wide => long(Expr::call(&prim::I64_FROM_I32, vec![arg])),
        Rep::I64 if wide => long(arg),
        _ => arg,
    }
}

fn aggregation(
    lowering: &mut Lowering,
    stage: &mut Stage,
    bottom: &AggregateExec,
    top: &AggregateExec,
    partial: bool,
) -> Result<Aggregation, Declined> {
    let input = bottom.input().schema();
    let mut folds = Vec::new();
    let mut aggregates = Vec::new();
    for (call, filter) in bottom.aggr_expr().iter().zip(bottom.filter_expr()) {
        let aggregate = Aggregate::plan(call, &input)?;
        let filter = match filter {
            Some(filter) => Some(lowering.lower(stage, filter)?),
            None => None,
        };
        let mut args = Vec::new();
        for arg in aggregate.args() {
            args.push(lowering.lower(stage, arg)?);
        }
        for column in aggregate.columns() {
            let arg = column.arg.map(|arg| widened(column.acc, args[arg].clone()));
            folds.push(Fold { acc: column.acc, arg, filter: filter.clone() });
        }
        aggregates.push(Arc::new(aggregate));
    }
    Ok(Aggregation { folds, aggregates, partial, schema: top.schema() })
}
