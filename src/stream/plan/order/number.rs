//! Rows of a table with a number behind their columns: those of a folder count by file, then by
//! row. The numbers only tell the order; they have gaps.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Column, ColumnStatistics, DFSchema, DFSchemaRef, Result, Statistics, internal_err,
};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::StreamExt;

/// Rows that a partition of a table has at most, as a power of two.
const PARTITION_BITS: u32 = 40;

/// The rows of a table, numbered in their order.
#[derive(Debug, Clone)]
pub struct NumberNode {
    input: LogicalPlan,
    column: String,
    schema: DFSchemaRef,
}

impl NumberNode {
    /// The column of the numbers must not be one of the input.
    pub fn new(input: LogicalPlan, column: String) -> Result<Self> {
        let number = Arc::new(Field::new(column.as_str(), DataType::UInt64, false));
        let fields = input.schema().iter();
        let fields = fields.map(|(qualifier, field)| (qualifier.cloned(), field.clone()));
        let fields = fields.chain([(None, number)]).collect();
        let metadata = input.schema().metadata().clone();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, metadata)?);
        Ok(Self { input, column, schema })
    }

    /// The column of the numbers.
    pub fn number(&self) -> Column {
        Column::new_unqualified(self.column.as_str())
    }
}

impl PartialEq for NumberNode {
    fn eq(&self, other: &Self) -> bool {
        self.input == other.input && self.column == other.column
    }
}

impl Eq for NumberNode {}

impl PartialOrd for NumberNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for NumberNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.input, &self.column).hash(state);
    }
}

impl UserDefinedLogicalNodeCore for NumberNode {
    fn name(&self) -> &str {
        "Number"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    /// The order of the rows that are left is the same.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::from([self.column.clone()])
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Number: {}", self.column)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) => Self::new(input, self.column.clone()),
            None => internal_err!("rows are numbered of one input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let count = self.input.schema().fields().len();
        Some(vec![output_columns.iter().copied().filter(|at| *at < count).collect()])
    }
}

/// Plans the numbering of rows.
#[derive(Debug)]
pub struct NumberPlanner;

#[async_trait]
impl ExtensionPlanner for NumberPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<NumberNode>() else { return Ok(None) };
        let [input] = inputs else { return internal_err!("rows are numbered of one input") };
        Ok(Some(numbered(input, &node.column)?))
    }
}

/// A plan with the numbers of its rows. They are set at the rows' source, below filters, which may
/// run elsewhere.
fn numbered(plan: &Arc<dyn ExecutionPlan>, column: &str) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(filter) = plan.downcast_ref::<FilterExec>()
        && filter.projection().is_none()
    {
        let input = numbered(filter.input(), column)?;
        return Ok(Arc::new(FilterExec::try_new(filter.predicate().clone(), input)?));
    }
    // Files stay with their partition, and in their order there.
    let ordered = plan.clone().transform_down(|node| match node.with_preserve_order(true) {
        Some(node) => Ok(Transformed::yes(node)),
        None => Ok(Transformed::no(node)),
    })?;
    Ok(Arc::new(NumberExec::new(ordered.data, column)))
}

/// Numbers rows as they come; those of a partition stand before those of the next.
#[derive(Debug)]
struct NumberExec {
    input: Arc<dyn ExecutionPlan>,
    column: String,
    properties: Arc<PlanProperties>,
}

impl NumberExec {
    fn new(input: Arc<dyn ExecutionPlan>, column: &str) -> Self {
        let schema = input.schema();
        let number = Arc::new(Field::new(column, DataType::UInt64, false));
        let fields: Vec<_> = schema.fields().iter().cloned().chain([number]).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, column: column.to_string(), properties: Arc::new(properties) }
    }
}

impl DisplayAs for NumberExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NumberExec: {}", self.column)
    }
}

impl ExecutionPlan for NumberExec {
    fn name(&self) -> &str {
        "NumberExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    /// Rows that are dealt out have lost their order.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
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
        Ok(Arc::new(Self::new(children.swap_remove(0), &self.column)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let [input] = inputs else { return internal_err!("rows are numbered of one input") };
        let mut statistics = input.as_ref().clone();
        statistics.column_statistics.push(ColumnStatistics::new_unknown());
        Ok(Arc::new(statistics))
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let rows = self.input.execute(partition, task)?;
        let (shown, mut next) = (schema.clone(), (partition as u64) << PARTITION_BITS);
        let rows = rows.map(move |batch| {
            let batch = batch?;
            let first = next;
            next += batch.num_rows() as u64;
            with_numbers(&batch, first, &schema)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(shown, rows)))
    }
}

fn with_numbers(batch: &RecordBatch, first: u64, schema: &SchemaRef) -> Result<RecordBatch> {
    let count = batch.num_rows();
    let numbers = UInt64Array::from_iter_values(first..first + count as u64);
    let columns = batch.columns().iter().cloned().chain([Arc::new(numbers) as ArrayRef]);
    let counted = RecordBatchOptions::new().with_row_count(Some(count));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns.collect(), &counted)?)
}
