//! The columns of a table of files: sampled far enough to be right, and the same in every file.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::datasource::file_format::FileFormat;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;

use super::data;
use super::find::{CONCURRENT_REQUESTS, Files, Form};

/// Rows that the types of CSV and JSON columns are told from, over all files together. What comes
/// later and does not fit is an error, not a NULL.
pub const SAMPLED_ROWS: usize = 100_000;

/// At least so many of each file.
pub const SAMPLED_ROWS_PER_FILE: usize = 1000;

/// The columns of a table of files.
pub struct Columns {
    /// As the files are read.
    pub stored: SchemaRef,
    /// As they are meant, where some that are read as text hold spelled-out NULLs between numbers.
    pub meant: Option<SchemaRef>,
}

/// The columns of all files together.
///
/// Errors name the file: one that cannot be read, that is empty, or whose columns do not go with
/// those of the others.
pub async fn infer(
    state: &SessionState,
    files: &Files,
    format: &Arc<dyn FileFormat>,
) -> Result<Columns> {
    let objects = files.objects.iter().filter(|file| file.size > 0);
    let objects: Vec<ObjectMeta> = objects.cloned().collect();
    let Some(first) = objects.first() else {
        let name = files.shown(&files.objects[0]);
        return Err(data(format!("file '{name}' is empty: nothing tells its columns")));
    };
    if !matches!(files.form, Form::Csv | Form::Tsv) {
        let schemas = each(state, files, &objects, format).await?;
        check_related(files, &objects, &schemas)?;
        let merged = merge(files, &objects, schemas, files.form == Form::Json)?;
        if merged.fields().is_empty() && files.form == Form::Json {
            let name = files.shown(first);
            return Err(data(format!("file '{name}' holds no rows: nothing tells its columns")));
        }
        return Ok(Columns { stored: merged, meant: None });
    }
    super::csv::infer(files, &objects, format).await
}

/// The columns of each file, in order.
async fn each(
    state: &SessionState,
    files: &Files,
    objects: &[ObjectMeta],
    format: &Arc<dyn FileFormat>,
) -> Result<Vec<SchemaRef>> {
    let schemas = futures::stream::iter(objects.to_vec()).map(|object| async move {
        let one = std::slice::from_ref(&object);
        match format.infer_schema(state, &files.store, one).await {
            Ok(schema) => Ok(schema),
            Err(error) => Err(unreadable(files, &object, error).await),
        }
    });
    schemas.buffered(CONCURRENT_REQUESTS).try_collect().await
}

/// The error of a file that cannot be read, with its name and, in text, the line.
pub async fn unreadable(
    files: &Files,
    object: &ObjectMeta,
    error: DataFusionError,
) -> DataFusionError {
    let name = files.shown(object);
    let cause = super::blame::cause(&error);
    match files.form {
        _ if super::blame::of_store(&error).is_some() => data(format!("file '{name}': {cause}")),
        Form::Parquet => data(format!(
            "file '{name}' is no complete Parquet file ({} bytes): {cause}",
            object.size
        )),
        Form::Csv | Form::Tsv => match super::blame::unequal_lengths(&cause) {
            Some(told) => data(format!("file '{name}', {told}")),
            None => data(format!("file '{name}': {cause}")),
        },
        Form::Json => match super::blame::json_syntax(files, object).await {
            Ok(Some(told)) => data(format!("file '{name}', {told}")),
            _ => data(format!("file '{name}': {cause}")),
        },
        Form::Arrow | Form::Avro => data(format!("file '{name}': {cause}")),
    }
}

/// Files that have no column in common with the first are not one table with it.
fn check_related(files: &Files, objects: &[ObjectMeta], schemas: &[SchemaRef]) -> Result<()> {
    let Some(first) = schemas.first() else { return Ok(()) };
    for (object, schema) in objects.iter().zip(schemas) {
        let common = schema.fields().iter().any(|field| first.index_of(field.name()).is_ok());
        if !common && !schema.fields().is_empty() && !first.fields().is_empty() {
            return Err(unrelated(files, &objects[0], first, object, schema));
        }
    }
    Ok(())
}

pub fn unrelated(
    files: &Files,
    a: &ObjectMeta,
    a_schema: &Schema,
    b: &ObjectMeta,
    b_schema: &Schema,
) -> DataFusionError {
    let names = |schema: &Schema| {
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        match names.len() {
            0..=8 => names.join(", "),
            count => format!("{}, and {} more", names[..8].join(", "), count - 8),
        }
    };
    data(format!(
        "not one table: '{}' has the columns {}; '{}' has {}; \
         name the files one by one, or pick some of them by a pattern",
        files.shown(a),
        names(a_schema),
        files.shown(b),
        names(b_schema)
    ))
}

/// All columns of all files by name. Errors: a column has different types.
fn merge(
    files: &Files,
    objects: &[ObjectMeta],
    schemas: Vec<SchemaRef>,
    widen: bool,
) -> Result<SchemaRef> {
    let mut merged: Vec<Field> = Vec::new();
    for (object, schema) in objects.iter().zip(&schemas) {
        for field in schema.fields() {
            let known = merged.iter_mut().find(|known| known.name() == field.name());
            let Some(known) = known else {
                merged.push(field.as_ref().clone());
                continue;
            };
            let nullable = known.is_nullable() || field.is_nullable();
            let kind = match common_type(known.data_type(), field.data_type()) {
                Some(kind) if widen || &kind == known.data_type() => kind,
                _ => {
                    return Err(data(format!(
                        "not one table: column '{}' is {} in '{}' and {} in the files before",
                        field.name(),
                        field.data_type(),
                        files.shown(object),
                        known.data_type()
                    )));
                }
            };
            *known = known.clone().with_data_type(kind).with_nullable(nullable);
        }
    }
    // A column that some file lacks is NULL there.
    for field in &mut merged {
        if schemas.iter().any(|schema| schema.index_of(field.name()).is_err()) {
            *field = field.clone().with_nullable(true);
        }
    }
    Ok(Arc::new(Schema::new(merged)))
}

/// A type that both fit into without loss.
pub fn common_type(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{Date32, Float64, Int64, Null, Timestamp};
    Some(match (a, b) {
        _ if a == b => a.clone(),
        (Null, other) | (other, Null) => other.clone(),
        (Int64, Float64) | (Float64, Int64) => Float64,
        (Date32, Timestamp(..)) => b.clone(),
        (Timestamp(..), Date32) => a.clone(),
        (Timestamp(x, None), Timestamp(y, None)) => Timestamp(*x.max(y), None),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn types_widen_without_loss_or_not_at_all() {
        use DataType::{Boolean, Date32, Float64, Int64, Null, Timestamp, Utf8};
        assert_eq!(common_type(&Int64, &Float64), Some(Float64));
        assert_eq!(common_type(&Null, &Date32), Some(Date32));
        let seconds = Timestamp(TimeUnit::Second, None);
        let millis = Timestamp(TimeUnit::Millisecond, None);
        assert_eq!(common_type(&millis, &seconds), Some(millis.clone()));
        assert_eq!(common_type(&Date32, &seconds), Some(seconds));
        assert_eq!(common_type(&Int64, &Utf8), None);
        assert_eq!(common_type(&Boolean, &Int64), None);
    }
}
