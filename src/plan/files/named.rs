//! Scans that name the file they fail on. Decoders are written for files that are whole: of one
//! that is damaged they tell an offset in it, or panic. What a scan computes of its rows fails as
//! it does elsewhere.

use std::fmt;
use std::sync::Arc;

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, SortOrderPushdownResult};
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::{ObjectMeta, ObjectStore};
use url::Url;

use super::error::{cause, damaged, data};
use super::format::arrow_file;
use super::found::shown;
use super::text::source::TextSource;
use crate::error::foreign::arrow::of_no_ipc_message;
use crate::task;

/// Puts `Named` around the source of every scan of files.
#[derive(Debug)]
pub struct NamedFiles;

impl PhysicalOptimizerRule for NamedFiles {
    fn name(&self) -> &str {
        "thalweg_named_files"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| match naming(&node) {
            Some(scan) => Ok(Transformed::yes(scan)),
            None => Ok(Transformed::no(node)),
        })
        .data()
    }
}

fn naming(node: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let scan = node.downcast_ref::<DataSourceExec>()?.data_source();
    let scan = scan.downcast_ref::<FileScanConfig>()?;
    if scan.file_source.is::<Named>() {
        return None;
    }
    let source = around(Arc::clone(&scan.file_source));
    let builder = FileScanConfigBuilder::from(scan.clone()).with_source(source);
    Some(DataSourceExec::from_data_source(builder.build()))
}

/// The source of a scan, without the one around it that names files.
pub fn source(scan: &FileScanConfig) -> &Arc<dyn FileSource> {
    match scan.file_source.downcast_ref::<Named>() {
        Some(named) => &named.0,
        None => &scan.file_source,
    }
}

/// A source whose errors name the file.
pub fn around(source: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
    Arc::new(Named(source))
}

/// A source of files whose errors name them.
struct Named(Arc<dyn FileSource>);

impl FileSource for Named {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        scan: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.0.create_file_opener(store, scan, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        scan: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        let url: &Url = scan.object_store_url.as_ref();
        let form = match self.0.file_type() {
            _ if self.0.is::<TextSource>() => Form::Text,
            "arrow" | "arrow_stream" => Form::Arrow,
            _ => Form::Other,
        };
        let inner = self.0.create_morselizer(Arc::clone(&store), scan, partition)?;
        Ok(Box::new(Files { inner, form, store, url: url.clone() }))
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let mut pushed = self.0.try_pushdown_filters(filters, config)?;
        pushed.updated_node = pushed.updated_node.map(around);
        Ok(pushed)
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        properties: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        Ok(self.0.try_pushdown_sort(order, properties)?.map(around))
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        Ok(self.0.try_pushdown_projection(projection)?.map(around))
    }

    fn with_batch_size(&self, rows: usize) -> Arc<dyn FileSource> {
        around(self.0.with_batch_size(rows))
    }

    // From here on, all is the inner one's.

    fn table_schema(&self) -> &TableSchema {
        self.0.table_schema()
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.0.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.0.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.0.metrics()
    }

    fn file_type(&self) -> &str {
        self.0.file_type()
    }

    fn fmt_extra(&self, form: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt_extra(form, f)
    }

    fn supports_repartitioning(&self) -> bool {
        self.0.supports_repartitioning()
    }

    fn repartitioned(
        &self,
        partitions: usize,
        least_bytes: usize,
        order: Option<LexOrdering>,
        scan: &FileScanConfig,
    ) -> Result<Option<FileScanConfig>> {
        self.0.repartitioned(partitions, least_bytes, order, scan)
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.0.reorder_files(files)
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.0.apply_expressions(f)
    }
}

/// What kind of files a source reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Its errors are placed in lines elsewhere.
    Text,
    Arrow,
    Other,
}

/// A file as its errors name it.
#[derive(Debug, Clone)]
struct Name {
    shown: Arc<str>,
    form: Form,
}

impl Name {
    /// Does work on the file; its errors, panics among them, name it.
    fn of<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.named(task::quietly(work))
    }

    fn named<T>(&self, done: std::thread::Result<Result<T>>) -> Result<T> {
        match done {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) if self.is_damage(&error) => Err(self.error(&error)),
            Ok(Err(error)) => Err(error),
            Err(panic) => Err(damaged(&self.shown, task::said(panic.as_ref()))),
        }
    }

    fn error(&self, error: &DataFusionError) -> DataFusionError {
        data(format!("file '{}': {}", self.shown, cause(error)))
    }

    /// Whether an error is about the bytes of the file, and not about what is computed of its rows.
    fn is_damage(&self, error: &DataFusionError) -> bool {
        let ours = self.form != Form::Text;
        match error.find_root() {
            DataFusionError::ParquetError(_) => true,
            DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => ours,
            DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
                ArrowError::ParquetError(_) | ArrowError::IpcError(_) => true,
                ArrowError::IoError(..)
                | ArrowError::InvalidArgumentError(_)
                | ArrowError::SchemaError(_)
                | ArrowError::MemoryError(_) => ours,
                ArrowError::ParseError(text) => self.form == Form::Arrow && of_no_ipc_message(text),
                _ => false,
            },
            _ => false,
        }
    }
}

/// Looks into a file before a scan; errors and panics name it.
pub async fn inspected<T>(object: &ObjectMeta, work: impl Future<Output = Result<T>>) -> Result<T> {
    let done = task::quiet(work).await;
    let shown = object.location.filename().unwrap_or_default();
    Name { shown: shown.into(), form: Form::Other }.named(done)
}

/// Where the source is asked for the parts of each file.
#[derive(Debug)]
struct Files {
    inner: Box<dyn Morselizer>,
    form: Form,
    store: Arc<dyn ObjectStore>,
    url: Url,
}

impl Morselizer for Files {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let name =
            Name { shown: shown(&self.url, &file.object_meta.location).into(), form: self.form };
        let (object, range) = (file.object_meta.clone(), file.range.clone());
        let planner = name.of(|| self.inner.plan_file(file))?;
        let planner = Planner { inner: planner, name };
        if self.form != Form::Arrow {
            return Ok(Box::new(planner));
        }
        let part = range.map_or(0..u64::MAX, |part| {
            part.start.max(0).unsigned_abs()..part.end.max(0).unsigned_abs()
        });
        Ok(Box::new(Checked { planner, store: Arc::clone(&self.store), object, part }))
    }
}

/// Parts of an Arrow file, which is looked through first.
#[derive(Debug)]
struct Checked {
    planner: Planner,
    store: Arc<dyn ObjectStore>,
    object: ObjectMeta,
    part: std::ops::Range<u64>,
}

impl MorselPlanner for Checked {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { planner, store, object, part } = *self;
        Ok(Some(MorselPlan::new().with_pending_planner(async move {
            let checked = task::quiet(arrow_file::check(&store, &object, part)).await;
            planner.name.named(checked.map(|found| found.map_err(|e| planner.name.error(&e))))?;
            Ok(Box::new(planner) as Box<dyn MorselPlanner>)
        })))
    }
}

/// Parts of a file, each of which names it.
#[derive(Debug)]
struct Planner {
    inner: Box<dyn MorselPlanner>,
    name: Name,
}

impl Planner {
    fn around(inner: Box<dyn MorselPlanner>, name: &Name) -> Box<dyn MorselPlanner> {
        Box::new(Self { inner, name: name.clone() })
    }
}

impl MorselPlanner for Planner {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { inner, name } = *self;
        let Some(mut plan) = name.of(|| inner.plan())? else { return Ok(None) };
        let morsels = plan.take_morsels().into_iter();
        let morsels = morsels.map(|inner| Box::new(Part { inner, name: name.clone() }) as _);
        let ready = plan.take_ready_planners().into_iter();
        let ready = ready.map(|inner| Self::around(inner, &name)).collect();
        let pending = plan.take_pending_planner();
        let plan = MorselPlan::new().with_morsels(morsels.collect()).with_planners(ready);
        Ok(Some(match pending {
            None => plan,
            Some(pending) => plan.with_pending_planner(async move {
                let next = task::quiet(pending.into_future()).await;
                Ok(Self::around(name.named(next)?, &name))
            }),
        }))
    }
}

/// Rows of a file.
#[derive(Debug)]
struct Part {
    inner: Box<dyn Morsel>,
    name: Name,
}

impl Morsel for Part {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let Self { inner, name } = *self;
        match name.of(|| Ok(inner.into_stream())) {
            Ok(rows) => task::quiet_items(rows).map(move |item| name.named(item)).boxed(),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }
}
