//! Live data: sources, event time, windows, epochs, history, sinks.
//!
//! ```text
//!  source ──► feed ───────────► batch ──► graph ───────────► epoch ───────► sink
//!  rows in    + watermark       N rows    regions and what   recorded, then results, once
//!  order      before each                 waits between      store ───────► history, once
//! ```
//!
//! Event time is a function of the log alone (`watermark`), so that a stream and a batch over the
//! same rows give the same result. Never looks at a clock to decide what a result is.

pub mod audit;
pub mod checkpoint;
mod checksum;
pub mod connector;
pub mod dataflow;
mod equal;
mod exec;
pub mod log;
mod operator;
pub mod plan;
pub mod progress;
pub mod runtime;
mod state;
pub mod time;

use datafusion::logical_expr::Expr;

use crate::stream::log::definition::Stream;

/// Whether a row came when the watermark had passed its time.
pub fn late(time: Expr, watermark: Expr) -> Expr {
    time.lt_eq(watermark)
}

/// Microseconds since 1970 (UTC).
pub fn now_us() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
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
