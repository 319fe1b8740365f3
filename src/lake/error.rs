//! Errors of Delta tables, in one line.

use deltalake::DeltaTableError;

use crate::error::{Error, cause};

/// The error of a table that its user has named so.
pub fn failed(path: &str, error: DeltaTableError) -> Error {
    Error::User(told(path, &cause(&error)))
}

/// The error of a Delta table in one line: what the layers below add, and their backtraces, are
/// left out.
pub fn told(path: &str, error: &str) -> String {
    let first = error.lines().next().unwrap_or_default();
    let mut cause = first;
    let layers = ["Kernel error: ", "Generic error: ", "Generic delta kernel error: "];
    while let Some(rest) = layers.iter().find_map(|layer| cause.strip_prefix(layer)) {
        cause = rest;
    }
    let (cause, hint) = match cause {
        _ if cause.starts_with("Invalid Checkpoint: Had a _last_checkpoint hint") => (
            "_delta_log/_last_checkpoint names a checkpoint that is not there",
            "; remove that file, and the table is read from its commits",
        ),
        _ if cause.starts_with("Json error: ") => {
            (cause, " in a commit or checkpoint of _delta_log")
        }
        _ if cause.starts_with("No table metadata or protocol found") => {
            (cause.trim_end_matches('.'), "; the first commit of _delta_log may be missing")
        }
        _ => (cause, ""),
    };
    format!("the Delta table '{path}': {cause}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_line() {
        let error =
            "Kernel error: Json error: Truncated record\n   0: buoyant_kernel::error\n   1: x";
        let want = "the Delta table 'a': Json error: Truncated record in a commit or checkpoint of \
                    _delta_log";
        assert_eq!(told("a", error), want);
        assert_eq!(told("a", "Not found"), "the Delta table 'a': Not found");
    }
}
