//! Session windows in plans: the node, the table function and the batch over all rows.

pub(in crate::stream) mod exec;
pub(in crate::stream) mod node;
pub(in crate::stream) mod plan;

pub use exec::SessionPlanner;
pub use node::{SessionNode, bound};
pub use plan::{PARTITION_BY, plan};
