//! Formats of rows in files and requests, read into the declared columns.

pub mod cast;
pub(in crate::stream) mod columns;
pub(in crate::stream) mod csv;
pub(in crate::stream) mod digits;
pub(in crate::stream) mod encoding;
pub(in crate::stream) mod json;
pub(in crate::stream) mod parquet;
mod precision;
pub(in crate::stream) mod text;
