//! A stream as a table: its stored history, where it has one, and what the source holds beyond it
//! at the start of the query, each row once; or, within a continuous query, the rows of one epoch.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::datasource::{DefaultTableSource, TableType};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableSource, col};
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::TryStreamExt;

use super::definition::Stream;
use super::history::History;
use super::history_scan::{HistoryExec, clocks};
use super::partition::{self, Entry, Log, WATERMARK};
use super::position::Start;
use crate::stream::connector::api::Opening;
use crate::stream::exec::input::{Slot, SlotExec, leaf};
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

    /// Whether each row comes with the watermark before it.
    pub fn tells_watermark(&self) -> bool {
        self.view == View::Log && self.stream.watermark.is_some()
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
        let late = crate::stream::time::watermark::late(col(time.as_str()), col(WATERMARK));
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
            processed_us: crate::stream::time::clock::now_us(),
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
            crate::stream::log::definition::report(
                &stream,
                log.rejected(),
                log.stamper.clock.bounded,
            );
            Ok(())
        });
        let rows = rows.map_err(DataFusionError::from);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
