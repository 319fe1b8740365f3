//! Scans of a stream's stored history.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::context::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use super::definition::Stream;
use super::history::{History, conform};
use super::partition::{OFFSET, PARTITION, WATERMARK};
use super::position::Start;
use crate::stream::time::watermark::Clock;

/// What lies behind a stream's history, clocks included; nothing where it has none.
pub async fn history_rest(stream: &Stream, session: &dyn Session) -> Result<Vec<Start>> {
    Ok(history(stream, session).await?.map(|history| history.rest).unwrap_or_default())
}

/// A stream's history, and what lies behind it with the clocks there; nothing where it has none.
pub async fn history(stream: &Stream, session: &dyn Session) -> Result<Option<History>> {
    let Some(mut history) = History::open(stream).await? else { return Ok(None) };
    let mut starts = history.rest.clone();
    clocks(stream, &history, session, &mut starts).await?;
    history.rest = starts;
    Ok(Some(history))
}

/// Sets the clocks to what they are behind the stored rows.
pub async fn clocks(
    stream: &Stream,
    history: &History,
    session: &dyn Session,
    starts: &mut [Start],
) -> Result<()> {
    let (Some(rule), Some(state)) =
        (&stream.watermark, session.as_any().downcast_ref::<SessionState>())
    else {
        return Ok(());
    };
    let context = SessionContext::new_with_state(state.clone());
    let time = col(datafusion::common::Column::from_name(stream.schema.field(rule.column).name()));
    let stored = history.table.provider(session).await?;
    if rule.max_advance_us.is_none() {
        // Without a bound the largest time is all that the clock keeps of the rows.
        let latest = datafusion::functions_aggregate::expr_fn::max(time).alias("latest");
        let rows = context.read_table(stored)?.aggregate(vec![col(PARTITION)], vec![latest])?;
        for batch in rows.collect().await? {
            let partitions = batch.column(0).as_primitive::<Int32Type>();
            let latest = cast(batch.column(1), &DataType::Int64)?;
            let latest = latest.as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let start = starts.get_mut(partitions.value(row) as usize);
                if let (Some(start), true) = (start, latest.is_valid(row)) {
                    start.clock.reach(latest.value(row));
                }
            }
        }
        return Ok(());
    }
    for (partition, start) in starts.iter_mut().enumerate() {
        let rows = context.read_table(stored.clone())?;
        let rows = rows.filter(col(PARTITION).eq(lit(partition as i32)))?;
        let rows = rows.sort(vec![col(OFFSET).sort(true, true)])?.select(vec![time.clone()])?;
        let mut rows = rows.execute_stream().await?;
        let mut clock = Clock::default();
        while let Some(batch) = rows.try_next().await? {
            clock.advance(rule, batch.column(0).as_primitive::<TimestampMicrosecondType>());
        }
        start.forced.iter().for_each(|forced| clock.force(forced.to_us));
        start.clock = clock;
    }
    Ok(())
}

/// The stored rows, in the types that the stream declares.
#[derive(Debug)]
pub struct HistoryExec {
    pub input: Arc<dyn ExecutionPlan>,
    pub properties: Arc<PlanProperties>,
}

impl HistoryExec {
    /// Reads these columns of `schema`.
    pub async fn scan(
        stored: Arc<dyn TableProvider>,
        session: &dyn Session,
        schema: &SchemaRef,
        columns: &[usize],
        filters: &[Expr],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let present = stored.schema();
        // Files are left out by what they say of columns that are stored as they are declared.
        let same = |column: &datafusion::common::Column| {
            let (one, other) =
                (present.field_with_name(&column.name), schema.field_with_name(&column.name));
            let same = one.is_ok_and(|one| other.is_ok_and(|o| o.data_type() == one.data_type()));
            same && column.name != WATERMARK
        };
        let asked = filters.iter().filter(|filter| filter.column_refs().into_iter().all(same));
        let filters: Vec<Expr> = asked.cloned().collect();
        // A column that was declared later is NULL in what is stored so far.
        let projection: Vec<usize> = columns
            .iter()
            .filter_map(|at| present.index_of(schema.field(*at).name()).ok())
            .collect();
        let input = stored.scan(session, Some(&projection), &filters, None).await?;
        let schema = Arc::new(schema.project(columns)?);
        Ok(Arc::new(Self::new(input, schema)))
    }

    pub fn new(input: Arc<dyn ExecutionPlan>, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let properties = properties.with_scheduling_type(SchedulingType::Cooperative);
        Self { input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for HistoryExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HistoryExec: the rows that the store holds")
    }
}

impl ExecutionPlan for HistoryExec {
    fn name(&self) -> &str {
        "HistoryExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
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
        let schema = self.schema();
        Ok(Arc::new(Self::new(children.swap_remove(0), schema)))
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let rows = self.input.execute(partition, task)?;
        let shown = schema.clone();
        let rows = rows.and_then(move |batch| futures::future::ready(conform(&batch, &schema)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(shown, rows)))
    }
}
