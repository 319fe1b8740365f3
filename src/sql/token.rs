//! Words, names and places of a statement's tokens.

use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::tokenizer::{Location, Token};

use crate::error::{Error, Place};

/// True for the unquoted word `text`, in any case.
pub fn is_word(token: &Token, text: &str) -> bool {
    matches!(token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
}

/// Names are in lower case unless quoted, as everywhere in DataFusion.
pub fn normalized(name: Ident) -> String {
    match name.quote_style {
        Some(_) => name.value,
        None => name.value.to_ascii_lowercase(),
    }
}

/// An error of the user at a place in the text.
pub fn place(message: &str, at: Location) -> Error {
    Error::user(message).at(place_of(at))
}

/// A place in the text; `None` for what stands in none.
pub fn place_of(at: Location) -> Option<Place> {
    Place::new(at.line, at.column)
}
