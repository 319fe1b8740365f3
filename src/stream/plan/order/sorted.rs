//! Rows of each partition of an OVER by its keys, and behind them by their order. DataFusion's own
//! node for a sort would go: to the planner what OVER asks for is enough.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::compute::SortOptions;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchemaRef, Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::expr::Sort as SortKey;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_expr::{
    Distribution, LexOrdering, OrderingRequirements, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use crate::plan::ExtensionNode;

/// Rows in the order of some keys, within partitions by the first of them.
#[derive(Debug, Clone)]
pub struct SortedNode {
    input: LogicalPlan,
    /// How many of the keys are of the PARTITION BY.
    partition_by: usize,
    keys: Vec<SortKey>,
}

impl SortedNode {
    pub fn new(input: LogicalPlan, partition_by: usize, keys: Vec<SortKey>) -> Self {
        Self { input, partition_by, keys }
    }

    pub fn input(&self) -> &LogicalPlan {
        &self.input
    }

    pub fn keys(&self) -> &[SortKey] {
        &self.keys
    }

    /// The same of another input.
    pub fn over(&self, input: LogicalPlan) -> LogicalPlan {
        Self { input, ..self.clone() }.plan()
    }
}

impl PartialEq for SortedNode {
    fn eq(&self, other: &Self) -> bool {
        self.input == other.input
            && self.partition_by == other.partition_by
            && self.keys == other.keys
    }
}

impl Eq for SortedNode {}

impl PartialOrd for SortedNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for SortedNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.input, self.partition_by, &self.keys).hash(state);
    }
}

impl UserDefinedLogicalNodeCore for SortedNode {
    fn name(&self) -> &str {
        "Sorted"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.iter().map(|key| key.expr.clone()).collect()
    }

    /// Sorted or not, the same rows are left.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::new()
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(ToString::to_string).collect();
        write!(f, "Sorted: {}, partitions by {}", keys.join(", "), self.partition_by)
    }

    fn with_exprs_and_inputs(
        &self,
        exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let (Some(input), true) = (inputs.pop(), exprs.len() == self.keys.len()) else {
            return internal_err!("sorted rows have one input, and as many keys as before");
        };
        let keys = self.keys.iter().zip(exprs);
        let keys = keys.map(|(key, expr)| SortKey { expr, ..key.clone() }).collect();
        Ok(Self { input, partition_by: self.partition_by, keys })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let schema = self.input.schema();
        let used = self.keys.iter().flat_map(|key| key.expr.column_refs());
        let used = used.map(|column| schema.index_of_column(column));
        let used = used.collect::<Result<Vec<_>>>().ok()?;
        let mut columns: Vec<usize> = output_columns.iter().copied().chain(used).collect();
        columns.sort_unstable();
        columns.dedup();
        Some(vec![columns])
    }
}

/// Plans sorted rows.
#[derive(Debug)]
pub struct SortedPlanner;

#[async_trait]
impl ExtensionPlanner for SortedPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<SortedNode>() else { return Ok(None) };
        let [input] = inputs else { return internal_err!("sorted rows have one input") };
        let schema = node.input.schema();
        let (mut keys, mut partition_by) = (Vec::new(), Vec::new());
        for (nth, key) in node.keys.iter().enumerate() {
            let expr = session.create_physical_expr(key.expr.clone(), schema)?;
            if nth < node.partition_by {
                partition_by.push(expr.clone());
            }
            let options = SortOptions { descending: !key.asc, nulls_first: key.nulls_first };
            keys.push(PhysicalSortExpr { expr, options });
        }
        let Some(keys) = LexOrdering::new(keys) else { return Ok(Some(input.clone())) };
        Ok(Some(Arc::new(SortedExec::new(input.clone(), partition_by, keys)?)))
    }
}

/// Asks for an order, and tells it; the planner puts a sort below.
#[derive(Debug)]
struct SortedExec {
    input: Arc<dyn ExecutionPlan>,
    partition_by: Vec<Arc<dyn PhysicalExpr>>,
    keys: LexOrdering,
    properties: Arc<PlanProperties>,
}

impl SortedExec {
    fn new(
        input: Arc<dyn ExecutionPlan>,
        partition_by: Vec<Arc<dyn PhysicalExpr>>,
        keys: LexOrdering,
    ) -> Result<Self> {
        let mut equivalences = input.equivalence_properties().clone();
        equivalences.reorder(keys.clone())?;
        let properties = PlanProperties::new(
            equivalences,
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Ok(Self { input, partition_by, keys, properties: Arc::new(properties) })
    }
}

impl DisplayAs for SortedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SortedExec: [{}]", self.keys)
    }
}

impl ExecutionPlan for SortedExec {
    fn name(&self) -> &str {
        "SortedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        match self.partition_by.is_empty() {
            true => vec![Distribution::SinglePartition],
            false => vec![Distribution::KeyPartitioned(self.partition_by.clone())],
        }
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![Some(OrderingRequirements::from(self.keys.clone()))]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for key in self.keys.iter() {
            if f(&key.expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (partition_by, keys) = (self.partition_by.clone(), self.keys.clone());
        Ok(Arc::new(Self::new(children.swap_remove(0), partition_by, keys)?))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match inputs {
            [input] => Ok(input.clone()),
            _ => internal_err!("sorted rows have one input"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, task)
    }
}
