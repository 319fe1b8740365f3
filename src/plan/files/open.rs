//! From a name to its table.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::error::Result;
use datafusion::execution::SessionState;

use super::error::{data, user};
use super::find::find;
use super::found::Found;
use super::readers;
use super::table::table;
use crate::lake::{self, skipping, travel};

/// The table that a name stands for; none where the name does not look like files and there are
/// none either.
pub async fn open(state: &SessionState, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    if let Some((table, at)) = travel::asked(name, state)? {
        return earlier(state, table, at).await;
    }
    if let Some(reader) = readers::asked(name)? {
        return reader.table(state).await.map(Some);
    }
    match find(state, name, None).await? {
        Found::Nothing => Ok(None),
        Found::Delta(url) => delta(state, name, url).await.map(Some),
        Found::Files(files) => table(state, files).await.map(Some),
    }
}

/// A Delta table as it was.
async fn earlier(
    state: &SessionState,
    name: &str,
    at: travel::At,
) -> Result<Option<Arc<dyn TableProvider>>> {
    let schema = state.schema_for_ref(TableReference::bare(name))?;
    if schema.table_exist(name)
        && let Some(table) = schema.table(name).await?
    {
        return Ok(Some(travel::table(name, &table, at, state).await?));
    }
    match find(state, name, None).await? {
        Found::Nothing => Ok(None),
        Found::Delta(url) => Ok(Some(travel::folder(name, url, HashMap::new(), at, state).await?)),
        Found::Files(_) => Err(user(format!("'{name}' is no Delta table: it has no versions"))),
    }
}

async fn delta(state: &SessionState, name: &str, url: url::Url) -> Result<Arc<dyn TableProvider>> {
    let opened = async {
        let table = deltalake::open_table(url).await.map_err(|error| error.to_string())?;
        let provider = table.table_provider().with_session(Arc::new(state.clone()));
        provider.await.map(skipping::trusted).map_err(|error| error.to_string())
    };
    opened.await.map_err(|error: String| data(lake::told(name, &error)))
}
