//! What a query means before it runs: rewrites of logical plans, their nodes, and which columns
//! follow the watermark.

pub mod asof;
pub(super) mod display;
pub mod emit_delay;
pub mod interval;
pub mod order;
pub mod proctime;
pub mod session;
pub mod subquery;
pub(super) mod union;
pub(super) mod upsert_keys;
pub mod watermark_bound;
pub mod window;
