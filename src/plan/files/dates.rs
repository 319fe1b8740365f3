//! Dates of 64 bits in Parquet. Arrow writes them as plain integers, which no other program takes
//! for dates: they are written as Parquet's own, of 32 bits.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::{Column, cast as cast_expr};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

/// The type that a value is written in.
pub fn written(kind: &DataType) -> DataType {
    let item = |field: &Arc<Field>| Arc::new(written_field(field));
    match kind {
        DataType::Date64 => DataType::Date32,
        DataType::List(of) => DataType::List(item(of)),
        DataType::LargeList(of) => DataType::LargeList(item(of)),
        DataType::FixedSizeList(of, length) => DataType::FixedSizeList(item(of), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(item).collect()),
        other => other.clone(),
    }
}

fn written_field(field: &Arc<Field>) -> Field {
    field.as_ref().clone().with_data_type(written(field.data_type()))
}

/// The columns as they are written; `None` where they are so already.
pub fn written_schema(schema: &Schema) -> Option<SchemaRef> {
    let fields: Vec<Field> = schema.fields().iter().map(written_field).collect();
    let written = Schema::new_with_metadata(fields, schema.metadata().clone());
    (written != *schema).then(|| Arc::new(written))
}

/// Rows with the columns of `written_schema`.
pub fn written_rows(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = rows.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<arrow::error::Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// A plan whose rows have the columns of `written_schema`.
pub fn written_plan(
    input: Arc<dyn ExecutionPlan>,
    schema: &SchemaRef,
) -> Result<Arc<dyn ExecutionPlan>> {
    let from = input.schema();
    let column = |at: usize| -> Result<ProjectionExpr> {
        let field = from.field(at);
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), at));
        let expr = cast_expr(column, &from, schema.field(at).data_type().clone())?;
        Ok(ProjectionExpr { expr, alias: field.name().clone() })
    };
    let columns = (0..from.fields().len()).map(column).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(ProjectionExec::try_new(columns, input)?))
}
