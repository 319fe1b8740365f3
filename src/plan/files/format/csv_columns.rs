//! The columns of CSV files: by the names in their headers, with types that fit all of them.

use std::sync::Arc;

use arrow::csv;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::config::CsvOptions;
use datafusion::datasource::file_format::FileFormat;
use datafusion::error::{DataFusionError, Result};
use object_store::ObjectMeta;
use regex::Regex;

use super::csv::{NULL_SPELLINGS, columns_of, read_as, reader_format};
use super::schema::{
    Columns, SAMPLED_ROWS, SAMPLED_ROWS_PER_FILE, check_related, merged_as_text, unreadable,
    unrelated,
};
use super::text::Text;
use crate::plan::files::found::Files;
use crate::plan::files::text::parse::Form;
use crate::plan::files::text::sample::Sample;

/// The columns of CSV files: by their names in the header, types that fit all.
pub async fn infer(
    files: &Files,
    objects: &[ObjectMeta],
    format: &Arc<dyn FileFormat>,
) -> Result<Columns> {
    let options = options_of(format)?;
    let reader = reader_format(options)?;
    let rows = (SAMPLED_ROWS / objects.len()).max(SAMPLED_ROWS_PER_FILE);
    let stored = columns(files, objects, &reader, options, rows).await?;
    // Worth a second look where text may be numbers with a few NULLs spelled out.
    if texts(&stored) == 0 || options.null_regex.is_some() {
        return Ok(Columns { stored, meant: None });
    }
    let spelled = format!("^({})?$", NULL_SPELLINGS.map(regex::escape).join("|"));
    let nulls = Regex::new(&spelled).map_err(|error| DataFusionError::External(error.into()))?;
    let reader = reader.with_null_regex(nulls);
    let meant = columns(files, objects, &reader, options, rows).await?;
    let meant = (texts(&meant) < texts(&stored)).then_some(meant);
    Ok(Columns { stored, meant })
}

fn options_of(format: &Arc<dyn FileFormat>) -> Result<&CsvOptions> {
    match format.downcast_ref::<Text>().map(Text::form) {
        Some(Form::Csv(options)) => Ok(options),
        _ => Err(DataFusionError::Internal("a CSV format is expected".into())),
    }
}

/// The columns that the headers of all files name; none where they have none or hold nothing.
pub async fn header(files: &Files, format: &Arc<dyn FileFormat>) -> Result<Option<Vec<String>>> {
    let options = options_of(format)?;
    let mut names: Vec<String> = Vec::new();
    for object in files.objects.iter().filter(|object| object.size > 0) {
        let schema = columns_of_file(files, object, reader_format(options)?, options, 0).await?;
        for field in schema.fields() {
            if !names.contains(field.name()) {
                names.push(field.name().clone());
            }
        }
    }
    let has_header = options.has_header.unwrap_or(true);
    Ok((has_header && !names.is_empty()).then_some(names))
}

fn texts(schema: &Schema) -> usize {
    schema.fields().iter().filter(|field| field.data_type() == &DataType::Utf8).count()
}

async fn columns(
    files: &Files,
    objects: &[ObjectMeta],
    format: &csv::reader::Format,
    options: &CsvOptions,
    rows: usize,
) -> Result<SchemaRef> {
    let mut schemas = Vec::with_capacity(objects.len());
    for object in objects {
        schemas.push(columns_of_file(files, object, format.clone(), options, rows).await?);
    }
    check_related(files, objects, &schemas)?;
    let names = |schema: &SchemaRef| schema.fields().len();
    // Without names, values go by their places.
    if options.has_header == Some(false)
        && let Some(at) = schemas.iter().position(|other| names(other) != names(&schemas[0]))
    {
        return Err(unrelated(files, &objects[0], &schemas[0], &objects[at], &schemas[at]));
    }
    Ok(read_as(&merged_as_text(&schemas)))
}

async fn columns_of_file(
    files: &Files,
    object: &ObjectMeta,
    format: csv::reader::Format,
    options: &CsvOptions,
    rows: usize,
) -> Result<SchemaRef> {
    let columns = async {
        let sample = Sample::of(&files.store, object, files.compression).await?;
        columns_of(sample, format, options, files.encoding, rows).await
    };
    match columns.await {
        Ok(schema) => Ok(schema),
        Err(error) => Err(unreadable(files, object, error).await),
    }
}
