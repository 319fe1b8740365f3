//! Filters are pushed down to the columns that they are about.
//!
//! DataFusion's nodes find the column that a filter is about in their input by its name. Where an
//! input has two columns of one name, or an aggregate names a group as another column of its input
//! is named, the filter lands on a column that it is not about, and drops rows. So while filters
//! are pushed down, a node stands above each such input that lets through only the filters that
//! are about columns which are found.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, ChildPushdownResult, FilterDescription, FilterPushdownPhase,
    FilterPushdownPropagation,
};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

/// A rule of DataFusion's that pushes filters down.
#[derive(Debug)]
pub struct ByName(pub Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for ByName {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let watched = plan.transform_up(watched)?.data;
        let pushed = self.0.optimize(watched, config)?;
        let unwatched = |node: Arc<dyn ExecutionPlan>| {
            Ok(match node.downcast_ref::<Watched>() {
                Some(watched) => Transformed::yes(watched.input.clone()),
                None => Transformed::no(node),
            })
        };
        Ok(pushed.transform_up(unwatched)?.data)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

fn watched(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let found = found(&node);
    if found.len() == node.schema().fields().len() {
        return Ok(Transformed::no(node));
    }
    Ok(Transformed::yes(Arc::new(Watched { input: node, found })))
}

/// The columns of a node that are found by name, in it and below it.
fn found(node: &Arc<dyn ExecutionPlan>) -> HashSet<usize> {
    let schema = node.schema();
    let mut found = unique(&schema);
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        let input = aggregate.input().schema();
        let in_input = unique(&input);
        for (at, (group, _)) in aggregate.group_expr().expr().iter().enumerate() {
            let same = group.downcast_ref::<Column>().is_some_and(|column| {
                in_input.contains(&column.index())
                    && input.field(column.index()).name() == schema.field(at).name()
            });
            if !same {
                found.remove(&at);
            }
        }
    }
    found
}

/// The columns whose names are theirs alone.
fn unique(schema: &Schema) -> HashSet<usize> {
    let mut count: HashMap<&str, usize> = HashMap::new();
    for field in schema.fields() {
        *count.entry(field.name()).or_default() += 1;
    }
    let fields = schema.fields().iter().enumerate();
    let alone = fields.filter(|(_, field)| count.get(field.name().as_str()) == Some(&1));
    alone.map(|(at, _)| at).collect()
}

/// A node whose columns are not all found by name. It never runs.
#[derive(Debug)]
struct Watched {
    input: Arc<dyn ExecutionPlan>,
    found: HashSet<usize>,
}

impl DisplayAs for Watched {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl ExecutionPlan for Watched {
    fn name(&self) -> &str {
        "Watched"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else {
            return Err(DataFusionError::Internal("Watched needs its input".into()));
        };
        Ok(Arc::new(Self { input, found: self.found.clone() }))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Err(DataFusionError::Internal("Watched is there while filters are pushed down".into()))
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let found = self.found.clone();
        let child =
            ChildFilterDescription::from_child_with_allowed_indices(&filters, found, &self.input)?;
        Ok(FilterDescription::new().with_child(child))
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        child: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(child))
    }
}
