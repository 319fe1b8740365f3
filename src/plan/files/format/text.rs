//! Formats of files of text: DataFusion's write them, ours read them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::config::{ConfigFileType, CsvOptions, JsonOptions, TableOptions};
use datafusion::common::{GetExt, Statistics};
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory};
use datafusion::datasource::physical_plan::{
    FileScanConfig, FileScanConfigBuilder, FileSinkConfig, FileSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::LexRequirement;
use datafusion::physical_plan::ExecutionPlan;
use encoding_rs::{Encoding, UTF_8};
use object_store::{ObjectMeta, ObjectStore};

use super::csv;
use super::schema::{SAMPLED_ROWS, merged, merged_as_text};
use crate::plan::files::error::user;
use crate::plan::files::text::parse::Form;
use crate::plan::files::text::sample::{self, Sample};
use crate::plan::files::text::source::TextSource;
use crate::plan::files::text::utf8::{ENCODING, encoding};

/// CSV or JSON.
#[derive(Debug)]
pub struct Text {
    form: Form,
    encoding: Option<&'static Encoding>,
    compression: FileCompressionType,
    /// What writes it, and knows its names.
    writer: Arc<dyn FileFormat>,
}

impl Text {
    pub fn csv(options: CsvOptions, encoding: Option<&'static Encoding>) -> Self {
        Self {
            compression: options.compression.into(),
            writer: Arc::new(CsvFormat::default().with_options(options.clone())),
            form: Form::Csv(Box::new(options)),
            encoding,
        }
    }

    pub fn json(options: JsonOptions, encoding: Option<&'static Encoding>) -> Self {
        Self {
            compression: options.compression.into(),
            writer: Arc::new(JsonFormat::default().with_options(options)),
            form: Form::Json,
            encoding,
        }
    }

    pub fn form(&self) -> &Form {
        &self.form
    }

    /// The columns of one file by its first rows.
    pub async fn columns(
        &self,
        store: &Arc<dyn ObjectStore>,
        object: &ObjectMeta,
    ) -> Result<SchemaRef> {
        let sample = Sample::of(store, object, self.compression).await?;
        match &self.form {
            Form::Csv(options) => {
                let format = csv::reader_format(options)?;
                csv::columns_of(sample, format, options, self.encoding, SAMPLED_ROWS).await
            }
            Form::Json => sample::json(sample, self.encoding, SAMPLED_ROWS).await,
        }
    }

    /// The form with what the session says where options say nothing.
    fn form_in(&self, state: &dyn Session) -> Form {
        let Form::Csv(options) = &self.form else { return self.form.clone() };
        let mut options = options.clone();
        let session = &state.config_options().catalog;
        options.has_header = options.has_header.or(Some(session.has_header));
        if session.newlines_in_values {
            options.newlines_in_values = options.newlines_in_values.or(Some(true));
        }
        Form::Csv(options)
    }
}

#[async_trait]
impl FileFormat for Text {
    fn get_ext(&self) -> String {
        self.writer.get_ext()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        self.writer.get_ext_with_compression(compression)
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        self.writer.compression_type()
    }

    async fn infer_schema(
        &self,
        _: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        let objects: Vec<&ObjectMeta> = objects.iter().filter(|object| object.size > 0).collect();
        let mut schemas = Vec::with_capacity(objects.len());
        for object in &objects {
            schemas.push(self.columns(store, object).await?);
        }
        match self.form {
            Form::Csv(_) => Ok(csv::read_as(&merged_as_text(&schemas))),
            Form::Json => merged(&schemas, &|at| objects[at].location.to_string()),
        }
    }

    async fn infer_stats(
        &self,
        _: &dyn Session,
        _: &Arc<dyn ObjectStore>,
        table: SchemaRef,
        _: &ObjectMeta,
    ) -> Result<Statistics> {
        Ok(Statistics::new_unknown(&table))
    }

    async fn create_physical_plan(
        &self,
        state: &dyn Session,
        scan: FileScanConfig,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(source) = scan.file_source.downcast_ref::<TextSource>() else {
            return Err(DataFusionError::Internal("a source of text is expected".into()));
        };
        let source = source.with_form(self.form_in(state));
        let scan = FileScanConfigBuilder::from(scan)
            .with_file_compression_type(self.compression)
            .with_source(Arc::new(source))
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }

    async fn create_writer_physical_plan(
        &self,
        input: Arc<dyn ExecutionPlan>,
        state: &dyn Session,
        sink: FileSinkConfig,
        order: Option<LexRequirement>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.encoding.is_some_and(|encoding| encoding != UTF_8) {
            return Err(user(format!("files are written in UTF-8: {ENCODING} is for reading")));
        }
        self.writer.create_writer_physical_plan(input, state, sink, order).await
    }

    fn file_source(&self, table: TableSchema) -> Arc<dyn FileSource> {
        Arc::new(TextSource::new(self.form.clone(), self.encoding, table))
    }
}

/// Makes formats for `STORED AS CSV`, `TSV` and `JSON`.
#[derive(Debug, Clone, Copy)]
pub struct TextFormats(pub &'static str);

impl TextFormats {
    fn options(
        self,
        state: &dyn Session,
        options: &HashMap<String, String>,
    ) -> Result<(TableOptions, Option<&'static Encoding>)> {
        let mut options = options.clone();
        let named = options.remove(ENCODING).map(|label| encoding(&label)).transpose()?;
        let mut table = state.default_table_options();
        table.set_config_format(match self.0 {
            "json" => ConfigFileType::JSON,
            _ => ConfigFileType::CSV,
        });
        if self.0 == "tsv" {
            table.csv.delimiter = b'\t';
        }
        table.alter_with_string_hash_map(&options)?;
        Ok((table, named))
    }
}

impl FileFormatFactory for TextFormats {
    fn create(
        &self,
        state: &dyn Session,
        options: &HashMap<String, String>,
    ) -> Result<Arc<dyn FileFormat>> {
        let (options, encoding) = self.options(state, options)?;
        Ok(Arc::new(match self.0 {
            "json" => Text::json(options.json, encoding),
            _ => Text::csv(options.csv, encoding),
        }))
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        Arc::new(match self.0 {
            "json" => Text::json(JsonOptions::default(), None),
            _ => Text::csv(CsvOptions::default(), None),
        })
    }
}

impl GetExt for TextFormats {
    fn get_ext(&self) -> String {
        self.0.to_string()
    }
}
