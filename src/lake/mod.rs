//! Delta tables: appended to in atomic commits that carry how far they reach, read at their newest
//! version.
//!
//! A commit holds its rows and, as application transactions, named places in the log that it
//! covers: who starts again asks the table how far it is and leaves that out. deltalake does not
//! look at them itself. Neither it nor object_store calls fsync; on a local disk we do, the data
//! before the commit that names it.

mod error;
mod factory;
mod others;
mod pinned;
pub mod skipping;
pub mod travel;
mod types;
mod upsert;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::catalog::{Session, TableProvider};
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;
use deltalake::checkpoints::{cleanup_metadata, create_checkpoint};
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, MetadataExt, StructType, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::writer::{DeltaWriter, RecordBatchWriter, WriteMode};
use deltalake::{DeltaTable, DeltaTableError};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use url::Url;

use crate::disk::sync;
use crate::error::{Error, Result};
use crate::task;
use error::failed;

pub use error::told;
pub use factory::register;
pub use pinned::Pinned;
pub use types::holds;

/// A Delta table that is appended to.
pub struct Table {
    /// As the user wrote it.
    name: String,
    table: DeltaTable,
    /// What batches are cast to.
    schema: SchemaRef,
    /// Whether it has columns that the table is to get with the next rows.
    extended: bool,
    /// Its folder, on a local disk.
    folder: Option<PathBuf>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Table {
    /// Opens the table at a path or URL, making it if there is none.
    ///
    /// Errors: a table that is there with other columns; types that Delta does not have.
    pub async fn open_or_create(path: &str, schema: &SchemaRef) -> Result<Self> {
        let table = Self::open_or_extend(path, schema).await?;
        let present = table.table.snapshot().map_err(|error| failed(path, error))?;
        let wanted = types::delta(path, schema)?;
        types::check(path, &present.snapshot().arrow_schema(), &wanted)?;
        Ok(table)
    }

    /// Opens the table at a path or URL, making it if there is none. Columns that it lacks are
    /// added by the commit of the next rows, behind its own; in the rows before they are NULL.
    ///
    /// Errors: a table whose columns are not among these; types that Delta does not have.
    pub async fn open_or_extend(path: &str, schema: &SchemaRef) -> Result<Self> {
        let wanted = types::delta(path, schema)?;
        let (url, folder) = location(path, true)?;
        let failed = |error| failed(path, error);
        let mut table = DeltaTable::try_from_url(url).await.map_err(failed)?;
        if table.version().is_none() {
            let columns: StructType = wanted
                .as_ref()
                .try_into_kernel()
                .map_err(|error| Error::user(format!("the Delta table '{path}': {error}")))?;
            table = table.create().with_columns(columns.fields().cloned()).await.map_err(failed)?;
        }
        let present = table.snapshot().map_err(failed)?.snapshot().arrow_schema();
        let schema = types::extended(path, &present, &wanted)?;
        let extended = schema.fields().len() > present.fields().len();
        Ok(Self { name: path.to_string(), table, schema, extended, folder })
    }

    /// Opens the table that is at a path or URL, at its newest version; `None` where there is none.
    pub async fn open(path: &str) -> Result<Option<Self>> {
        let (url, folder) = location(path, false)?;
        if folder.as_ref().is_some_and(|folder| !folder.join("_delta_log").is_dir()) {
            return Ok(None);
        }
        let failed = |error| failed(path, error);
        let table = DeltaTable::try_from_url(url).await.map_err(failed)?;
        if table.version().is_none() {
            return Ok(None);
        }
        let schema = table.snapshot().map_err(failed)?.snapshot().arrow_schema();
        Ok(Some(Self { name: path.to_string(), table, schema, extended: false, folder }))
    }

    /// The version that is open.
    pub fn version(&self) -> i64 {
        self.table.version().map_or(-1, |version| version as i64)
    }

    /// Whether no rows are in the version that is open.
    pub fn is_empty(&self) -> Result<bool> {
        let snapshot = self.table.snapshot().map_err(|error| failed(&self.name, error))?;
        Ok(snapshot.log_data().num_files() == 0)
    }

    /// The columns as they are stored.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The rows of the version that is open.
    pub async fn provider(&self, session: &dyn Session) -> Result<Arc<dyn TableProvider>> {
        let failed = |error| failed(&self.name, error);
        self.table.update_datafusion_session(session).map_err(failed)?;
        let mut builder = self.table.table_provider();
        if let Some(state) = session.as_any().downcast_ref::<SessionState>() {
            builder = builder.with_session(Arc::new(state.clone()));
        }
        let provider = builder.await.map_err(|error| error::failed(&self.name, error.into()))?;
        Ok(skipping::trusted(provider))
    }

    /// Appends rows in one commit that reaches this far for each application. Without rows the
    /// commit says only that.
    ///
    /// Errors: disk full, another writer of the same application; nothing is visible then.
    pub async fn append(&mut self, rows: &[RecordBatch], reached: &[(String, i64)]) -> Result<()> {
        let rows: Vec<RecordBatch> = rows.iter().map(|b| self.cast(b)).collect::<Result<_>>()?;
        self.commit(rows, reached).await?;
        self.refresh().await?;
        let Some(folder) = &self.folder else { return Ok(()) };
        let log = folder.join("_delta_log");
        let version = self.table.version().unwrap_or_default();
        sync(&log.join(format!("{version:020}.json")))?;
        sync(&log)
    }

    /// Writes a file beside the data, under `_thalweg/`, where readers of the table do not look.
    pub async fn put_aside(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let path = aside(Some(name));
        let wrong = |error: &dyn std::fmt::Display| {
            Error::user(format!("the Delta table '{}': {path}: {error}", self.name))
        };
        let store = self.table.log_store().object_store(None);
        store.put(&path, bytes.into()).await.map_err(|error| wrong(&error))?;
        let Some(folder) = &self.folder else { return Ok(()) };
        sync(&folder.join(path.as_ref()))?;
        sync(&folder.join(ASIDE))
    }

    /// The files under `_thalweg/` whose names come after one, in the order of their names.
    pub async fn aside(&self, after: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let wrong = |error: object_store::Error| {
            Error::user(format!("the Delta table '{}': {error}", self.name))
        };
        let store = self.table.log_store().object_store(None);
        let listed: Vec<_> = store.list(Some(&aside(None))).try_collect().await.map_err(wrong)?;
        let mut files = Vec::new();
        for object in listed {
            let name = object.location.filename().unwrap_or_default().to_string();
            if name.as_str() > after && name.ends_with(".json") {
                let got = store.get(&object.location).await.map_err(wrong)?;
                files.push((name, got.bytes().await.map_err(wrong)?.to_vec()));
            }
        }
        files.sort();
        Ok(files)
    }

    fn properties(&self, reached: &[(String, i64)]) -> CommitProperties {
        let reached = reached.iter().map(|(application, to)| Transaction::new(application, *to));
        CommitProperties::default()
            .with_application_transactions(reached.collect())
            // What others have written meanwhile is looked at: `pass_others`.
            .with_max_retries(0)
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false))
    }

    /// Now and then begins with a fresh snapshot: each commit makes the one that is held slower.
    async fn refresh(&mut self) -> Result<()> {
        self.checkpoint();
        let version = self.table.version().unwrap_or_default();
        if version.is_multiple_of(FRESH_COMMITS) {
            self.reopen().await?;
        }
        Ok(())
    }

    /// Now and then writes the log's checkpoint, beside the work: readers need not read all
    /// commits then.
    fn checkpoint(&self) {
        let version = self.table.version().unwrap_or_default();
        if version == 0 || !version.is_multiple_of(CHECKPOINT_COMMITS) {
            return;
        }
        let (table, name) = (self.table.clone(), self.name.clone());
        let log = self.folder.as_ref().map(|folder| folder.join("_delta_log"));
        task::detached("writing a checkpoint", async move {
            let written = async {
                create_checkpoint(&table, None).await?;
                cleanup_metadata(&table, None).await?;
                Ok::<_, DeltaTableError>(())
            };
            if let Err(error) = written.await {
                tracing::warn!("the Delta table '{name}': its checkpoint: {error}");
            } else if let Some(log) = log {
                let file = log.join(format!("{version:020}.checkpoint.parquet"));
                let synced = task::in_place(|| {
                    sync(&file).and_then(|()| sync(&log.join("_last_checkpoint")))
                });
                if let Err(error) = synced {
                    tracing::warn!("{error}");
                }
            }
            Ok(())
        });
    }

    async fn commit(&mut self, rows: Vec<RecordBatch>, reached: &[(String, i64)]) -> Result<()> {
        let adds = self.write(rows).await.map_err(|error| failed(&self.name, error))?;
        if let Some(folder) = &self.folder {
            task::in_place(|| sync_data(folder, &adds)).map_err(|error| {
                Error::user(format!("the Delta table '{}': {error}", self.name))
            })?;
        }
        self.make(&Change::Add(adds), reached).await
    }

    /// Commits a change, behind what others have committed meanwhile.
    async fn make(&mut self, change: &Change, reached: &[(String, i64)]) -> Result<()> {
        for _ in 1..ATTEMPTS {
            let Err(error) = self.make_once(change, reached).await else { return Ok(()) };
            self.pass_others(error, reached).await?;
        }
        let last = self.make_once(change, reached).await;
        last.map_err(|error| failed(&self.name, error))
    }

    async fn make_once(
        &mut self,
        change: &Change,
        reached: &[(String, i64)],
    ) -> Result<(), DeltaTableError> {
        match change {
            Change::Add(files) => self.add(files, reached).await,
            Change::Upsert { source, same } => self.merge(source, same, reached).await,
            Change::Replace { source, same } => self.put(source, same, reached).await,
        }
    }

    /// Writes files of rows that no commit names yet.
    async fn write(&mut self, rows: Vec<RecordBatch>) -> Result<Vec<Add>, DeltaTableError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut writer =
            RecordBatchWriter::for_table(&self.table)?.with_writer_properties(properties());
        let mode = match self.extended {
            true => WriteMode::MergeSchema,
            false => WriteMode::Default,
        };
        for batch in rows {
            writer.write_with_mode(batch, mode).await?;
        }
        writer.flush().await
    }

    async fn add(
        &mut self,
        adds: &[Add],
        reached: &[(String, i64)],
    ) -> Result<(), DeltaTableError> {
        let mut actions: Vec<Action> = Vec::with_capacity(adds.len() + 1);
        let extends = self.extended && !adds.is_empty();
        if extends {
            let columns: StructType = self.schema.as_ref().try_into_kernel()?;
            let present = self.table.snapshot()?.metadata().clone();
            actions.push(Action::Metadata(present.with_schema(&columns)?));
        }
        actions.extend(adds.iter().cloned().map(Action::Add));
        let properties = self.properties(reached);
        let operation =
            DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        let finalized = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(self.table.snapshot()?), self.table.log_store(), operation)
            .await?;
        self.table.state = Some(finalized.snapshot());
        self.extended &= !extends;
        Ok(())
    }

    /// The columns of a batch, by name, as they are stored.
    fn cast(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.schema.fields().iter().map(|field| {
            let column = batch.column(batch.schema_ref().index_of(field.name())?);
            Ok(arrow::compute::cast(column, field.data_type())?)
        });
        let counted = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &counted)?)
    }
}

/// What a commit does.
enum Change {
    /// Names files that are there.
    Add(Vec<Add>),
    /// Puts rows in the place of those that are the same.
    Upsert { source: DataFrame, same: Expr },
    /// Takes out rows that are the same as marked ones, and puts the others in.
    Replace { source: DataFrame, same: Expr },
}

/// How often a commit is tried where others write between.
const ATTEMPTS: usize = 16;

/// Commits between two checkpoints of a table's log.
const CHECKPOINT_COMMITS: u64 = 100;

/// Commits between two fresh snapshots.
const FRESH_COMMITS: u64 = 64;

/// Folder beside the data for what is ours.
const ASIDE: &str = "_thalweg";

/// Bytes of distinct values from which a column is written without a dictionary.
const DICTIONARY_BYTES: usize = 1 << 16;

/// Dictionaries stay small: a column of many values, such as a key or a sum, is soon written
/// plainly, which takes a fraction of the time.
fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .build()
}

fn aside(name: Option<&str>) -> object_store::path::Path {
    object_store::path::Path::from_iter([ASIDE].into_iter().chain(name))
}

/// A table's URL, and its folder on a local disk, which is made if asked for.
fn location(path: &str, make: bool) -> Result<(Url, Option<PathBuf>)> {
    let wrong =
        |error: &dyn std::fmt::Display| Error::user(format!("the Delta table '{path}': {error}"));
    let folder = match path.contains("://") {
        false => PathBuf::from(path),
        true => {
            let url = Url::parse(path).map_err(|error| wrong(&error))?;
            match url.to_file_path() {
                Ok(folder) if url.scheme() == "file" => folder,
                _ => return Ok((url, None)),
            }
        }
    };
    if make {
        std::fs::create_dir_all(&folder).map_err(|error| wrong(&error))?;
    }
    // Without `..` and links: object stores take paths by their letters.
    let folder = match folder.canonicalize() {
        Err(error) if !make && error.kind() == std::io::ErrorKind::NotFound => {
            std::path::absolute(&folder).map_err(|error| wrong(&error))?
        }
        folder => folder.map_err(|error| wrong(&error))?,
    };
    let url = Url::from_directory_path(&folder).map_err(|()| wrong(&"not a path"))?;
    Ok((url, Some(folder)))
}

/// Data files reach the disk, and their folder knows them.
fn sync_data(folder: &Path, adds: &[Add]) -> Result<()> {
    for add in adds {
        sync(&folder.join(&add.path))?;
    }
    sync(folder)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, UInt64Array};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn batch(values: Vec<u64>) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("n", DataType::UInt64, false)]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(UInt64Array::from(values))]).unwrap()
    }

    #[tokio::test]
    async fn commits_tell_how_far_they_reach() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("a b").display().to_string();
        let first = batch(vec![1, u64::MAX]);
        let mut table = Table::open_or_create(&path, &first.schema()).await.unwrap();
        assert_eq!(table.reached("p/a").await.unwrap(), None);
        table.append(&[first], &[("p/a".into(), 7), ("p/b".into(), -1)]).await.unwrap();
        table.append(&[batch(vec![3])], &[("p/a".into(), 9)]).await.unwrap();
        let again = Table::open_or_create(&path, &batch(vec![]).schema()).await.unwrap();
        assert_eq!(again.reached("p/a").await.unwrap(), Some(9));
        assert_eq!(again.reached("p/b").await.unwrap(), Some(-1));

        let other = Schema::new(vec![Field::new("n", DataType::Utf8, false)]);
        let other = Table::open_or_create(&path, &Arc::new(other)).await.unwrap_err();
        assert!(other.to_string().contains("has the columns n Decimal128(20, 0)"), "{other}");
    }

    #[tokio::test]
    async fn a_table_is_read_at_its_newest_version() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("t").display().to_string();
        let mut table = Table::open_or_create(&path, &batch(vec![]).schema()).await.unwrap();
        table.append(&[batch(vec![1, 2])], &[]).await.unwrap();
        let context = crate::plan::session(&crate::config::Options::default()).unwrap();
        register(&context);
        let create = format!("CREATE EXTERNAL TABLE t STORED AS DELTA LOCATION '{path}'");
        context.sql(&create).await.unwrap();
        let sum = async || {
            let rows = context.sql("SELECT CAST(sum(n) AS BIGINT) FROM t WHERE n > 1").await;
            let rows = rows.unwrap().collect().await.unwrap();
            let column = rows[0].column(0).as_any().downcast_ref::<Int64Array>().unwrap();
            column.value(0)
        };
        assert_eq!(sum().await, 2);
        table.append(&[batch(vec![40])], &[]).await.unwrap();
        assert_eq!(sum().await, 42);
    }

    #[tokio::test]
    async fn a_table_gets_columns_with_the_next_rows() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("t").display().to_string();
        let column = |name: &str, values: &[i64]| {
            let values: arrow::array::ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
            (name.to_string(), values)
        };
        let old = RecordBatch::try_from_iter([column("n", &[1]), column("z", &[2])]).unwrap();
        let mut table = Table::open_or_extend(&path, &old.schema()).await.unwrap();
        table.append(&[old], &[("p".into(), 1)]).await.unwrap();
        let new = [column("m", &[5]), column("n", &[3]), column("z", &[4])];
        let new = RecordBatch::try_from_iter(new).unwrap();
        let told = Table::open_or_create(&path, &new.schema()).await.unwrap_err().to_string();
        assert!(told.contains("has the columns n Int64, z Int64, and these are"), "{told}");
        let mut table = Table::open_or_extend(&path, &new.schema()).await.unwrap();
        // Without rows it has what it had.
        table.append(&[], &[("p".into(), 2)]).await.unwrap();
        assert_eq!(Table::open(&path).await.unwrap().unwrap().schema().fields().len(), 2);
        for epoch in 3..5 {
            table.append(std::slice::from_ref(&new), &[("p".into(), epoch)]).await.unwrap();
        }
        let table = Table::open_or_extend(&path, &new.schema()).await.unwrap();
        assert_eq!(table.reached("p").await.unwrap(), Some(4));
        let context = datafusion::prelude::SessionContext::new();
        let rows = context.read_table(table.provider(&context.state()).await.unwrap()).unwrap();
        let rows = rows.sort_by(vec![datafusion::prelude::col("n")]).unwrap().collect().await;
        let shown = arrow::util::pretty::pretty_format_batches(&rows.unwrap()).unwrap().to_string();
        let lines: Vec<&str> = shown.lines().skip(3).filter(|l| l.starts_with('|')).collect();
        assert_eq!(lines, ["| 1 | 2 |   |", "| 3 | 4 | 5 |", "| 3 | 4 | 5 |"]);
        let fewer = old_schema();
        let told = Table::open_or_extend(&path, &fewer).await.unwrap_err().to_string();
        assert!(told.contains("keep its columns"), "{told}");
    }

    fn old_schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
    }
}
