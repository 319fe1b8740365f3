//! Files are tables: `FROM 'dir/*.parquet'`, `FROM 's3://bucket/logs/'`, a directory of a Delta
//! table.
//!
//! A name that is no table of the session is looked at as a file, a directory or a pattern. What
//! it names is checked before a query runs over it: all files are of one form and have columns in
//! common, each file has its place in the partition layout. DataFusion's own table over files would
//! leave out or mix up what does not fit. Text is read by a source of ours (`text`), Parquet by
//! DataFusion's, which is shown of statistics only what can be trusted (`format::parquet`).
//! Whatever reads a file, its errors and panics name it (`named`).
//!
//! ```text
//! open         a name: readers (`read_csv(..)`), find (what is there), found (files of one form)
//! format/      what reads each form, and which columns files have
//! text/        bytes of CSV and JSON to rows
//! table/       files of known columns as a table
//! blame, named which file, and which line, an error is about
//! ```

mod blame;
mod catalog;
mod dates;
mod error;
mod external;
mod find;
mod format;
mod found;
mod named;
mod open;
mod readers;
mod several;
mod stores;
mod table;
mod text;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::catalog::TableProviderFactory;
use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::error::Result;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::SessionContext;

use crate::plan::memory::Pool;
use format::{parquet, text as text_format};

pub use blame::{blame, blame_plan};
pub use catalog::with_registered;
pub use dates::{written_rows, written_schema};
pub use external::check_form;
pub use format::csv::sign;
pub use format::dictionaries;
pub use format::parquet::{INT96_UNIT, TrustedStatistics, rows_of};
pub use named::NamedFiles;
pub use readers::reader_name;
pub use table::partitions::NULL as NULL_PARTITION;

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
        Arc::new(text_format::TextFormats("csv")),
        Arc::new(text_format::TextFormats("tsv")),
        Arc::new(text_format::TextFormats("json")),
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
