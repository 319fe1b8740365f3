//! A stream as a table: a scan reads its log from the first row to where it ends now, or, within
//! a continuous query, the rows of one epoch.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, plan_err};
use datafusion::datasource::{DefaultTableSource, TableType};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableSource};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use super::definition::Stream;
use super::log::{self, Entry, Log};
use super::slot::{Slot, SlotExec, leaf};

pub use super::log::WATERMARK;

/// Rows that a scan of the log reads at once.
const SCAN_ROWS: usize = 8192;

/// A stream as a table.
#[derive(Debug)]
pub struct StreamTable {
    pub stream: Arc<Stream>,
    /// Whether the watermark before each row is among the columns.
    log: bool,
    /// Where rows come from, if not from the source.
    slot: Option<Slot>,
    schema: SchemaRef,
}

impl StreamTable {
    /// The declared columns of all rows.
    pub fn new(stream: Arc<Stream>) -> Self {
        let schema = stream.schema.clone();
        Self { stream, log: false, slot: None, schema }
    }

    /// The stream behind a table, if it is one.
    pub fn of(source: &Arc<dyn TableSource>) -> Option<&Self> {
        let source = source.as_ref().downcast_ref::<DefaultTableSource>()?;
        source.table_provider.downcast_ref::<Self>()
    }

    /// The same rows with the watermark before each.
    pub fn log_source(&self) -> Arc<dyn TableSource> {
        let schema = log::schema(&self.stream);
        let table = Self { stream: self.stream.clone(), log: true, slot: None, schema };
        Arc::new(DefaultTableSource::new(Arc::new(table)))
    }

    /// True with the watermark before each row.
    pub fn is_log(&self) -> bool {
        self.log
    }

    /// The same columns, of the rows in a slot.
    pub fn slot_source(&self, slot: Slot) -> Arc<dyn TableSource> {
        let (stream, schema) = (self.stream.clone(), self.schema.clone());
        let table = Self { stream, log: self.log, slot: Some(slot), schema };
        Arc::new(DefaultTableSource::new(Arc::new(table)))
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

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(slot) = self.slot.clone() {
            let what = format!("epoch of {}", self.stream.name);
            let exec = SlotExec::new(slot, self.schema.clone(), projection.cloned(), what)?;
            return Ok(Arc::new(exec));
        }
        if let Err(reason) = self.stream.connector.bounded() {
            return plan_err!("stream {}: {reason}", self.stream.name);
        }
        let all = || (0..self.schema.fields().len()).collect();
        let projection = projection.cloned().unwrap_or_else(all);
        let schema = Arc::new(self.schema.project(&projection)?);
        let (stream, properties) = (self.stream.clone(), leaf(schema.clone()));
        Ok(Arc::new(StreamScanExec { stream, projection, schema, properties }))
    }
}

/// Reads a stream's log. May be executed any number of times.
#[derive(Debug)]
struct StreamScanExec {
    stream: Arc<Stream>,
    projection: Vec<usize>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for StreamScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
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

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let projection = self.projection.clone();
        let mut builder = RecordBatchReceiverStream::builder(self.schema.clone(), 2);
        let (stream, sender) = (self.stream.clone(), builder.tx());
        builder.spawn_blocking(move || {
            let mut log = Log::open(&stream, false)?;
            while let Entry::Rows(rows) = log.next(SCAN_ROWS)? {
                let batch = rows.batch.project(&projection)?;
                if sender.blocking_send(Ok(batch)).is_err() {
                    return Ok(()); // nobody reads on: a LIMIT is full, or the query is over
                }
            }
            log.report();
            Ok(())
        });
        Ok(builder.build())
    }
}
