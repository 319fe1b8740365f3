//! How a pipeline reads its streams.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::sql::Engine;
use crate::stream::runtime::state::Tuning;

/// How streams are read, by the SQL options in force.
pub fn tuning(engine: &Engine, until_end: bool) -> Result<Tuning> {
    let set = engine.sql_options();
    if set.epoch_rows == 0 || set.batch_rows == 0 {
        return Err(Error::user("thalweg.epoch_rows and thalweg.batch_rows: one row at least"));
    }
    Ok(Tuning {
        batch_rows: set.batch_rows,
        rows: set.epoch_rows,
        commit: Duration::from_millis(set.epoch_ms),
        latency: Duration::from_millis(set.latency_ms),
        snapshot: Duration::from_millis(set.snapshot_ms),
        journal_epochs: set.journal_epochs,
        state_memory: set.state_memory().map_err(Error::user)?,
        until_end,
    })
}
