//! Drives epochs: rows are read, recorded, given to every query, and their results committed.

mod effects;
pub mod state;
mod epoch;
pub(in crate::stream) mod commit;
pub(in crate::stream) mod follow;
pub mod pipeline;
pub(in crate::stream) mod report;
pub(in crate::stream) mod shutdown;
pub(in crate::stream) mod state_budget;
pub mod totals;
