//! The `counter` connector: row n has n in every number, and n seconds after 1970 in every time.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;

use super::generator::{Generator, Log, Numbers, bounded, partitions};
use crate::error::Result;
use crate::stream::connector::api::{Connector, Opening, Source};
use crate::stream::connector::options::Settings;

/// The connector with its options.
#[derive(Debug, Clone)]
pub struct Counter {
    /// Rows of all partitions; `None` without an end.
    events: Option<u64>,
    partitions: usize,
}

impl Counter {
    /// Errors: columns that are neither whole numbers nor times.
    pub fn new(settings: &mut Settings, schema: &SchemaRef) -> Result<Self> {
        for field in schema.fields() {
            let data_type = field.data_type();
            if !data_type.is_integer() && !matches!(data_type, DataType::Timestamp(..)) {
                return Err(settings.error(format!(
                    "column {}: expected a whole number or a TIMESTAMP, found {data_type}",
                    field.name()
                )));
            }
        }
        let events = settings.parsed("events", "a whole number")?;
        Ok(Self { events, partitions: partitions(settings)? })
    }
}

impl Connector for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn bounded(&self) -> Result<(), String> {
        bounded(self)
    }

    fn identity(&self) -> String {
        String::new()
    }

    fn partitions(&self) -> usize {
        self.partitions
    }

    fn open(&self, opening: Opening) -> Result<Box<dyn Source>> {
        Ok(Box::new(Log::open(self.clone(), opening, self.partitions)))
    }
}

impl Generator for Counter {
    fn rows(&self) -> Option<u64> {
        self.events
    }

    /// One a second.
    fn due(&self, first: u64, seconds: f64) -> u64 {
        first + seconds as u64
    }

    fn make(&self, opening: &Opening, rows: Numbers) -> Result<RecordBatch> {
        let numbers: ArrayRef = Arc::new(rows.map(|n| n as i64).collect::<Int64Array>());
        let times = cast(&numbers, &DataType::Timestamp(TimeUnit::Second, None))?;
        let columns = opening.schema.fields().iter().map(|field| {
            let from = if field.data_type().is_integer() { &numbers } else { &times };
            Ok(cast(from, field.data_type())?)
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(opening.schema.clone(), columns)?)
    }
}
