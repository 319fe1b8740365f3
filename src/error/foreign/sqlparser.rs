//! Messages of sqlparser, which writes the place of an error into its text.

use datafusion::sql::sqlparser::parser::ParserError;

use super::number_behind;
use crate::error::{Place, UserError};

/// What comes before a line, and before its column.
const LINE: &str = " at Line: ";
const COLUMN: &str = ", Column: ";

/// A message without the place in it (` at Line: 1, Column: 8`), and the place.
pub fn without_place(text: &str) -> (String, Option<Place>) {
    let found = text.rfind(LINE).and_then(|start| {
        let place = &text[start..];
        let (line, column) = (number_behind(place, LINE)?, number_behind(place, COLUMN)?);
        let (_, behind) = place.split_once(COLUMN)?;
        let message = [&text[..start], behind.trim_start_matches(|c: char| c.is_ascii_digit())];
        Some((message.concat(), Place::new(line, column)))
    });
    found.unwrap_or_else(|| (text.to_string(), None))
}

/// What the parser says, with its place.
pub fn told(error: &ParserError) -> UserError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => "the statement is nested too deeply",
    };
    let (message, place) = without_place(text);
    UserError::new(message).at(place)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn error(sql: &str) -> ParserError {
        Parser::parse_sql(&GenericDialect {}, sql).unwrap_err()
    }

    #[test]
    fn places_leave_the_message() {
        let of_parser = error("SELECT 1 +\n  )");
        let told_parser = told(&of_parser);
        assert_eq!(told_parser.place, Place::new(2, 3), "{of_parser}");
        assert_eq!(told_parser.message, "Expected: an expression, found: )", "{of_parser}");
        let of_tokenizer = error("SELECT\n'a");
        let told_tokenizer = told(&of_tokenizer);
        assert_eq!(told_tokenizer.place, Place::new(2, 1), "{of_tokenizer}");
        assert_eq!(told_tokenizer.message, "Unterminated string literal", "{of_tokenizer}");
        // What stands behind the place is kept, and of several places the last is the error's.
        let behind = format!("{} (as of {of_parser})", of_tokenizer);
        let (message, place) = without_place(&behind);
        assert_eq!(place, Place::new(2, 3));
        assert!(message.ends_with("found: ))"), "{message}");
        assert_eq!(without_place("no place here"), ("no place here".to_string(), None));
    }

    #[test]
    fn depth_is_told_in_our_words() {
        let deep = format!("SELECT {}1{}", "(".repeat(200), ")".repeat(200));
        let error = error(&deep);
        assert_eq!(error, ParserError::RecursionLimitExceeded);
        assert_eq!(told(&error), UserError::new("the statement is nested too deeply"));
    }
}
