//! The session's catalogs with files behind them: a name that no table has is looked at as files.
//! Everything else goes on to the catalogs below.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use parking_lot::RwLock;

use super::open::open;

tokio::task_local! {
    /// Names that mean tables of the session in this task, whatever files there are.
    static REGISTERED: BTreeSet<String>;
}

/// Does work in which these names are not looked at as files: those of tables that a statement
/// makes or drops.
pub async fn with_registered<T>(names: BTreeSet<String>, work: impl Future<Output = T>) -> T {
    REGISTERED.scope(names, work).await
}

/// The session that opens files; weak, because the session owns what holds this.
pub type Session = Arc<OnceLock<Weak<RwLock<SessionState>>>>;

/// All catalogs.
#[derive(Debug)]
pub struct Catalogs {
    pub below: Arc<dyn CatalogProviderList>,
    pub session: Session,
}

impl CatalogProviderList for Catalogs {
    fn register_catalog(
        &self,
        name: String,
        catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        self.below.register_catalog(name, catalog)
    }

    fn catalog_names(&self) -> Vec<String> {
        self.below.catalog_names()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        let below = self.below.catalog(name)?;
        Some(Arc::new(Catalog { below, session: Arc::clone(&self.session) }))
    }
}

#[derive(Debug)]
struct Catalog {
    below: Arc<dyn CatalogProvider>,
    session: Session,
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        self.below.schema_names()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let below = self.below.schema(name)?;
        Some(Arc::new(Schema { below, session: Arc::clone(&self.session) }))
    }

    fn register_schema(
        &self,
        name: &str,
        schema: Arc<dyn SchemaProvider>,
    ) -> Result<Option<Arc<dyn SchemaProvider>>> {
        self.below.register_schema(name, schema)
    }

    fn deregister_schema(
        &self,
        name: &str,
        cascade: bool,
    ) -> Result<Option<Arc<dyn SchemaProvider>>> {
        self.below.deregister_schema(name, cascade)
    }
}

#[derive(Debug)]
struct Schema {
    below: Arc<dyn SchemaProvider>,
    session: Session,
}

#[async_trait]
impl SchemaProvider for Schema {
    fn owner_name(&self) -> Option<&str> {
        self.below.owner_name()
    }

    fn table_names(&self) -> Vec<String> {
        self.below.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.below.table(name).await? {
            return Ok(Some(table));
        }
        if REGISTERED.try_with(|names| names.contains(name)).unwrap_or(false) {
            return Ok(None);
        }
        let Some(session) = self.session.get().and_then(Weak::upgrade) else { return Ok(None) };
        let state = session.read().clone();
        open(&state, name).await
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        self.below.table_type(name).await
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        self.below.register_table(name, table)
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        self.below.deregister_table(name)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.below.table_exist(name)
    }
}
