//! What stands between a pipeline and the world: sources, formats and sinks.

pub mod api;
pub mod format;
pub mod forms;
pub mod options;
pub mod sink;
pub mod source;
