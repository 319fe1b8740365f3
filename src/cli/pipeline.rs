//! `thalweg run`: hands a pipeline to `stream` and writes what its plain queries answer.

use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;

use super::args::Run;
use super::failure::Outcome;
use super::output::Output;
use crate::error::{Error, Result};
use crate::job::{Results, RunOptions};

/// Runs until the pipeline's end or a signal; either way it drains and commits first.
pub async fn run(arguments: Run) -> Outcome {
    let options = RunOptions {
        options: arguments.device.options(),
        pipeline: arguments.pipeline,
        state: arguments.state,
        start_fresh: arguments.start_fresh,
        until_end: arguments.until_end,
        metrics: arguments.metrics,
    };
    let mut results = Printed(Output::open(arguments.format, None)?);
    crate::job::run(options, &mut results).await?;
    results.0.finish()
}

struct Printed(Output);

#[async_trait]
impl Results for Printed {
    async fn write(&mut self, rows: SendableRecordBatchStream) -> Result<()> {
        self.0.write(rows).await.map(|_| ()).map_err(Error::from)
    }
}
