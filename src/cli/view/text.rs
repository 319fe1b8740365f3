//! Text by the columns that a terminal shows it in, which are neither bytes nor characters.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// A text of so many columns at most; what is cut ends in an ellipsis.
pub fn cut(text: &str, room: usize) -> Cow<'_, str> {
    if width(text) <= room {
        return Cow::Borrowed(text);
    }
    let end = fitting(text, room.saturating_sub(1));
    match room {
        0 => Cow::Borrowed(""),
        // What was cut before is not cut twice.
        _ => Cow::Owned(format!("{}…", text[..end].trim_end_matches('…'))),
    }
}

/// The text in lines of so many columns at most, broken behind a blank, or else behind a bracket or
/// a comma, where there is one not too far to the left.
pub fn wrapped(text: &str, room: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while width(rest) > room {
        let most = fitting(rest, room);
        let last = |ends: &[char], least: usize| {
            rest[..most].rfind(ends).map(|at| at + 1).filter(|at| *at > least)
        };
        let end =
            last(&[' '], most / 2).or_else(|| last(&['(', '[', '{', ',', '=', ' '], most / 3));
        // A single character may be wider than the room.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let (line, more) = rest.split_at(end.unwrap_or(most).max(first));
        lines.push(line.trim_end());
        rest = more;
    }
    if !rest.is_empty() || lines.is_empty() {
        lines.push(rest);
    }
    lines
}

/// Bytes of the text that fit into so many columns.
fn fitting(text: &str, room: usize) -> usize {
    let mut used = 0;
    for (at, character) in text.char_indices() {
        used += character.width().unwrap_or(0);
        if used > room {
            return at;
        }
    }
    text.len()
}

/// A text that stays in its line and sends the terminal no commands: line breaks and control
/// characters are shown as escapes.
pub fn one_line(text: String) -> String {
    if !text.chars().any(char::is_control) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character.is_control() {
            true => out.extend(character.escape_default()),
            false => out.push(character),
        }
    }
    out
}

/// Blanks that fill a text up to so many columns.
pub fn blanks(text: &str, room: usize) -> String {
    " ".repeat(room.saturating_sub(width(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_count_double() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 5), "abcd…");
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!((cut("ab", 1), cut("ab", 0)), ("…".into(), "".into()));
        assert_eq!(width(&cut("e\u{301}e\u{301}e\u{301}", 2)), 2);
    }

    #[test]
    fn lines_break_at_blanks() {
        assert_eq!(wrapped("a=1, b=2, c=3", 10), ["a=1, b=2,", "c=3"]);
        assert_eq!(wrapped("Hash([column@0], 2)", 12), ["Hash([", "column@0],", "2)"]);
        assert_eq!(wrapped("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrapped("日本", 1), ["日", "本"]);
        assert_eq!(wrapped("", 3), [""]);
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(one_line("a\nb\u{1b}[2J\tc".into()), "a\\nb\\u{1b}[2J\\tc");
        assert_eq!(one_line("plain é".into()), "plain é");
    }
}
