//! Where results go: one list of connectors.
//!
//! A sink takes results in order, each up to a place: of windows, the end of the last; of rows,
//! the offset of the next. One that keeps its places leaves out, on a second run, what it has.

mod console;
mod delta;
mod file;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::parquet::arrow::ArrowWriter;

use super::settings::Settings;
use crate::error::Result;

/// What `CREATE SINK` says.
#[derive(Debug)]
pub struct SinkDefinition {
    pub name: String,
    pub connector: Arc<dyn SinkConnector>,
}

impl SinkDefinition {
    /// Errors: unknown connectors and options, with those there are.
    pub fn new(name: String, options: BTreeMap<String, String>) -> Result<Self> {
        let mut settings = Settings::new(format!("sink {name}"), options);
        let connector: Arc<dyn SinkConnector> = match settings.required("connector")?.as_str() {
            "console" => Arc::new(console::Console::new(&mut settings)?),
            "delta" => Arc::new(delta::Delta::new(&mut settings)?),
            "file" => Arc::new(file::File::new(&mut settings)?),
            other => {
                return Err(settings.error(format!(
                    "there is no connector '{other}'; there are console, delta, file"
                )));
            }
        };
        settings.finish()?;
        Ok(Self { name, connector })
    }
}

/// A kind of sink with its options.
#[async_trait]
pub trait SinkConnector: Debug + Send + Sync {
    /// As in `connector = '...'`.
    fn name(&self) -> &'static str;

    /// Opens it for the rows of one query.
    async fn open(&self, writer: Writer, schema: &SchemaRef) -> Result<Box<dyn Sink>>;
}

/// Who writes: names what a sink keeps of its places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    pub pipeline: String,
    pub sink: String,
    /// Which of the pipeline's INSERTs into this sink, from 0.
    pub insert: usize,
}

impl Writer {
    /// The name of its places in a table.
    pub fn application(&self) -> String {
        let Self { pipeline, sink, insert } = self;
        match insert {
            0 => format!("thalweg/{pipeline}/{sink}"),
            nth => format!("thalweg/{pipeline}/{sink}/{nth}"),
        }
    }
}

/// A sink that is open for the rows of one query.
#[async_trait]
pub trait Sink: Send {
    /// The place that earlier runs reached, where the sink keeps it.
    async fn reached(&mut self) -> Result<Option<i64>> {
        Ok(None)
    }

    /// Takes rows up to a place, all or none. A batch query has no place.
    async fn append(&mut self, rows: &[RecordBatch], to: Option<i64>) -> Result<()>;
}

/// Forms of rows as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Csv { header: bool },
    Json,
    Parquet,
}

impl Encoding {
    fn write(
        self,
        rows: &[RecordBatch],
        schema: &SchemaRef,
        out: &mut (dyn Write + Send),
    ) -> Result<()> {
        match self {
            Self::Csv { header } => {
                let mut writer = arrow::csv::WriterBuilder::new().with_header(header).build(out);
                rows.iter().try_for_each(|batch| writer.write(batch))?;
            }
            Self::Json => {
                let mut writer = arrow::json::LineDelimitedWriter::new(out);
                rows.iter().try_for_each(|batch| writer.write(batch))?;
                writer.finish()?;
            }
            Self::Parquet => {
                let wrong = datafusion::error::DataFusionError::from;
                let writer = ArrowWriter::try_new(out, schema.clone(), None);
                let mut writer = writer.map_err(wrong)?;
                rows.iter().try_for_each(|batch| writer.write(batch)).map_err(wrong)?;
                writer.close().map_err(wrong)?;
            }
        }
        Ok(())
    }
}
