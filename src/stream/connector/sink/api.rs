//! What a sink is to a query: which changes it takes, how often a row may come, and its epochs.

use std::fmt::Debug;
use std::io::Write;
use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::parquet::arrow::ArrowWriter;

use crate::error::{Error, Result};
use crate::plan::files;

/// How the rows of a query change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each row is final.
    Append,
    /// A row may take the place of an earlier one.
    Update,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Update => "update",
        }
    }
}

/// How often a row comes where a run was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    ExactlyOnce,
    /// Perhaps again.
    AtLeastOnce,
}

impl Guarantee {
    pub fn name(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "exactly once",
            Self::AtLeastOnce => "at least once",
        }
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

    /// Changes that it can take.
    fn modes(&self) -> &'static [Mode] {
        &[Mode::Append]
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    /// Errors: rows that change in this way are not for it.
    fn check(&self, sink: &str, mode: Mode) -> Result<()> {
        if self.modes().contains(&mode) {
            return Ok(());
        }
        Err(Error::user(format!(
            "sink {sink}: EMIT ON UPDATE gives rows that replace earlier ones, and the connector \
             {} only adds: use delta, stdout or console, or EMIT AFTER WINDOW CLOSE",
            self.name()
        )))
    }

    /// Errors: columns that it cannot hold.
    fn takes(&self, _sink: &str, _columns: &Schema) -> Result<()> {
        Ok(())
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

    /// Takes the rows of an epoch, all or none. A batch query has no epoch.
    async fn append(&mut self, rows: &[RecordBatch], epoch: Option<u64>) -> Result<()>;

    /// Version of the table behind it, where there is one.
    fn version(&self) -> Option<i64> {
        None
    }
}

/// Errors of a column that a form of rows has no place for.
pub fn unfit(sink: &str, field: &Field, form: &str) -> Error {
    let name = field.name();
    let advice = match field.data_type() {
        DataType::Struct(fields) => {
            let first = fields.first().map_or("x", |field| field.name().as_str());
            format!("take its fields, such as \"{name}\"['{first}'] AS \"{first}\"")
        }
        data_type if data_type.is_list() => {
            format!("write array_to_string(\"{name}\", ',')")
        }
        _ => format!("write CAST(\"{name}\" AS VARCHAR)"),
    };
    let other = match form {
        "CSV" => ", or choose format = 'json'",
        _ => "",
    };
    Error::user(format!(
        "sink {sink}: column {name} is {}, which {form} does not hold: {advice}{other}",
        field.data_type()
    ))
}

/// Errors: two columns of one name.
pub fn distinct(sink: &str, columns: &Schema, form: &str) -> Result<()> {
    let mut names: Vec<&String> = columns.fields().iter().map(|field| field.name()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::user(format!(
            "sink {sink}: two columns are called {}, which {form} does not hold: name one of them \
             otherwise, with AS",
            pair[0]
        ))),
        None => Ok(()),
    }
}

/// Forms of rows as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Csv { header: bool },
    Json,
    Parquet,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv { .. } => "CSV",
            Self::Json => "JSON",
            Self::Parquet => "Parquet",
        }
    }

    /// Errors: columns that it cannot hold, by a row of NULLs that is written to nowhere.
    pub fn takes(self, sink: &str, columns: &Schema) -> Result<()> {
        for field in columns.fields() {
            let column = Field::new(field.name(), field.data_type().clone(), true);
            let schema = Arc::new(Schema::new(vec![column]));
            let nulls = new_null_array(field.data_type(), 1);
            let row = RecordBatch::try_new(schema.clone(), vec![nulls])?;
            if self.write(&[row], &schema, &mut std::io::sink()).is_err() {
                return Err(unfit(sink, field, self.name()));
            }
        }
        match self {
            Self::Csv { .. } => Ok(()),
            Self::Json | Self::Parquet => distinct(sink, columns, self.name()),
        }
    }

    pub fn write(
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
                let dates = files::written_schema(schema);
                let written = dates.clone().unwrap_or_else(|| schema.clone());
                let mut writer = ArrowWriter::try_new(out, written, None).map_err(wrong)?;
                for batch in rows {
                    match &dates {
                        None => writer.write(batch),
                        Some(schema) => writer.write(&files::written_rows(batch, schema)?),
                    }
                    .map_err(wrong)?;
                }
                writer.close().map_err(wrong)?;
            }
        }
        Ok(())
    }
}
