//! Values from the command line in a script: `${name}` and `${name:-default}`.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::sql::sqlparser::tokenizer::Location;

use super::token::place;
use crate::error::Result;

/// Values by the names that a script calls them by.
pub type Values = BTreeMap<String, String>;

/// Puts values in the place of `${name}` and `${name:-default}`, in strings too, not in comments.
/// `$${` is the text `${`; what is no name, such as the `${1}` of a pattern, stays.
///
/// Errors: a name without a value and without a default, a `${` that is not closed; a value that
/// nothing in the script asks for.
pub fn substitute(text: &str, values: &Values) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut names = BTreeSet::new();
    let mut rest = text;
    let mut inside = Inside::Code;
    while !rest.is_empty() {
        let here = || at(&text[..text.len() - rest.len()]);
        if inside.comment() {
            let step = inside.step(rest);
            out.push_str(&rest[..step]);
            rest = &rest[step..];
        } else if rest.starts_with("$${") {
            out.push_str("${");
            rest = &rest[3..];
        } else if let Some(reference) = rest.strip_prefix("${").filter(|text| is_name(text)) {
            let end = reference.find(['}', '\n']).filter(|end| reference[*end..].starts_with('}'));
            let end = end.ok_or_else(|| place("there is no } behind this ${", here()))?;
            let (name, default) = match reference[..end].split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (&reference[..end], None),
            };
            if name.contains(|letter: char| !in_name(letter)) {
                return Err(place(&format!("${{{name}}} is no name of a value"), here()));
            }
            let value = values.get(name).map(String::as_str).or(default);
            out.push_str(value.ok_or_else(|| {
                place(&format!("${{{name}}} has no value: --set {name}=VALUE gives it one"), here())
            })?);
            names.insert(name);
            rest = &reference[end + 1..];
        } else {
            let step = inside.step(rest);
            out.push_str(&rest[..step]);
            rest = &rest[step..];
        }
    }
    match values.keys().find(|name| !names.contains(name.as_str())) {
        Some(name) => Err(unknown(name, &names)),
        None => Ok(out),
    }
}

fn unknown(name: &str, names: &BTreeSet<&str>) -> crate::error::Error {
    let there = match names.is_empty() {
        true => "there are none in this file".to_string(),
        false => format!("there are {}", names.iter().copied().collect::<Vec<_>>().join(", ")),
    };
    crate::error::Error::user(format!("--set {name}: nothing asks for ${{{name}}}; {there}"))
}

/// Whether a letter may stand in a name.
pub fn in_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Whether a text begins as a name does.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

/// Where the text goes on, lines and columns from 1.
fn at(before: &str) -> Location {
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Location { line: line as u64, column: column as u64 }
}

/// What a place in the text is part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Code,
    /// Up to this quotation mark.
    Quoted(char),
    /// To the end of the line.
    Line,
    /// So many `/*` deep.
    Block(usize),
}

impl Inside {
    fn comment(self) -> bool {
        matches!(self, Self::Line | Self::Block(_))
    }

    /// Steps over the next mark or letter; answers its bytes.
    fn step(&mut self, rest: &str) -> usize {
        let next = rest.chars().next().unwrap_or_default();
        let (now, bytes) = match *self {
            Self::Code if rest.starts_with("--") => (Self::Line, 2),
            Self::Code if rest.starts_with("/*") => (Self::Block(1), 2),
            Self::Code if next == '\'' || next == '"' => (Self::Quoted(next), 1),
            Self::Quoted(mark) if next == mark => (Self::Code, 1),
            Self::Line if next == '\n' => (Self::Code, 1),
            Self::Block(depth) if rest.starts_with("/*") => (Self::Block(depth + 1), 2),
            Self::Block(1) if rest.starts_with("*/") => (Self::Code, 2),
            Self::Block(depth) if rest.starts_with("*/") => (Self::Block(depth - 1), 2),
            same => (same, next.len_utf8()),
        };
        *self = now;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(text: &str, values: &[(&str, &str)]) -> String {
        let own = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        match substitute(text, &values.iter().map(own).collect()) {
            Ok(text) => text,
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn values_and_defaults_take_their_places() {
        let set = [("a", "1"), ("b_2", "x/y")];
        assert_eq!(put("${a} '${b_2}/z' \"${a:-9}\" ${c:-d'e}", &set), "1 'x/y/z' \"1\" d'e");
        assert_eq!(put("é${a:-}${b_2:-}${e:-}.", &set), "é1x/y.");
        // Not in comments, but behind what only looks like one.
        let text = "-- ${n}\n/* ${n} /* */ ${n} */ '--' ${a} \"/*\" ${a} 'it''s -- ' ${b_2}";
        let want = "-- ${n}\n/* ${n} /* */ ${n} */ '--' 1 \"/*\" 1 'it''s -- ' x/y";
        assert_eq!(put(text, &set), want);
        assert_eq!(put("'${1}' $${a} $1 ${", &[]), "'${1}' ${a} $1 ${");
        // A value is not read again.
        assert_eq!(put("${a}", &[("a", "${b}--")]), "${b}--");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, set, want) in [
            (
                "SELECT 1,\n  ${rows};",
                &[][..],
                "line 2, column 3: ${rows} has no value: --set rows=",
            ),
            ("'${a'\n}", &[], "line 1, column 2: there is no } behind"),
            ("${a b}", &[], "line 1, column 1: ${a b} is no name"),
            ("${a:-1} ${b:-2}", &[("c", "3")], "--set c: nothing asks for ${c}; there are a, b"),
            ("-- ${c}", &[("c", "3")], "--set c: nothing asks for ${c}; there are none"),
        ] {
            let told = put(text, set);
            assert!(told.starts_with(want), "{told}");
        }
    }
}
