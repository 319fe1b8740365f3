//! A stream as a table: its stored history, where it has one, and what the source holds beyond it
//! at the start of the query, each row once; or, within a continuous query, the rows of one epoch.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::datasource::{DefaultTableSource, TableType};
use datafusion::execution::context::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableSource, col, lit};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use super::definition::Stream;
use super::history::History;
use super::partition::{self, Entry, Log, OFFSET, PARTITION, Start, WATERMARK};
use crate::stream::connector::source::Opening;
use crate::stream::exec::input::{Slot, SlotExec, leaf};
use crate::stream::time::watermark::{BEFORE_ALL, Clock};
use crate::task::Feed;

/// Rows that a scan of the log reads at once.
const SCAN_ROWS: usize = 8192;

/// Which rows and columns of a stream a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// All rows, the declared columns.
    Rows,
    /// All rows, with their partitions and offsets.
    Placed,
    /// All rows, with the columns that the log adds.
    Log,
    /// The rows that came when the watermark had passed their time, with the log's columns.
    Late,
}

/// Appended to a stream's name: the table of its late rows.
pub const LATE: &str = "__late";

/// A stream as a table.
#[derive(Debug)]
pub struct StreamTable {
    pub stream: Arc<Stream>,
    view: View,
    /// Where rows come from, if not from history and source.
    slot: Option<Slot>,
    schema: SchemaRef,
}

impl StreamTable {
    pub fn new(stream: Arc<Stream>, view: View) -> Self {
        let schema = match view {
            View::Rows => stream.schema.clone(),
            View::Placed => partition::placed_schema(&stream),
            View::Log | View::Late => partition::schema(&stream),
        };
        Self { stream, view, slot: None, schema }
    }

    /// The stream behind a table, if it is one.
    pub fn of(source: &Arc<dyn TableSource>) -> Option<&Self> {
        let source = source.as_ref().downcast_ref::<DefaultTableSource>()?;
        source.table_provider.downcast_ref::<Self>()
    }

    /// All rows with the columns that the log adds.
    pub fn log_source(&self) -> Arc<dyn TableSource> {
        let table = Self::new(self.stream.clone(), View::Log);
        Arc::new(DefaultTableSource::new(Arc::new(table)))
    }

    /// All rows with their partitions and offsets, of the same slot.
    pub fn placed_source(&self) -> Arc<dyn TableSource> {
        let table = Self::new(self.stream.clone(), View::Placed);
        Arc::new(DefaultTableSource::new(Arc::new(Self { slot: self.slot.clone(), ..table })))
    }

    pub fn view(&self) -> View {
        self.view
    }

    /// The same columns, of the rows in a slot.
    pub fn slot_source(&self, slot: Slot) -> Arc<dyn TableSource> {
        let table = Self { slot: Some(slot), ..Self::new(self.stream.clone(), self.view) };
        Arc::new(DefaultTableSource::new(Arc::new(table)))
    }

    /// The rows of history and source; filters leave out files of the history.
    async fn rows(
        &self,
        session: &dyn Session,
        columns: Vec<usize>,
        filters: &[Expr],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let needs_clock = columns.iter().any(|at| self.schema.field(*at).name() == WATERMARK);
        let history = History::open(&self.stream).await?;
        let bounded = self.stream.connector.bounded();
        let Some(history) = history else {
            if let Err(reason) = bounded {
                return plan_err!("stream {}: {reason}", self.stream.name);
            }
            let starts = self.stream.recorded();
            return Ok(Arc::new(StreamScanExec::new(&self.stream, &self.schema, columns, starts)?));
        };
        let stored = history.table.provider(session).await?;
        let scan = HistoryExec::scan(stored, session, &self.schema, &columns, filters).await?;
        if bounded.is_err() {
            return Ok(scan); // live, and nothing that could be asked for the rest
        }
        let mut starts = history.rest.clone();
        if needs_clock {
            clocks(&self.stream, &history, session, &mut starts).await?;
        }
        let rest = StreamScanExec::new(&self.stream, &self.schema, columns, starts)?;
        UnionExec::try_new(vec![scan, Arc::new(rest)])
    }
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let use_of = match self.slot.is_none() && self.stream.store.is_some() {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(vec![use_of; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.schema.fields().len()).collect();
        let wanted: Vec<usize> = projection.cloned().unwrap_or_else(all);
        if self.view != View::Late {
            return match self.slot.clone() {
                Some(slot) => self.slot_scan(slot, Some(wanted)),
                None => self.rows(session, wanted, filters).await,
            };
        }
        let Some(rule) = &self.stream.watermark else {
            return plan_err!("stream {} has no watermark: no row of it is late", self.stream.name);
        };
        let rows = match self.slot.clone() {
            Some(slot) => self.slot_scan(slot, None)?,
            None => self.rows(session, all(), filters).await?,
        };
        let time = self.schema.field(rule.column).name();
        let late = crate::stream::late(col(time.as_str()), col(WATERMARK));
        let schema = datafusion::common::DFSchema::try_from(self.schema.clone())?;
        let late = session.create_physical_expr(late, &schema)?;
        let filtered = Arc::new(FilterExec::try_new(late, rows)?);
        let columns = wanted.iter().map(|at| {
            let name = self.schema.field(*at).name();
            let column = datafusion::physical_expr::expressions::Column::new(name, *at);
            (Arc::new(column) as Arc<dyn PhysicalExpr>, name.clone())
        });
        Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), filtered)?))
    }
}

impl StreamTable {
    fn slot_scan(
        &self,
        slot: Slot,
        projection: Option<Vec<usize>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let what = format!("epoch of {}", self.stream.name);
        Ok(Arc::new(SlotExec::new(slot, self.schema.clone(), projection, what)?))
    }
}

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
async fn clocks(
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
struct HistoryExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl HistoryExec {
    /// Reads these columns of `schema`.
    async fn scan(
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

    fn new(input: Arc<dyn ExecutionPlan>, schema: SchemaRef) -> Self {
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

/// A stored batch in the stream's types; before the first watermark is before all times, and
/// columns that are not stored are NULL.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| {
        let Some(column) = batch.column_by_name(field.name()) else {
            return Ok(new_null_array(field.data_type(), batch.num_rows()));
        };
        let column = cast(column, field.data_type())?;
        if field.name() != WATERMARK || column.null_count() == 0 {
            return Ok(column);
        }
        let ticks = cast(&column, &DataType::Int64)?;
        let ticks = ticks.as_primitive::<Int64Type>();
        let filled: Int64Array = ticks.iter().map(|tick| tick.unwrap_or(BEFORE_ALL)).collect();
        Ok(cast(&filled, field.data_type())?)
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let counted = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &counted)?)
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

/// Reads a stream's log from where each partition starts. May be executed any number of times.
#[derive(Debug)]
struct StreamScanExec {
    stream: Arc<Stream>,
    starts: Vec<Start>,
    projection: Vec<usize>,
    processed_us: i64,
    properties: Arc<PlanProperties>,
}

impl StreamScanExec {
    fn new(
        stream: &Arc<Stream>,
        schema: &SchemaRef,
        projection: Vec<usize>,
        mut starts: Vec<Start>,
    ) -> Result<Self> {
        let partitions = stream.connector.partitions();
        starts.resize_with(partitions, Start::default);
        let schema = Arc::new(schema.project(&projection)?);
        let leaf = leaf(schema).as_ref().clone();
        let properties = leaf.with_partitioning(Partitioning::UnknownPartitioning(partitions));
        Ok(Self {
            stream: stream.clone(),
            starts,
            projection,
            processed_us: crate::stream::now_us(),
            properties: Arc::new(properties),
        })
    }
}

impl DisplayAs for StreamScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let schema = self.properties.equivalence_properties().schema();
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let (stream, names) = (&self.stream.name, names.join(", "));
        let connector = self.stream.connector.name();
        write!(f, "StreamScanExec: {connector} {stream}, columns=[{names}]")
    }
}

impl ExecutionPlan for StreamScanExec {
    fn name(&self) -> &str {
        "StreamScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (projection, processed_us) = (self.projection.clone(), self.processed_us);
        let stream = self.stream.clone();
        let start = self.starts.get(partition).cloned().unwrap_or_default();
        let rows = Feed::blocking("reading a stream", 2, move |sender| {
            // A pipeline has kept what it rejected; a query that stops early must not undo that.
            let rejects = stream.state().is_none().then(|| stream.rejects.clone());
            let opening = Opening { partition, rejects, ..Opening::new(&stream, false) };
            let mut log = Log::open(&stream, opening, start)?;
            while let Entry::Rows(rows) = log.next(SCAN_ROWS)? {
                if rows.is_empty() {
                    continue;
                }
                crate::fault::point("source");
                let batch = rows.batch(&stream, processed_us)?.project(&projection)?;
                if sender.blocking_send(Ok(batch)).is_err() {
                    return Ok(()); // nobody reads on: a LIMIT is full, or the query is over
                }
            }
            crate::stream::report(&stream, log.rejected(), log.stamper.clock.bounded);
            Ok(())
        });
        let rows = rows.map_err(DataFusionError::from);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
