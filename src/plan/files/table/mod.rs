//! Tables of files: DataFusion's own, with what it lacks.

mod listed;
pub mod partitions;
pub mod shaped;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};

use super::format::csv;
use super::format::infer::infer;
use super::format::schema::Columns;
use super::found::Files;
use listed::Listed;
use partitions::Partitioned;

/// A table of files, whose format and columns they tell themselves.
pub async fn table(state: &SessionState, files: Files) -> Result<Arc<dyn TableProvider>> {
    let format = files.format(state).await?;
    let columns = infer(state, &files, &format).await?;
    table_of(state, files, format, columns).await
}

/// A table of files with columns that are known.
pub async fn table_of(
    state: &SessionState,
    files: Files,
    format: Arc<dyn FileFormat>,
    columns: Columns,
) -> Result<Arc<dyn TableProvider>> {
    let (paths, ending) = files.table_paths(state).await?;
    let options = ListingOptions::new(format)
        .with_file_extension(ending)
        .with_table_partition_cols(match files.null_partitions {
            true => as_text(&files.partitions),
            false => files.partitions.clone(),
        });
    let config = ListingTableConfig::new_with_multi_paths(paths)
        .with_listing_options(options)
        .with_schema(Arc::clone(&columns.stored));
    let mut table: Arc<dyn TableProvider> = Arc::new(Listed(ListingTable::try_new(config)?));
    if files.null_partitions {
        table = Arc::new(Partitioned::new(table, &files.partitions)?);
    }
    match columns.meant {
        None => Ok(table),
        Some(meant) => as_meant(table, &columns.stored, &meant),
    }
}

/// Columns of directories' names as text.
fn as_text(columns: &[(String, DataType)]) -> Vec<(String, DataType)> {
    columns.iter().map(|(name, _)| (name.clone(), DataType::Utf8)).collect()
}

/// The table with its text columns as they are meant. DataFusion's CSV reader knows no spelling of
/// NULL but the empty one.
fn as_meant(
    table: Arc<dyn TableProvider>,
    stored: &Schema,
    meant: &Schema,
) -> Result<Arc<dyn TableProvider>> {
    let all = table.schema();
    let expression = |field: &Arc<Field>| -> Result<Expr> {
        let column = Expr::Column(Column::new(Some("files"), field.name()));
        let kind = meant.field_with_name(field.name()).ok().map(|field| field.data_type());
        match (stored.field_with_name(field.name()).ok().map(|f| f.data_type()), kind) {
            (Some(DataType::Utf8), Some(kind)) => Ok(csv::meant(column, kind)?.alias(field.name())),
            _ => Ok(column.alias(field.name())),
        }
    };
    let expressions: Result<Vec<Expr>> = all.fields().iter().map(expression).collect();
    let source = provider_as_source(table);
    let plan = LogicalPlanBuilder::scan("files", source, None)?.project(expressions?)?.build()?;
    Ok(Arc::new(shaped::Shaped::new(plan, None)))
}
