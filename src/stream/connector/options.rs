//! The options in `WITH (...)`: read one by one; what nobody asked for is an error that lists what
//! there is.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The options of one stream or sink.
pub struct Settings {
    /// Whose options they are, such as `stream bids`.
    owner: String,
    values: BTreeMap<String, String>,
    known: Vec<String>,
}

impl Settings {
    pub fn new(owner: String, values: BTreeMap<String, String>) -> Self {
        Self { owner, values, known: Vec::new() }
    }

    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name.to_string());
        self.values.remove(name)
    }

    /// The option `fields.<column>.<name>`.
    pub fn field(&mut self, column: &str, name: &'static str) -> Option<String> {
        let sample = format!("fields.<column>.{name}");
        if !self.known.contains(&sample) {
            self.known.push(sample);
        }
        self.values.remove(&format!("fields.{}.{name}", column.to_ascii_lowercase()))
    }

    pub fn required(&mut self, name: &'static str) -> Result<String> {
        self.text(name).ok_or_else(|| self.error(format!("the option '{name}' is missing")))
    }

    /// A value of a type that reads itself; `what` tells what is wanted.
    pub fn parsed<T: FromStr>(&mut self, name: &'static str, what: &str) -> Result<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(self.error(format!("{name} = '{text}': {what} is wanted"))),
        }
    }

    /// One of a few words; the first is the default.
    pub fn choice(&mut self, name: &'static str, words: &[&'static str]) -> Result<&'static str> {
        let Some(text) = self.text(name) else { return Ok(words[0]) };
        let same = |word: &&&'static str| text.eq_ignore_ascii_case(word);
        words.iter().find(same).copied().ok_or_else(|| {
            self.error(format!("{name} = '{text}': one of {} is wanted", words.join(", ")))
        })
    }

    /// Errors where an option is left that nobody asked for.
    pub fn finish(mut self) -> Result<()> {
        let Some(unknown) = self.values.keys().next().cloned() else { return Ok(()) };
        self.known.sort_unstable();
        let known = self.known.join(", ");
        Err(self.error(format!("there is no option '{unknown}' here; there are {known}")))
    }

    /// Errors of a connector that is not there.
    pub fn no_connector(&self, name: &str, known: &[&str], later: &[&str]) -> Error {
        let known = known.join(", ");
        match later.iter().find(|later| later.eq_ignore_ascii_case(name)) {
            Some(later) => self.error(format!(
                "the connector '{later}' comes in a later version; there are {known} now"
            )),
            None => self.error(format!("there is no connector '{name}'; there are {known}")),
        }
    }

    pub fn error(&self, message: impl Display) -> Error {
        Error::user(format!("{}: {message}", self.owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let values = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Settings::new("sink k".to_string(), values)
    }

    #[test]
    fn what_is_wrong_is_told_with_what_is_right() {
        let mut options = settings(&[("format", "xml"), ("rate", "fast"), ("colour", "red")]);
        let error = options.choice("format", &["csv", "json"]).unwrap_err().to_string();
        assert_eq!(error, "sink k: format = 'xml': one of csv, json is wanted");
        let error = options.parsed::<u64>("rate", "a number").unwrap_err().to_string();
        assert_eq!(error, "sink k: rate = 'fast': a number is wanted");
        let error = options.required("path").unwrap_err().to_string();
        assert_eq!(error, "sink k: the option 'path' is missing");
        let error = options.finish().unwrap_err().to_string();
        assert_eq!(error, "sink k: there is no option 'colour' here; there are format, path, rate");
    }

    #[test]
    fn words_are_taken_in_any_case() {
        let mut options = settings(&[("format", "JSON")]);
        assert_eq!(options.choice("format", &["csv", "json"]).unwrap(), "json");
        assert_eq!(options.choice("on_error", &["fail", "skip"]).unwrap(), "fail");
        options.finish().unwrap();
    }
}
