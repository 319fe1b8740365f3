//! Spans of a run, for Perfetto.
