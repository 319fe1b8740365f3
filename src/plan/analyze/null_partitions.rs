//! `COPY .. PARTITIONED BY`: a NULL goes into the directory that stands for it.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::dml::CopyTo;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, when};
use datafusion::optimizer::AnalyzerRule;

use crate::plan::files::NULL_PARTITION;

/// Columns that make the names of directories are text, with a word for NULL. DataFusion writes one
/// as 0 or as nothing.
#[derive(Debug)]
pub struct NullPartitions;

impl AnalyzerRule for NullPartitions {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let LogicalPlan::Copy(copy) = plan else { return Ok(plan) };
        let asked = copy.options.get("execution.keep_partition_by_columns");
        let kept =
            asked.map_or(config.execution.keep_partition_by_columns, |asked| asked == "true");
        // Columns that stay in the files keep their types.
        if copy.partition_by.is_empty() || kept || is_spelt(&copy.input) {
            return Ok(LogicalPlan::Copy(copy));
        }
        let value = |(qualifier, field): (Option<&_>, &Arc<arrow::datatypes::Field>)| {
            let column = Expr::Column(Column::from((qualifier, field)));
            if !copy.partition_by.contains(field.name()) {
                return Ok(column);
            }
            // A date of 64 bits has no time of day, and its text has one.
            let plain = match field.data_type() {
                DataType::Date64 => cast(column.clone(), DataType::Date32),
                _ => column.clone(),
            };
            let text = cast(plain, DataType::Utf8);
            let spelt = when(column.is_null(), lit(NULL_PARTITION)).otherwise(text)?;
            Ok(spelt.alias(field.name()))
        };
        let values: Result<Vec<Expr>> = copy.input.schema().iter().map(value).collect();
        let input = LogicalPlanBuilder::from(copy.input).project(values?)?.build()?;
        Ok(LogicalPlan::Copy(CopyTo { input: Arc::new(input), ..copy }))
    }

    fn name(&self) -> &str {
        "null_partitions"
    }
}

/// Whether the rule has been here.
fn is_spelt(input: &LogicalPlan) -> bool {
    let LogicalPlan::Projection(projection) = input else { return false };
    let spelt = |value: &Expr| match value {
        Expr::Alias(alias) => alias.expr.to_string().contains(NULL_PARTITION),
        _ => false,
    };
    projection.expr.iter().any(spelt)
}
