//! Arrow types to those a Delta table has.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::error::{Error, Result};

/// The columns as a Delta table stores them, all nullable: unsigned integers as the next wider
/// signed type (u64 as DECIMAL(20, 0)), times in microseconds, strings and dictionaries plain.
///
/// Errors: types that Delta does not have.
pub fn delta(path: &str, schema: &Schema) -> Result<SchemaRef> {
    let fields = schema.fields().iter().map(|field| {
        let stored = stored(field.data_type()).ok_or_else(|| {
            Error::user(format!(
                "the Delta table '{path}': column {} is {}, which Delta does not have: cast it",
                field.name(),
                field.data_type()
            ))
        })?;
        Ok(Field::new(field.name(), stored, true))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
}

/// Whether Delta has a type, perhaps as a wider one.
pub fn holds(data_type: &DataType) -> bool {
    stored(data_type).is_some()
}

fn stored(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        // Delta keeps instants in UTC.
        DataType::Timestamp(_, Some(_)) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        DataType::Date64 => DataType::Date32,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => stored(values)?,
        DataType::Decimal32(digits, scale) | DataType::Decimal64(digits, scale) => {
            DataType::Decimal128(*digits, *scale)
        }
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Date32
        | DataType::Utf8
        | DataType::Binary => data_type.clone(),
        _ => return None,
    })
}

/// A table's columns, behind them those of `wanted` that it lacks.
///
/// Errors: it has others, or others of the same name.
pub fn extended(path: &str, present: &Schema, wanted: &Schema) -> Result<SchemaRef> {
    let same = |field: &Field| {
        let wanted = wanted.field_with_name(field.name()).ok();
        wanted.is_some_and(|w| stored(field.data_type()).as_ref() == Some(w.data_type()))
    };
    if !present.fields().iter().all(|field| same(field)) {
        return Err(others(path, present, wanted));
    }
    let wanted_as = |field: &Arc<Field>| wanted.field_with_name(field.name()).cloned();
    let own = present.fields().iter().map(wanted_as).collect::<Result<Vec<_>, _>>()?;
    let lacks = |field: &&Arc<Field>| present.field_with_name(field.name()).is_err();
    let more = wanted.fields().iter().filter(lacks).map(|field| field.as_ref().clone());
    Ok(Arc::new(Schema::new(own.into_iter().chain(more).collect::<Vec<_>>())))
}

/// Errors where a table's columns are not those that are to be appended.
pub fn check(path: &str, present: &Schema, wanted: &Schema) -> Result<()> {
    let same = present.fields().len() == wanted.fields().len()
        && present.fields().iter().zip(wanted.fields()).all(|(present, wanted)| {
            present.name() == wanted.name()
                && stored(present.data_type()).as_ref() == Some(wanted.data_type())
        });
    if same { Ok(()) } else { Err(others(path, present, wanted)) }
}

fn others(path: &str, present: &Schema, wanted: &Schema) -> Error {
    let told = |schema: &Schema| {
        let fields = schema.fields().iter();
        let fields = fields.map(|field| format!("{} {}", field.name(), field.data_type()));
        fields.collect::<Vec<_>>().join(", ")
    };
    Error::user(format!(
        "the Delta table '{path}' has the columns {}, and these are to be appended: {}: name \
         another table, or keep its columns and their types (a stream with a store may get more)",
        told(present),
        told(wanted)
    ))
}
