//! A table that fits a screen.

use arrow::datatypes::{DataType, FieldRef};

use super::cells::{Rows, cells, counted, is_number};
use super::layout::{FRAME, LEAST, Layout, Want, layout};
use super::screen::{Look, Screen};
use super::text::{blanks, cut, one_line, width};
use crate::error::Result;

/// Lines of a table beside its rows: frame, names, frame, frame, what was cut, the next prompt.
const OTHER_LINES: usize = 6;

/// Rows that are shown however low the screen is.
const LEAST_ROWS: usize = 5;

/// Rows that a screen has room for.
pub fn rows_of(screen: Screen, look: Look) -> usize {
    let other = OTHER_LINES + usize::from(look.types);
    screen.lines.saturating_sub(other).max(LEAST_ROWS)
}

/// Draws rows, and what of the result is not shown.
pub fn draw(rows: &Rows, look: Look, screen: Screen) -> Result<String> {
    let columns = columns(rows, look)?;
    let wants: Vec<Want> = columns.iter().map(Column::want).collect();
    let layout = layout(&wants, screen.columns);
    let drawing = Drawing { columns: &columns, layout: &layout };
    let border = drawing.border();
    let head = columns.first().map_or(0, |column| column.head.len());
    let mut text = border.clone();
    for line in 0..head {
        text += &drawing.line(|column| (&column.head[line], column.is_number));
    }
    text += &border;
    for row in 0..rows.top.num_rows() {
        text += &drawing.line(|column| (&column.top[row], column.is_number));
    }
    let shown = (rows.top.num_rows() + rows.bottom.num_rows()) as u64;
    if shown < rows.count {
        let gap = "…".to_string();
        text += &drawing.line(|column| (&gap, column.is_number));
    }
    for row in 0..rows.bottom.num_rows() {
        text += &drawing.line(|column| (&column.bottom[row], column.is_number));
    }
    text += &border;
    text += &cuts(rows.count, shown, &layout);
    Ok(text)
}

/// How much of a result is shown, where it is not all.
fn cuts(rows: u64, shown: u64, layout: &Layout) -> String {
    let mut parts = Vec::new();
    if shown < rows {
        parts.push(counted(rows, "row", shown));
    }
    if layout.hidden > 0 {
        let columns = layout.shown.len();
        parts.push(counted((columns + layout.hidden) as u64, "column", columns as u64));
    }
    match parts.is_empty() {
        true => String::new(),
        false => parts.join(", ") + "\n",
    }
}

/// A column as text.
struct Column {
    head: Vec<String>,
    top: Vec<String>,
    bottom: Vec<String>,
    is_number: bool,
}

impl Column {
    fn want(&self) -> Want {
        let widest = |texts: &[String]| texts.iter().map(|text| width(text)).max().unwrap_or(0);
        let values = widest(&self.top).max(widest(&self.bottom)).max(1);
        let all = values.max(widest(&self.head));
        // A number that is cut is another number.
        let least = if self.is_number { values.max(all.min(LEAST)) } else { all.min(LEAST) };
        Want { all, least }
    }
}

fn columns(rows: &Rows, look: Look) -> Result<Vec<Column>> {
    let values = cells(&rows.top)?.into_iter().zip(cells(&rows.bottom)?);
    let schema = rows.top.schema();
    let columns = schema.fields().iter().zip(values).map(|(field, (top, bottom))| {
        let (head, is_number) = (head(field, look), is_number(field.data_type()));
        Column { head, top, bottom, is_number }
    });
    Ok(columns.collect())
}

fn head(field: &FieldRef, look: Look) -> Vec<String> {
    let mut head = vec![one_line(field.name().clone())];
    if look.types {
        head.push(type_name(field.data_type()));
    }
    head
}

/// A type in short.
fn type_name(kind: &DataType) -> String {
    one_line(kind.to_string())
}

/// The lines of a table.
struct Drawing<'a> {
    columns: &'a [Column],
    layout: &'a Layout,
}

impl Drawing<'_> {
    /// The columns that are shown, `None` for the one that stands for the others.
    fn slots(&self) -> impl Iterator<Item = Option<(&Column, usize)>> {
        let shown = |&(column, width): &(usize, usize)| Some((&self.columns[column], width));
        let (left, right) = self.layout.shown.split_at(self.layout.left);
        let gap = (self.layout.hidden > 0).then_some(None);
        left.iter().map(shown).chain(gap).chain(right.iter().map(shown))
    }

    fn border(&self) -> String {
        let dashes = |slot: Option<(&Column, usize)>| {
            let width = slot.map_or(1, |(_, width)| width);
            "-".repeat(width + FRAME - 1)
        };
        format!("+{}+\n", self.slots().map(dashes).collect::<Vec<_>>().join("+"))
    }

    /// A line of what `cell` says of each column: text, and whether it stands at the right.
    fn line<'a>(&'a self, cell: impl Fn(&'a Column) -> (&'a String, bool)) -> String {
        let mut line = "|".to_string();
        for slot in self.slots() {
            let Some((column, room)) = slot else {
                line += " … |";
                continue;
            };
            let (text, right) = cell(column);
            let text = cut(text, room);
            let filling = blanks(&text, room);
            line += &match right {
                true => format!(" {filling}{text} |"),
                false => format!(" {text}{filling} |"),
            };
        }
        line + "\n"
    }
}
