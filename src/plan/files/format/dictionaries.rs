//! Columns of strings of Parquet files as dictionaries: pages of theirs are keys into the values of
//! a row group, which whoever only tells strings apart looks at once, and not once a row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::CachedParquetMetaData;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use datafusion::parquet::basic::Encoding;
use datafusion::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    CastExpr, Column, DynamicFilterPhysicalExpr, IsNotNullExpr, IsNullExpr,
};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;

use crate::plan::files::named;

/// Those of the columns that a scan puts out that can be dictionaries: columns of strings as they
/// lie in Parquet files whose pages all have keys. What the files have is known of `metadata`,
/// which planning has filled; of files that are not there, nothing is.
pub fn possible(
    scan: &Arc<dyn ExecutionPlan>,
    wanted: &BTreeSet<usize>,
    metadata: &FileMetadataCache,
) -> BTreeSet<usize> {
    let of_scan = || {
        let (scan, source) = parquet(scan)?;
        let mut found = stored(source, wanted)?;
        for file in scan.file_groups.iter().flat_map(FileGroup::iter) {
            if found.is_empty() {
                break;
            }
            let file = told(file, metadata)?;
            let own = own_columns(&file).ok()?;
            found.retain(|(_, name)| has_keys(&file, &own, name));
        }
        Some(found.into_iter().map(|(column, _)| column).collect())
    };
    of_scan().unwrap_or_default()
}

/// The scan with columns as dictionaries that are among the `possible` ones; `None` where
/// `metadata` does not know the files any more.
pub fn scan(
    scan: &Arc<dyn ExecutionPlan>,
    columns: &BTreeSet<usize>,
    metadata: &FileMetadataCache,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some((config, source)) = parquet(scan) else { return Ok(None) };
    let Some(stored) = stored(source, columns) else { return Ok(None) };
    let names: BTreeSet<String> = stored.into_iter().map(|(_, name)| name).collect();
    let mut groups = config.file_groups.clone();
    for group in &mut groups {
        for at in 0..group.len() {
            let file = &mut group[at];
            let own = match &file.arrow_schema {
                Some(schema) => Arc::clone(schema),
                None => match told(file, metadata) {
                    Some(told) => Arc::new(own_columns(&told)?),
                    None => return Ok(None),
                },
            };
            file.arrow_schema = Some(as_dictionaries(&own, &names));
        }
    }
    let builder = FileScanConfigBuilder::from(config.clone())
        .with_file_groups(groups)
        .with_source(named::around(anew(source, &names)?));
    Ok(Some(DataSourceExec::from_data_source(builder.build())))
}

/// The parts of a scan of Parquet files.
fn parquet(scan: &Arc<dyn ExecutionPlan>) -> Option<(&FileScanConfig, &ParquetSource)> {
    let scan = scan.downcast_ref::<DataSourceExec>()?.data_source();
    let scan = scan.downcast_ref::<FileScanConfig>()?;
    Some((scan, named::source(scan).downcast_ref::<ParquetSource>()?))
}

/// Numbers and names of the wanted columns that the scan hands on as the files have them, each of
/// them strings. `None` where what is asked of the rows changes while they are read.
fn stored(source: &ParquetSource, wanted: &BTreeSet<usize>) -> Option<Vec<(usize, String)>> {
    if let Some(filter) = source.filter()
        && filter.exists(|part| Ok(part.is::<DynamicFilterPhysicalExpr>())).ok()?
    {
        return None;
    }
    let files = source.table_schema().file_schema();
    let exprs = source.projection()?.iter().map(|part| &part.expr);
    let column = |(at, outputs): (usize, Vec<usize>)| {
        let field = files.fields().get(at)?;
        dictionary(field.data_type())?;
        Some(outputs.into_iter().map(|number| (number, field.name().clone())))
    };
    Some(passed_on(exprs, wanted).into_iter().filter_map(column).flatten().collect())
}

/// Columns that a projection does nothing with but to hand them on, all of it wanted: by their
/// number in its input, those in its output.
pub fn passed_on<'a>(
    exprs: impl Iterator<Item = &'a Arc<dyn PhysicalExpr>>,
    wanted: &BTreeSet<usize>,
) -> BTreeMap<usize, Vec<usize>> {
    let (mut passed, mut used) = (BTreeMap::<usize, Vec<usize>>::new(), BTreeSet::new());
    for (number, expr) in exprs.enumerate() {
        match expr.downcast_ref::<Column>() {
            Some(column) if wanted.contains(&number) => {
                passed.entry(column.index()).or_default().push(number);
            }
            _ => used.extend(collect_columns(expr).iter().map(Column::index)),
        }
    }
    passed.retain(|column, _| !used.contains(column));
    passed
}

/// The dictionary of strings of a type: one for all, so that files and tables may differ.
fn dictionary(data_type: &DataType) -> Option<DataType> {
    let is_text = matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    let keyed = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    is_text.then(keyed)
}

/// What a file tells of itself.
fn told(file: &PartitionedFile, metadata: &FileMetadataCache) -> Option<Arc<ParquetMetaData>> {
    let entry = metadata.get(&file.object_meta.location)?;
    let found = entry.file_metadata.as_any().downcast_ref::<CachedParquetMetaData>()?;
    entry.is_valid_for(&file.object_meta).then(|| found.parquet_metadata().clone())
}

/// The columns of a file.
fn own_columns(file: &ParquetMetaData) -> Result<Schema> {
    let file = file.file_metadata();
    Ok(parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())?)
}

/// Whether a file has this one of its columns as strings, in pages of nothing but keys.
fn has_keys(file: &ParquetMetaData, own: &Schema, name: &str) -> bool {
    let is_text = own.field_with_name(name).is_ok_and(|own| dictionary(own.data_type()).is_some());
    let leaves = file.file_metadata().schema_descr();
    let is_it = |at: &usize| leaves.column(*at).path().parts() == [name.to_string()];
    let leaf = (0..leaves.num_columns()).find(is_it).filter(|_| is_text);
    leaf.is_some_and(|at| file.row_groups().iter().all(|group| of_keys(group.column(at))))
}

fn of_keys(chunk: &ColumnChunkMetaData) -> bool {
    let keys = [Encoding::RLE_DICTIONARY, Encoding::PLAIN_DICTIONARY];
    chunk.dictionary_page_offset().is_some()
        && chunk
            .page_encoding_stats_mask()
            .is_some_and(|pages| keys.into_iter().any(|encoding| pages.is_only(encoding)))
}

/// A schema with these columns as dictionaries, whatever strings they were.
fn as_dictionaries(schema: &Schema, names: &BTreeSet<String>) -> SchemaRef {
    let field = |field: &Arc<Field>| match dictionary(field.data_type()) {
        Some(keyed) if names.contains(field.name()) => {
            Arc::new(field.as_ref().clone().with_data_type(keyed))
        }
        _ => field.clone(),
    };
    let fields: Vec<_> = schema.fields().iter().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// A source over the same columns, these as dictionaries.
fn anew(source: &ParquetSource, names: &BTreeSet<String>) -> Result<Arc<dyn FileSource>> {
    let old = source.table_schema();
    let table = TableSchema::builder(as_dictionaries(old.file_schema(), names))
        .with_table_partition_cols(old.table_partition_cols().clone())
        .with_virtual_columns(old.virtual_columns().clone())
        .build();
    let options = source.table_parquet_options().clone();
    let hint = options.global.metadata_size_hint;
    let mut new = ParquetSource::new(table).with_table_parquet_options(options);
    if let Some(hint) = hint {
        new = new.with_metadata_size_hint(hint);
    }
    if let Some(reader) = source.parquet_file_reader_factory() {
        new = new.with_parquet_file_reader_factory(reader.clone());
    }
    if let Some(filter) = source.filter() {
        new = new.with_predicate(over_dictionaries(filter, old.table_schema(), names)?);
    }
    let projected = match source.projection() {
        Some(projection) => new.try_pushdown_projection(projection)?,
        None => None,
    };
    projected.ok_or_else(|| {
        DataFusionError::Internal("a Parquet scan that takes no projection".to_string())
    })
}

/// A filter for columns that are dictionaries now: it compares what they were.
fn over_dictionaries(
    filter: Arc<dyn PhysicalExpr>,
    schema: &Schema,
    names: &BTreeSet<String>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let cast = |part: Arc<dyn PhysicalExpr>| {
        let is_null = part.is::<IsNullExpr>() || part.is::<IsNotNullExpr>();
        if is_null && part.children().iter().all(|argument| argument.is::<Column>()) {
            // Files are passed over by the number of their NULLs for columns as they are only.
            return Ok(Transformed::new(part, false, TreeNodeRecursion::Jump));
        }
        let Some(column) = part.downcast_ref::<Column>() else { return Ok(Transformed::no(part)) };
        if !names.contains(column.name()) {
            return Ok(Transformed::no(part));
        }
        let was = schema.field(column.index()).data_type().clone();
        let cast = Arc::new(CastExpr::new(part, was, None)) as Arc<dyn PhysicalExpr>;
        Ok(Transformed::new(cast, true, TreeNodeRecursion::Jump))
    };
    filter.transform_down(cast).data()
}
