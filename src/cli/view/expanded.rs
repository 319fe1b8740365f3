//! Rows one below the other, a line for each value: for rows that are wider than a screen.

use arrow::array::RecordBatch;

use super::cells::{Rows, cells, counted};
use super::screen::Screen;
use super::text::{blanks, cut, one_line, width, wrapped};
use crate::cli::output::encode::Encoder;
use crate::error::Result;

/// Rows that are shown however low the screen is.
const LEAST_ROWS: usize = 3;

/// Columns that a name takes at most of a screen, of so many.
const NAMES_SHARE: usize = 3;

/// Rows of so many columns that a screen has room for.
pub fn rows_of(screen: Screen, columns: usize) -> usize {
    (screen.lines.saturating_sub(2) / (columns + 1)).max(LEAST_ROWS)
}

/// Draws rows on a screen, and what of the result is not shown. Long values go on in the next
/// line.
pub fn draw(rows: &Rows, screen: Screen) -> Result<String> {
    let mut text = records(&rows.top, 0, Some(screen.columns))?;
    let (top, bottom) = (rows.top.num_rows() as u64, rows.bottom.num_rows() as u64);
    if rows.count == 0 {
        text += "0 rows\n";
    }
    if top + bottom < rows.count {
        text += "…\n";
        text += &records(&rows.bottom, rows.count - bottom, Some(screen.columns))?;
        text += &counted(rows.count, "row", top + bottom);
        text.push('\n');
    }
    Ok(text)
}

/// The rows of a batch behind so many others.
fn records(batch: &RecordBatch, before: u64, room: Option<usize>) -> Result<String> {
    let schema = batch.schema();
    let names: Vec<String> =
        schema.fields().iter().map(|field| one_line(field.name().clone())).collect();
    let longest = names.iter().map(|name| width(name)).max().unwrap_or(0);
    let widest = room.map_or(longest, |room| longest.min((room / NAMES_SHARE).max(1)));
    let cells = cells(batch)?;
    let mut text = String::new();
    for row in 0..batch.num_rows() {
        text += &rule(before + row as u64 + 1, widest);
        for (name, column) in names.iter().zip(&cells) {
            let name = cut(name, widest);
            let mut head = format!("{name}{} | ", blanks(&name, widest));
            let room = room.map(|room| room.saturating_sub(widest + 3).max(1));
            let lines = match room {
                Some(room) => wrapped(&column[row], room),
                None => vec![column[row].as_str()],
            };
            for line in lines {
                text += format!("{head}{line}").trim_end();
                text.push('\n');
                head = format!("{} | ", " ".repeat(widest));
            }
        }
    }
    Ok(text)
}

/// The line above a row.
fn rule(number: u64, widest: usize) -> String {
    let name = format!("-[ {number} ]-");
    let dashes = "-".repeat(widest.saturating_sub(name.len() - 1));
    format!("{name}{dashes}\n")
}

/// All rows, one below the other, for where nothing is cut.
#[derive(Default)]
pub struct Expanded {
    rows: u64,
}

impl Encoder for Expanded {
    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        let text = records(batch, self.rows, None)?;
        self.rows += batch.num_rows() as u64;
        Ok(text.into_bytes())
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        match self.rows {
            0 => Ok(b"0 rows\n".to_vec()),
            _ => Ok(Vec::new()),
        }
    }
}
