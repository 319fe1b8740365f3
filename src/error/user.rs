//! What is wrong with a request, in parts: what, where, and what to do about it.

use std::fmt;

/// A place in the SQL text: line and column from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

impl Place {
    /// `None` for line 0, which parsers give to what stands in no text.
    pub fn new(line: u64, column: u64) -> Option<Self> {
        (line > 0).then_some(Self { line, column })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What a statement names and what is not there, by its name. Who knows the names that there are
/// can say which are near.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    Table(String),
    Function(String),
}

/// An error of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserError {
    /// What is wrong, without the place and without help.
    pub message: String,
    /// Where in the SQL text.
    pub place: Option<Place>,
    /// What may help, one line each.
    pub help: Vec<String>,
    /// The file of the SQL text, where it is not the only one that may be meant.
    pub file: Option<String>,
    /// What is not there, where that is what is wrong.
    pub missing: Option<Missing>,
}

impl UserError {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// The same error at a place; one that has a place keeps it.
    pub fn at(mut self, place: impl Into<Option<Place>>) -> Self {
        self.place = self.place.or(place.into());
        self
    }

    /// The same error with what may help; what it says already is not said again.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        let help = help.into();
        if !self.message.contains(&help) && !self.help.contains(&help) {
            self.help.push(help);
        }
        self
    }

    /// The same error in the text of a file.
    pub fn in_file(mut self, file: &str) -> Self {
        self.file.get_or_insert_with(|| file.to_string());
        self
    }

    /// The same error of what `subject` names: `subject: message`.
    pub fn of(mut self, subject: impl fmt::Display) -> Self {
        self.message = format!("{subject}: {}", self.message);
        self
    }

    /// File, place and message: all but the help.
    pub fn head(&self) -> String {
        let file = self.file.iter().map(|file| format!("{file}: "));
        let place = self.place.iter().map(|place| format!("{place}: "));
        let before: String = file.chain(place).collect();
        format!("{before}{}", self.message)
    }

    /// The help, as lines below the message.
    pub fn hints(&self) -> String {
        self.help.iter().map(|help| format!("\n  hint: {help}")).collect()
    }
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.head(), self.hints())
    }
}

impl std::error::Error for UserError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_are_written_in_their_order() {
        let error = UserError::new("no such thing: x");
        assert_eq!(error.to_string(), "no such thing: x");
        let error = error.at(Place::new(2, 5)).help("there is y").in_file("q.sql");
        let whole = "q.sql: line 2, column 5: no such thing: x\n  hint: there is y";
        assert_eq!(error.to_string(), whole);
        assert_eq!(
            error.clone().of("SELECT").head(),
            "q.sql: line 2, column 5: SELECT: no such \
                                                       thing: x"
        );
        // What is known already is kept, and is said once.
        let again = error.clone().at(Place::new(9, 9)).help("there is y").help("such thing");
        assert_eq!(again.in_file("other.sql"), error);
    }

    #[test]
    fn what_stands_in_no_text_has_no_place() {
        assert_eq!(UserError::new("a").at(Place::new(0, 0)).to_string(), "a");
    }
}
