//! `CREATE STREAM` and `CREATE SINK` carried out: SQL types to Arrow's, the watermark's expression
//! to a delay.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{DdlStatement, Expr, LogicalPlan, Operator};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::DFParserBuilder;
use datafusion::sql::sqlparser::ast::ColumnDef;

use super::parse::{CreateStream, WatermarkClause};
use super::token::place;
use crate::error::{Error, Result};
use crate::stream::definition::Stream;
use crate::stream::log::HIDDEN;
use crate::stream::watermark::EventTime;
use crate::stream::window::nanoseconds;

/// The stream that a statement defines; rejected rows will be kept in `folder`.
pub async fn stream(
    context: &SessionContext,
    create: CreateStream,
    folder: std::path::PathBuf,
) -> Result<Stream> {
    let schema = schema(context, &create.name, &create.columns).await?;
    let watermark = create.watermark.as_ref();
    let watermark = watermark.map(|clause| event_time(context, &schema, clause)).transpose()?;
    let interval = |name: &str, text: &str| {
        let sql = format!("INTERVAL '{}'", text.replace('\'', "''"));
        let expr = context.state().create_logical_expr(&sql, &DFSchema::empty())?;
        microseconds(name, &expr)
    };
    Stream::new(create.name, schema, watermark, create.options, folder, interval)
}

/// The columns' types as a table's would be, with timestamps in microseconds.
async fn schema(context: &SessionContext, name: &str, columns: &[ColumnDef]) -> Result<SchemaRef> {
    let user = |message: String| Error::User(format!("stream {name}: {message}"));
    if columns.is_empty() {
        return Err(user("a stream has columns".to_string()));
    }
    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
    let text = format!("CREATE TABLE __columns ({})", columns.join(", "));
    let statement = DFParserBuilder::new(text.as_str()).build()?.parse_statement()?;
    let plan = context.state().statement_to_plan(statement).await?;
    let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) = plan else {
        return Err(Error::Bug("a table's columns were not planned as a table".to_string()));
    };
    let fields = table.input.schema().fields().iter().map(|field| match field.data_type() {
        DataType::Timestamp(_, zone) => {
            let micro = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            field.as_ref().clone().with_data_type(micro)
        }
        _ => field.as_ref().clone(),
    });
    let fields: Vec<Field> = fields.collect();
    if let Some(field) = fields.iter().find(|field| HIDDEN.contains(&field.name().as_str())) {
        return Err(user(format!("the log has a column {} of its own", field.name())));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The rule that `WATERMARK FOR column AS column [- INTERVAL ..]` states.
fn event_time(
    context: &SessionContext,
    schema: &SchemaRef,
    clause: &WatermarkClause,
) -> Result<EventTime> {
    let column = schema.index_of(&clause.column).map_err(|_| {
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let known = names.join(", ");
        place(&format!("WATERMARK FOR {}: the columns are {known}", clause.column), clause.at)
    })?;
    let columns = DFSchema::try_from(schema.as_ref().clone())?;
    let sql = clause.expression.to_string();
    let expr = context.state().create_logical_expr(&sql, &columns)?;
    let named = |expr: &Expr| matches!(expr, Expr::Column(name) if name.name == clause.column);
    let delay_us = match &expr {
        expr if named(expr) => 0,
        Expr::BinaryExpr(binary) if binary.op == Operator::Minus && named(&binary.left) => {
            let delay = microseconds("watermark's delay", &binary.right);
            delay.map_err(|error| place(&error.to_string(), clause.at))?
        }
        _ => {
            let column = &clause.column;
            let message =
                format!("the watermark is {column} or {column} - INTERVAL '..', not {sql}");
            return Err(place(&message, clause.at));
        }
    };
    Ok(EventTime { column, delay_us, max_advance_us: None })
}

/// A constant interval of days or less, not negative.
fn microseconds(what: &str, expr: &Expr) -> Result<i64> {
    let nanoseconds = nanoseconds(what, expr).map_err(|error| {
        Error::User(error.strip_backtrace().trim_start_matches("Error during planning: ").into())
    })?;
    if nanoseconds < 0 || nanoseconds % 1_000 != 0 {
        return Err(Error::User(format!("the {what} is whole microseconds, not negative")));
    }
    Ok(nanoseconds / 1_000)
}
