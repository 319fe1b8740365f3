//! Parquet files: what their statistics may be trusted with, and times of 96 bits.
//!
//! DataFusion answers from the statistics of a file without reading its rows, and passes over parts
//! of it by them. Those are left out that do not say what they are taken for: the bounds of a
//! column of floats (writers pass over NaN, and write one zero for the other), those in an order
//! that the format does not define, and a column chunk's that do not count its NULLs.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::catalog::Session;
use datafusion::common::config::{ConfigFileType, ConfigOptions, TableParquetOptions};
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{GetExt, Statistics};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory, FileMeta};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::{
    CachedParquetMetaData, DFParquetMetadata, ordering_from_parquet_metadata,
};
use datafusion::datasource::physical_plan::parquet::{
    Int96Coercer, apply_file_schema_type_coercions,
};
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSinkConfig, FileSource,
    ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::cache::cache_manager::CachedFileMetadataEntry;
use datafusion::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use datafusion::parquet::basic::{LogicalType, SortOrder, Type};
use datafusion::parquet::errors::Result as ParquetResult;
use datafusion::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use datafusion::parquet::file::page_index::column_index::ColumnIndexMetaData;
use datafusion::parquet::file::statistics::Statistics as Bounds;
use datafusion::parquet::schema::types::ColumnDescriptor;
use datafusion::physical_expr::LexRequirement;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use object_store::{ObjectMeta, ObjectStore};

use crate::plan::files::dates;
use crate::plan::files::named::inspected;

/// The unit that times of 96 bits (Spark's of old) are read in. In nanoseconds, arrow's own, those
/// before 1677 and after 2262 come out as others, without an error.
pub const INT96_UNIT: &str = "us";

/// The mark of a column of such times, which are of UTC whatever their type says.
pub const INT96: &str = "thalweg.int96";

/// DataFusion's format with the statistics that can be trusted.
#[derive(Debug)]
pub struct Parquet {
    /// As options have it.
    asked: ParquetFormat,
    /// The same, reading times of 96 bits in a unit that they fit in.
    read: ParquetFormat,
}

impl Parquet {
    pub fn new(options: TableParquetOptions) -> Self {
        let mut wide = options.clone();
        let unit = wide.global.coerce_int96.as_deref();
        if unit.is_none_or(|unit| unit.eq_ignore_ascii_case("ns")) {
            wide.global.coerce_int96 = Some(INT96_UNIT.to_string());
        }
        Self {
            asked: ParquetFormat::default().with_options(options),
            read: ParquetFormat::default().with_options(wide),
        }
    }

    /// What a file tells of itself, and is to be trusted with.
    async fn metadata(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        object: &ObjectMeta,
    ) -> Result<Arc<ParquetMetaData>> {
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let found = DFParquetMetadata::new(store, object)
            .with_metadata_size_hint(self.asked.metadata_size_hint())
            .with_file_metadata_cache(Some(Arc::clone(&cache)))
            .fetch_metadata()
            .await?;
        let Some(trusted) = trusted(&found)? else { return Ok(found) };
        let trusted = Arc::new(trusted);
        // The readers find it there, and have nothing to leave out.
        let cached = Arc::new(CachedParquetMetaData::new(Arc::clone(&trusted)));
        cache.put(&object.location, CachedFileMetadataEntry::new(object.clone(), cached));
        Ok(trusted)
    }

    /// The columns of one file; those of times of 96 bits are marked.
    pub async fn columns(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        object: &ObjectMeta,
    ) -> Result<SchemaRef> {
        let schema = self.asked.infer_schema(state, store, std::slice::from_ref(object)).await?;
        let metadata = self.metadata(state, store, object).await?;
        let columns = metadata.file_metadata().schema_descr().columns().iter();
        let marked: Vec<&str> = columns
            .filter(|column| column.physical_type() == Type::INT96)
            .filter(|column| column.path().parts().len() == 1)
            .map(|column| column.name())
            .collect();
        let fields = schema.fields().iter().map(|field| {
            if !marked.contains(&field.name().as_str()) {
                return field.as_ref().clone();
            }
            let mut notes = field.metadata().clone();
            notes.insert(INT96.to_string(), String::new());
            field.as_ref().clone().with_metadata(notes)
        });
        Ok(Arc::new(Schema::new_with_metadata(
            fields.collect::<Vec<_>>(),
            schema.metadata().clone(),
        )))
    }
}

#[async_trait]
impl FileFormat for Parquet {
    fn get_ext(&self) -> String {
        self.asked.get_ext()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        // External tables ask so before they know of any file.
        match compression.get_variant() {
            CompressionTypeVariant::UNCOMPRESSED => Ok(self.get_ext()),
            _ => self.asked.get_ext_with_compression(compression),
        }
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        self.asked.compression_type()
    }

    async fn infer_schema(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        self.asked.infer_schema(state, store, objects).await
    }

    async fn infer_stats(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        table: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<Statistics> {
        let found = async { statistics(&*self.metadata(state, store, object).await?, &table) };
        inspected(object, found).await
    }

    async fn infer_stats_and_ordering(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        table: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<FileMeta> {
        let found = async {
            let metadata = self.metadata(state, store, object).await?;
            let ordering = ordering_from_parquet_metadata(&metadata, &table)?;
            Ok(FileMeta::new(statistics(&metadata, &table)?).with_ordering(ordering))
        };
        inspected(object, found).await
    }

    async fn create_physical_plan(
        &self,
        state: &dyn Session,
        scan: FileScanConfig,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.read.create_physical_plan(state, scan).await
    }

    async fn create_writer_physical_plan(
        &self,
        input: Arc<dyn ExecutionPlan>,
        state: &dyn Session,
        sink: FileSinkConfig,
        order: Option<LexRequirement>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(schema) = dates::written_schema(&input.schema()) else {
            return self.asked.create_writer_physical_plan(input, state, sink, order).await;
        };
        let input = dates::written_plan(input, &schema)?;
        let folders = sink.table_partition_cols.into_iter();
        let table_partition_cols =
            folders.map(|(name, kind)| (name, dates::written(&kind))).collect();
        let output_schema =
            dates::written_schema(&sink.output_schema).unwrap_or(sink.output_schema);
        let sink = FileSinkConfig { output_schema, table_partition_cols, ..sink };
        self.asked.create_writer_physical_plan(input, state, sink, order).await
    }

    fn file_source(&self, table: TableSchema) -> Arc<dyn FileSource> {
        self.read.file_source(table)
    }
}

/// Makes formats for `STORED AS PARQUET`.
#[derive(Debug, Default)]
pub struct ParquetFormats;

impl FileFormatFactory for ParquetFormats {
    fn create(
        &self,
        state: &dyn Session,
        options: &HashMap<String, String>,
    ) -> Result<Arc<dyn FileFormat>> {
        let mut table = state.default_table_options();
        table.set_config_format(ConfigFileType::PARQUET);
        table.alter_with_string_hash_map(options)?;
        Ok(Arc::new(Parquet::new(table.parquet)))
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        Arc::new(Parquet::new(TableParquetOptions::default()))
    }
}

impl GetExt for ParquetFormats {
    fn get_ext(&self) -> String {
        "parquet".to_string()
    }
}

/// The rows of a file of this machine, times of 96 bits in a unit that they fit in.
pub fn rows_of(file: File) -> ParquetResult<ParquetRecordBatchReaderBuilder<File>> {
    let found = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?;
    let unit = TimeUnit::Microsecond;
    let wide = Int96Coercer::new(found.parquet_schema(), found.schema(), &unit).coerce();
    let found = match wide {
        None => found,
        Some(wide) => {
            let options = ArrowReaderOptions::new().with_schema(Arc::new(wide));
            ArrowReaderMetadata::try_new(Arc::clone(found.metadata()), options)?
        }
    };
    Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(file, found))
}

/// The statistics of a file, of which nothing but what can be trusted is left, for a table.
fn statistics(metadata: &ParquetMetaData, table: &SchemaRef) -> Result<Statistics> {
    let file = metadata.file_metadata();
    let stored = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())?;
    let stored = apply_file_schema_type_coercions(table, &stored).unwrap_or(stored);
    // A column of another type than the table's is cast when it is read: its bounds are of the
    // file's type, and are not told.
    let cast = |name: &str, kind: &DataType| {
        stored.field_with_name(name).ok().map(|f| f.data_type().clone()).filter(|of| of != kind)
    };
    let fields = table.fields().iter().map(|field| match cast(field.name(), field.data_type()) {
        Some(kind) => field.as_ref().clone().with_data_type(kind),
        None => field.as_ref().clone(),
    });
    let read = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut found = DFParquetMetadata::statistics_from_parquet_metadata(metadata, &read)?;
    for (column, field) in found.column_statistics.iter_mut().zip(table.fields()) {
        if cast(field.name(), field.data_type()).is_some() {
            column.min_value = Precision::Absent;
            column.max_value = Precision::Absent;
            column.byte_size = Precision::Absent;
        }
    }
    Ok(found)
}

/// Whether the format says which of two values is the smaller one, for all values.
fn is_ordered(column: &ColumnDescriptor) -> bool {
    match column.physical_type() {
        Type::FLOAT | Type::DOUBLE | Type::INT96 => false,
        _ => column.logical_type_ref() != Some(&LogicalType::Float16),
    }
}

/// Whether a column chunk's bounds bound its values.
fn bounded(column: &ColumnChunkMetaData) -> bool {
    let signed = column.column_descr().sort_order() == SortOrder::SIGNED;
    // Old writers compared bytes as signed numbers.
    let old = column.statistics().is_some_and(|found| found.is_min_max_deprecated());
    is_ordered(column.column_descr()) && (signed || !old)
}

/// Whether a column chunk's statistics tell how many NULLs it has.
fn counted(column: &ColumnChunkMetaData) -> bool {
    let optional = column.column_descr().max_def_level() > 0;
    column.statistics().is_none_or(|found| !optional || found.null_count_opt().is_some())
}

/// Whether a column chunk tells what must not be trusted.
fn is_doubtful(column: &ColumnChunkMetaData) -> bool {
    let bounds = |found: &Bounds| found.min_bytes_opt().or(found.max_bytes_opt()).is_some();
    let told = column.statistics().is_some_and(bounds)
        || column.column_index_offset().is_some()
        || column.bloom_filter_offset().is_some();
    !counted(column) || (told && !bounded(column))
}

/// Metadata without what must not be trusted; `None` where there is nothing such.
fn trusted(metadata: &ParquetMetaData) -> ParquetResult<Option<ParquetMetaData>> {
    let indexed = |group: usize, column: usize| {
        let pages = metadata.column_index().and_then(|groups| groups.get(group)?.get(column));
        pages.is_some_and(|pages| !matches!(pages, ColumnIndexMetaData::NONE))
    };
    let unordered = |group: &RowGroupMetaData| {
        let sorted = group.sorting_columns().into_iter().flatten();
        let mut sorted = sorted.filter_map(|by| usize::try_from(by.column_idx).ok());
        sorted.any(|at| group.columns().get(at).is_some_and(|c| !is_ordered(c.column_descr())))
    };
    let groups = metadata.row_groups();
    let doubtful = groups.iter().enumerate().any(|(at, group)| {
        let mut columns = group.columns().iter().enumerate();
        unordered(group)
            || columns
                .any(|(nth, column)| is_doubtful(column) || (indexed(at, nth) && !bounded(column)))
    });
    if !doubtful {
        return Ok(None);
    }
    let mut built = metadata.clone().into_builder();
    if let Some(mut pages) = built.take_column_index() {
        for (pages, group) in pages.iter_mut().zip(groups) {
            for (pages, column) in pages.iter_mut().zip(group.columns()) {
                if !bounded(column) {
                    *pages = ColumnIndexMetaData::NONE;
                }
            }
        }
        built = built.set_column_index(Some(pages));
    }
    let trusted: ParquetResult<Vec<_>> = built.take_row_groups().into_iter().map(group).collect();
    Ok(Some(built.set_row_groups(trusted?).build()))
}

fn group(of: RowGroupMetaData) -> ParquetResult<RowGroupMetaData> {
    // Sorted by floats: with NaN and zeros in an order of the writer's.
    let sorted = of.sorting_columns().map(|by| {
        let ordered = by.iter().take_while(|by| {
            let at = usize::try_from(by.column_idx).ok();
            let column = at.and_then(|at| of.columns().get(at));
            column.is_some_and(|column| is_ordered(column.column_descr()))
        });
        ordered.cloned().collect::<Vec<_>>()
    });
    let sorted = sorted.filter(|by| !by.is_empty());
    let mut built = of.into_builder();
    let columns = built.take_columns().into_iter().map(column);
    let columns: ParquetResult<Vec<_>> = columns.collect();
    built.set_column_metadata(columns?).set_sorting_columns(sorted).build()
}

fn column(of: ColumnChunkMetaData) -> ParquetResult<ColumnChunkMetaData> {
    if !is_doubtful(&of) {
        return Ok(of);
    }
    let bounds = bounded(&of);
    let found = of.statistics().filter(|_| counted(&of)).cloned();
    let mut built = of.into_builder().clear_statistics();
    if !bounds {
        built = built.set_column_index_offset(None).set_column_index_length(None);
        // Of equal numbers whose bits differ, as the zeros, a filter knows one.
        built = built.set_bloom_filter_offset(None).set_bloom_filter_length(None);
    }
    match found {
        Some(found) if bounds => built.set_statistics(found).build(),
        Some(found) => built.set_statistics(without_bounds(&found)).build(),
        None => built.build(),
    }
}

fn without_bounds(found: &Bounds) -> Bounds {
    let (distinct, nulls) = (found.distinct_count_opt(), found.null_count_opt());
    match found {
        Bounds::Boolean(_) => Bounds::boolean(None, None, distinct, nulls, false),
        Bounds::Int32(_) => Bounds::int32(None, None, distinct, nulls, false),
        Bounds::Int64(_) => Bounds::int64(None, None, distinct, nulls, false),
        Bounds::Int96(_) => Bounds::int96(None, None, distinct, nulls, false),
        Bounds::Float(_) => Bounds::float(None, None, distinct, nulls, false),
        Bounds::Double(_) => Bounds::double(None, None, distinct, nulls, false),
        Bounds::ByteArray(_) => Bounds::byte_array(None, None, distinct, nulls, false),
        Bounds::FixedLenByteArray(_) => {
            Bounds::fixed_len_byte_array(None, None, distinct, nulls, false)
        }
    }
}

/// Has every scan of Parquet files, those of Delta tables too, see what can be trusted only. It is
/// the first rule: those behind it answer from statistics.
#[derive(Debug)]
pub struct TrustedStatistics;

impl PhysicalOptimizerRule for TrustedStatistics {
    fn name(&self) -> &str {
        "thalweg_trusted_statistics"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| match trusting(&node) {
            Some(scan) => Ok(Transformed::yes(scan)),
            None => Ok(Transformed::no(node)),
        })
        .data()
    }
}

/// A scan of Parquet files in its trusted form; `None` for any other node.
fn trusting(node: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let scan = node.downcast_ref::<DataSourceExec>()?.data_source();
    let scan = scan.downcast_ref::<FileScanConfig>()?;
    let source = scan.file_source.downcast_ref::<ParquetSource>()?;
    let reader = Arc::clone(source.parquet_file_reader_factory()?);
    let trusted = source.clone().with_parquet_file_reader_factory(Arc::new(Trusted(reader)));
    let schema = scan.file_source.table_schema().table_schema();
    let file = |file: &PartitionedFile| {
        let mut file = file.clone();
        file.statistics = file.statistics.map(|found| without_floats(&found, schema));
        file
    };
    let group = |group: &FileGroup| {
        let files = FileGroup::new(group.iter().map(file).collect());
        match group.file_statistics(None) {
            Some(found) => files.with_statistics(without_floats(found, schema)),
            None => files,
        }
    };
    let groups = scan.file_groups.iter().map(group).collect();
    let builder = FileScanConfigBuilder::from(scan.clone())
        .with_statistics(without_floats(&scan.statistics(), schema).as_ref().clone())
        .with_file_groups(groups)
        .with_source(Arc::new(trusted));
    Some(DataSourceExec::from_data_source(builder.build()))
}

/// Statistics without the bounds of columns of floats.
fn without_floats(found: &Statistics, schema: &SchemaRef) -> Arc<Statistics> {
    let mut found = found.clone();
    for (column, field) in found.column_statistics.iter_mut().zip(schema.fields()) {
        let kind = match field.data_type() {
            DataType::Dictionary(_, values) => values,
            kind => kind,
        };
        if kind.is_floating() {
            column.min_value = Precision::Absent;
            column.max_value = Precision::Absent;
        }
    }
    Arc::new(found)
}

#[derive(Debug)]
struct Trusted(Arc<dyn ParquetFileReaderFactory>);

impl ParquetFileReaderFactory for Trusted {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let reader = self.0.create_reader(partition, file, size_hint, metrics)?;
        Ok(Box::new(TrustedReader(reader)))
    }
}

struct TrustedReader(Box<dyn AsyncFileReader + Send>);

impl AsyncFileReader for TrustedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.0.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.0.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let found = self.0.get_metadata(options);
        let trust = |found: Arc<ParquetMetaData>| async move {
            Ok(trusted(&found)?.map_or(found, Arc::new))
        };
        found.and_then(trust).boxed()
    }
}
