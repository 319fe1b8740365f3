//! Results as a person reads them: what a terminal has room for, and what of a result is shown
//! there. Nothing here knows the terminal: its size is given, so that tests need none.

mod expanded;
mod layout;
mod plan;
mod sample;
mod table;
mod text;
#[cfg(test)]
mod tests;

pub use expanded::Expanded;
pub use plan::{explained, is_plan};
pub use sample::Sample;
pub use text::{blanks, cut, one_line, width};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::Result;

/// What a terminal has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    pub columns: usize,
    pub lines: usize,
}

/// How results are drawn, as asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// The type of each column below its name.
    pub types: bool,
    /// A line for each value instead of one for each row.
    pub expanded: bool,
}

/// The values of each column as text of one line.
fn cells(batch: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let options = FormatOptions::default().with_null("NULL");
    let texts = batch.columns().iter().map(|column| {
        let formatter = ArrayFormatter::try_new(column, &options)?;
        let cells = (0..column.len()).map(|row| formatter.value(row).try_to_string());
        Ok(cells.map(|cell| cell.map(one_line)).collect::<Result<_, _>>()?)
    });
    texts.collect()
}

/// Whether values stand at the right of their column.
pub fn is_number(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_number(values),
        kind => kind.is_numeric(),
    }
}

/// `1000 rows (20 shown)`, in singular where there is one.
fn counted(count: u64, word: &str, shown: u64) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {word}{ending} ({shown} shown)")
}
