//! Errors of files, in words.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;

use crate::error::Error;
use crate::error::foreign::{arrow as arrow_prose, datafusion as prose};
use crate::error::store::{of_store, told};

/// An error of the rows or files, not of the request.
pub fn data(message: impl Into<String>) -> DataFusionError {
    Error::Data(message.into()).into()
}

/// An error of the request.
pub fn user(message: impl Into<String>) -> DataFusionError {
    Error::user(message).into()
}

/// The innermost message of an error.
pub fn cause(error: &DataFusionError) -> String {
    if let Some(inner) = of_store(error) {
        return told(inner);
    }
    match error.find_root() {
        DataFusionError::ArrowError(inner, _) => arrow_cause(inner),
        DataFusionError::ParquetError(inner) => match inner.as_ref() {
            ParquetError::General(text) => text.clone(),
            other => other.to_string(),
        },
        DataFusionError::External(inner) => inner.to_string(),
        other => prose::without_report(&other.message()).to_string(),
    }
}

fn arrow_cause(error: &ArrowError) -> String {
    match error {
        ArrowError::CsvError(text)
        | ArrowError::JsonError(text)
        | ArrowError::ParseError(text)
        | ArrowError::IpcError(text) => text.clone(),
        ArrowError::ParquetError(text) => arrow_prose::of_parquet(text).to_string(),
        other => other.to_string(),
    }
}

/// The error of a file over which a decoder has panicked.
pub fn damaged(name: &str, panic: &str) -> DataFusionError {
    match Error::too_long(panic) {
        Some(error) => data(format!("file '{name}': {error}")),
        None => data(format!("file '{name}' is damaged: {panic}")),
    }
}

/// A message behind the name of a file: `, line 3: why`, or `: why`.
pub fn placed(told: &str) -> String {
    let place = ["line ", "column '"].iter().any(|place| told.starts_with(place));
    format!("{}{told}", if place { ", " } else { ": " })
}
