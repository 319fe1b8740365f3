//! `PROCTIME()`: over a stream, the time at which each row was processed, which its log keeps, so
//! that a batch and a stream over the same log tell the same; elsewhere, when the query began.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, SubqueryAlias, Volatility, cast,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::prelude::SessionContext;

use super::late::row_by_row;
use super::union;
use crate::stream::log::partition::PROCESSED;
use crate::stream::log::table::StreamTable;

/// Its type: UTC, without a zone, as the event times of streams mostly are.
const TYPE: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Makes `PROCTIME()` known to a session.
pub fn register(context: &SessionContext) {
    context.register_udf(FUNCTION.as_ref().clone());
    context.add_analyzer_rule(Arc::new(ProcessingTime));
}

static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let signature = Signature::nullary(Volatility::Stable);
    Arc::new(ScalarUDF::from(Proctime { signature }))
});

/// Whether a plan does more with the times of processing than to pass them on.
pub fn is_used(plan: &LogicalPlan) -> Result<bool> {
    let mut used = false;
    plan.apply_with_subqueries(|node| {
        let passes_on = matches!(node, LogicalPlan::Projection(_));
        let by = |expr: &Expr| {
            let bare = passes_on && matches!(expr, Expr::Column(_));
            !bare && expr.column_refs().iter().any(|column| column.name == PROCESSED)
        };
        used |= node.expressions().iter().any(by);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(used)
}

/// True for a call of it.
pub fn is_call(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(ScalarFunction { func, .. })
        if func.inner().is::<Proctime>())
}

/// The function before a plan gives it its meaning.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Proctime {
    signature: Signature,
}

impl ScalarUDFImpl for Proctime {
    fn name(&self) -> &str {
        "proctime"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(TYPE)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("PROCTIME() was not resolved")
    }
}

/// Gives all calls their meaning.
#[derive(Debug)]
struct ProcessingTime;

impl AnalyzerRule for ProcessingTime {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        resolve(plan)
    }

    fn name(&self) -> &str {
        "processing_time"
    }
}

/// The plan with columns of logs, or the time of the query, for all calls of `PROCTIME()`.
pub fn resolve(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(node)?.data)
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let calls = |expr: &Expr| expr.exists(|expr| Ok(is_call(expr)));
    if !plan.expressions().iter().any(|expr| calls(expr).unwrap_or(false)) {
        return Ok(Transformed::no(plan));
    }
    let processed = match plan.inputs().as_slice() {
        [input] => log(input)?,
        _ => None,
    };
    let now = || cast(datafusion::functions::datetime::expr_fn::now(), TYPE);
    let (by, inputs) = match processed {
        Some(input) => {
            let (table, field) = input.schema().qualified_field_with_unqualified_name(PROCESSED)?;
            let column = Expr::Column(Column::new(table.cloned(), field.name()));
            (column, vec![input])
        }
        None => (now(), plan.inputs().into_iter().cloned().collect()),
    };
    let shown: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let names = NamePreserver::new(&plan);
    let expressions = plan.expressions().into_iter().map(|expr| {
        let name = names.save(&expr);
        let replaced = expr.transform_up(|expr| match is_call(&expr) {
            true => Ok(Transformed::yes(by.clone())),
            false => Ok(Transformed::no(expr)),
        })?;
        Ok(name.restore(replaced.data))
    });
    let expressions = expressions.collect::<Result<Vec<_>>>()?;
    let passes_on = !matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_));
    let plan = plan.with_new_exprs(expressions, inputs)?;
    // A filter shows what is below it, and so the log's columns.
    let plan = match passes_on && plan.schema().fields().len() > shown.len() {
        true => LogicalPlanBuilder::from(plan).project(shown)?.build()?,
        false => plan,
    };
    Ok(Transformed::yes(plan))
}

/// The plan over the log of its stream, the time of processing carried to the top; `None` where
/// rows are not those of one stream's log.
fn log(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let Some(table) = StreamTable::of(&scan.source) else { return Ok(None) };
            let source = table.log_source();
            if source.schema().index_of(PROCESSED).is_err() {
                return Ok(None);
            }
            let scan = LogicalPlanBuilder::scan(scan.table_name.clone(), source, None)?;
            Ok(Some(scan.build()?))
        }
        LogicalPlan::Projection(projection) => {
            let Some(input) = log(&projection.input)? else { return Ok(None) };
            let mut columns = projection.expr.clone();
            if !projection.schema.has_column_with_unqualified_name(PROCESSED) {
                let schema = input.schema();
                let (table, field) = schema.qualified_field_with_unqualified_name(PROCESSED)?;
                columns.push(Expr::Column(Column::new(table.cloned(), field.name())));
            }
            Ok(Some(LogicalPlanBuilder::from(input).project(columns)?.build()?))
        }
        LogicalPlan::Filter(filter) => {
            let Some(input) = log(&filter.input)? else { return Ok(None) };
            let input = LogicalPlanBuilder::from(input);
            Ok(Some(input.filter(filter.predicate.clone())?.build()?))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let Some(input) = log(&alias.input)? else { return Ok(None) };
            let alias = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
            Ok(Some(LogicalPlan::SubqueryAlias(alias)))
        }
        LogicalPlan::Extension(_) => {
            let Some(input) = row_by_row(plan) else { return Ok(None) };
            let Some(input) = log(input)? else { return Ok(None) };
            Ok(Some(plan.with_new_exprs(plan.expressions(), vec![input])?))
        }
        LogicalPlan::Union(union) => union::processed(union, log),
        _ => Ok(None),
    }
}
