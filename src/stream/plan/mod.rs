//! What a query means before it runs: rewrites of logical plans, their nodes, and which columns
//! follow the watermark.

pub mod asof;
pub(in crate::stream) mod display;
pub mod emit_delay;
pub mod interval;
pub mod late;
pub mod late_joins;
pub mod lower;
pub mod order;
pub mod proctime;
pub(in crate::stream) mod refuse;
pub mod session;
pub mod streams;
pub mod subquery;
pub(in crate::stream) mod union;
pub(in crate::stream) mod upsert_keys;
pub mod watermark_bound;
pub(in crate::stream) mod watermark_filter;
pub mod window;
