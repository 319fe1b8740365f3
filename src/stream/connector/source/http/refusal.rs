//! Answers to requests that are not taken.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::Response;
use serde_json::json;

/// A request that is not taken: status, what is wrong, which line or row.
pub struct Refusal {
    pub(super) status: u16,
    pub(super) error: String,
    pub(super) line: Option<u64>,
}

impl Refusal {
    pub fn new(status: u16, error: impl std::fmt::Display) -> Self {
        Self { status, error: error.to_string(), line: None }
    }

    /// For a request whose body is not read to its end, `ends` the connection of HTTP/1.
    pub(super) fn answer(self, ends: bool) -> Response {
        let mut told = json!({ "error": self.error });
        if let Some(line) = self.line {
            told["line"] = json!(line);
        }
        let status = StatusCode::from_u16(self.status);
        let mut answer = answer(status.unwrap_or(StatusCode::BAD_REQUEST), told);
        let headers = answer.headers_mut();
        match self.status {
            401 => headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            503 => headers.insert(RETRY_AFTER, HeaderValue::from_static("1")),
            _ => None,
        };
        if ends {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

pub fn answer(status: StatusCode, told: serde_json::Value) -> Response {
    let mut answer = Response::new(Body::from(format!("{told}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
