//! The place of an error, below its message: the line of the statement and a caret under the word.

use std::borrow::Cow;

use super::lexer::pieces;
use super::view::{cut, one_line, width};
use crate::error::{Place, UserError};

/// Columns that a line of the text takes at most.
const ROOM: usize = 76;

/// An error, of which `head` is what comes first, with the line of the text that it speaks of;
/// hints stand at its end.
pub fn pointed(head: &str, told: &UserError, text: &str) -> String {
    let shown = told.place.and_then(|place| line(text, place, ROOM));
    let shown = shown.map(|line| format!("\n{line}")).unwrap_or_default();
    format!("{head}{shown}{}", told.hints())
}

/// The line, with carets below the word that begins at the place.
fn line(text: &str, place: Place, room: usize) -> Option<String> {
    let Place { line: number, column } = place;
    let line = text.lines().nth(usize::try_from(number).ok()?.checked_sub(1)?)?;
    if line.trim().is_empty() {
        return None;
    }
    let before = usize::try_from(column).ok()?.checked_sub(1)?;
    let at = line.char_indices().nth(before).map_or(line.len(), |(at, _)| at);
    let word = pieces(&line[at..]).first().map_or("", |piece| piece.text).trim_end();
    let (head, word) = (plain(&line[..at]), plain(word));
    let line = plain(line.trim_end());
    // A long line is shown from a word before the place on.
    let skipped = match width(&head) + width(&word).min(room / 2) > room {
        true => start(&head, room / 2),
        false => 0,
    };
    let dots = if skipped > 0 { "…" } else { "" };
    let shown = cut(&line[skipped..], room);
    let margin = format!("{number} | ");
    let indent = " ".repeat(width(&head[skipped..]) + width(dots));
    let left = room.saturating_sub(width(&head[skipped..])).max(1);
    let carets = "^".repeat(width(&word).clamp(1, left));
    let gutter = " ".repeat(margin.len() - 2);
    Some(format!("{margin}{dots}{shown}\n{gutter}| {indent}{carets}"))
}

/// Tabs take one column, so that what stands below is below.
fn plain(text: &str) -> Cow<'_, str> {
    match text.contains(char::is_control) {
        true => Cow::Owned(one_line(text.replace('\t', " "))),
        false => Cow::Borrowed(text),
    }
}

/// Where the last so many columns of a text begin.
fn start(text: &str, room: usize) -> usize {
    let fits = |at: &usize| width(&text[*at..]) <= room;
    text.char_indices().map(|(at, _)| at).find(fits).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, (line, column): (u64, u64), room: usize) -> Option<String> {
        super::line(text, Place { line, column }, room)
    }

    #[test]
    fn the_caret_stands_below_the_word() {
        let text = "SELECT 1;\n\tSELECT grün, nope FROM t";
        let shown = line(text, (2, 15), 76).unwrap();
        assert_eq!(shown, "2 |  SELECT grün, nope FROM t\n  |               ^^^^");
        let error = UserError::new("no nope").at(Place::new(2, 15)).help("yes");
        let told = pointed("no nope", &error, text);
        assert!(told.starts_with("no nope\n2 | ") && told.ends_with("^^^^\n  hint: yes"), "{told}");
        // The end of a text.
        let shown = line("SELECT (1", (1, 10), 76).unwrap();
        assert_eq!(shown, "1 | SELECT (1\n  |          ^");
        for place in [(3, 1), (0, 1), (1, 0)] {
            assert_eq!(line(text, place, 76), None, "{place:?}");
        }
    }

    #[test]
    fn long_lines_are_shown_around_the_place() {
        let text = format!("SELECT {}nope, {} FROM t", "a, ".repeat(100), "b, ".repeat(100));
        let shown = line(&text, (1, 308), 40).unwrap();
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines[1].find('^').unwrap();
        let above: String = lines[0].chars().skip(at).take(4).collect();
        assert_eq!((above.as_str(), &lines[1][at..]), ("nope", "^^^^"));
        assert!(lines.iter().all(|line| width(line) <= 46), "{shown}");
        let wide = line("SELECT '日本', nope", (1, 14), 76).unwrap();
        assert!(wide.ends_with(&format!("| {}^^^^", " ".repeat(15))), "{wide}");
    }
}
