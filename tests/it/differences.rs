//! Right answers where those of the foundations are wrong (`docs/differences.md`): what Thalweg
//! answers, on both sides, and that stock DataFusion still answers otherwise. When the latter
//! fails, DataFusion has mended the fault, and our mending can go.

mod files;
mod sql;
mod types;

use datafusion::prelude::{SessionConfig, SessionContext};
use thalweg::config::DeviceChoice;

use super::support;

/// The rows of the last query of `sql` on stock DataFusion, as text; its error as text.
async fn stock(sql: &[&str]) -> Result<String, String> {
    let config = SessionConfig::new().with_information_schema(true);
    let context = SessionContext::new_with_config(config).enable_url_table();
    let mut text = String::new();
    for statement in sql {
        let frame = context.sql(statement).await.map_err(|error| error.to_string())?;
        let batches = frame.collect().await.map_err(|error| error.to_string())?;
        let shown = arrow::util::pretty::pretty_format_batches(&batches);
        text = shown.map_err(|error| error.to_string())?.to_string();
    }
    Ok(text)
}

/// Runs the statements on both sides: the last query's rows are `expected`, in its order.
async fn answers(sql: &[&str], expected: &[&[&str]]) {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let Some(engine) = support::engine_on(device) else { return };
        let answer = support::rows(&engine, &sql.join(";\n")).await;
        assert_eq!(answer.rows, expected, "device = {device}, {sql:?}");
    }
}

/// Runs the statements on both sides: each ends with an error that holds all of `words`.
async fn refuses(sql: &[&str], words: &[&str]) {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let Some(engine) = support::engine_on(device) else { return };
        let Err(error) = support::run(&engine, &sql.join(";\n")).await.map(|_| ()) else {
            panic!("device = {device}: an error was expected of {sql:?}");
        };
        let text = error.to_string();
        for word in words {
            assert!(text.contains(word), "device = {device}: {word:?} is not in: {text}");
        }
    }
}
