//! Object stores, opened when a URL names them, and what they tell when they fail.

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

use super::error::{cause, user};

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
        let failed = |error: DataFusionError| DeltaTableError::generic(cause(&error));
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
}
