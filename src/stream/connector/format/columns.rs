//! Declared columns among those of a file.

use arrow::datatypes::Schema;

use crate::error::{Error, Result};

/// What a declared column is that a file of CSV or Parquet lacks. In JSON it is NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Fail,
    Null,
}

/// For each declared column, which of a file's columns it is: by its name, or by the only one
/// that differs in case.
pub fn pick(declared: &Schema, names: &[String], missing: Missing) -> Result<Vec<Option<usize>>> {
    let find = |wanted: &String| {
        if let Some(at) = names.iter().position(|name| name == wanted) {
            return Ok(Some(at));
        }
        let mut alike = (0..names.len()).filter(|at| names[*at].eq_ignore_ascii_case(wanted));
        match (alike.next(), alike.next()) {
            (Some(at), None) => Ok(Some(at)),
            (None, _) if missing == Missing::Null => Ok(None),
            _ => Err(Error::Data(format!(
                "there is no column {wanted}; there are {} (missing = 'null' reads NULL)",
                names.join(", ")
            ))),
        }
    };
    declared.fields().iter().map(|field| find(field.name())).collect()
}
