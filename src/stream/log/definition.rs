//! What `CREATE STREAM` says: columns, event time, source, store.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parking_lot::RwLock;

use super::position::Start;
use crate::error::{Error, Result};
use crate::stream::connector::api::{Connector, OnError, Opening, Place};
use crate::stream::connector::forms::{Form, Origin, Times};
use crate::stream::connector::options::Settings;
use crate::stream::connector::source;
use crate::stream::time::watermark::EventTime;

/// A stream: a log of rows, read again from its start whenever it is asked for.
#[derive(Debug)]
pub struct Stream {
    pub name: String,
    /// The declared columns; timestamps are in microseconds.
    pub schema: SchemaRef,
    /// How the columns come about; plainly, where there are fewer.
    pub forms: Arc<[Form]>,
    /// How times are written.
    pub times: Times,
    pub watermark: Option<EventTime>,
    pub connector: Arc<dyn Connector>,
    pub on_error: OnError,
    /// Where rejected rows are kept, one JSON object a line.
    pub rejects: PathBuf,
    /// The Delta table that stores every row.
    pub store: Option<String>,
    /// How many seconds of event time pass in one second; `None` reads as fast as it goes.
    pub pace: Option<f64>,
    /// Where the log begins for a pipeline that has not read it before.
    pub begin: Begin,
    /// A partition without rows for this long lets its watermark go.
    pub idle_timeout: Option<Duration>,
    /// What the pipeline knows of each partition's log, as a reading from its first row needs it.
    recorded: RwLock<Vec<Start>>,
    /// Its folder in a pipeline's state folder, from when the pipeline reads it.
    state: RwLock<Option<PathBuf>>,
}

/// The option `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Begin {
    /// With the first row there is: of the history, then of the source.
    #[default]
    Earliest,
    /// Behind the rows there are.
    Latest,
    /// With the first row whose event time is not before this, in microseconds.
    At(i64),
}

impl Stream {
    /// A stream from its options, whose columns have these forms. `interval` reads those that are
    /// intervals, by their names, in microseconds.
    ///
    /// Errors: unknown connectors and options, with those there are; a watermark on a column that
    /// is no TIMESTAMP.
    pub fn new(
        name: String,
        (schema, forms): (SchemaRef, Vec<Form>),
        watermark: Option<EventTime>,
        options: BTreeMap<String, String>,
        folder: PathBuf,
        interval: impl Fn(&str, &str) -> Result<i64>,
    ) -> Result<Self> {
        let mut settings = Settings::new(format!("stream {name}"), options);
        let connector = source::connector(&mut settings, &read(&schema, &forms))?;
        let times = match connector.typed() {
            true => Times::new(&mut settings)?,
            false => Times::default(),
        };
        let on_error = match settings.choice("on_error", &["fail", "skip"])? {
            "skip" => OnError::Skip,
            _ => OnError::Fail,
        };
        let store = settings.text("store");
        let pace = settings.parsed("pace", "a number, such as 1 or 60")?;
        if pace.is_some_and(|pace: f64| !(pace > 0.0 && pace.is_finite())) {
            return Err(settings.error("pace is more than nothing"));
        }
        let mut length = |name: &'static str| match settings.text(name) {
            None => Ok(None),
            Some(text) => interval(name, &text)
                .map(Some)
                .map_err(|error| settings.error(format!("{name} = '{text}': {error}"))),
        };
        let max_advance_us = length("max_advance")?;
        let idle_timeout =
            length("idle_timeout")?.map(|us| Duration::from_micros(us.unsigned_abs()));
        let begin = begin(&mut settings, connector.as_ref())?;
        settings.finish()?;
        let watermark = followed(&name, &schema, watermark, max_advance_us)?;
        let at = matches!(begin, Begin::At(_));
        let timed =
            [("pace", pace.is_some()), ("idle_timeout", idle_timeout.is_some()), ("start", at)];
        if let (None, Some((option, _))) = (&watermark, timed.iter().find(|(_, given)| *given)) {
            return Err(Error::user(format!(
                "stream {name}: {option} goes by the event time: say which with WATERMARK FOR"
            )));
        }
        let rejects = folder.join(format!("{name}.rejected.jsonl"));
        let recorded = RwLock::default();
        Ok(Self {
            name,
            schema,
            forms: forms.into(),
            times,
            watermark,
            connector,
            on_error,
            rejects,
            store,
            pace,
            begin,
            idle_timeout,
            recorded,
            state: RwLock::default(),
        })
    }

    /// Its folder in the state folder of the pipeline that reads it.
    pub fn state(&self) -> Option<PathBuf> {
        self.state.read().clone()
    }

    pub fn set_state(&self, folder: PathBuf) {
        *self.state.write() = Some(folder);
    }

    /// What a reading of every partition from its first row is to know.
    pub fn recorded(&self) -> Vec<Start> {
        self.recorded.read().clone()
    }

    /// Tells later readings from the first row what a pipeline has recorded.
    pub fn record(&self, starts: Vec<Start>) {
        *self.recorded.write() = starts;
    }
}

/// The watermark with what bounds it.
///
/// Errors: a bound without one; a column that none can follow.
fn followed(
    name: &str,
    schema: &Schema,
    watermark: Option<EventTime>,
    max_advance_us: Option<i64>,
) -> Result<Option<EventTime>> {
    match (&watermark, max_advance_us) {
        (None, Some(_)) => {
            return Err(Error::user(format!(
                "stream {name}: max_advance bounds a watermark, and the stream has none"
            )));
        }
        (Some(rule), _) => is_time(name, schema.field(rule.column))?,
        (None, None) => {}
    }
    Ok(watermark.map(|rule| EventTime { max_advance_us, ..rule }))
}

/// The columns that the source has.
fn read(schema: &Schema, forms: &[Form]) -> SchemaRef {
    let fields = schema.fields().iter().zip(forms);
    let fields = fields.filter(|(_, form)| matches!(form.origin, Origin::Source));
    Arc::new(Schema::new(fields.map(|(field, _)| field.clone()).collect::<Vec<_>>()))
}

/// Errors: a column that no watermark can follow.
fn is_time(stream: &str, field: &Field) -> Result<()> {
    match field.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(()),
        other => Err(Error::user(format!(
            "stream {stream}: the watermark's column {} is {other}, not a TIMESTAMP",
            field.name()
        ))),
    }
}

fn begin(settings: &mut Settings, connector: &dyn Connector) -> Result<Begin> {
    let Some(text) = settings.text("start") else { return Ok(Begin::Earliest) };
    match text.to_ascii_lowercase().as_str() {
        "earliest" | "history" => Ok(Begin::Earliest),
        _ if connector.received() => {
            let name = connector.name();
            Err(settings.error(format!("start = '{text}': {name} begins with what it receives")))
        }
        "latest" => Ok(Begin::Latest),
        _ => match string_to_timestamp_nanos(&text) {
            Ok(ns) => Ok(Begin::At(ns.div_euclid(1_000))),
            Err(_) => Err(settings.error(format!(
                "start = '{text}': history, earliest, latest or a timestamp such as \
                 '2026-01-31T12:00:00' is wanted"
            ))),
        },
    }
}

impl Opening {
    /// The first partition from its first row.
    pub fn new(stream: &Stream, follow: bool) -> Self {
        Self {
            schema: stream.schema.clone(),
            event_time: stream.watermark.as_ref().map(|rule| rule.column),
            forms: stream.forms.clone(),
            times: stream.times.clone(),
            follow,
            on_error: stream.on_error,
            rejects: Some(stream.rejects.clone()),
            partition: 0,
            from: Place::default(),
            state: stream.state(),
        }
    }
}

/// Tells what a reading left out, and what it bounded.
pub fn report(stream: &Stream, rejected: u64, bounded: u64) {
    let (name, path) = (&stream.name, stream.rejects.display());
    if rejected > 0 {
        tracing::warn!("stream {name}: {rejected} malformed rows are kept aside in {path}");
    }
    if bounded > 0 {
        let what = "max_advance bounded the watermark's step";
        tracing::warn!("stream {name}: {what} at {bounded} rows");
    }
}
