//! A stream: its definition, the rows of its partitions in order, and its stored history.

pub mod definition;
pub mod history;
pub(in crate::stream) mod history_scan;
pub mod partition;
pub mod position;
pub(in crate::stream) mod reader;
pub mod table;
