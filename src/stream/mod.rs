//! Live data: sources, event time, windows, epochs, history, sinks.
//!
//! ```text
//!  source ──► reader ─────────► batch ──► dataflow ────────► epoch ───────► sink
//!  rows in    + watermark       N rows    regions and        recorded, then results, once
//!  order      before each                 operators          history ─────► rows, once
//! ```
//!
//! Event time is a function of the log alone (`time`), so that a stream and a batch over the same
//! rows give the same result. Never looks at a clock to decide what a result is.
//!
//! The rooms, from the one that drives to those that are used by all:
//!
//! ```text
//!  runtime/      drives epochs: read, advance, commit; whom to spill, reports, the end of a run
//!  checkpoint/   what survives a crash: journal, snapshots, catalog; recovery and compaction
//!  audit.rs      results against the batch over the stored history
//!  dataflow/     a running query: its graph, how a plan is cut into one, its parts' plans
//!  plan/         what a query means before it runs
//!    window/       TUMBLE, HOP, CUMULATE; their columns, their panes
//!    session/      SESSION: node, table function, the batch
//!    asof/         as-of joins: node, relation, the batch
//!    order/        the order of rows where an answer depends on it
//!    ..            watermark filter, bounds of the watermark, unions, subqueries, refusals
//!  operator/     what keeps rows or states between epochs, a file each
//!  state/        rows that wait: buffers, spills, when a row is final, what it takes
//!  log/          a stream: definition, partitions, positions, history, the table of all
//!  time/         watermarks, clocks, EMIT, days of a time zone
//!  exec/         physical nodes of plans that run anew in each epoch
//!  connector/    the world outside
//!    api.rs        what a source is: connector, place, rows
//!    source/       file, http, nexmark, random, stdin; what is kept of what comes once
//!    format/       CSV, JSON, Parquet, and the declared columns from theirs
//!    sink/         delta, file, console, blackhole
//! ```

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
