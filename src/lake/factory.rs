//! `CREATE EXTERNAL TABLE .. STORED AS DELTA`: a table that every query reads at its newest
//! version, as files are read as they are.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::common::Result;
use datafusion::datasource::TableType;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{CreateExternalTable, Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use deltalake::DeltaTableError;
use deltalake::delta_datafusion::DeltaTableFactory;

use super::error::told;
use super::skipping;
use crate::error::Error;

/// Makes `STORED AS DELTA` known to a session.
pub fn register(context: &SessionContext) {
    let state = context.state_ref();
    state.write().table_factories_mut().insert("DELTA".to_string(), Arc::new(DeltaFactory));
}

/// The table as it is now.
async fn opened(
    session: &dyn Session,
    command: &CreateExternalTable,
) -> Result<Arc<dyn TableProvider>> {
    let table = DeltaTableFactory {}.create(session, command).await;
    table.map_err(|error| {
        let DataFusionError::External(inner) = error.find_root() else { return error };
        match inner.downcast_ref::<DeltaTableError>() {
            // Told by request and answer where all errors of stores are.
            None | Some(DeltaTableError::ObjectStore { .. }) => error,
            Some(inner) => {
                Error::Data(told(&command.locations.join(", "), &inner.to_string())).into()
            }
        }
    })
}

/// Makes Delta tables for the session.
#[derive(Debug)]
struct DeltaFactory;

#[async_trait]
impl TableProviderFactory for DeltaFactory {
    async fn create(
        &self,
        session: &dyn Session,
        command: &CreateExternalTable,
    ) -> Result<Arc<dyn TableProvider>> {
        let now = opened(session, command).await?;
        Ok(Arc::new(Newest { command: command.clone(), schema: now.schema() }))
    }
}

/// A Delta table at whatever version is the newest when it is scanned. Its columns are those it
/// had when it was named here.
#[derive(Debug)]
pub struct Newest {
    pub command: CreateExternalTable,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for Newest {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Files are left out by their statistics; rows are filtered by the plan.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = skipping::trusted(opened(session, &self.command).await?);
        if table.schema() != self.schema {
            return datafusion::common::plan_err!(
                "the columns of '{}' have changed since it was named: create the table again",
                self.command.locations.join(", ")
            );
        }
        table.scan(session, projection, filters, limit).await
    }
}
