//! Runs a pipeline file: every statement in order, continuous queries beside one another.

use std::net::SocketAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;

use crate::config::Options;
use crate::error::{Error, Result};

/// What `thalweg run` was asked for.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The file of statements.
    pub pipeline: PathBuf,
    /// The state folder. Its rejected rows are kept there; recovery comes with the deep engine.
    pub state: Option<PathBuf>,
    /// Read every source to its end, close all windows, return.
    pub until_end: bool,
    /// Where to serve metrics.
    pub metrics: Option<SocketAddr>,
    pub options: Options,
}

/// Who writes the rows of a plain SELECT in a pipeline.
#[async_trait]
pub trait Results: Send {
    /// Writes all rows of one result.
    async fn write(&mut self, rows: SendableRecordBatchStream) -> Result<()>;
}

/// Runs the pipeline until its end or until SIGINT or SIGTERM, then drains and commits.
///
/// Errors: the first that a statement or a continuous query meets; what was committed stays.
pub async fn run(options: RunOptions, _results: &mut dyn Results) -> Result<()> {
    let name = options.pipeline.display();
    Err(Error::User(format!("{name}: pipelines do not run yet")))
}
