//! How answers are compared with those in a file: the suites of DataFusion, DuckDB and SQLite write
//! the same rows each in their own way.

use clap::ValueEnum;
use md5::{Digest, Md5};
use sqllogictest::{Normalizer, Validator};

/// Whose files they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// Values and types as DataFusion's own runner prints them
    Datafusion,
    /// Types are not compared, floats nearly, timestamps with a blank; <REGEX>: is a pattern
    Duckdb,
    /// A value on each line or each row, reals with three digits, no types
    Sqlite,
}

impl Style {
    pub fn validator(self) -> Validator {
        match self {
            Self::Datafusion => datafusion,
            Self::Duckdb => duckdb,
            Self::Sqlite => sqlite,
        }
    }
}

/// What a file may leave open in a line.
const IGNORED: &str = "<slt:ignore>";

/// Blanks at the end of a line are no part of it; columns may be separated by tabs.
#[expect(clippy::ptr_arg, reason = "the runner's type")]
pub fn line(text: &String) -> String {
    text.trim_end().replace('\t', " ")
}

fn lines(rows: &[Vec<String>]) -> Vec<String> {
    rows.iter().map(|row| row.join(" ").trim_end().to_string()).collect()
}

/// One value after another.
fn values(rows: &[Vec<String>]) -> Vec<String> {
    rows.iter().flatten().cloned().collect()
}

fn datafusion(normal: Normalizer, rows: &[Vec<String>], expected: &[String]) -> bool {
    let want: Vec<String> = expected.iter().map(normal).collect();
    let have = lines(rows);
    if want.iter().any(|line| line.contains(IGNORED)) {
        return fits(&have.join("\n"), &want.join("\n"));
    }
    have == want || hashed(rows, &want) || (want.len() != have.len() && values(rows) == want)
}

/// Whether a text has all pieces of another, in their order, from its start.
fn fits(text: &str, pattern: &str) -> bool {
    let mut rest = text;
    for (nth, piece) in pattern.split(IGNORED).enumerate() {
        match rest.find(piece) {
            Some(at) if nth > 0 || at == 0 => rest = &rest[at + piece.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || pattern.ends_with(IGNORED)
}

/// Whether `30 values hashing to ..` is that of these rows.
fn hashed(rows: &[Vec<String>], want: &[String]) -> bool {
    let [line] = want else { return false };
    let Some((count, hash)) = line.split_once(" values hashing to ") else { return false };
    let values = values(rows);
    if count.trim().parse() != Ok(values.len()) {
        return false;
    }
    let mut digest = Md5::new();
    for value in &values {
        digest.update(value.as_bytes());
        digest.update(b"\n");
    }
    let found: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    found == hash.trim()
}

/// Floats of other engines are as near as this, relative to their size.
const NEAR: f64 = 1e-9;

fn duckdb(normal: Normalizer, rows: &[Vec<String>], expected: &[String]) -> bool {
    let want: Vec<String> = expected.iter().map(normal).collect();
    if let [only] = want.as_slice()
        && let Some((pattern, wanted)) = pattern(only)
    {
        let found = regex::RegexBuilder::new(pattern).dot_matches_new_line(true).build();
        return found.is_ok_and(|found| found.is_match(&lines(rows).join("\n")) == wanted);
    }
    if hashed(rows, &want) {
        return true;
    }
    let all_same = |have: &[String]| {
        have.len() == want.len() && have.iter().zip(&want).all(|(have, want)| same(have, want))
    };
    all_same(&lines(rows)) || all_same(&values(rows))
}

/// A pattern in the place of a result, and whether it is to be found.
fn pattern(line: &str) -> Option<(&str, bool)> {
    let found = line.strip_prefix("<REGEX>:").map(|pattern| (pattern, true));
    found.or_else(|| line.strip_prefix("<!REGEX>:").map(|pattern| (pattern, false)))
}

fn same(have: &str, want: &str) -> bool {
    let (have, want) = (have.split(' '), want.split(' '));
    // A timestamp is one word here and two there.
    let have: Vec<&str> = have.flat_map(split_timestamp).collect();
    let want: Vec<&str> = want.collect();
    let near = |(have, want): (&&str, &&str)| {
        have == want
            || matches!((have.parse::<f64>(), want.parse::<f64>()), (Ok(have), Ok(want))
                if (have - want).abs() <= NEAR * have.abs().max(want.abs()))
    };
    have.len() == want.len() && have.iter().zip(&want).all(near)
}

fn split_timestamp(word: &str) -> Vec<&str> {
    match word.split_once('T') {
        Some((date, time))
            if date.len() >= 10
                && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
                && time.starts_with(|first: char| first.is_ascii_digit()) =>
        {
            vec![date, time]
        }
        _ => vec![word],
    }
}

fn sqlite(normal: Normalizer, rows: &[Vec<String>], expected: &[String]) -> bool {
    let want: Vec<String> = expected.iter().map(normal).collect();
    let forms: [fn(&str) -> String; 3] = [real, integer, str::to_string];
    for form in forms {
        let formed: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|value| form(value)).collect()).collect();
        if hashed(&formed, &want) {
            return true;
        }
    }
    let all = |have: &[String], want: &[&str]| {
        have.len() == want.len() && have.iter().zip(want).all(|(have, want)| is_form(have, want))
    };
    let lines_wanted: Vec<&str> = want.iter().map(String::as_str).collect();
    let by_row = rows.len() == want.len()
        && rows.iter().zip(&want).all(|(row, want)| all(row, &want.split(' ').collect::<Vec<_>>()));
    by_row || all(&values(rows), &lines_wanted) || all(&lines(rows), &lines_wanted)
}

/// Whether a value is written so in one of the forms that a column's letter may ask for.
fn is_form(have: &str, want: &str) -> bool {
    have == want || real(have) == want || integer(have) == want
}

/// A number with three digits behind its point.
fn real(value: &str) -> String {
    value.parse::<f64>().map_or(value.to_string(), |number| format!("{number:.3}"))
}

/// A number without what is behind its point.
fn integer(value: &str) -> String {
    match value.parse::<f64>() {
        Ok(number) if value.contains('.') => format!("{:.0}", number.trunc()),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agrees(style: Style, rows: &[&[&str]], want: &[&str]) -> bool {
        let own = |values: &[&str]| values.iter().map(|value| value.to_string()).collect();
        let rows: Vec<Vec<String>> = rows.iter().map(|row| own(row)).collect();
        let want: Vec<String> = own(want);
        style.validator()(line, &rows, &want)
    }

    #[test]
    fn each_suite_has_its_way() {
        let rows: &[&[&str]] = &[&["1", "a"], &["2.5", "b"]];
        let hash = "4 values hashing to 1c6bd5c6c7c9ea3fc4dcbd0a6c6d4bb9";
        for style in [Style::Datafusion, Style::Duckdb, Style::Sqlite] {
            assert!(agrees(style, rows, &["1 a", "2.5 b"]), "{style:?}");
            assert!(agrees(style, rows, &["1", "a", "2.5", "b"]), "{style:?}");
            assert!(!agrees(style, rows, &["1 a"]), "{style:?}");
            assert!(!agrees(style, rows, &["1 a", "2.6 b"]), "{style:?}");
            assert!(!agrees(style, rows, &[hash]), "{style:?}");
        }
        assert!(agrees(Style::Sqlite, rows, &["1", "a", "2.500", "b"]));
        assert!(!agrees(Style::Datafusion, rows, &["1", "a", "2.500", "b"]));
        assert!(agrees(Style::Duckdb, rows, &["1\ta", "2.5000000000001\tb"]));
        assert!(agrees(Style::Duckdb, &[&["2026-01-01T00:00:00"]], &["2026-01-01 00:00:00"]));
        assert!(agrees(Style::Duckdb, rows, &["<REGEX>:.*2\\.\\d b"]));
        assert!(!agrees(Style::Duckdb, rows, &["<!REGEX>:.*2\\.\\d b"]));
    }

    #[test]
    fn hashes_are_of_all_values() {
        let rows: &[&[&str]] = &[&["1", "2"], &["3", "4"]];
        // That of "1\n2\n3\n4\n".
        let hash = "4 values hashing to 302c28003d487124d97c242de94da856";
        let found = agrees(Style::Datafusion, rows, &[hash]);
        let wrong = agrees(Style::Datafusion, rows, &["4 values hashing to 00"]);
        assert_eq!((found, wrong), (true, false));
    }

    #[test]
    fn parts_of_a_line_may_be_left_open() {
        let rows: &[&[&str]] = &[&["metrics=[1, time=17ms]"]];
        assert!(agrees(Style::Datafusion, rows, &["metrics=[1, time=<slt:ignore>]"]));
        assert!(!agrees(Style::Datafusion, rows, &["time=<slt:ignore>]"]));
        assert!(!agrees(Style::Datafusion, rows, &["metrics=[2, time=<slt:ignore>]"]));
    }
}
