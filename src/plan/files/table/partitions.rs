//! Columns that the names of directories hold, `year=2024/`. Hive and all that write as it does
//! have a word for NULL there, which DataFusion takes for text, and write it for a NULL, which
//! DataFusion writes as 0 or as nothing.
//!
//! The table below has such columns as text; what is seen of it is that text converted. So a filter
//! on a column passes over directories by its value, however it is written: `month=01` is month 1.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, Constraints, ScalarValue};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::Result;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType, cast, lit, when};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{self, CaseExpr, CastExpr, IsNullExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

/// How a directory's name spells NULL.
pub const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A table over directories whose names hold columns.
#[derive(Debug)]
pub struct Partitioned {
    /// With those columns as text.
    stored: Arc<dyn TableProvider>,
    columns: Vec<String>,
    seen: ViewTable,
}

impl Partitioned {
    /// The table with its columns of text seen as these types.
    pub fn new(stored: Arc<dyn TableProvider>, columns: &[(String, DataType)]) -> Result<Self> {
        let value = |name: &str| {
            let column = Expr::Column(Column::new(Some("files"), name));
            let Some((_, kind)) = columns.iter().find(|(column, _)| column == name) else {
                return Ok(column.alias(name));
            };
            let null = column.clone().eq(lit(NULL));
            let value = when(null, lit(ScalarValue::Null)).otherwise(cast(column, kind.clone()))?;
            Ok(value.alias(name))
        };
        let fields = stored.schema();
        let values: Result<Vec<Expr>> = fields.fields().iter().map(|f| value(f.name())).collect();
        let source = provider_as_source(Arc::clone(&stored));
        let plan = LogicalPlanBuilder::scan("files", source, None)?.project(values?)?.build()?;
        let columns = columns.iter().map(|(name, _)| name.clone()).collect();
        Ok(Self { stored, columns, seen: ViewTable::new(plan, None) })
    }
}

#[async_trait]
impl TableProvider for Partitioned {
    fn schema(&self) -> SchemaRef {
        self.seen.schema()
    }

    fn constraints(&self) -> Option<&Constraints> {
        self.stored.constraints()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        self.seen.get_logical_plan()
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.stored.get_column_default(column)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.seen.scan(state, projection, filters, limit).await
    }

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        op: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = input.schema();
        let value = |(at, name): (usize, &String)| {
            let column: Arc<dyn PhysicalExpr> = Arc::new(expressions::Column::new(name, at));
            if !self.columns.contains(name) {
                return Ok((column, name.clone()));
            }
            let text = Arc::new(CastExpr::new(Arc::clone(&column), DataType::Utf8, None));
            let null: Arc<dyn PhysicalExpr> = Arc::new(IsNullExpr::new(column));
            let spelt = expressions::lit(NULL);
            let value = CaseExpr::try_new(None, vec![(null, spelt)], Some(text))?;
            Ok((Arc::new(value) as Arc<dyn PhysicalExpr>, name.clone()))
        };
        let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        let values: Result<Vec<_>> = names.iter().enumerate().map(value).collect();
        let input = ProjectionExec::try_new(values?, input)?;
        self.stored.insert_into(state, Arc::new(input), op).await
    }
}
