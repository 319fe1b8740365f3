//! Which parts of a plan the device runs: the rule that places them, what becomes of a subtree as a
//! fragment, and the nodes that stand for it.

mod describe;
pub mod dictionaries;
pub mod exec;
mod lower;
pub mod measured;
pub mod place;
pub mod rule;
mod scans;
