//! What `CREATE STREAM` says: columns, event time, source, store.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};

use super::settings::Settings;
use super::source::{self, Connector};
use super::watermark::EventTime;
use crate::error::{Error, Result};

/// What happens to rows that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The reading ends with an error that names file and line.
    #[default]
    Fail,
    /// They are counted and kept aside in a file.
    Skip,
}

/// A stream: a log of rows, read again from its start whenever it is asked for.
#[derive(Debug)]
pub struct Stream {
    pub name: String,
    /// The declared columns; timestamps are in microseconds.
    pub schema: SchemaRef,
    pub watermark: Option<EventTime>,
    pub connector: Arc<dyn Connector>,
    pub on_error: OnError,
    /// Where rejected rows are kept, one JSON object a line.
    pub rejects: PathBuf,
    /// The Delta table that stores every row.
    pub store: Option<String>,
    /// How many seconds of event time pass in one second; `None` reads as fast as it goes.
    pub pace: Option<f64>,
}

impl Stream {
    /// A stream from its options. `interval` reads `max_advance`, in microseconds.
    ///
    /// Errors: unknown connectors and options, with those there are; a watermark on a column that
    /// is no TIMESTAMP.
    pub fn new(
        name: String,
        schema: SchemaRef,
        watermark: Option<EventTime>,
        options: BTreeMap<String, String>,
        folder: PathBuf,
        interval: impl Fn(&str) -> Result<i64>,
    ) -> Result<Self> {
        let mut settings = Settings::new(format!("stream {name}"), options);
        let connector = source::connector(&mut settings, &schema)?;
        let on_error = match settings.choice("on_error", &["fail", "skip"])? {
            "skip" => OnError::Skip,
            _ => OnError::Fail,
        };
        let store = settings.text("store");
        let pace = settings.parsed("pace", "a number, such as 1 or 60")?;
        if pace.is_some_and(|pace: f64| !(pace > 0.0 && pace.is_finite())) {
            return Err(settings.error("pace is more than nothing"));
        }
        let max_advance_us = match settings.text("max_advance") {
            None => None,
            Some(text) => Some(
                interval(&text)
                    .map_err(|error| settings.error(format!("max_advance = '{text}': {error}")))?,
            ),
        };
        settings.finish()?;
        let watermark = match (watermark, max_advance_us) {
            (None, Some(_)) => {
                return Err(Error::User(format!(
                    "stream {name}: max_advance bounds a watermark, and the stream has none"
                )));
            }
            (watermark, max_advance_us) => {
                watermark.map(|rule| EventTime { max_advance_us, ..rule })
            }
        };
        if let Some(rule) = &watermark {
            let field = schema.field(rule.column);
            if !matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)) {
                return Err(Error::User(format!(
                    "stream {name}: the watermark's column {} is {}, not a TIMESTAMP",
                    field.name(),
                    field.data_type()
                )));
            }
        }
        if watermark.is_none() && pace.is_some() {
            return Err(Error::User(format!(
                "stream {name}: pace goes by the event time: say which with WATERMARK FOR"
            )));
        }
        let rejects = folder.join(format!("{name}.rejected.jsonl"));
        Ok(Self { name, schema, watermark, connector, on_error, rejects, store, pace })
    }
}
