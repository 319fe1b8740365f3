//! Live data: sources, event time, windows, epochs, sinks.

pub mod run;
