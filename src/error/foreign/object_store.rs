//! Messages of object_store, whose types of failed requests are its own.

use super::between;

/// A request that failed, as the store writes it: `Error performing GET URL in TIME[, after N
/// retries ..] - Server returned non-2xx status code: 404 Not Found: BODY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    pub method: &'a str,
    pub url: &'a str,
    /// Status, and where S3 told it, why. None where there was no answer.
    pub answer: Option<String>,
}

impl<'a> Request<'a> {
    /// `None` for an error that is of no request.
    pub fn of(text: &'a str) -> Option<Self> {
        // Listing is told around the request.
        let (_, request) = text.rsplit_once("Error performing ")?;
        let (method, rest) = request.split_once(' ')?;
        let (url, rest) = rest.split_once(" in ")?;
        let answer = rest.split_once("status code: ").map(|(_, answer)| {
            let (status, body) = answer.split_once(": ").unwrap_or((answer, ""));
            let element = |name: &str| between(body, &format!("<{name}>"), &format!("</{name}>"));
            match (element("Code"), element("Message")) {
                (Some(code), Some(message)) => format!("{status} ({code}: {message})"),
                _ => status.trim().to_string(),
            }
        });
        Some(Self { method, url, answer })
    }
}

/// Whether what is not supported is to read a part of a file, which the server sends whole.
pub fn sends_whole_files_only(text: &str) -> bool {
    text.contains("Range request")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use futures::TryStreamExt;
    use object_store::aws::AmazonS3Builder;
    use object_store::http::HttpBuilder;
    use object_store::path::Path;
    use object_store::{ClientOptions, Error, ObjectStore, ObjectStoreExt, RetryConfig};

    use super::*;

    /// The address of a server that answers everything so.
    fn server(status: &'static str, body: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<_> =
                    lines.map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
                let body = if head[0].starts_with("HEAD") { "" } else { body };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\
                     Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n{body}"
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        address
    }

    fn retries() -> RetryConfig {
        RetryConfig { max_retries: 0, ..RetryConfig::default() }
    }

    fn http(url: &str) -> impl ObjectStore {
        let options = ClientOptions::new().with_allow_http(true);
        let builder = HttpBuilder::new().with_url(url).with_client_options(options);
        builder.with_retry(retries()).build().unwrap()
    }

    fn check(error: &Error, method: &str, url: &str, answer: Option<&str>) {
        let text = error.to_string();
        let request = Request::of(&text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!((request.method, request.url), (method, url), "{text}");
        assert_eq!(request.answer.as_deref(), answer, "{text}");
    }

    #[tokio::test]
    async fn requests_are_told_by_method_url_and_answer() {
        let url = server("404 Not Found", "<html>");
        let error = http(&url).head(&Path::from("a.csv")).await.unwrap_err();
        check(&error, "HEAD", &format!("{url}/a.csv"), Some("404 Not Found"));
        let url = server("501 Not Implemented", "<html>");
        let listed = http(&url).list(None).try_collect::<Vec<_>>().await;
        check(&listed.unwrap_err(), "PROPFIND", &format!("{url}/"), Some("501 Not Implemented"));
        // Where nobody listens there is no answer.
        let url =
            format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let error = http(&url).head(&Path::from("a.csv")).await.unwrap_err();
        check(&error, "HEAD", &format!("{url}/a.csv"), None);
    }

    #[tokio::test]
    async fn what_s3_says_is_found_in_its_answer() {
        let url = server(
            "404 Not Found",
            "<?xml?><Error><Code>NoSuchBucket</Code><Message>The bucket does not \
             exist</Message></Error>",
        );
        let builder = AmazonS3Builder::new().with_bucket_name("b").with_endpoint(&url);
        let builder = builder.with_skip_signature(true).with_allow_http(true);
        let store = builder.with_retry(retries()).build().unwrap();
        let error = store.list(None).try_collect::<Vec<_>>().await.unwrap_err();
        let answer = "404 Not Found (NoSuchBucket: The bucket does not exist)";
        check(&error, "GET", &format!("{url}/b?list-type=2"), Some(answer));
    }

    #[tokio::test]
    async fn servers_that_send_whole_files_only_are_known() {
        let url = server("200 OK", "a,b\n1,2\n");
        let error = http(&url).get_range(&Path::from("a.csv"), 2..4).await.unwrap_err();
        assert!(matches!(error, Error::NotSupported { .. }), "{error}");
        assert!(sends_whole_files_only(&error.to_string()), "{error}");
    }

    #[tokio::test]
    async fn errors_of_no_request_are_none() {
        let store = object_store::memory::InMemory::new();
        let error = store.head(&Path::from("a.csv")).await.unwrap_err();
        assert_eq!(Request::of(&error.to_string()), None, "{error}");
    }
}
