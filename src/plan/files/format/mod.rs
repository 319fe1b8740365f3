//! Formats of files: what reads each, and which columns files have. Parquet is shown to DataFusion
//! of statistics only what can be trusted.

pub mod arrow_file;
pub mod csv;
pub mod csv_columns;
pub mod dictionaries;
pub mod infer;
pub mod parquet;
pub mod schema;
pub mod text;
mod widen;
