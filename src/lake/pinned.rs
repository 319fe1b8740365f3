//! A Delta table beside a stream: read at a version that is set from outside, so that an epoch
//! which is repeated reads what it read before.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::datasource::TableType;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{CreateExternalTable, Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use deltalake::{DeltaTable, DeltaTableBuilder};
use parking_lot::RwLock;
use tokio::sync::Mutex;

use super::error::failed;
use super::factory::Newest;
use super::travel::{self, At};
use crate::error::{Error, Result};

/// A Delta table at the version that was set last.
pub struct Pinned {
    name: String,
    command: CreateExternalTable,
    schema: SchemaRef,
    version: RwLock<Option<i64>>,
    /// Told of new versions by its log.
    table: Mutex<Option<DeltaTable>>,
}

impl std::fmt::Debug for Pinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pinned").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Pinned {
    /// The table behind a name, if it is a Delta table.
    pub fn of(name: &str, provider: &dyn TableProvider) -> Option<Self> {
        let newest = provider.downcast_ref::<Newest>()?;
        Some(Self {
            name: name.to_string(),
            command: newest.command.clone(),
            schema: newest.schema(),
            version: RwLock::new(None),
            table: Mutex::new(None),
        })
    }

    /// The newest version there is.
    pub async fn newest(&self) -> Result<i64> {
        let wrong = |error| failed(&self.name, error);
        let mut open = self.table.lock().await;
        let table = match open.take() {
            Some(table) => table,
            None => {
                let location = self.command.locations.first().map_or("", String::as_str);
                let url = deltalake::table::builder::ensure_table_uri(location).map_err(wrong)?;
                let builder = DeltaTableBuilder::from_url(url).map_err(wrong)?;
                let options = self.command.options.clone();
                builder.with_storage_options(options).load().await.map_err(wrong)?
            }
        };
        let from = table.version().unwrap_or_default();
        let newest = table.log_store().get_latest_version(from).await.map_err(wrong)?;
        *open = Some(table);
        i64::try_from(newest).map_err(|_| Error::Bug(format!("{}: version {newest}", self.name)))
    }

    pub fn set(&self, version: i64) {
        *self.version.write() = Some(version);
    }

    /// The version that is read; `None` before one was set.
    pub fn version(&self) -> Option<i64> {
        *self.version.read()
    }
}

#[async_trait]
impl TableProvider for Pinned {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let version = match self.version() {
            Some(version) => version,
            None => self.newest().await?,
        };
        let Some(state) = session.as_any().downcast_ref::<SessionState>() else {
            return Err(Error::Bug("a session of another kind".to_string()).into());
        };
        let location = self.command.locations.first().map_or("", String::as_str);
        let url = deltalake::table::builder::ensure_table_uri(location);
        let url = url.map_err(|error| failed(&self.name, error))?;
        let (options, at) = (self.command.options.clone(), At::Version(version.unsigned_abs()));
        let table = travel::folder(&self.name, url, options, at, state).await?;
        table.scan(session, projection, filters, limit).await
    }
}
