//! A stream: its definition, the rows of its partitions in order, and its stored history.

pub mod definition;
pub mod history;
pub mod partition;
pub(super) mod reader;
pub mod table;
