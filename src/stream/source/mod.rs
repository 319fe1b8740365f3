//! Where rows come from: one list of connectors, each of which opens its log from the first row.
//!
//! A source never decides about time or windows; it answers rows in log order with their offsets.

mod convert;
mod csv;
mod file;
mod json;
mod nexmark;
mod parquet;
mod rejects;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::Int64Array;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::definition::{OnError, Stream};
use super::settings::Settings;
use crate::error::Result;

pub use rejects::Rejects;

/// A kind of source with its options, ready to be opened any number of times.
pub trait Connector: Debug + Send + Sync {
    /// As in `connector = '...'`.
    fn name(&self) -> &'static str;

    /// Whether a reading without `follow` comes to an end, and what to say where it does not.
    fn bounded(&self) -> Result<(), String>;

    /// Opens the log at its first row.
    fn open(&self, opening: Opening) -> Result<Box<dyn Source>>;
}

/// How a log is to be read.
#[derive(Debug, Clone)]
pub struct Opening {
    pub schema: SchemaRef,
    /// Index of the column that must not be NULL because the watermark follows it.
    pub event_time: Option<usize>,
    /// Wait for more where the log ends.
    pub follow: bool,
    pub on_error: OnError,
    pub rejects: PathBuf,
}

impl Opening {
    pub fn new(stream: &Stream, follow: bool) -> Self {
        Self {
            schema: stream.schema.clone(),
            event_time: stream.watermark.as_ref().map(|rule| rule.column),
            follow,
            on_error: stream.on_error,
            rejects: stream.rejects.clone(),
        }
    }
}

/// An open log of one partition. Blocks: call it off the async runtime.
pub trait Source: Send {
    /// The next rows in log order, at most `limit` (more than none).
    fn next(&mut self, limit: usize) -> Result<Read>;

    /// Rows kept aside so far.
    fn rejected(&self) -> u64 {
        0
    }
}

/// What a source answers.
#[derive(Debug)]
pub enum Read {
    Rows(Rows),
    /// Nothing now; perhaps later.
    Idle,
    /// Nothing any more.
    End,
}

/// Consecutive rows of a log.
#[derive(Debug)]
pub struct Rows {
    /// The declared columns.
    pub batch: RecordBatch,
    /// Each row's place in the log, from 0; rejected rows leave gaps.
    pub offsets: Int64Array,
}

/// The connector that `connector = '...'` names, with its options.
///
/// Errors: an unknown one, with those there are.
pub fn connector(settings: &mut Settings, schema: &SchemaRef) -> Result<Arc<dyn Connector>> {
    let name = settings.required("connector")?;
    match name.to_ascii_lowercase().as_str() {
        "file" => Ok(Arc::new(file::File::new(settings)?)),
        "nexmark" => Ok(Arc::new(nexmark::Nexmark::new(settings, schema)?)),
        _ => {
            Err(settings.error(format!("there is no connector '{name}'; there are file, nexmark")))
        }
    }
}
