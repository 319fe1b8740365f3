//! The `console` and `stdout` sinks: rows on stdout, for people and for programs. At least once: a
//! second run prints them again.

use std::io::Write;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use async_trait::async_trait;

use super::api::{Encoding, Guarantee, Mode, Sink, SinkConnector, Writer};
use crate::error::Result;
use crate::stream::connector::options::Settings;

/// The connector with its options.
#[derive(Debug)]
pub struct Console {
    name: &'static str,
    /// `csv` (one header), `json` (an object a line) or `table` (one for each result).
    format: &'static str,
}

impl Console {
    pub fn new(settings: &mut Settings) -> Result<Self> {
        let format = settings.choice("format", &["csv", "json", "table"])?;
        Ok(Self { name: "console", format })
    }

    /// Lines of JSON unless CSV is asked for.
    pub fn stdout(settings: &mut Settings) -> Result<Self> {
        Ok(Self { name: "stdout", format: settings.choice("format", &["json", "csv"])? })
    }
}

#[async_trait]
impl SinkConnector for Console {
    fn name(&self) -> &'static str {
        self.name
    }

    fn keeps(&self) -> bool {
        false
    }

    /// Every change is a line.
    fn modes(&self) -> &'static [Mode] {
        &[Mode::Append, Mode::Update]
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn takes(&self, sink: &str, columns: &Schema) -> Result<()> {
        match self.format {
            "table" => Ok(()),
            "json" => Encoding::Json.takes(sink, columns),
            _ => Encoding::Csv { header: true }.takes(sink, columns),
        }
    }

    async fn open(&self, _: Writer, schema: &SchemaRef) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Open { format: self.format, schema: schema.clone(), begun: false }))
    }
}

struct Open {
    format: &'static str,
    schema: SchemaRef,
    begun: bool,
}

#[async_trait]
impl Sink for Open {
    async fn append(&mut self, rows: &[RecordBatch], _: Option<u64>) -> Result<()> {
        let mut text = Vec::new();
        match self.format {
            "table" => writeln!(text, "{}", pretty_format_batches(rows)?)?,
            "json" => Encoding::Json.write(rows, &self.schema, &mut text)?,
            _ => {
                let header = !std::mem::replace(&mut self.begun, true);
                Encoding::Csv { header }.write(rows, &self.schema, &mut text)?;
            }
        }
        // In one piece, so that the results of several queries do not mix within a line.
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&text)?;
        Ok(stdout.flush()?)
    }
}
