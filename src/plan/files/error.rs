//! Errors of files and of the stores that hold them, in words.

use std::error::Error;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

use crate::error;
use crate::task;

/// An error of the rows or files, not of the request.
pub fn data(message: impl Into<String>) -> DataFusionError {
    error::Error::Data(message.into()).into()
}

/// An error of the request.
pub fn user(message: impl Into<String>) -> DataFusionError {
    error::Error::User(message.into()).into()
}

/// The innermost message of an error.
pub fn cause(error: &DataFusionError) -> String {
    if let Some(inner) = of_store(error) {
        return told(inner);
    }
    match error.find_root() {
        DataFusionError::ArrowError(inner, _) => arrow_cause(inner),
        DataFusionError::ParquetError(inner) => {
            inner.to_string().trim_start_matches("Parquet error: ").to_string()
        }
        DataFusionError::External(inner) => inner.to_string(),
        other => {
            let text = other.to_string();
            text.split_once("error: ").map_or(text.clone(), |(_, rest)| rest.to_string())
        }
    }
}

/// The store's error that is at the bottom of this one.
pub fn of_store(error: &DataFusionError) -> Option<&object_store::Error> {
    let root = error.find_root();
    if let DataFusionError::ObjectStore(inner) = root {
        return Some(inner);
    }
    let mut inner: Option<&(dyn Error + 'static)> = Some(root);
    while let Some(error) = inner {
        if let Some(of_store) = error.downcast_ref::<object_store::Error>() {
            return Some(of_store);
        }
        // What a writer passes on as an error of input and output.
        let io = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(of_store) = io.and_then(|error| error.downcast_ref()) {
            return Some(of_store);
        }
        inner = error.source();
    }
    None
}

fn arrow_cause(error: &ArrowError) -> String {
    match error {
        ArrowError::CsvError(text)
        | ArrowError::JsonError(text)
        | ArrowError::ParseError(text)
        | ArrowError::IpcError(text) => text.clone(),
        ArrowError::ParquetError(text) => text.trim_start_matches("Parquet error: ").to_string(),
        other => other.to_string(),
    }
}

/// What a store's error comes to: the request, the answer, and what a user can do about it.
pub fn told(error: &object_store::Error) -> String {
    let text = error.to_string();
    let Some(request) = Request::of(&text) else {
        return match error {
            object_store::Error::NotSupported { .. } if text.contains("Range request") => {
                "the server sends whole files only, and this one is read in parts (HTTP range \
                 requests): download it first"
                    .into()
            }
            _ => text.trim_start_matches("Generic LocalFileSystem error: ").into(),
        };
    };
    let Some(answer) = &request.answer else {
        return format!("{}: {}{}", request.url, root_cause(error), request.hint());
    };
    format!("{}: {}{}", request.url, answer.trim(), request.hint())
}

fn root_cause(error: &dyn Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

/// A request that failed, as object_store writes it: `Error performing GET URL in TIME[, after N
/// retries ..] - Server returned non-2xx status code: 404 Not Found: BODY`.
struct Request<'a> {
    method: &'a str,
    url: &'a str,
    /// Status, and where S3 told it, why. None where there was no answer.
    answer: Option<String>,
}

impl<'a> Request<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (_, request) = text.split_once("Error performing ")?;
        // Listing is told around the request.
        let request = request.rsplit_once("Error performing ").map_or(request, |(_, last)| last);
        let (method, rest) = request.split_once(' ')?;
        let (url, rest) = rest.split_once(" in ")?;
        let answer = rest.split_once("status code: ").map(|(_, answer)| {
            let (status, body) = answer.split_once(": ").unwrap_or((answer, ""));
            let element = |name: &str| {
                let (_, rest) = body.split_once(&format!("<{name}>"))?;
                rest.split_once(&format!("</{name}>")).map(|(value, _)| value)
            };
            match (element("Code"), element("Message")) {
                (Some(code), Some(message)) => format!("{status} ({code}: {message})"),
                _ => status.to_string(),
            }
        });
        Some(Self { method, url, answer })
    }

    fn hint(&self) -> &'static str {
        const KEYS: &str = "; S3 takes its keys from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY \
                            and its region from AWS_REGION; a public bucket needs \
                            AWS_SKIP_SIGNATURE=true";
        // Where the keys of a machine in Amazon's cloud come from.
        if self.url.starts_with("http://169.254.") {
            return KEYS;
        }
        let Some(answer) = &self.answer else { return "" };
        let s3 = self.url.contains("amazonaws.com") || answer.contains('(');
        let status = answer.split(' ').next().unwrap_or_default();
        match (status, self.method) {
            (_, "PROPFIND") => "; this server does not list its files (by WebDAV): name each one",
            ("404", "HEAD" | "GET") if !answer.contains('(') => "; there is no such file",
            ("301" | "307" | "400" | "401" | "403", _) if s3 => KEYS,
            ("401" | "403", _) => "; the server lets nobody read this without signing in",
            ("405" | "501", "PUT") => "; this server takes no files",
            _ => "",
        }
    }
}

/// The error of a file over which a decoder has panicked.
pub fn damaged(name: &str, panic: &str) -> DataFusionError {
    match task::too_long(panic) {
        Some(error) => data(format!("file '{name}': {error}")),
        None => data(format!("file '{name}' is damaged: {panic}")),
    }
}

/// A message behind the name of a file: `, line 3: why`, or `: why`.
pub fn placed(told: &str) -> String {
    let place = ["line ", "column '"].iter().any(|place| told.starts_with(place));
    format!("{}{told}", if place { ", " } else { ": " })
}

/// `line 3: 2 values expected, 1 found` of arrow-csv's words for it.
pub fn unequal_lengths(cause: &str) -> Option<String> {
    let numbers: Vec<&str> = cause
        .strip_prefix("Encountered unequal lengths between records on CSV file.")?
        .split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .collect();
    match numbers[..] {
        [expected, found, line] => {
            Some(format!("line {line}: {expected} values expected, {found} found"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.into() }
    }

    #[test]
    fn errors_are_told_by_request_and_answer() {
        let text = "Error performing list request: Error performing GET http://h/b?list-type=2 in \
                    4ms - Server returned non-2xx status code: 404 Not Found: <?xml?><Error><Code>\
                    NoSuchBucket</Code><Message>The bucket does not exist</Message></Error>";
        assert_eq!(
            told(&generic(text)),
            "http://h/b?list-type=2: 404 Not Found (NoSuchBucket: The bucket does not exist)"
        );
        let head = "Error performing HEAD http://h/a.csv in 2ms - Server returned non-2xx status \
                    code: 404 Not Found: ";
        assert_eq!(told(&generic(head)), "http://h/a.csv: 404 Not Found; there is no such file");
        let propfind = "Error performing PROPFIND http://h/ in 2s, after 5 retries - Server \
                        returned non-2xx status code: 501 Not Implemented: <html>";
        assert!(told(&generic(propfind)).contains("name each one"));
        assert_eq!(told(&generic("no request")), "Generic S3 error: no request");
    }
}
