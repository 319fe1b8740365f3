//! How files are read: the format of their form, and the columns of all of them together.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::config::{ConfigFileType, CsvOptions, JsonOptions};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::avro::AvroFormat;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;

use super::parquet::Parquet;
use super::schema::{Columns, check_related, merged, unreadable};
use super::text::Text;
use super::{arrow_file, csv, csv_columns};
use crate::plan::files::error::{damaged, data};
use crate::plan::files::found::{CONCURRENT_REQUESTS, Files, Form};
use crate::plan::files::text::csv_rows;
use crate::task;

impl Files {
    /// The format that reads these files, before anything is known of their columns.
    pub async fn format(&self, state: &SessionState) -> Result<Arc<dyn FileFormat>> {
        let mut options = state.default_table_options();
        options.set_config_format(match self.form {
            Form::Csv | Form::Tsv => ConfigFileType::CSV,
            Form::Json => ConfigFileType::JSON,
            _ => ConfigFileType::PARQUET,
        });
        options.alter_with_string_hash_map(&self.options)?;
        let given = |key: &str| self.options.contains_key(key);
        Ok(match self.form {
            Form::Parquet => Arc::new(Parquet::new(options.parquet)),
            Form::Csv | Form::Tsv => {
                let mut csv: CsvOptions = options.csv;
                if !given("format.delimiter") {
                    csv.delimiter = csv::delimiter(self).await?;
                }
                if !given("format.newlines_in_values") {
                    let form = csv_rows::form(&csv);
                    let newlines = csv::has_newlines_in_values(self, form)?;
                    csv.newlines_in_values = Some(newlines);
                }
                csv.compression = self.compression.get_variant().to_owned();
                Arc::new(Text::csv(csv, self.encoding))
            }
            Form::Json => {
                let mut json: JsonOptions = options.json;
                json.compression = self.compression.get_variant().to_owned();
                Arc::new(Text::json(json, self.encoding))
            }
            Form::Arrow => Arc::new(ArrowFormat),
            Form::Avro => Arc::new(AvroFormat),
        })
    }
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
        let merged = merged(&schemas, &|at| files.shown(&objects[at]))?;
        if merged.fields().is_empty() && files.form == Form::Json {
            let name = files.shown(first);
            return Err(data(format!("file '{name}' holds no rows: nothing tells its columns")));
        }
        return Ok(Columns { stored: merged, meant: None });
    }
    csv_columns::infer(files, &objects, format).await
}

/// The columns of each file, in order.
async fn each(
    state: &SessionState,
    files: &Files,
    objects: &[ObjectMeta],
    format: &Arc<dyn FileFormat>,
) -> Result<Vec<SchemaRef>> {
    let schemas = futures::stream::iter(objects.to_vec()).map(|object| async move {
        let found = task::quiet(columns(state, files, &object, format)).await;
        match found {
            Ok(Ok(schema)) => Ok(schema),
            Ok(Err(error)) => Err(unreadable(files, &object, error).await),
            Err(panic) => Err(damaged(&files.shown(&object), task::said(panic.as_ref()))),
        }
    });
    schemas.buffered(CONCURRENT_REQUESTS).try_collect().await
}

async fn columns(
    state: &SessionState,
    files: &Files,
    object: &ObjectMeta,
    format: &Arc<dyn FileFormat>,
) -> Result<SchemaRef> {
    if let Some(parquet) = format.downcast_ref::<Parquet>() {
        return parquet.columns(state, &files.store, object).await;
    }
    if files.form == Form::Arrow {
        arrow_file::check(&files.store, object, 0..0).await?;
    }
    format.infer_schema(state, &files.store, std::slice::from_ref(object)).await
}
