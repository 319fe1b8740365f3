//! What a reader of text is asked for, and how it says that text is no rows.

use std::fmt;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::config::CsvOptions;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use encoding_rs::Encoding;

/// What tells how a file is to be read stands among its first bytes: a header, the first rows.
pub const HEAD_BYTES: u64 = 64 << 10;

/// Why text is no rows, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: Option<u64>,
    /// The row, from 0, where it is known and the line is not.
    pub row: Option<u64>,
    pub column: Option<String>,
    pub why: String,
}

impl Fault {
    pub fn new(why: impl Into<String>) -> Self {
        Self { line: None, row: None, column: None, why: why.into() }
    }

    pub fn on(line: u64, why: impl Into<String>) -> Self {
        Self { line: Some(line), ..Self::new(why) }
    }

    pub fn of(row: u64, column: impl Into<String>, why: impl Into<String>) -> Self {
        Self { row: Some(row), column: Some(column.into()), ..Self::new(why) }
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.map(|line| format!("line {line}"));
        let column = self.column.as_ref().map(|column| format!("column '{column}'"));
        let places: Vec<String> = line.into_iter().chain(column).collect();
        match places.is_empty() {
            true => f.write_str(&self.why),
            false => write!(f, "{}: {}", places.join(", "), self.why),
        }
    }
}

/// The form of the text of a table's files.
#[derive(Debug, Clone)]
pub enum Form {
    Csv(Box<CsvOptions>),
    Json,
}

/// Rows from text.
pub trait Parse: Send {
    /// Takes the next bytes, which are UTF-8; `last` says that no more come.
    fn push(&mut self, text: &[u8], last: bool) -> Result<(), Fault>;

    /// The next rows; `None` where there are none without more bytes.
    fn next(&mut self) -> Result<Option<RecordBatch>, Fault>;
}

/// What a scan reads, and how.
#[derive(Debug, Clone)]
pub struct Reading {
    pub form: Form,
    pub encoding: Option<&'static Encoding>,
    pub compression: FileCompressionType,
    /// The columns of the files that are wanted.
    pub schema: SchemaRef,
    /// All columns of the table's files.
    pub table: SchemaRef,
    pub batch_size: usize,
}
