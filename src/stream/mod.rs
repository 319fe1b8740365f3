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

pub mod asof;
mod checked;
pub mod definition;
mod definitions;
pub mod delay;
mod effects;
pub mod emit;
mod equal;
pub mod epoch;
mod feed;
pub mod graph;
mod hop;
pub mod journal;
pub mod local;
pub mod log;
mod memory;
pub mod order;
pub mod proctime;
pub mod progress;
pub mod query;
mod reader;
pub mod reconcile;
mod recovery;
mod replay;
mod reports;
pub mod session;
pub mod settings;
pub mod sink;
pub mod slot;
mod snapshot;
pub mod source;
mod stop;
pub mod store;
pub mod subquery;
pub mod table;
pub mod totals;
mod trim;
mod unions;
pub mod watermark;
pub mod weight;
pub mod window;

use datafusion::logical_expr::Expr;

use definition::Stream;

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
