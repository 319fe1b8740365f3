//! Object stores, opened when a URL names them, and what they tell when they fail.

use std::error::Error;
use std::sync::{Arc, Once};
use std::time::Duration;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
use deltalake::logstore::{
    LogStore, LogStoreFactory, ObjectStoreFactory, ObjectStoreRef, StorageConfig, default_logstore,
    logstore_factories, object_store_factories,
};
use deltalake::{DeltaResult, DeltaTableError};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use url::{Position, Url};

use super::user;

/// How often a failed request is sent again, and for how long at most. A server's short trouble is
/// sat out (pauses double from 0.1 s); that a host is not there is told within seconds.
const RETRIES_MAX: usize = 5;
const RETRY_SECONDS_MAX: u64 = 15;

/// Local files from the start; S3 with the credentials of the environment (`AWS_*`), HTTP and
/// HTTPS when first asked for.
#[derive(Debug, Default)]
pub struct Stores {
    opened: DefaultObjectStoreRegistry,
}

impl ObjectStoreRegistry for Stores {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.opened.register_store(url, store)
    }

    fn deregister_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        self.opened.deregister_store(url)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if let Ok(store) = self.opened.get_store(url) {
            return Ok(store);
        }
        let store = open(url)?;
        self.opened.register_store(url, Arc::clone(&store));
        Ok(store)
    }
}

fn open(url: &Url) -> Result<Arc<dyn ObjectStore>> {
    let root = &url[..Position::BeforePath];
    let retries = RetryConfig {
        max_retries: RETRIES_MAX,
        retry_timeout: Duration::from_secs(RETRY_SECONDS_MAX),
        ..RetryConfig::default()
    };
    match url.scheme() {
        "s3" | "s3a" => {
            let mut builder = AmazonS3Builder::from_env().with_url(root).with_retry(retries);
            let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
            // Who writes http:// into AWS_ENDPOINT means it.
            if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
                builder = builder.with_allow_http(true);
            }
            Ok(Arc::new(builder.build()?))
        }
        "http" | "https" => {
            let options = ClientOptions::new().with_allow_http(true);
            let builder = HttpBuilder::new().with_url(root).with_client_options(options);
            Ok(Arc::new(builder.with_retry(retries).build()?))
        }
        scheme => Err(user(format!(
            "'{url}': there is no store for {scheme}://; there are file, s3, http and https"
        ))),
    }
}

/// Has Delta tables opened through the same stores. For the process, as deltalake keeps them.
pub fn register_delta() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for scheme in ["s3://", "s3a://"].map(Url::parse).into_iter().flatten() {
            object_store_factories().insert(scheme.clone(), Arc::new(DeltaStores));
            logstore_factories().insert(scheme, Arc::new(DeltaStores));
        }
    });
}

struct DeltaStores;

impl ObjectStoreFactory for DeltaStores {
    fn parse_url_opts(&self, url: &Url, _: &StorageConfig) -> DeltaResult<(ObjectStoreRef, Path)> {
        let failed = |error: DataFusionError| DeltaTableError::generic(super::blame::cause(&error));
        Ok((open(url).map_err(failed)?, Path::from_url_path(url.path())?))
    }
}

impl LogStoreFactory for DeltaStores {
    fn with_options(
        &self,
        prefixed: ObjectStoreRef,
        root: ObjectStoreRef,
        location: &Url,
        options: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        // A commit is a write that S3 refuses where the file is there already.
        Ok(default_logstore(prefixed, root, location, options))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_open_on_demand_and_once() {
        let stores = Stores::default();
        let url = Url::parse("https://example.org/data/a.csv").unwrap();
        let first = stores.get_store(&url).unwrap();
        let again = stores.get_store(&Url::parse("https://example.org/b.csv").unwrap()).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let error = stores.get_store(&Url::parse("gopher://example.org/a").unwrap()).unwrap_err();
        assert!(error.to_string().contains("gopher://"), "{error}");
    }

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
