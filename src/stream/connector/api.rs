//! What a source is to a pipeline: a connector opens the log of a partition at a place.
//!
//! A source never decides about time or windows; it answers rows in log order with their offsets.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::Int64Array;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use super::forms::{Form, Origin, Times};
use crate::error::Result;
use crate::stream::connector::source::fingerprint::Print;

/// A kind of source with its options, ready to be opened any number of times.
pub trait Connector: Debug + Send + Sync {
    /// As in `connector = '...'`.
    fn name(&self) -> &'static str;

    /// Whether a reading without `follow` comes to an end, and what to say where it does not.
    fn bounded(&self) -> Result<(), String>;

    /// Whether rows come only once: the log is what a pipeline has received.
    fn received(&self) -> bool {
        false
    }

    /// Removes what it keeps of rows before an offset, in a stream's folder of the state folder:
    /// they are in the store.
    fn forget(&self, _state: &Path, _before: i64) -> Result<()> {
        Ok(())
    }

    /// Whether its rows are read from values of other types, such as text.
    fn typed(&self) -> bool {
        false
    }

    /// What tells this log from another: a reading goes on only where it is the same.
    fn identity(&self) -> String;

    /// What else it may have been told as by an earlier run, and is the same.
    fn other_identities(&self) -> Vec<String> {
        Vec::new()
    }

    /// How many partitions the log has; each is opened, and has its watermark, by itself.
    fn partitions(&self) -> usize {
        1
    }

    /// Opens one partition's log at a place: the rows from there on are always the same.
    ///
    /// Errors: what has been read before is gone (a file was removed or has become shorter).
    fn open(&self, opening: Opening) -> Result<Box<dyn Source>>;
}

/// A run of records in one file: how a log of files remembers its order. One that is told of again
/// (of the same path and first record) takes the place of what was known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// As it was opened.
    pub path: String,
    /// Offset of its first record.
    pub first: i64,
    /// Records of the file that earlier segments hold: a file that has grown comes again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skip: u64,
    /// Bytes the file had when it was looked at last; one that is shorter now is not the same.
    pub size: u64,
    /// Offset after its last record, when the end of the file was reached: the file may go then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<i64>,
    /// Where reading goes on when the file has grown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// What tells its content from another's under the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub print: Option<Print>,
}

/// A place in a file where a record begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// How many are before it.
    pub records: u64,
    pub lines: u64,
    pub bytes: u64,
}

impl Segment {
    /// A file from its first record on.
    pub fn new(path: String, first: i64, size: u64) -> Self {
        Self { path, first, skip: 0, size, end: None, mark: None, print: None }
    }

    /// Records of the file that this and earlier segments hold, as far as is known.
    pub fn records(&self) -> u64 {
        self.skip + self.end.map_or(0, |end| (end - self.first).max(0).unsigned_abs())
    }

    /// Adds it to those that are known, or what it tells of one of them again.
    pub fn tell(self, known: &mut Vec<Self>) {
        match known.iter_mut().find(|known| known.same(&self)) {
            Some(known) => *known = self,
            None => known.push(self),
        }
    }

    /// Whether both tell of one segment.
    pub fn same(&self, other: &Self) -> bool {
        self.path == other.path && self.first == other.first
    }
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
    /// How the columns come about; plainly, where there are fewer.
    pub forms: Arc<[Form]>,
    /// How times are written.
    pub times: Times,
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

/// An open log of one partition. Blocks: call it off the async runtime.
pub trait Source: Send {
    /// The next rows in log order, of at most `limit` (more than none) records: malformed ones
    /// count, so that `offset` moves by `limit` at most and a range of offsets can be read again.
    /// While records are left `Idle` and `End` are never answered. `Idle` is answered where the
    /// log is followed, or where a pipeline waits for what only comes once.
    fn next(&mut self, limit: usize) -> Result<Read>;

    /// Offset of the next record.
    fn offset(&self) -> i64;

    /// The segments begun, or read to their end, since this was last asked.
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

impl Opening {
    /// How a column comes about.
    pub fn form(&self, column: usize) -> Form {
        self.forms.get(column).cloned().unwrap_or_default()
    }

    pub fn columns(&self, wanted: impl Fn(&Origin) -> bool) -> SchemaRef {
        let fields = self.schema.fields().iter().enumerate();
        let fields = fields.filter(|(at, _)| wanted(&self.form(*at).origin));
        Arc::new(Schema::new(fields.map(|(_, field)| field.clone()).collect::<Vec<_>>()))
    }

    /// The columns that the source itself has.
    pub fn source_schema(&self) -> SchemaRef {
        self.columns(|origin| matches!(origin, Origin::Source))
    }

    /// Where the event time is among them.
    pub fn source_event_time(&self) -> Option<usize> {
        let name = self.schema.field(self.event_time?).name();
        self.source_schema().index_of(name).ok()
    }

    /// The columns that are not computed.
    pub fn base_schema(&self) -> SchemaRef {
        self.columns(|origin| !matches!(origin, Origin::Computed(_)))
    }

    /// Whether any column is computed.
    pub fn computes(&self) -> bool {
        self.forms.iter().any(|form| matches!(form.origin, Origin::Computed(_)))
    }
}

/// What happens to rows that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The reading ends with an error that names file and line.
    #[default]
    Fail,
    /// They are counted and kept aside in a file.
    Skip,
}

/// A row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    pub offset: i64,
    /// The file and the line or row.
    pub place: String,
    pub reason: String,
    pub row: String,
}

#[cfg(test)]
pub mod testing {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema};

    use super::{OnError, Opening, Place};
    use crate::stream::connector::forms::Times;

    /// A bounded reading of these columns from the first row.
    pub fn opening(fields: Vec<Field>) -> Opening {
        Opening {
            schema: Arc::new(Schema::new(fields)),
            event_time: None,
            forms: Arc::default(),
            times: Times::default(),
            follow: false,
            on_error: OnError::Fail,
            rejects: None,
            partition: 0,
            from: Place::default(),
            state: None,
        }
    }
}
