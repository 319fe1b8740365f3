//! Session windows in plans: the node, the table function and the batch over all rows.

pub mod exec;
pub mod node;
pub mod plan;
