//! What a query has done in an epoch, in the words of Spark's `StreamingQueryProgress`, and what
//! Spark does not tell: which partition holds the watermark back, and where fragments run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::stream::time::watermark::BEFORE_ALL;

/// One epoch of one query.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What the query's state and results are known by.
    pub id: String,
    /// Of this run of the pipeline.
    pub run_id: String,
    /// The sink's name.
    pub name: String,
    /// Number of the epoch.
    pub batch_id: u64,
    /// When it was processed.
    pub timestamp: String,
    pub num_input_rows: u64,
    /// Since the epoch before.
    pub input_rows_per_second: f64,
    /// While it was worked at.
    pub processed_rows_per_second: f64,
    /// By step, in milliseconds; those of the epoch are the same for all queries.
    pub duration_ms: BTreeMap<&'static str, u64>,
    pub event_time: EventTimes,
    pub state_operators: Vec<StateOperator>,
    pub sources: Vec<SourceProgress>,
    pub sink: SinkProgress,
    pub fragments: Vec<Fragment>,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventTimes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<String>,
    /// The partition with the least watermark, as `stream/partition`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back_by: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateOperator {
    pub num_rows_total: u64,
    pub memory_used_bytes: u64,
    /// Of all rows, those that wait on the disk, and the size of their files.
    pub spilled_rows: u64,
    pub spilled_bytes: u64,
    /// Rows that came too late, of this run.
    pub num_rows_dropped_by_watermark: u64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceProgress {
    /// The stream's name.
    pub description: String,
    /// By partition.
    pub start_offset: BTreeMap<usize, i64>,
    pub end_offset: BTreeMap<usize, i64>,
    pub watermark: BTreeMap<usize, String>,
    pub rejected_rows: u64,
    pub bounded_rows: u64,
    /// Version of the store behind the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_version: Option<i64>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkProgress {
    pub description: String,
    pub guarantee: &'static str,
    pub num_output_rows: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_version: Option<i64>,
}

/// Where a part of the query runs, and why.
#[derive(Debug, Clone, Serialize)]
pub struct Fragment {
    pub node: String,
    pub side: String,
    pub reason: String,
}

/// Who is told of every epoch.
#[derive(Clone)]
pub struct Observer(pub Arc<dyn Fn(&Progress) + Send + Sync>);

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

/// A time in microseconds as text; `None` before the first.
pub fn time(us: i64) -> Option<String> {
    if us == BEFORE_ALL {
        return None;
    }
    let time = DateTime::<Utc>::from_timestamp_micros(us)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Rows a second.
pub fn rate(rows: u64, time: Duration) -> f64 {
    match time.is_zero() {
        true => 0.0,
        false => (rows as f64 / time.as_secs_f64() * 10.0).round() / 10.0,
    }
}

/// How long the steps of an epoch took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Steps {
    /// Waiting for rows.
    pub read: Duration,
    /// Queries.
    pub process: Duration,
    /// The epoch record.
    pub record: Duration,
    pub store: Duration,
    pub sink: Duration,
}

impl Steps {
    /// As Spark names them.
    pub fn by_name(&self) -> BTreeMap<&'static str, u64> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let work = self.process + self.record + self.store + self.sink;
        BTreeMap::from([
            ("getBatch", ms(self.read)),
            ("addBatch", ms(self.process)),
            ("walCommit", ms(self.record)),
            ("storeCommit", ms(self.store)),
            ("sinkCommit", ms(self.sink)),
            ("triggerExecution", ms(work)),
        ])
    }

    /// All but waiting.
    pub fn work(&self) -> Duration {
        self.process + self.record + self.store + self.sink
    }
}
