//! Earlier versions of Delta tables: names such as `t@version=3` and `t@timestamp=2026-01-01`,
//! which SQL's `t VERSION AS OF 3` and `t TIMESTAMP AS OF '..'` are read as.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use datafusion::execution::SessionState;
use deltalake::{DeltaTable, DeltaTableBuilder};
use object_store::ObjectStoreExt;
use url::Url;

use super::error::failed;
use super::factory::Newest;
use crate::error::{Error, Result};

/// Which version of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Version(u64),
    /// The last one committed at this time.
    Time(DateTime<Utc>),
}

/// The name with the version in it.
pub fn name(table: &str, version: Option<&str>, time: Option<&str>) -> String {
    match (version, time) {
        (Some(version), _) => format!("{table}@version={version}"),
        (None, time) => format!("{table}@timestamp={}", time.unwrap_or_default()),
    }
}

/// The table and the version that a name asks for; `None` for a name without one.
///
/// A time without a zone is of the session's. Errors: what is no version or no time.
pub fn asked<'a>(name: &'a str, state: &SessionState) -> Result<Option<(&'a str, At)>> {
    if let Some((table, version)) = name.rsplit_once("@version=") {
        let version = version.parse().map_err(|_| {
            let message = format!("{table} VERSION AS OF {version}: a version is a whole number");
            Error::user(message)
        })?;
        return Ok(Some((table, At::Version(version))));
    }
    let Some((table, time)) = name.rsplit_once("@timestamp=") else { return Ok(None) };
    let zone = state.config_options().execution.time_zone.as_deref().unwrap_or("UTC");
    let parsed = zone.parse::<Tz>().and_then(|zone| string_to_datetime(&zone, time));
    let parsed = parsed.map_err(|_| {
        Error::user(format!(
            "{table} TIMESTAMP AS OF '{time}': a time is written '2026-01-01 12:00:00'"
        ))
    })?;
    Ok(Some((table, At::Time(parsed.with_timezone(&Utc)))))
}

/// An external table as it was.
///
/// Errors: another kind of table; a version that is not there.
pub async fn table(
    name: &str,
    table: &Arc<dyn TableProvider>,
    at: At,
    state: &SessionState,
) -> Result<Arc<dyn TableProvider>> {
    let Some(newest) = table.downcast_ref::<Newest>() else {
        return Err(Error::user(format!(
            "{name} has no earlier versions: VERSION AS OF and TIMESTAMP AS OF are for tables \
             STORED AS DELTA"
        )));
    };
    let location = newest.command.locations.first().map_or("", String::as_str);
    let url = deltalake::table::builder::ensure_table_uri(location);
    let url = url.map_err(|error| failed(name, error))?;
    folder(name, url, newest.command.options.clone(), at, state).await
}

/// The table in a folder as it was.
pub async fn folder(
    name: &str,
    url: Url,
    options: HashMap<String, String>,
    at: At,
    state: &SessionState,
) -> Result<Arc<dyn TableProvider>> {
    let builder = DeltaTableBuilder::from_url(url).map_err(|error| failed(name, error))?;
    let builder = builder.with_storage_options(options);
    let builder = match at {
        At::Version(version) => builder.with_version(version),
        At::Time(time) => builder.with_timestamp(time),
    };
    let table = match (builder.load().await, at) {
        (Ok(table), _) => table,
        (Err(error), At::Version(version)) => {
            return Err(Error::user(format!("{name} has no version {version}: {error}")));
        }
        (Err(error), At::Time(_)) => return Err(failed(name, error)),
    };
    if let At::Time(time) = at {
        not_before(name, &table, time).await?;
    }
    let provider = table.table_provider().with_session(Arc::new(state.clone()));
    Ok(super::skipping::trusted(provider.await?))
}

/// Refuses a time before the first version, for which the first one is loaded.
async fn not_before(name: &str, table: &DeltaTable, time: DateTime<Utc>) -> Result<()> {
    let version = table.version().unwrap_or_default();
    let commit = object_store::path::Path::from(format!("_delta_log/{version:020}.json"));
    let store = table.log_store().object_store(None);
    let Ok(meta) = store.head(&commit).await else { return Ok(()) };
    if meta.last_modified <= time {
        return Ok(());
    }
    let first = meta.last_modified.to_rfc3339();
    Err(Error::user(format!("{name} was not there at {time}: its first version is of {first}")))
}
