//! Why a command did not succeed, in words for its user, and the exit code that says it.

use std::io;
use std::process::ExitCode;

use datafusion::arrow::error::ArrowError;
use datafusion::common::utils::quote_identifier;
use datafusion::common::{Column, Diagnostic, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;

use super::complete::tables;
use crate::error::{Error, cause, did_you_mean, full_disk, nearest};
use crate::plan::files::{self, STORED_AS};
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
        let told = describe(&error);
        match told.place {
            Some((line, column)) => {
                Self::Failed(format!("line {line}, column {column}: {}", told.message))
            }
            None => Self::Failed(told.message),
        }
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
            Stopped::Output(Failure::Failed(message)) => Error::User(message),
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

/// An error in words.
#[derive(Debug, PartialEq)]
pub struct Told {
    /// Line and column in the SQL text, from 1.
    pub place: Option<(u64, u64)>,
    pub message: String,
}

impl Told {
    fn plain(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into() }
    }
}

/// What a user needs of an error: the cause and its place, without the layers it came through.
pub fn describe(error: &Error) -> Told {
    let told = by_cause(error);
    match task::too_long(&told.message) {
        Some(too_long) => Told { message: too_long.to_string(), ..told },
        None => told,
    }
}

fn by_cause(error: &Error) -> Told {
    match error {
        Error::DataFusion(error) => describe_datafusion(error),
        Error::Arrow(error) => describe_arrow(error),
        Error::User(text) => leading_place(text),
        Error::Io(error) => Told::plain(cause(error)),
        other => Told::plain(other.to_string()),
    }
}

fn describe_datafusion(error: &DataFusionError) -> Told {
    if let Some(full) = full_disk(error) {
        return Told::plain(full);
    }
    if let Some(of_store) = files::of_store(error) {
        return Told::plain(files::told(of_store));
    }
    match error {
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                Told::plain(unknown_column(field, valid_fields))
            }
            other => Told::plain(other.to_string()),
        },
        DataFusionError::Diagnostic(diagnostic, inner) => with_diagnostic(diagnostic, inner),
        DataFusionError::Context(_, inner) => describe_datafusion(inner),
        DataFusionError::Shared(inner) => describe_datafusion(inner),
        DataFusionError::Collection(all) => match all.first() {
            Some(first) => describe_datafusion(first),
            None => Told::plain(error.to_string()),
        },
        DataFusionError::SQL(parser, _) => take_place(&strip_prefixes(&parser.to_string())),
        DataFusionError::ArrowError(inner, _) => describe_arrow(inner),
        DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
            Some(ours) => by_cause(ours),
            None => match inner.downcast_ref::<DataFusionError>() {
                Some(inner) => describe_datafusion(inner),
                None => Told::plain(describe_other(inner.as_ref())),
            },
        },
        // The writer keeps the cause to itself.
        DataFusionError::Internal(text) if text.starts_with("Error encountered while ") => {
            let causes = "a full disk, no right to write there or, in S3, no such bucket";
            Told::plain(format!("the output could not be written in full: {causes}"))
        }
        // Rules of the planner that look at types do not tell their errors from its own.
        DataFusionError::Internal(text) if text.starts_with("Failed to coerce types ") => {
            Told::plain(first_part(text))
        }
        DataFusionError::Internal(text) => Told::plain(Error::Bug(first_part(text)).to_string()),
        DataFusionError::ResourcesExhausted(text) => Told::plain(format!("out of memory: {text}")),
        other => take_place(&strip_prefixes(&first_part(&other.to_string()))),
    }
}

/// A column that is not there: the nearest ones, by their own names and not by the paths of the
/// files they are in.
fn unknown_column(field: &Column, known: &[Column]) -> String {
    let name = &field.name;
    // Columns of ours stand behind those of a stream.
    let known = known.iter().filter(|column| !column.name.starts_with("__"));
    let Some(table) = &field.relation else {
        let names: Vec<_> = known.map(|column| quote_identifier(&column.name)).collect();
        let hint = did_you_mean(name, names.iter().map(AsRef::as_ref));
        return format!("column '{name}' not found{hint}");
    };
    let of_table = known.clone().filter(|column| column.relation.as_ref() == Some(table));
    let names: Vec<_> = of_table.map(|column| quote_identifier(&column.name)).collect();
    if names.is_empty() {
        let mut tables: Vec<_> = known.filter_map(|c| c.relation.as_ref()).collect();
        tables.dedup();
        let tables: Vec<_> = tables.into_iter().map(|table| table.table()).collect();
        let hint = did_you_mean(table.table(), tables);
        return format!("column '{name}': '{table}' is no table of this query{hint}");
    }
    let hint = did_you_mean(name, names.iter().map(AsRef::as_ref));
    format!("column '{name}' not found in '{table}'{hint}")
}

/// A message with the names that what is not there may have been: of the session's tables, or of
/// functions.
pub fn with_near(message: String, session: &SessionContext) -> String {
    let Some((kind, name)) = missing(&message) else { return message };
    let known = match kind {
        "table" => tables(session),
        _ => functions(session),
    };
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    // Of functions there are hundreds: none is told for want of a near one.
    let hint = match kind == "function" && nearest(name, &known).is_empty() {
        true => String::new(),
        false => did_you_mean(name, known),
    };
    format!("{message}{hint}")
}

/// What kind of thing a message calls missing, and its name.
fn missing(message: &str) -> Option<(&str, &str)> {
    let (kind, name) = message.strip_suffix("' not found")?.split_once(" '")?;
    matches!(kind, "table" | "function").then_some((kind, name))
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

/// An error of a library; that of a task that has panicked is told as the panic.
fn describe_other(error: &(dyn std::error::Error + 'static)) -> String {
    // Shared, and so not of the type of a task's error any more.
    let text = error.to_string();
    match text.starts_with("task ") && text.contains(" panicked") {
        true => Error::Bug(text).to_string(),
        false => strip_prefixes(&text),
    }
}

fn describe_arrow(error: &ArrowError) -> Told {
    match error {
        ArrowError::ExternalError(inner) => match inner.downcast_ref::<DataFusionError>() {
            Some(inner) => describe_datafusion(inner),
            None => match inner.downcast_ref::<Error>() {
                Some(ours) => by_cause(ours),
                None => Told::plain(describe_other(inner.as_ref())),
            },
        },
        ArrowError::DivideByZero => Told::plain("division by zero"),
        other => Told::plain(strip_prefixes(&other.to_string())),
    }
}

fn with_diagnostic(diagnostic: &Diagnostic, inner: &DataFusionError) -> Told {
    let mut told = describe_datafusion(inner);
    if let Some(span) = diagnostic.span {
        told.place = told.place.or(Some((span.start.line, span.start.column)));
    }
    for help in &diagnostic.helps {
        if !told.message.contains(&help.message) {
            told.message = format!("{}\n  hint: {}", told.message, help.message);
        }
    }
    told
}

/// Drops what follows the message proper: backtraces and the plea to report to another project.
fn first_part(text: &str) -> String {
    let ends = ["\n\nbacktrace:", "\nThis issue was likely caused by a bug in DataFusion"];
    let end = ends.iter().filter_map(|mark| text.find(mark)).min().unwrap_or(text.len());
    text[..end].trim_end().trim_end_matches(".\n").to_string()
}

/// Drops the names of the layers that an error came through.
fn strip_prefixes(text: &str) -> String {
    const LAYERS: [&str; 20] = [
        "Internal error: ",
        "Cast error: ",
        "DataFusion error: ",
        "External error: ",
        "Error during planning: ",
        "Execution error: ",
        "Schema error: ",
        "SQL error: ",
        "sql parser error: ",
        "Arrow error: ",
        "Parquet error: ",
        "Object Store error: ",
        "IO error: ",
        "Invalid or Unsupported Configuration: ",
        "Optimizer rule 'type_coercion' failed: ",
        "Invalid argument error: ",
        "Compute error: ",
        "Arithmetic overflow: ",
        "Parser error: ",
        "External: ",
    ];
    let mut rest = text.trim();
    while let Some(next) = LAYERS.iter().find_map(|layer| rest.strip_prefix(layer)) {
        rest = next;
    }
    if let Some(form) = rest.strip_prefix("Unable to find factory for ") {
        return format!("STORED AS {form}: there are {}, DELTA", STORED_AS.join(", "));
    }
    let told = no_signature(rest).or_else(|| unquoted_file(rest)).or_else(|| no_function(rest));
    if let Some(told) = told {
        return told;
    }
    // The catalog and schema that names have when nobody says otherwise.
    let rest = rest.trim_end().replace("'datafusion.public.", "'");
    rest.replace("Error during planning: ", "")
}

/// `Function 'sum' failed to match any signature, errors: Function 'sum' requires Decimal, but
/// received String (DataType: Utf8).,..`: the types once each.
fn no_signature(text: &str) -> Option<String> {
    let (function, errors) = text.split_once(" failed to match any signature, errors: ")?;
    let between = |part: &str, from: &str, to: &str| {
        let (_, rest) = part.split_once(from)?;
        rest.split_once(to).map(|(found, _)| found.to_string())
    };
    let received = between(errors, "(DataType: ", ")")?;
    let parts = errors.split(" requires ").skip(1);
    let taken: Vec<&str> = parts.filter_map(|part| Some(part.split_once(", but")?.0)).collect();
    Some(format!("{function} takes no {received}; it takes {}", taken.join(", ")))
}

/// `Invalid function 'f'.\nDid you mean 'g'?`: the nearest by letters, however far.
fn no_function(text: &str) -> Option<String> {
    let (name, _) = text.strip_prefix("Invalid function '")?.split_once("'.\nDid you mean ")?;
    Some(format!("function '{name}' not found"))
}

/// `table 'datafusion.a.csv' not found`: a file's name without its quotes.
fn unquoted_file(text: &str) -> Option<String> {
    const ENDINGS: [&str; 6] = [".parquet", ".csv", ".tsv", ".json", ".ndjson", ".arrow"];
    let name = text.strip_prefix("table 'datafusion.")?.strip_suffix("' not found")?;
    let is_file = ENDINGS.iter().any(|ending| name.ends_with(ending));
    is_file.then(|| format!("table '{name}' not found\n  hint: a file goes in quotes: '{name}'"))
}

/// Takes a leading `line 1, column 8: ` out of a message.
pub fn leading_place(text: &str) -> Told {
    let found = text.strip_prefix("line ").and_then(|rest| {
        let (line, rest) = rest.split_once(", column ")?;
        let (column, message) = rest.split_once(": ")?;
        Some(Told {
            place: Some((line.parse().ok()?, column.parse().ok()?)),
            message: strip_prefixes(message),
        })
    });
    found.unwrap_or_else(|| Told::plain(text))
}

/// Takes the parser's ` at Line: 1, Column: 8` out of a message.
fn take_place(text: &str) -> Told {
    let found = text.find(" at Line: ").and_then(|start| {
        let rest = &text[start + " at Line: ".len()..];
        let (line, rest) = rest.split_once(", Column: ")?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let place = (line.parse().ok()?, rest[..digits].parse().ok()?);
        Some((place, format!("{}{}", &text[..start], &rest[digits..])))
    });
    match found {
        Some((place, message)) => Told { place: Some(place), message },
        None => Told::plain(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_leaves_the_message() {
        let told = take_place("Expected: an expression, found: FROM at Line: 3, Column: 12");
        assert_eq!(told.place, Some((3, 12)));
        assert_eq!(told.message, "Expected: an expression, found: FROM");
        assert_eq!(take_place("no place here").place, None);
        let told = leading_place("line 2, column 5: no such thing: x");
        assert_eq!(told, Told { place: Some((2, 5)), message: "no such thing: x".into() });
    }

    #[test]
    fn layers_are_dropped_however_many() {
        let text = "External error: Arrow error: Parser error: bad number '1x'";
        assert_eq!(strip_prefixes(text), "bad number '1x'");
    }

    #[test]
    fn types_that_a_function_takes_are_listed_once() {
        let text = "Function 'sum' failed to match any signature, errors: Function 'sum' requires \
                    Decimal, but received String (DataType: Utf8).,Function 'sum' requires Int64, \
                    but received String (DataType: Utf8)..";
        assert_eq!(strip_prefixes(text), "Function 'sum' takes no Utf8; it takes Decimal, Int64");
        let told = strip_prefixes("table 'datafusion.a.csv' not found");
        assert_eq!(told, "table 'a.csv' not found\n  hint: a file goes in quotes: 'a.csv'");
        let told = strip_prefixes("table 'datafusion.public.a' not found");
        assert_eq!(told, "table 'a' not found");
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is_near() {
        let columns = |table: &'static str| {
            ["carrier", "delay", "Origin"].map(|name| Column::new(Some(table), name)).to_vec()
        };
        let told = unknown_column(&Column::new_unqualified("dely"), &columns("x.csv"));
        assert_eq!(told, "column 'dely' not found; did you mean 'delay'?");
        let told = unknown_column(&Column::new_unqualified("origin"), &columns("x.csv"));
        assert_eq!(told, "column 'origin' not found; did you mean \"Origin\"?");
        let told = unknown_column(&Column::new(Some("t"), "nope"), &columns("t"));
        let all = "column 'nope' not found in 't'; available: carrier, delay, \"Origin\"";
        assert_eq!(told, all);
        let told = unknown_column(&Column::new(Some("flight"), "delay"), &columns("flights"));
        assert!(told.ends_with("'flight' is no table of this query; did you mean 'flights'?"));
        let text = "Invalid function 'cout'.\nDid you mean 'cot'?";
        assert_eq!(strip_prefixes(text), "function 'cout' not found");
        let session = SessionContext::new();
        let told = with_near("function 'cout' not found".into(), &session);
        assert_eq!(told, "function 'cout' not found; did you mean 'cot' or 'count'?");
        let told = with_near("function 'zzzzzz' not found".into(), &session);
        assert_eq!(told, "function 'zzzzzz' not found");
    }

    #[test]
    fn a_full_disk_is_told_as_one() {
        let full = || io::Error::from_raw_os_error(28);
        let error = DataFusionError::ParquetError(Box::new(full().into()));
        let told = describe(&Error::DataFusion(error.context("Failed to parse parquet")));
        assert!(told.message.starts_with("the disk is full: "), "{}", told.message);
        let told = describe(&Error::Io(full()));
        assert!(told.message.starts_with("the disk is full: "), "{}", told.message);
    }

    #[test]
    fn mistakes_of_ours_are_told_as_such() {
        let told = |text: &str| describe(&DataFusionError::Internal(text.into()).into()).message;
        let ours = "no such thing (this is a bug in thalweg: please report it)";
        assert_eq!(told("no such thing"), ours);
        let task = DataFusionError::External("task 7 panicked with message \"x\"".into());
        let ours =
            "task 7 panicked with message \"x\" (this is a bug in thalweg: please report it)";
        assert_eq!(describe(&task.into()).message, ours);
        let task =
            DataFusionError::External("task 7 panicked with message \"offset overflow\"".into());
        assert!(describe(&task.into()).message.contains("longer than 2 GiB"));
        let types = "Failed to coerce types Boolean and Int64 in BETWEEN expression";
        assert_eq!(told(types), types);
    }

    #[test]
    fn causes_are_found_under_the_layers() {
        let cause = DataFusionError::External(Box::new(Error::Data("a.csv, line 3: bad".into())));
        let wrapped = ArrowError::ExternalError(Box::new(cause.context("while reading")));
        assert_eq!(describe(&Error::Arrow(wrapped)).message, "a.csv, line 3: bad");
    }
}
