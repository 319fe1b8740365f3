//! Which files of a Delta table may be passed over. Its log has bounds of each file's columns,
//! which of floats leave NaN out: a file with NaN would be passed over by `x > 30`.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Constraints, Result, Statistics};
use datafusion::datasource::TableType;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;

/// The table, whose files are not passed over by what their log says of floats.
pub fn trusted(table: Arc<dyn TableProvider>) -> Arc<dyn TableProvider> {
    match table.schema().fields().iter().any(|field| has_floats(field.data_type())) {
        true => Arc::new(Trusted(table)),
        false => table,
    }
}

fn has_floats(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        DataType::List(field) | DataType::LargeList(field) | DataType::Map(field, _) => {
            has_floats(field.data_type())
        }
        DataType::Dictionary(_, values) => has_floats(values),
        kind => kind.is_floating(),
    }
}

#[derive(Debug)]
struct Trusted(Arc<dyn TableProvider>);

impl Trusted {
    fn is_of_floats(&self, filter: &Expr) -> bool {
        let schema = self.0.schema();
        filter.column_refs().iter().any(|column| {
            schema.field_with_name(&column.name).is_ok_and(|field| has_floats(field.data_type()))
        })
    }
}

#[async_trait]
impl TableProvider for Trusted {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn constraints(&self) -> Option<&Constraints> {
        self.0.constraints()
    }

    fn table_type(&self) -> TableType {
        self.0.table_type()
    }

    fn get_table_definition(&self) -> Option<&str> {
        self.0.get_table_definition()
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.0.get_column_default(column)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let mut supported = self.0.supports_filters_pushdown(filters)?;
        for (supported, filter) in supported.iter_mut().zip(filters) {
            if self.is_of_floats(filter) {
                *supported = TableProviderFilterPushDown::Unsupported;
            }
        }
        Ok(supported)
    }

    fn statistics(&self) -> Option<Statistics> {
        self.0.statistics()
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let filters: Vec<Expr> =
            filters.iter().filter(|filter| !self.is_of_floats(filter)).cloned().collect();
        self.0.scan(session, projection, &filters, limit).await
    }

    async fn insert_into(
        &self,
        session: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        op: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.insert_into(session, input, op).await
    }
}
