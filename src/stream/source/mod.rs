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
use serde::{Deserialize, Serialize};

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

    /// What tells this log from another: a reading goes on only where it is the same.
    fn identity(&self) -> String;

    /// How many partitions the log has; each is opened, and has its watermark, by itself.
    fn partitions(&self) -> usize {
        1
    }

    /// Opens one partition's log at a place: the rows from there on are always the same.
    ///
    /// Errors: what has been read before is gone (a file was removed or has become shorter).
    fn open(&self, opening: Opening) -> Result<Box<dyn Source>>;
}

/// A run of records in one file: how a log of files remembers its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// As it was opened.
    pub path: String,
    /// Offset of its first record.
    pub first: i64,
    /// Records of the file that earlier segments hold: a file that has grown comes again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skip: u64,
    /// Bytes the file had when it was begun; one that is shorter now is not the same.
    pub size: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A place in one partition's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Offset of the next record, from 0; malformed records count.
    pub offset: i64,
    /// Every segment that is known, in log order; those that begin after `offset` are read next,
    /// before anything new. Empty where the source has no files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
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
    /// Where malformed rows are kept; `None` only counts them.
    pub rejects: Option<PathBuf>,
    /// Which partition, from 0.
    pub partition: usize,
    pub from: Place,
    /// The stream's folder in the state folder, where a source that cannot be read again keeps
    /// what it received; `None` outside a pipeline.
    pub state: Option<PathBuf>,
}

impl Opening {
    /// The first partition from its first row.
    pub fn new(stream: &Stream, follow: bool) -> Self {
        Self {
            schema: stream.schema.clone(),
            event_time: stream.watermark.as_ref().map(|rule| rule.column),
            follow,
            on_error: stream.on_error,
            rejects: Some(stream.rejects.clone()),
            partition: 0,
            from: Place::default(),
            state: None,
        }
    }
}

/// An open log of one partition. Blocks: call it off the async runtime.
pub trait Source: Send {
    /// The next rows in log order, of at most `limit` (more than none) records: malformed ones
    /// count, so that `offset` moves by `limit` at most and a range of offsets can be read again.
    /// While records are left `Idle` and `End` are never answered.
    fn next(&mut self, limit: usize) -> Result<Read>;

    /// Offset of the next record.
    fn offset(&self) -> i64;

    /// The segments begun since this was last asked, those of `Opening::from` left out.
    fn segments(&mut self) -> Vec<Segment> {
        Vec::new()
    }

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
#[derive(Debug, Clone)]
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
