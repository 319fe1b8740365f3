//! `SET thalweg.epoch_rows`, `thalweg.epoch_ms` and `thalweg.pipeline`: what continuous queries go
//! by. None of them changes a result.

use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{Expr, Set, Statement, Value};

use crate::error::{Error, Result};

/// What was set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Rows of an epoch, at most.
    pub epoch_rows: Option<usize>,
    /// How long an epoch that is not full waits for more rows.
    pub epoch_ms: Option<u64>,
    /// What a pipeline's places in tables are known by; else its file's stem.
    pub pipeline: Option<String>,
}

impl Settings {
    pub fn set(&mut self, setting: Setting) {
        match setting {
            Setting::EpochRows(rows) => self.epoch_rows = Some(rows),
            Setting::EpochMs(ms) => self.epoch_ms = Some(ms),
            Setting::Pipeline(name) => self.pipeline = Some(name),
        }
    }
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    EpochRows(usize),
    EpochMs(u64),
    Pipeline(String),
}

impl Setting {
    /// The setting that a statement sets, if it is one of ours; an error if the value is wrong.
    pub fn of(statement: &DfStatement) -> Option<Result<Self>> {
        let DfStatement::Statement(statement) = statement else { return None };
        let Statement::Set(Set::SingleAssignment { variable, values, .. }) = statement.as_ref()
        else {
            return None;
        };
        let name = variable.to_string().to_ascii_lowercase();
        let known = ["thalweg.epoch_rows", "thalweg.epoch_ms", "thalweg.pipeline"];
        if !known.contains(&name.as_str()) {
            return None;
        }
        let value = match values.as_slice() {
            [Expr::Value(value)] => match &value.value {
                Value::SingleQuotedString(text) | Value::Number(text, _) => text.clone(),
                other => other.to_string(),
            },
            [other] => other.to_string(),
            _ => String::new(),
        };
        let wrong = |what: &str| Error::User(format!("SET {name} = '{value}': {what} is wanted"));
        let setting = match name.as_str() {
            "thalweg.epoch_rows" => match value.parse() {
                Ok(rows) if rows > 0 => Ok(Self::EpochRows(rows)),
                _ => Err(wrong("a number of rows, 1 or more,")),
            },
            "thalweg.epoch_ms" => {
                value.parse().map(Self::EpochMs).map_err(|_| wrong("a number of milliseconds"))
            }
            _ if value.is_empty() || value.contains('/') => Err(wrong("a name without '/'")),
            _ => Ok(Self::Pipeline(value.clone())),
        };
        Some(setting)
    }
}
