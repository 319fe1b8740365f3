//! Readers of files.
