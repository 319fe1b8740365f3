//! The rows that are shown of a result, their values as text.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::text::one_line;
use crate::error::Result;

/// Rows that are shown, of so many.
pub struct Rows {
    pub top: RecordBatch,
    pub bottom: RecordBatch,
    pub count: u64,
}

/// The values of each column as text of one line.
pub fn cells(batch: &RecordBatch) -> Result<Vec<Vec<String>>> {
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
pub fn counted(count: u64, word: &str, shown: u64) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {word}{ending} ({shown} shown)")
}
