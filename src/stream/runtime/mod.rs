//! Drives epochs: rows are read, recorded, given to every query, and their results committed.

pub(super) mod commit;
pub(super) mod follow;
pub mod pipeline;
pub(super) mod report;
pub(super) mod shutdown;
pub(super) mod state_budget;
pub mod totals;
