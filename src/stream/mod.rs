//! Live data: sources, event time, windows, epochs, sinks.
//!
//! ```text
//!  source ──► log ──────────► epoch ──► query ──► state ──► sink
//!  rows in    + watermark     N rows    partial   merged,   closed windows
//!  order      before each               plan      by window  in order
//! ```
//!
//! Event time is a function of the log alone (`watermark`), so that a stream and a batch over the
//! same rows give the same result. Never looks at a clock to decide what a result is.

pub mod continuous;
pub mod definition;
pub mod epoch;
pub mod log;
pub mod settings;
pub mod shape;
pub mod sink;
pub mod slot;
pub mod source;
pub mod state;
pub mod store;
pub mod table;
pub mod watermark;
pub mod window;
