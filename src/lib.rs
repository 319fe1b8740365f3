//! Thalweg: one SQL over stored history and live data, on any GPU.
//!
//! The way of data, in the order of the modules below:
//!
//! ```text
//!  sql ──► plan ──► fragment ──► schedule ──► record ──► device ──► Arrow batches
//!  text    rule     what one     which slot   commands   GPU or     to sinks,
//!          cuts     submit does  does what    as data    twins      or up the plan
//!            │          │
//!            │          ├── expr     predicates, keys, arguments: one tree, WGSL and twin
//!            │          ├── agg      accumulators, the reproducible float sum
//!            │          └── kernel   the hand-written WGSL and its host side
//!            └── stream  epochs, watermarks, windows: micro-batches through the same plan
//!                └── lake  Delta tables: history, results
//! ```

pub mod cli;
pub mod generate;
pub mod job;
pub mod sql;
pub mod stream;
pub mod lake;
pub mod plan;
pub mod run;
pub mod schedule;
pub mod kernel;
pub mod fragment;
pub mod agg;
pub mod expr;
pub mod record;
pub mod device;
pub mod trace;
pub mod task;
pub mod clock;
pub mod disk;
pub mod config;
pub mod fault;
pub mod error;
