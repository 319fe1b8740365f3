//! The columns of a table of files: sampled far enough to be right, and the same in every file.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::{DataFusionError, Result};
use object_store::ObjectMeta;

use super::parquet::INT96;
use super::widen::common_field;
use crate::error::foreign::arrow::unequal_lengths;
use crate::error::store::of_store;
use crate::plan::files::error::{cause, data, placed};
use crate::plan::files::found::{Files, Form};

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

/// The error of a file that cannot be read, with its name and, in text, the line.
pub async fn unreadable(
    files: &Files,
    object: &ObjectMeta,
    error: DataFusionError,
) -> DataFusionError {
    let name = files.shown(object);
    let cause = cause(&error);
    match files.form {
        _ if of_store(&error).is_some() => data(format!("file '{name}': {cause}")),
        Form::Parquet => data(format!(
            "file '{name}' is no complete Parquet file ({} bytes): {cause}",
            object.size
        )),
        Form::Csv | Form::Tsv => match unequal_lengths(&cause) {
            Some([line, expected, found]) => data(format!(
                "file '{name}', line {line}: {expected} values expected, {found} found"
            )),
            None => data(format!("file '{name}'{}", placed(&cause))),
        },
        Form::Json => data(format!("file '{name}'{}", placed(&cause))),
        Form::Arrow | Form::Avro => data(format!("file '{name}': {cause}")),
    }
}

/// Files that have no column in common with those before are not one table with them.
pub fn check_related(files: &Files, objects: &[ObjectMeta], schemas: &[SchemaRef]) -> Result<()> {
    let Some(first) = schemas.first() else { return Ok(()) };
    let mut known: HashSet<&String> = HashSet::new();
    for (object, schema) in objects.iter().zip(schemas) {
        let common = schema.fields().iter().any(|field| known.contains(field.name()));
        if !common && !known.is_empty() && !schema.fields().is_empty() {
            return Err(unrelated(files, &objects[0], first, object, schema));
        }
        known.extend(schema.fields().iter().map(|field| field.name()));
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

/// All columns of all files by name, in the order of the first file. Errors: a column has types
/// that nothing holds the values of both of; `name` is that of a file.
pub fn merged(schemas: &[SchemaRef], name: &dyn Fn(usize) -> String) -> Result<SchemaRef> {
    merged_or(schemas, &|known, from, field, nth| {
        Err(data(format!(
            "not one table: column '{}' is {} in '{}' and {} in '{}'; name the files one by one, \
             or pick some of them by a pattern",
            field.name(),
            known.data_type(),
            name(from),
            field.data_type(),
            name(nth),
        )))
    })
}

/// The same of files of text, whose values are text where nothing else holds them.
pub fn merged_as_text(schemas: &[SchemaRef]) -> SchemaRef {
    let text = |known: &Field, _: usize, _: &Field, _: usize| {
        Ok(known.clone().with_data_type(DataType::Utf8))
    };
    merged_or(schemas, &text).unwrap_or_else(|_| Arc::new(Schema::empty()))
}

/// What a column becomes that two files have in types of which nothing holds both.
type Conflict<'a> = &'a dyn Fn(&Field, usize, &Field, usize) -> Result<Field>;

fn merged_or(schemas: &[SchemaRef], conflict: Conflict<'_>) -> Result<SchemaRef> {
    // With the file that the type is from.
    let mut merged: Vec<(Field, usize)> = Vec::new();
    for (nth, schema) in schemas.iter().enumerate() {
        for field in schema.fields() {
            let known = merged.iter_mut().find(|(known, _)| known.name() == field.name());
            let Some((known, from)) = known else {
                merged.push((field.as_ref().clone(), nth));
                continue;
            };
            let common = match common_field(known, field) {
                Some(common) => common,
                None => conflict(known, *from, field, nth)?,
            };
            if common.data_type() != known.data_type() {
                *from = nth;
            }
            *known = common;
        }
    }
    let mut fields = Vec::with_capacity(merged.len());
    for (field, _) in merged {
        let mut notes = field.metadata().clone();
        notes.remove(INT96);
        // A column that some file lacks is NULL there.
        let lacks = |schema: &SchemaRef| schema.index_of(field.name()).is_err();
        let nullable = field.is_nullable() || schemas.iter().any(lacks);
        fields.push(field.with_metadata(notes).with_nullable(nullable));
    }
    Ok(Arc::new(Schema::new(fields)))
}
