//! `thalweg run`: hands a pipeline to `job`, writes what its queries answer, shows how it goes.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use clap::CommandFactory;
use datafusion::execution::SendableRecordBatchStream;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use super::args::{Arguments, Run};
use super::caret::pointed;
use super::failure::{Failure, Outcome, describe, leading_place};
use super::output::Output;
use crate::error::{Error, Result};
use crate::job::{Results, RunOptions};
use crate::sql::variables::{Values, substitute};
use crate::stream::progress::{Observer, Progress};

/// Runs until the pipeline's end or a signal; either way it drains and commits first.
pub async fn run(arguments: Run) -> Outcome {
    if arguments.start_fresh && !arguments.yes && !sure()? {
        return Ok(());
    }
    let shown = Shown::new(arguments.progress.as_deref())?;
    let options = RunOptions {
        options: arguments.device.options(),
        pipeline: arguments.pipeline,
        values: arguments.set.into_iter().collect(),
        state: arguments.state,
        start_fresh: arguments.start_fresh,
        until_end: arguments.until_end,
        metrics: arguments.metrics,
        observer: shown.map(|shown| Observer(Arc::new(move |progress| shown.show(progress)))),
    };
    let mut results = Printed(Output::open(arguments.format, None)?);
    let (path, values) = (options.pipeline.clone(), options.values.clone());
    let done = crate::job::run(options, &mut results).await;
    done.map_err(|error| with_line(error, &path, &values))?;
    results.0.finish()
}

/// An error with the line of the pipeline that it speaks of.
fn with_line(error: Error, path: &Path, values: &Values) -> Failure {
    let told = describe(&error);
    let head = format!("{}: ", path.display());
    let in_message = told.message.strip_prefix(&head).and_then(|rest| leading_place(rest).place);
    let text = std::fs::read_to_string(path).map_err(Error::from);
    let text = text.and_then(|text| substitute(&text, values));
    match (Failure::from(error), told.place.or(in_message), text) {
        (Failure::Failed(message), Some(place), Ok(text)) => {
            Failure::Failed(pointed(&message, &text, place))
        }
        (failure, ..) => failure,
    }
}

/// Asks before state is forgotten.
fn sure() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        let message = "--start-fresh asks before it forgets the state of earlier runs: say --yes";
        Arguments::command().error(clap::error::ErrorKind::MissingRequiredArgument, message).exit();
    }
    eprint!("Forget offsets and open windows of earlier runs? Results stay. [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Where progress goes: JSON lines, and a line on a terminal.
struct Shown {
    lines: Option<Mutex<Box<dyn Write + Send>>>,
    bar: Option<ProgressBar>,
}

impl Shown {
    /// `None` where nobody looks.
    fn new(path: Option<&Path>) -> Result<Option<Self>> {
        let lines: Option<Box<dyn Write + Send>> = match path {
            None => None,
            Some(path) if path == Path::new("-") => Some(Box::new(std::io::stdout())),
            Some(path) => {
                let wrong = |error| Error::User(format!("--progress {}: {error}", path.display()));
                Some(Box::new(File::create(path).map_err(wrong)?))
            }
        };
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::new_spinner().with_style(style)
        });
        if lines.is_none() && bar.is_none() {
            return Ok(None);
        }
        Ok(Some(Self { lines: lines.map(Mutex::new), bar }))
    }

    fn show(&self, progress: &Progress) {
        if let Some(lines) = &self.lines
            && let Ok(mut line) = serde_json::to_vec(progress)
        {
            line.push(b'\n');
            let mut lines = lines.lock();
            // Progress that nobody can take must not end the pipeline.
            if let Err(error) = lines.write_all(&line).and_then(|()| lines.flush()) {
                tracing::debug!("--progress: {error}");
            }
        }
        let Some(bar) = &self.bar else { return };
        let rows = progress.input_rows_per_second;
        let state = progress.state_operators.iter().map(|state| state.num_rows_total).sum::<u64>();
        let watermark = progress.event_time.watermark.as_deref().unwrap_or("none");
        bar.set_message(format!(
            "{}: epoch {}, {rows:.0} rows/s, watermark {watermark}, {state} rows of state",
            progress.name, progress.batch_id
        ));
        bar.tick();
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

struct Printed(Output);

#[async_trait]
impl Results for Printed {
    async fn write(&mut self, rows: SendableRecordBatchStream) -> Result<()> {
        self.0.write(rows).await.map(|_| ()).map_err(Error::from)
    }
}
