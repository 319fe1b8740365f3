//! Where results go: one list of connectors.
//!
//! A sink takes results epoch by epoch. One that keeps the number of the last epoch with its rows
//! is exactly once: what it has is not given to it again.

mod blackhole;
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
            "blackhole" => Arc::new(blackhole::Blackhole),
            "console" => Arc::new(console::Console::new(&mut settings)?),
            "delta" => Arc::new(delta::Delta::new(&mut settings)?),
            "file" => Arc::new(file::File::new(&mut settings)?),
            other => {
                return Err(settings.error(format!(
                    "there is no connector '{other}'; there are blackhole, console, delta, file"
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

    /// The path of the Delta table that it writes, if it does.
    fn table(&self) -> Option<&str> {
        None
    }

    /// Whether what is written there stays.
    fn keeps(&self) -> bool {
        true
    }

    /// Whether it can hold rows that a later one takes the place of.
    fn updates(&self) -> bool {
        false
    }

    /// Opens it for the rows of one query.
    async fn open(&self, writer: Writer, schema: &SchemaRef) -> Result<Box<dyn Sink>>;
}

/// Who writes: names what a sink keeps of its epochs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    pub pipeline: String,
    pub sink: String,
    /// Which of the pipeline's INSERTs into this sink, from 0.
    pub insert: usize,
    /// Columns that identify a row: a later one takes the place of one with the same. `None` where
    /// every row is final.
    pub keys: Option<Vec<String>>,
}

impl Writer {
    /// The name that its epochs have in a table.
    pub fn application(&self) -> String {
        let Self { pipeline, sink, insert, .. } = self;
        match insert {
            0 => format!("thalweg/{pipeline}/{sink}"),
            nth => format!("thalweg/{pipeline}/{sink}/{nth}"),
        }
    }
}

/// A sink that is open for the rows of one query.
#[async_trait]
pub trait Sink: Send + Sync {
    /// The last epoch whose rows it holds; `None` before the first, and where it keeps none.
    async fn reached(&mut self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Whether it keeps epochs. One that does not is given rows as soon as they are there, and
    /// perhaps a second time after a crash.
    fn exactly_once(&self) -> bool {
        true
    }

    /// Takes the rows of an epoch, all or none. A batch query has no epoch.
    async fn append(&mut self, rows: &[RecordBatch], epoch: Option<u64>) -> Result<()>;

    /// Version of the table behind it, where there is one.
    fn version(&self) -> Option<i64> {
        None
    }
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
