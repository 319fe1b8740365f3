//! `SET` and `RESET` of options that DataFusion cannot do by itself: ours go back to what the
//! session was opened with, and the memory of queries is one limit under two names.

use datafusion::common::config::{ConfigOptions, ExtensionOptions};
use datafusion::logical_expr::{ResetVariable, SetVariable};
use datafusion::prelude::SessionContext;

use crate::config::Options;
use crate::error::{Error, Result};
use crate::plan::SqlOptions;

/// Our own name of the memory limit.
const MEMORY: &str = "thalweg.memory";

/// DataFusion's.
const MEMORY_LIMIT: &str = "datafusion.runtime.memory_limit";

/// Takes a `SET` that is ours to do; answers false for others.
///
/// Errors: what is no number of bytes.
pub fn set(context: &SessionContext, set: &SetVariable) -> Result<bool> {
    let value = match set.variable.as_str() {
        MEMORY => set.value.clone(),
        MEMORY_LIMIT => SessionContext::parse_capacity_limit(MEMORY_LIMIT, &set.value)?.to_string(),
        _ => return Ok(false),
    };
    change(context, MEMORY, &value)?;
    Ok(true)
}

/// Takes a `RESET` that is ours to do; answers false for others.
///
/// Errors: there is no such option.
pub fn reset(context: &SessionContext, opened: &Options, reset: &ResetVariable) -> Result<bool> {
    let variable = match reset.variable.as_str() {
        MEMORY_LIMIT => MEMORY,
        variable if variable.starts_with("thalweg.") => variable,
        _ => return Ok(false),
    };
    let name = variable.trim_start_matches("thalweg.");
    let entries = SqlOptions::new(opened).entries();
    let known = entries.into_iter().find(|entry| entry.key.trim_start_matches("thalweg.") == name);
    let Some(known) = known else {
        return Err(Error::user(format!("there is no option {variable}")));
    };
    change(context, variable, &known.value.unwrap_or_default())?;
    Ok(true)
}

fn change(context: &SessionContext, variable: &str, value: &str) -> Result<()> {
    let state = context.state_ref();
    let mut state = state.write();
    let options: &mut ConfigOptions = state.config_mut().options_mut();
    let before = SqlOptions::of(options);
    options.set(variable, value)?;
    if variable == MEMORY {
        match SqlOptions::of(options).memory() {
            Ok(bytes) => crate::plan::memory::set_limit(state.runtime_env(), bytes),
            Err(wrong) => {
                options.set(MEMORY, &before.memory)?;
                return Err(Error::user(wrong));
            }
        }
    }
    Ok(())
}
