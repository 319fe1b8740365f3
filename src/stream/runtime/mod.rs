//! Drives epochs: rows are read, recorded, given to every query, and their results committed.

pub(in crate::stream) mod commit;
mod effects;
mod epoch;
pub(in crate::stream) mod follow;
pub mod pipeline;
pub(in crate::stream) mod report;
pub(in crate::stream) mod shutdown;
pub mod state;
pub(in crate::stream) mod state_budget;
pub mod totals;
