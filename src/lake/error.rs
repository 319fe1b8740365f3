//! Errors of Delta tables, in one line.

use deltalake::DeltaTableError;

use crate::error::foreign::delta::{Damage, damage, without_layers};
use crate::error::{Error, cause};

/// The error of a table that its user has named so.
pub fn failed(path: &str, error: DeltaTableError) -> Error {
    Error::user(told(path, &cause(&error)))
}

/// The error of a Delta table in one line: what the layers below add, and their backtraces, are
/// left out.
pub fn told(path: &str, error: &str) -> String {
    let cause = without_layers(error);
    let (cause, hint) = match damage(cause) {
        Some(Damage::NoCheckpoint) => (
            "_delta_log/_last_checkpoint names a checkpoint that is not there",
            "; remove that file, and the table is read from its commits",
        ),
        Some(Damage::NoJson) => (cause, " in a commit or checkpoint of _delta_log"),
        Some(Damage::NoMetadata) => {
            (cause.trim_end_matches('.'), "; the first commit of _delta_log may be missing")
        }
        None => (cause, ""),
    };
    format!("the Delta table '{path}': {cause}{hint}")
}
