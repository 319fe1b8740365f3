//! `CREATE STREAM` and `CREATE SINK` carried out: SQL types to Arrow's, the watermark's expression
//! to a delay, those of computed columns to what computes them.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, plan_err};
use datafusion::logical_expr::{
    DdlStatement, EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder, Operator, Volatility,
};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::DFParserBuilder;
use datafusion::sql::sqlparser::ast;

use super::statement::{ComputedClause, CreateStream, StreamColumn, WatermarkClause};
use super::token::{place, place_of};
use crate::error::{Error, Result};
use crate::stream::connector::format::cast::becomes;
use crate::stream::connector::forms::{Computed, Form, Origin};
use crate::stream::log::definition::Stream;
use crate::stream::log::partition::HIDDEN;
use crate::stream::plan::window::columns::nanoseconds;
use crate::stream::time::watermark::EventTime;

/// The stream that a statement defines; rejected rows will be kept in `folder`.
pub async fn stream(
    context: &SessionContext,
    create: CreateStream,
    folder: std::path::PathBuf,
) -> Result<Stream> {
    let (schema, forms) = columns(context, &create.name, &create.columns).await?;
    let watermark = create.watermark.as_ref();
    let watermark = watermark.map(|clause| event_time(context, &schema, clause)).transpose()?;
    let interval = |name: &str, text: &str| {
        let sql = format!("INTERVAL '{}'", text.replace('\'', "''"));
        let expr = context.state().create_logical_expr(&sql, &DFSchema::empty())?;
        microseconds(name, &expr)
    };
    Stream::new(create.name, (schema, forms), watermark, create.options, folder, interval)
}

/// The columns with their types as a table's would be, timestamps in microseconds, and how each
/// comes about.
async fn columns(
    context: &SessionContext,
    name: &str,
    columns: &[StreamColumn],
) -> Result<(SchemaRef, Vec<Form>)> {
    let user = |message: String| Error::user(format!("stream {name}: {message}"));
    let declared = declared(context, name, columns).await?;
    let mut declared = declared.into_iter();
    let mut given: Vec<Option<Field>> = Vec::with_capacity(columns.len());
    for column in columns {
        given.push(column.definition.as_ref().and_then(|_| declared.next()));
    }
    let base = given.iter().zip(columns).filter(|(_, column)| column.computed.is_none());
    let base: Vec<Field> = base.filter_map(|(field, _)| field.clone()).collect();
    let base = Arc::new(Schema::new(base));
    let (mut fields, mut forms): (Vec<Field>, Vec<Form>) = (Vec::new(), Vec::new());
    for (field, column) in given.into_iter().zip(columns) {
        let (field, origin) = match &column.computed {
            None => (field, Origin::Source),
            Some(clause) => {
                let (made, origin) = computed(context, &base, column, clause, field)?;
                (Some(made), origin)
            }
        };
        let field = field.ok_or_else(|| Error::Bug("a column without a type".to_string()))?;
        if HIDDEN.contains(&field.name().as_str()) {
            return Err(user(format!("the log has a column {} of its own", field.name())));
        }
        if fields.iter().any(|other| other.name() == field.name()) {
            return Err(user(format!("two columns are called {}", field.name())));
        }
        fields.push(field);
        forms.push(Form { digits: digits(name, column)?, origin });
    }
    if base.fields().is_empty() {
        return Err(user("a stream has columns".to_string()));
    }
    Ok((Arc::new(Schema::new(fields)), forms))
}

/// The columns that have a type.
async fn declared(
    context: &SessionContext,
    name: &str,
    columns: &[StreamColumn],
) -> Result<Vec<Field>> {
    let typed = columns.iter().filter_map(|column| column.definition.as_ref());
    let typed: Vec<String> = typed.map(ToString::to_string).collect();
    if typed.is_empty() {
        return Err(Error::user(format!("stream {name}: a stream has columns")));
    }
    let text = format!("CREATE TABLE __columns ({})", typed.join(", "));
    let statement = DFParserBuilder::new(text.as_str()).build()?.parse_statement()?;
    let plan = context.state().statement_to_plan(statement).await?;
    let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) = plan else {
        return Err(Error::Bug("a table's columns were not planned as a table".to_string()));
    };
    let fields = table.input.schema().fields().iter();
    Ok(fields.map(|field| micro(field.as_ref().clone())).collect())
}

fn micro(field: Field) -> Field {
    match field.data_type().clone() {
        DataType::Timestamp(_, zone) => {
            field.with_data_type(DataType::Timestamp(TimeUnit::Microsecond, zone))
        }
        _ => field,
    }
}

/// Digits of a second that a column is declared with, where they are fewer than there are.
///
/// Errors: more than there are.
fn digits(stream: &str, column: &StreamColumn) -> Result<Option<u32>> {
    let data_type = column.definition.as_ref().map(|definition| &definition.data_type);
    let Some(ast::DataType::Timestamp(Some(digits), _)) = data_type else { return Ok(None) };
    match *digits {
        0..=5 => Ok(u32::try_from(*digits).ok()),
        6 => Ok(None),
        digits => Err(Error::user(format!(
            "stream {stream}: column {} is TIMESTAMP({digits}), and microseconds are the finest \
             that a stream keeps: declare TIMESTAMP or TIMESTAMP(6), or VARCHAR for every digit",
            column.name
        ))),
    }
}

/// A column that is computed from the others: with its declared type, or that of its expression.
///
/// Errors: columns that are not there; what is not the same for the same row at any time.
fn computed(
    context: &SessionContext,
    base: &SchemaRef,
    column: &StreamColumn,
    clause: &ComputedClause,
    declared: Option<Field>,
) -> Result<(Field, Origin)> {
    let name = &column.name;
    let wrong = |message: &str| place(&format!("column {name}: {message}"), clause.at);
    let text = clause.expression.to_string();
    let columns = DFSchema::try_from(base.as_ref().clone())?;
    let state = context.state();
    let planned = || -> datafusion::error::Result<Arc<dyn PhysicalExpr>> {
        let expr = state.create_logical_expr(&text, &columns)?;
        if let Some(other) = changing(&expr)? {
            return plan_err!("{other} is not a function of the row alone");
        }
        let rows = EmptyRelation { produce_one_row: false, schema: Arc::new(columns.clone()) };
        let plan = LogicalPlanBuilder::from(LogicalPlan::EmptyRelation(rows));
        let plan = plan.project([expr.alias("__computed")])?.build()?;
        // As in a query: types are made to fit, and what is mended there is mended here.
        let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
        match plan {
            LogicalPlan::Projection(projection) if projection.expr.len() == 1 => {
                let expr = projection.expr[0].clone().unalias();
                state.create_physical_expr(expr, projection.input.schema())
            }
            _ => plan_err!("an expression over the stream's columns is wanted"),
        }
    };
    let expr = planned()
        .map_err(|error| wrong(&format!("{text}: {}", Error::from(error).told().message)))?;
    let from = expr.data_type(base)?;
    let field = match declared {
        Some(field) => field,
        None if from == DataType::Null => return Err(wrong("say its type, as NULL has none")),
        None => micro(Field::new(name, from.clone(), true)),
    };
    becomes(&field, &from).map_err(|error| wrong(&error.to_string()))?;
    Ok((field, Origin::Computed(Computed { expr, text })))
}

/// What of an expression may be another for the same row, or is of several rows.
fn changing(expr: &Expr) -> datafusion::error::Result<Option<String>> {
    let mut found = None;
    expr.apply(|expr| {
        let steady = match expr {
            Expr::ScalarFunction(function) => {
                function.func.signature().volatility == Volatility::Immutable
            }
            Expr::AggregateFunction(_)
            | Expr::WindowFunction(_)
            | Expr::ScalarSubquery(_)
            | Expr::InSubquery(_)
            | Expr::Exists(_)
            | Expr::Unnest(_)
            | Expr::Placeholder(_)
            | Expr::OuterReferenceColumn(..) => false,
            _ => true,
        };
        if !steady {
            found = Some(expr.to_string());
        }
        Ok(if steady { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(found)
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
            delay.map_err(|error| error.at(place_of(clause.at)))?
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
    let nanoseconds = nanoseconds(what, expr).map_err(|error| Error::from(error).told())?;
    if nanoseconds < 0 || nanoseconds % 1_000 != 0 {
        return Err(Error::user(format!("the {what} is whole microseconds, not negative")));
    }
    Ok(nanoseconds / 1_000)
}
