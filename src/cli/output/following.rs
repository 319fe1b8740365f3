//! A table that is drawn while its rows come: the header once, rows below it when they are there.

use arrow::array::Array;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::encode::Encoder;
use crate::cli::view::{self, blanks, cut, is_number, one_line, width};
use crate::error::Result;

/// Columns are as wide as what has come so far; a wider value widens its column from there on.
pub struct Following {
    schema: SchemaRef,
    widths: Vec<usize>,
    begun: bool,
    /// Columns of the screen, where there is one: lines are cut, numbers stand at the right.
    room: Option<usize>,
}

impl Following {
    /// A table of these columns, in lines of so much room where there is a limit.
    pub fn new(schema: SchemaRef, room: Option<usize>) -> Self {
        let widths = schema.fields().iter().map(|field| width(field.name())).collect();
        Self { schema, widths, begun: false, room }
    }

    fn fitted(&self, line: String) -> String {
        match self.room {
            Some(room) => cut(&line, room).into_owned() + "\n",
            None => line + "\n",
        }
    }

    fn border(&self) -> String {
        let parts = self.widths.iter().map(|width| "-".repeat(width + 2));
        self.fitted(format!("+{}+", parts.collect::<Vec<_>>().join("+")))
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>) -> String {
        let fields = self.schema.fields().iter();
        let cells = cells.zip(&self.widths).zip(fields).map(|((cell, width), field)| {
            let filling = blanks(cell, *width);
            match self.room.is_some() && is_number(field.data_type()) {
                true => format!(" {filling}{cell} |"),
                false => format!(" {cell}{filling} |"),
            }
        });
        self.fitted(format!("|{}", cells.collect::<String>()))
    }

    fn header(&mut self) -> String {
        if std::mem::replace(&mut self.begun, true) {
            return String::new();
        }
        let names = self.line(self.schema.fields().iter().map(|field| field.name().as_str()));
        format!("{border}{names}{border}", border = self.border())
    }
}

impl Encoder for Following {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        let options = FormatOptions::default().with_null("NULL");
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (column, width) in batch.columns().iter().zip(&mut self.widths) {
            let formatter = ArrayFormatter::try_new(column, &options)?;
            let cells = (0..column.len()).map(|row| formatter.value(row).try_to_string());
            let cells = cells.map(|cell| cell.map(one_line));
            let cells = cells.collect::<Result<Vec<String>, _>>()?;
            let widest = cells.iter().map(|cell| view::width(cell)).max();
            *width = widest.unwrap_or(0).max(*width);
            columns.push(cells);
        }
        let mut text = self.header();
        for row in 0..batch.num_rows() {
            text += &self.line(columns.iter().map(|cells| cells[row].as_str()));
        }
        Ok(text.into_bytes())
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        Ok((self.header() + &self.border()).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn on_a_screen_lines_are_cut_and_numbers_stand_at_the_right() {
        let numbers = Arc::new(Int64Array::from(vec![7, 1_000])) as ArrayRef;
        let texts = Arc::new(StringArray::from(vec!["a\nb", "a longer text"])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("n", numbers), ("text", texts)]).unwrap();
        let mut table = Following::new(batch.schema(), Some(16));
        let text = String::from_utf8(table.write(&batch).unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let wanted = ["+------+-------…", "|    n | text  …", "+------+-------…"];
        assert_eq!(lines[..3], wanted);
        assert_eq!(lines[3..], ["|    7 | a\\nb  …", "| 1000 | a long…"]);
    }

    #[test]
    fn the_header_comes_once_and_columns_widen() {
        let batch = |values: Vec<Option<&str>>| {
            let column = Arc::new(StringArray::from(values)) as ArrayRef;
            RecordBatch::try_from_iter_with_nullable([("name", column, true)]).unwrap()
        };
        let first = batch(vec![Some("a"), None]);
        let mut table = Following::new(first.schema(), None);
        let mut text = table.write(&first).unwrap();
        text.extend(table.write(&batch(vec![Some("longer")])).unwrap());
        text.extend(table.write(&batch(vec![Some("b")])).unwrap());
        text.extend(table.finish().unwrap());
        let want = "+------+\n| name |\n+------+\n| a    |\n| NULL |\n\
                    | longer |\n| b      |\n+--------+\n";
        assert_eq!(String::from_utf8(text).unwrap(), want);
        let mut none = Following::new(first.schema(), None);
        let text = none.finish().unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "+------+\n| name |\n+------+\n+------+\n");
    }
}
