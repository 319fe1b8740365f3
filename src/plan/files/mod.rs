//! Files are tables: `FROM 'dir/*.parquet'`, `FROM 's3://bucket/logs/'`, a directory of a Delta
//! table.
//!
//! A name that is no table of the session is looked at as a file, a directory or a pattern. What
//! it names is checked before a query runs over it: all files are of one form and have columns in
//! common, each file has its place in the partition layout. DataFusion's own table over files would
//! leave out or mix up what does not fit. Text is read by a source of ours (`text`), Parquet by
//! DataFusion's, which is shown of statistics only what can be trusted (`parquet`). Whatever reads
//! a file, its errors and panics name it (`named`).

mod arrow_file;
mod blame;
mod catalog;
mod csv;
mod csv_rows;
mod dates;
mod exact;
mod external;
mod find;
mod formats;
mod json;
mod json_rows;
mod listed;
mod named;
mod parquet;
mod partitions;
mod quotes;
mod readers;
mod sample;
mod schema;
mod several;
mod shaped;
mod stores;
mod text;
mod utf8;
mod widen;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{TableProvider, TableProviderFactory};
use datafusion::common::{Column, TableReference};
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory};
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig};
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::prelude::SessionContext;

use crate::error::Error;
use crate::lake::{self, skipping, travel};
use crate::plan::memory::Pool;
use find::{Files, Found};
use listed::Listed;
use partitions::Partitioned;
use schema::Columns;

pub use blame::{blame, blame_plan, of_store};
pub use catalog::with_registered;
pub use csv::sign;
pub use dates::{written_rows, written_schema};
pub use external::STORED_AS;
pub use named::NamedFiles;
pub use parquet::{INT96_UNIT, TrustedStatistics, rows_of};
pub use partitions::NULL as NULL_PARTITION;
pub use readers::reader_name;
pub use stores::told;

/// The runtime of a session: object stores are opened when a URL names them, and directories are
/// listed anew by each query (a cached listing would hide files that came later). Queries take
/// their memory of the pool.
pub fn runtime(memory: Pool) -> Result<Arc<RuntimeEnv>> {
    stores::register_delta();
    RuntimeEnvBuilder::new()
        .with_object_store_registry(Arc::new(stores::Stores::default()))
        .with_object_list_cache_limit(0)
        .with_memory_pool(Arc::new(memory))
        .build_arc()
}

/// The makers of external tables, by what `STORED AS` names.
pub fn external_tables() -> HashMap<String, Arc<dyn TableProviderFactory>> {
    let factory: Arc<dyn TableProviderFactory> = Arc::new(external::ExternalTables::default());
    external::STORED_AS.map(|name| (name.to_string(), Arc::clone(&factory))).into()
}

/// Formats of ours in place of DataFusion's, by what `STORED AS` names.
pub fn formats() -> Vec<Arc<dyn FileFormatFactory>> {
    vec![
        Arc::new(parquet::ParquetFormats),
        Arc::new(formats::TextFormats("csv")),
        Arc::new(formats::TextFormats("tsv")),
        Arc::new(formats::TextFormats("json")),
    ]
}

/// The session with files as tables.
pub fn with_files(context: SessionContext) -> SessionContext {
    let session = catalog::Session::default();
    let below = Arc::clone(context.state().catalog_list());
    let catalogs = catalog::Catalogs { below, session: Arc::clone(&session) };
    let id = context.session_id();
    let builder = context.into_state_builder().with_session_id(id);
    let context = SessionContext::from(builder.with_catalog_list(Arc::new(catalogs)).build());
    // The state is set here and nowhere else; a second setting would be ignored.
    let _ = session.set(context.state_weak_ref());
    context
}

/// The table that a name stands for; none where the name does not look like files and there are
/// none either.
async fn open(state: &SessionState, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    if let Some((table, at)) = travel::asked(name, state)? {
        return earlier(state, table, at).await;
    }
    if let Some(reader) = readers::asked(name)? {
        return reader.table(state).await.map(Some);
    }
    match find::find(state, name, None).await? {
        Found::Nothing => Ok(None),
        Found::Delta(url) => delta(state, name, url).await.map(Some),
        Found::Files(files) => table(state, files).await.map(Some),
    }
}

/// A Delta table as it was.
async fn earlier(
    state: &SessionState,
    name: &str,
    at: travel::At,
) -> Result<Option<Arc<dyn TableProvider>>> {
    let schema = state.schema_for_ref(TableReference::bare(name))?;
    if schema.table_exist(name)
        && let Some(table) = schema.table(name).await?
    {
        return Ok(Some(travel::table(name, &table, at, state).await?));
    }
    match find::find(state, name, None).await? {
        Found::Nothing => Ok(None),
        Found::Delta(url) => Ok(Some(travel::folder(name, url, HashMap::new(), at, state).await?)),
        Found::Files(_) => Err(user(format!("'{name}' is no Delta table: it has no versions"))),
    }
}

async fn delta(state: &SessionState, name: &str, url: url::Url) -> Result<Arc<dyn TableProvider>> {
    let opened = async {
        let table = deltalake::open_table(url).await.map_err(|error| error.to_string())?;
        let provider = table.table_provider().with_session(Arc::new(state.clone()));
        provider.await.map(skipping::trusted).map_err(|error| error.to_string())
    };
    opened.await.map_err(|error: String| data(lake::told(name, &error)))
}

async fn table(state: &SessionState, files: Files) -> Result<Arc<dyn TableProvider>> {
    let format = files.format(state).await?;
    let columns = schema::infer(state, &files, &format).await?;
    table_of(state, files, format, columns).await
}

/// A table of files with columns that are known.
async fn table_of(
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

/// An error of the rows or files, not of the request.
fn data(message: impl Into<String>) -> DataFusionError {
    Error::Data(message.into()).into()
}

/// An error of the request.
fn user(message: impl Into<String>) -> DataFusionError {
    Error::User(message.into()).into()
}
