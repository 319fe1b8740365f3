//! Why a command did not succeed, in words for its user, and the exit code that says it.

use std::io;
use std::process::ExitCode;

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;

use super::complete::tables;
use crate::error::{Error, Missing, UserError, cause, did_you_mean, nearest};
use crate::task;

/// How a command ends when it does not succeed.
#[derive(Debug)]
pub enum Failure {
    /// What, where, what to do. Exit 1.
    Failed(String),
    /// The reader of our output has gone, as `head` does: not our failure. Exit 0.
    Closed,
    /// By Ctrl-C. Exit 130.
    Interrupted,
}

pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// Of a task that has panicked.
    pub fn ended(what: &str, error: tokio::task::JoinError) -> Self {
        task::ended(what, error).into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::failed(cause(&error)),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if is_broken_pipe(&error) {
            return Self::Closed;
        }
        Self::Failed(error.told().to_string())
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        Error::from(error).into()
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        Error::from(error).into()
    }
}

/// What may stop a statement: the engine, or the place the output goes to.
pub enum Stopped {
    By(Error),
    Output(Failure),
}

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::By(error) => error,
            Stopped::Output(Failure::Failed(message)) => Error::user(message),
            Stopped::Output(_) => Error::Io(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Prints what is to be said and turns it into the exit code.
pub fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(Failure::Interrupted) => ExitCode::from(130),
        Err(Failure::Failed(message)) => {
            crate::device::let_speak();
            eprintln!("error: {message}");
            ExitCode::from(1)
        }
    }
}

/// A panic ends what it is in, and is told by whom that is joined: here is only kept where it was.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        task::note(panic);
        tracing::info!("{panic}");
        if std::env::var_os("THALWEG_BACKTRACE").is_some() {
            eprintln!("{panic}\n{}", std::backtrace::Backtrace::force_capture());
        }
    }));
}

fn is_broken_pipe(error: &Error) -> bool {
    let io = match error {
        Error::Io(error) => Some(error),
        Error::Arrow(ArrowError::IoError(_, error)) => Some(error),
        Error::DataFusion(DataFusionError::IoError(error)) => Some(error),
        _ => None,
    };
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// An error with the names that what is not there may have been: of the session's tables, or of
/// functions.
pub fn with_near(mut told: UserError, session: &SessionContext) -> UserError {
    let hint = match &told.missing {
        None => return told,
        Some(Missing::Table(name)) => {
            did_you_mean(name, tables(session).iter().map(String::as_str))
        }
        Some(Missing::Function(name)) => {
            let known = functions(session);
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            // There are hundreds: none is told for want of a near one.
            match nearest(name, &known).is_empty() {
                true => return told,
                false => did_you_mean(name, known),
            }
        }
    };
    told.message.push_str(&hint);
    told
}

/// Functions of all kinds.
fn functions(session: &SessionContext) -> Vec<String> {
    let state = session.state();
    let all = state.scalar_functions().keys().chain(state.aggregate_functions().keys());
    let mut all: Vec<String> = all.chain(state.window_functions().keys()).cloned().collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_there_is_told_with_what_is_near() {
        let session = SessionContext::new();
        session.sql("CREATE VIEW flights AS SELECT 1 AS a").await.unwrap();
        let told = async |sql: &str| {
            let error = session.sql(sql).await.unwrap_err();
            with_near(Error::from(error).told(), &session).message
        };
        let near = "function 'cout' not found; did you mean 'cot' or 'count'?";
        assert_eq!(told("SELECT cout(1)").await, near);
        assert_eq!(told("SELECT zzzzzz(1)").await, "function 'zzzzzz' not found");
        let near = "table 'flihgts' not found; did you mean 'flights'?";
        assert_eq!(told("SELECT * FROM flihgts").await, near);
        assert_eq!(told("SELECT 1 / ").await, of("SELECT 1 / ").await.told().message);
    }

    async fn of(sql: &str) -> Error {
        SessionContext::new().sql(sql).await.unwrap_err().into()
    }
}
