//! What a body is, by its headers, and the rows in it.

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use encoding_rs::Encoding;

use super::arrow;
use super::refusal::Refusal;
use crate::error::Result;
use crate::stream::connector::api::Opening;
use crate::stream::connector::format::columns::Missing;
use crate::stream::connector::format::csv::{COMMA, Csv};
use crate::stream::connector::format::encoding;
use crate::stream::connector::format::json::Json;
use crate::stream::connector::format::text::{self, Dialect, Piece};

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Json,
    Lines,
    Csv,
    Arrow,
}

/// Codings of bodies that are unpacked.
pub const CODINGS: [&str; 2] = ["gzip", "zstd"];

/// The coding that a request names; `None` where it is plain.
pub fn coding(headers: &HeaderMap) -> Result<Option<&'static str>, Refusal> {
    let named: Vec<_> = headers.get_all(CONTENT_ENCODING).iter().collect();
    let refused = |found: &str| {
        let known = CODINGS.join(", ");
        Refusal::new(415, format!("expected a Content-Encoding of {known} or none, found {found}"))
    };
    match named.as_slice() {
        [] => Ok(None),
        [one] => {
            let name = String::from_utf8_lossy(one.as_bytes()).trim().to_ascii_lowercase();
            let name = name.strip_prefix("x-").unwrap_or(&name);
            let known = CODINGS.into_iter().find(|known| *known == name);
            match name {
                "identity" => Ok(None),
                _ => known.map(Some).ok_or_else(|| refused(name)),
            }
        }
        _ => Err(refused("several")),
    }
}

/// Forms by the names of their media types; the first is meant where none is named.
pub const TYPES: [(&str, Form); 5] = [
    ("application/json", Form::Json),
    ("application/x-ndjson", Form::Lines),
    ("application/jsonl", Form::Lines),
    ("text/csv", Form::Csv),
    ("application/vnd.apache.arrow.stream", Form::Arrow),
];

/// The value of a header in small letters.
pub fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
}

/// The form that a request names.
pub fn form(headers: &HeaderMap) -> Result<Form, Refusal> {
    // What `curl -d` says of everything.
    let plain = |name: &String| name != "application/x-www-form-urlencoded";
    let Some(named) = header(headers, CONTENT_TYPE).filter(plain) else { return Ok(Form::Json) };
    let name = named.split(';').next().unwrap_or_default().trim();
    let known = TYPES.iter().find(|(known, _)| *known == name);
    known.map(|(_, form)| *form).ok_or_else(|| {
        let names = TYPES.map(|(name, _)| name).join(", ");
        Refusal::new(415, format!("expected a Content-Type of {names}, found {name}"))
    })
}

/// The encoding that a request names.
pub fn charset(headers: &HeaderMap) -> Result<Option<&'static Encoding>, Refusal> {
    let named = header(headers, CONTENT_TYPE);
    let label = named.as_deref().and_then(|value| {
        let mut parameters = value.split(';').skip(1);
        parameters.find_map(|parameter| parameter.trim().strip_prefix("charset="))
    });
    let Some(label) = label.map(|label| label.trim_matches('"')) else { return Ok(None) };
    match Encoding::for_label_no_replacement(label.as_bytes()) {
        Some(encoding) => Ok(Some(encoding)),
        None => Err(Refusal::new(415, format!("charset {label}: send it as UTF-8"))),
    }
}

impl Form {
    /// What malformed rows are counted by.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Arrow | Self::Json => "row",
            Self::Lines | Self::Csv => "line",
        }
    }

    /// The rows of a body, of which `most` bytes may come out of packed columns.
    pub fn parse(
        self,
        json: &Json,
        opening: &Opening,
        body: &[u8],
        most: u64,
    ) -> Result<Vec<Piece>> {
        match self {
            Self::Json => {
                let mut pieces = of_text(json, opening, body)?;
                for piece in &mut pieces {
                    piece.lines_before = 0;
                    // Rows are counted: an array may be one line.
                    piece.wrong.iter_mut().for_each(|wrong| wrong.at.line = wrong.at.ordinal + 1);
                }
                Ok(pieces)
            }
            Self::Lines => of_text(json, opening, body),
            Self::Csv => {
                let delimiter = COMMA;
                of_text(&Csv { header: true, delimiter, missing: Missing::Null }, opening, body)
            }
            Self::Arrow => arrow::pieces(opening, body, most),
        }
    }
}

fn of_text(dialect: &dyn Dialect, opening: &Opening, body: &[u8]) -> Result<Vec<Piece>> {
    let Some((parser, used)) = dialect.begin(opening, body, true)? else { return Ok(Vec::new()) };
    let piece = parser.parse(opening, &body[used..])?;
    Ok(vec![Piece { lines_before: text::lines(&body[..used]), ..piece }])
}

/// The text of a body in UTF-8, where it is in another encoding.
pub fn decoded(charset: Option<&'static Encoding>, body: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    match encoding::decodes(charset, &body) {
        Some(encoding) => {
            encoding::decoded(encoding, &body).map_err(|error| Refusal::new(400, error))
        }
        None => Ok(body),
    }
}
