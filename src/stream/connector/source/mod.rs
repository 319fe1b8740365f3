//! Where rows come from: one list of connectors, each of which opens its log from the first row.
//!
//! A source never decides about time or windows; it answers rows in log order with their offsets.

pub(in crate::stream) mod dead_letter;
mod directory;
pub(in crate::stream) mod file;
pub(in crate::stream) mod fingerprint;
mod generator;
mod http;
pub(in crate::stream) mod idempotency;
mod nexmark;
mod random;
mod stdin;
mod wal;
mod wal_frame;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::api::Connector;
use super::options::Settings;
use crate::error::Result;

type Make = fn(&mut Settings, &SchemaRef) -> Result<Arc<dyn Connector>>;

/// Every connector: its name and how it reads its options.
const SOURCES: [(&str, Make); 5] = [
    ("file", |settings, schema| Ok(Arc::new(file::options::File::new(settings, schema)?))),
    ("http", |settings, schema| Ok(Arc::new(http::options::Http::new(settings, schema)?))),
    ("nexmark", |settings, schema| Ok(Arc::new(nexmark::Nexmark::new(settings, schema)?))),
    ("random", |settings, schema| Ok(Arc::new(random::Random::new(settings, schema)?))),
    ("stdin", |settings, schema| Ok(Arc::new(stdin::Stdin::new(settings, schema)?))),
];

/// Those that are to come.
const LATER: [&str; 3] = ["kafka", "mqtt", "tcp"];

/// The connector that `connector = '...'` names, with its options.
///
/// Errors: an unknown one, with those there are.
pub fn connector(settings: &mut Settings, schema: &SchemaRef) -> Result<Arc<dyn Connector>> {
    let wanted = settings.required("connector")?;
    let known = SOURCES.iter().find(|(name, _)| name.eq_ignore_ascii_case(&wanted));
    match known {
        Some((_, make)) => make(settings, schema),
        None => {
            let names = SOURCES.map(|(name, _)| name);
            Err(settings.no_connector(&wanted, &names, &LATER))
        }
    }
}
