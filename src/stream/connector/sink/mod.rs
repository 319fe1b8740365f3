//! Where results go: one list of connectors.
//!
//! A sink takes results epoch by epoch. One that keeps the number of the last epoch with its rows
//! is exactly once: what it has is not given to it again. Each connector says which changes it can
//! take and how often a row may come; a query that does not fit is refused when it is planned.

pub mod api;
mod blackhole;
mod console;
mod delta;
mod file;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::api::SinkConnector;
use super::options::Settings;
use crate::error::Result;

/// What `CREATE SINK` says.
#[derive(Debug)]
pub struct SinkDefinition {
    pub name: String,
    pub connector: Arc<dyn SinkConnector>,
}

impl SinkDefinition {
    /// Errors: unknown connectors and options, with those there are.
    pub fn new(name: String, options: BTreeMap<String, String>) -> Result<Self> {
        let mut settings = Settings::new(format!("sink {name}"), options);
        let wanted = settings.required("connector")?;
        let known = SINKS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&wanted));
        let Some((_, make)) = known else {
            let names = SINKS.map(|(name, _)| name);
            return Err(settings.no_connector(&wanted, &names, &LATER));
        };
        let connector = make(&mut settings)?;
        settings.finish()?;
        Ok(Self { name, connector })
    }
}

type Make = fn(&mut Settings) -> Result<Arc<dyn SinkConnector>>;

/// Every connector: its name and how it reads its options.
const SINKS: [(&str, Make); 5] = [
    ("blackhole", |_| Ok(Arc::new(blackhole::Blackhole))),
    ("console", |settings| Ok(Arc::new(console::Console::new(settings)?))),
    ("delta", |settings| Ok(Arc::new(delta::Delta::new(settings)?))),
    ("file", |settings| Ok(Arc::new(file::File::new(settings)?))),
    ("stdout", |settings| Ok(Arc::new(console::Console::stdout(settings)?))),
];

/// Those that are to come.
const LATER: [&str; 3] = ["kafka", "mqtt", "webhook"];
