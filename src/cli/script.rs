//! `thalweg sql`: statements from the command line, a file, stdin or the prompt.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::time::Instant;

use datafusion::execution::SendableRecordBatchStream;

use super::args::Sql;
use super::caret::pointed;
use super::failure::{Failure, Outcome, Stopped, with_near};
use super::interrupt::Interrupt;
use super::output::Output;
use super::waiting::Waiting;
use crate::error::Error;
use crate::plan::beside;
use crate::sql::variables::substitute;
use crate::sql::{self, Engine, Kind, Statement};

/// True where `sql` is going to read statements from a person.
pub fn is_prompt(arguments: &Sql) -> bool {
    arguments.command.is_none() && arguments.file.is_none() && std::io::stdin().is_terminal()
}

/// Runs what the arguments ask for.
pub async fn run(arguments: Sql, interrupt: &Interrupt) -> Outcome {
    let options = arguments.device.options();
    let mut script = Script::read(&arguments)?;
    let engine = Engine::new(options)?;
    if arguments.file.is_some() {
        let text = substitute(&script.text, &arguments.set.iter().cloned().collect());
        script.text = text.map_err(|error| script.blame(error, None, &engine))?;
    }
    let statements = engine.parse(&script.text);
    let statements = statements.map_err(|error| script.blame(error, None, &engine))?;
    let mut output = Output::of(&arguments)?;
    for (index, statement) in statements.into_iter().enumerate() {
        let line = statement.line;
        let started = Instant::now();
        let rows = run_statement(&engine, statement, &mut output, interrupt)
            .await
            .map_err(|failure| script.blame_failure(failure, line, &engine))?;
        if arguments.timing {
            let seconds = started.elapsed().as_secs_f64();
            eprintln!("statement {} (line {line}): {rows} rows in {seconds:.3} s", index + 1);
        }
        if interrupt.told() {
            // What came before Ctrl-C is a whole result.
            output.finish()?;
            return Err(Failure::Interrupted);
        }
    }
    output.finish()
}

/// Runs one statement and writes its rows; answers how many there were. A SELECT with EMIT over
/// streams goes on until they end or Ctrl-C is pressed.
pub async fn run_statement(
    engine: &Engine,
    statement: Statement,
    output: &mut Output,
    interrupt: &Interrupt,
) -> Result<u64, Stopped> {
    if let Kind::Print(text) = &statement.kind {
        return output.print(text).map(|()| 0).map_err(Stopped::Output);
    }
    let (waiting, started) = (Waiting::begin(), Instant::now());
    if output.draws()
        && let Some(mut explained) = engine.explain(&statement).await.map_err(Stopped::By)?
    {
        explained.rows = explained.rows.map(|rows| waiting.until_first(apart(rows)));
        return output.explain(explained, started).await;
    }
    if statement.emit.is_some() {
        let live = crate::job::follow(engine, &statement, interrupt.follower()).await;
        if let Some(rows) = live.map_err(Stopped::By)? {
            return output.follow(waiting.until_first(rows)).await;
        }
    }
    // A file of one form holds one result, and how much was written is none that was asked for.
    let is_count = output.is_binary() && sql::is_writing(&statement);
    match engine.execute(statement).await.map_err(Stopped::By)? {
        sql::Outcome::Rows(_) if is_count => Ok(0),
        sql::Outcome::Done => Ok(0),
        sql::Outcome::Rows(stream) => output.write(apart(waiting.until_first(stream))).await,
    }
}

/// The same rows from a task of their own: an interrupt is seen while they are computed, which may
/// be for long without a pause.
fn apart(rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
    beside("a query", 1, rows)
}

/// A text of statements and where it came from.
pub struct Script {
    pub text: String,
    /// Told in errors; none for `-c` and the prompt.
    pub file: Option<String>,
}

impl Script {
    fn read(arguments: &Sql) -> Outcome<Self> {
        if let Some(text) = &arguments.command {
            return Ok(Self { text: text.clone(), file: None });
        }
        if let Some(path) = &arguments.file {
            return Ok(Self { text: read_text(path)?, file: Some(path.display().to_string()) });
        }
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|error| Failure::failed(format!("stdin: {error}")))?;
        Ok(Self { text, file: Some("stdin".to_string()) })
    }

    /// An error with its place: the file, the line and column where known, else the statement's
    /// first line. Below it stands the line, and where a table is not there what it may have been.
    pub fn blame(&self, error: Error, statement_line: Option<u64>, engine: &Engine) -> Failure {
        let told = with_near(error.told(), &engine.context);
        let place = match (told.place, statement_line) {
            (Some(place), _) => Some(place.to_string()),
            (None, Some(line)) if line > 1 => Some(format!("statement at line {line}")),
            _ => None,
        };
        let place = match (&self.file, place) {
            (Some(file), Some(place)) => format!("{file}, {place}: "),
            (Some(file), None) => format!("{file}: "),
            (None, Some(place)) => format!("{place}: "),
            (None, None) => String::new(),
        };
        match Failure::from(error) {
            Failure::Failed(_) => {
                let head = format!("{place}{}", told.message);
                Failure::Failed(pointed(&head, &told, &self.text))
            }
            other => other,
        }
    }

    fn blame_failure(&self, stopped: Stopped, line: u64, engine: &Engine) -> Failure {
        match stopped {
            Stopped::By(error) => self.blame(error, Some(line), engine),
            Stopped::Output(failure) => failure,
        }
    }
}

fn read_text(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}
