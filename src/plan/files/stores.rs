//! Object stores, opened when a URL names them.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
use object_store::aws::AmazonS3Builder;
use object_store::http::HttpBuilder;
use object_store::{ClientOptions, ObjectStore};
use url::{Position, Url};

use super::user;

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
    match url.scheme() {
        "s3" | "s3a" => {
            let builder = AmazonS3Builder::from_env().with_url(root);
            Ok(Arc::new(builder.build()?))
        }
        "http" | "https" => {
            let options = ClientOptions::new().with_allow_http(true);
            let builder = HttpBuilder::new().with_url(root).with_client_options(options);
            Ok(Arc::new(builder.build()?))
        }
        scheme => Err(user(format!(
            "'{url}': there is no store for {scheme}://; there are file, s3, http and https"
        ))),
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
