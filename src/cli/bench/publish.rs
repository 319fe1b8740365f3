//! What was measured, as a table and as JSON.

use std::path::Path;

use arrow::record_batch::RecordBatch;

use crate::cli::args::Format;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::Output;
use crate::error::Error;

/// Prints what was measured; writes it as JSON, an object a line, where that is asked for.
pub async fn publish(table: RecordBatch, json: Option<&Path>) -> Outcome {
    if let Some(path) = json {
        let wrong = |error| Failure::failed(format!("{}: {error}", path.display()));
        let mut file = std::fs::File::create(path).map_err(wrong)?;
        let mut writer = arrow::json::LineDelimitedWriter::new(&mut file);
        writer.write(&table).and_then(|()| writer.finish()).map_err(Error::from)?;
    }
    let mut output = Output::open(Format::Table, None)?;
    let schema = table.schema();
    let rows = futures::stream::iter([Ok(table)]);
    let rows = datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(schema, rows);
    output.write(Box::pin(rows)).await.map_err(Error::from)?;
    output.finish()
}
