//! `thalweg run`: hands a pipeline to `job`, writes what its queries answer, shows how it goes.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clap::CommandFactory;
use datafusion::execution::SendableRecordBatchStream;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use super::args::{Arguments, Run};
use super::caret::pointed;
use super::failure::{Failure, Outcome, Stopped};
use super::output::Output;
use crate::error::{Error, Result};
use crate::job::{Results, RunOptions};
use crate::sql::explain::Explained;
use crate::sql::variables::{Values, substitute};
use crate::stream::progress::{Observer, Progress};
use crate::stream::runtime::totals::Totals;

/// Runs until the pipeline's end or a signal; either way it drains and commits first. `reading` is
/// true while it reads streams.
pub async fn run(arguments: Run, reading: Arc<AtomicBool>) -> Outcome {
    if arguments.start_fresh && !arguments.yes && !sure()? {
        return Ok(());
    }
    let (begun, bar) = (Instant::now(), bar());
    let shown = Shown::new(arguments.progress.as_deref(), bar.clone())?;
    let options = RunOptions {
        options: arguments.device.options(),
        pipeline: arguments.pipeline,
        values: arguments.set.into_iter().collect(),
        state: arguments.state,
        start_fresh: arguments.start_fresh,
        until_end: arguments.until_end,
        metrics: arguments.metrics,
        reading,
        observer: shown.map(|shown| Observer(Arc::new(move |progress| shown.show(progress)))),
    };
    let mut results = Printed { output: Output::open(arguments.format, None)?, bar };
    let (path, values) = (options.pipeline.clone(), options.values.clone());
    let done = crate::job::run(options, &mut results).await;
    results.clear();
    let totals = done.map_err(|error| with_line(error, &path, &values))?;
    results.output.finish()?;
    if std::io::stderr().is_terminal() {
        eprintln!("{}", summary(&path, &totals, begun.elapsed()));
    }
    Ok(())
}

/// What a run has done, in one line.
fn summary(path: &Path, totals: &Totals, time: Duration) -> String {
    let Totals { read, stored, late, rejected, results, sides } = totals;
    let seconds = time.as_secs_f64();
    let sides: Vec<&str> = sides.iter().map(String::as_str).collect();
    let on = if sides.is_empty() { "" } else { " on " };
    format!(
        "{}: {read} rows read, {stored} stored, {late} late, {rejected} rejected; {results} \
         results; {seconds:.1} s{on}{}",
        path.display(),
        sides.join(" and ")
    )
}

/// An error with the line of the pipeline that it speaks of.
fn with_line(error: Error, path: &Path, values: &Values) -> Failure {
    let told = error.told();
    let text = std::fs::read_to_string(path).map_err(Error::from);
    let text = text.and_then(|text| substitute(&text, values));
    match (Failure::from(error), text) {
        (Failure::Failed(_), Ok(text)) => Failure::Failed(pointed(&told.head(), &told, &text)),
        (failure, _) => failure,
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
    fn new(path: Option<&Path>, bar: Option<ProgressBar>) -> Result<Option<Self>> {
        let lines: Option<Box<dyn Write + Send>> = match path {
            None => None,
            Some(path) if path == Path::new("-") => Some(Box::new(std::io::stdout())),
            Some(path) => {
                let wrong = |error| Error::user(format!("--progress {}: {error}", path.display()));
                Some(Box::new(File::create(path).map_err(wrong)?))
            }
        };
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
        if bar.is_finished() {
            bar.reset(); // it made room for results
        }
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

/// The line that shows how it goes, where there is one.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Begins to show how it goes, on a terminal.
fn bar() -> Option<ProgressBar> {
    let bar = || {
        let style = ProgressStyle::with_template("{spinner} {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        ProgressBar::new_spinner().with_style(style)
    };
    std::io::stderr().is_terminal().then(|| BAR.get_or_init(bar).clone())
}

/// Writes to stderr above the line that shows how it goes, which would else be drawn over it.
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let write = || std::io::stderr().write(bytes);
        match BAR.get() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

struct Printed {
    output: Output,
    bar: Option<ProgressBar>,
}

impl Printed {
    /// Makes room for results where the line stands.
    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[async_trait]
impl Results for Printed {
    async fn write(&mut self, rows: SendableRecordBatchStream) -> Result<()> {
        self.clear();
        self.output.write(rows).await.map(|_| ()).map_err(Error::from)
    }

    fn draws(&self) -> bool {
        self.output.draws()
    }

    async fn explain(&mut self, explained: Explained) -> Result<()> {
        self.clear();
        let drawn = self.output.explain(explained, Instant::now()).await;
        drawn.map(|_| ()).map_err(Error::from)
    }

    fn print(&mut self, text: &str) -> Result<()> {
        self.clear();
        self.output.print(text).map_err(Stopped::Output).map_err(Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_in_a_line() {
        let sides = ["cpu", "gpu"].map(str::to_string).into();
        let totals = Totals { read: 5, stored: 4, late: 1, rejected: 2, results: 7, sides };
        let told = summary(Path::new("a/p.sql"), &totals, Duration::from_millis(1240));
        let want =
            "a/p.sql: 5 rows read, 4 stored, 1 late, 2 rejected; 7 results; 1.2 s on cpu and gpu";
        assert_eq!(told, want);
        let none = summary(Path::new("p.sql"), &Totals::default(), Duration::ZERO);
        assert!(none.ends_with("0 results; 0.0 s"), "{none}");
    }
}
