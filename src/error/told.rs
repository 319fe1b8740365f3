//! What a user needs of an error: the cause and its place, without the layers it came through.

use arrow::error::ArrowError;
use datafusion::common::utils::quote_identifier;
use datafusion::common::{Column, Diagnostic, SchemaError};
use datafusion::error::DataFusionError;

use super::foreign::datafusion as prose;
use super::foreign::tokio::of_panic;
use super::foreign::{arrow as arrow_prose, sqlparser};
use super::names::did_you_mean;
use super::system::{cause, full_disk};
use super::user::{Missing, Place, UserError};
use super::{Error, store};

impl Error {
    /// The error in words for a user. What is not the user's to mend says so.
    pub fn told(&self) -> UserError {
        let told = by_cause(self);
        match Self::too_long(&told.message) {
            Some(too_long) => UserError { message: too_long.to_string(), ..told },
            None => told,
        }
    }

    /// The error of values that Arrow cannot hold in one array, which says so by a panic.
    pub fn too_long(panic: &str) -> Option<Self> {
        arrow_prose::is_overflow(panic).then(|| {
            Self::Data(
                "a column of one batch, or a value of one group, is longer than 2 GiB: make its \
                 text or its lists shorter, or datafusion.execution.batch_size smaller"
                    .to_string(),
            )
        })
    }
}

fn by_cause(error: &Error) -> UserError {
    match error {
        Error::DataFusion(error) => of_datafusion(error),
        Error::Arrow(error) => of_arrow(error),
        Error::User(error) => error.as_ref().clone(),
        Error::Io(error) => UserError::new(cause(error)),
        other => UserError::new(other.to_string()),
    }
}

fn of_datafusion(error: &DataFusionError) -> UserError {
    if let Some(full) = full_disk(error) {
        return UserError::new(full);
    }
    if let Some(of_store) = store::of_store(error) {
        return UserError::new(store::told(of_store));
    }
    match error {
        DataFusionError::SchemaError(schema, _) => UserError::new(match schema.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                unknown_column(field, valid_fields)
            }
            other => other.to_string(),
        }),
        DataFusionError::Diagnostic(diagnostic, inner) => with_diagnostic(diagnostic, inner),
        DataFusionError::Context(_, inner) => of_datafusion(inner),
        DataFusionError::Shared(inner) => of_datafusion(inner),
        DataFusionError::Collection(all) => match all.first() {
            Some(first) => of_datafusion(first),
            None => UserError::new(error.to_string()),
        },
        DataFusionError::SQL(parser, _) => sqlparser::told(parser),
        DataFusionError::ArrowError(inner, _) => of_arrow(inner),
        DataFusionError::External(inner) => of_other(inner.as_ref()),
        DataFusionError::Internal(text) => of_internal(text),
        DataFusionError::ResourcesExhausted(text) => {
            UserError::new(format!("out of memory: {text}"))
        }
        other => plain(&other.to_string()),
    }
}

fn of_internal(text: &str) -> UserError {
    let text = prose::without_report(text);
    match text {
        // The writer keeps the cause to itself.
        _ if prose::is_of_writing(text) => {
            let causes = "a full disk, no right to write there or, in S3, no such bucket";
            UserError::new(format!("the output could not be written in full: {causes}"))
        }
        _ if prose::is_of_types(text) => UserError::new(text),
        _ => UserError::new(Error::Bug(text.to_string()).to_string()),
    }
}

fn of_arrow(error: &ArrowError) -> UserError {
    match error {
        ArrowError::ExternalError(inner) => of_other(inner.as_ref()),
        ArrowError::DivideByZero => UserError::new("division by zero"),
        other => plain(&other.to_string()),
    }
}

/// An error that is held by another one; that of a task that has panicked is told as the panic.
fn of_other(error: &(dyn std::error::Error + Send + Sync + 'static)) -> UserError {
    if let Some(ours) = error.downcast_ref::<Error>() {
        return by_cause(ours);
    }
    if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        return of_datafusion(inner);
    }
    let text = error.to_string();
    match of_panic(&text) {
        true => UserError::new(Error::Bug(text).to_string()),
        false => plain(&text),
    }
}

/// A message without the layers it came through.
fn plain(text: &str) -> UserError {
    let text = prose::without_layers(prose::without_report(text));
    if let Some(missing) = prose::missing(text) {
        return not_found(missing);
    }
    if let Some(prose::NoSignature { function, received, taken }) = prose::no_signature(text) {
        let taken = taken.join(", ");
        return UserError::new(format!("{function} takes no {received}; it takes {taken}"));
    }
    let (message, place) = sqlparser::without_place(&prose::without_quoted_layers(text));
    UserError::new(message).at(place)
}

fn not_found(missing: Missing) -> UserError {
    match &missing {
        Missing::Table(name) => match prose::unquoted_file(name) {
            Some(file) => UserError::new(format!("table '{file}' not found"))
                .help(format!("a file goes in quotes: '{file}'")),
            None => {
                let message = format!("table '{name}' not found");
                UserError { missing: Some(missing), ..UserError::new(message) }
            }
        },
        Missing::Function(name) => {
            let message = format!("function '{name}' not found");
            UserError { missing: Some(missing), ..UserError::new(message) }
        }
    }
}

/// An error with the place and the help that DataFusion gives with it.
fn with_diagnostic(diagnostic: &Diagnostic, inner: &DataFusionError) -> UserError {
    let place = diagnostic.span.and_then(|span| Place::new(span.start.line, span.start.column));
    let mut told = of_datafusion(inner).at(place);
    for help in &diagnostic.helps {
        told = told.help(&help.message);
    }
    // Which columns a name may be of; other notes say again what the message says.
    if is_ambiguous(inner) {
        for note in &diagnostic.notes {
            told = told.help(&note.message);
        }
    }
    told
}

fn is_ambiguous(error: &DataFusionError) -> bool {
    let DataFusionError::SchemaError(schema, _) = error.find_root() else { return false };
    matches!(**schema, SchemaError::AmbiguousReference { .. })
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

#[cfg(test)]
mod tests {
    use std::io;

    use arrow::buffer::OffsetBuffer;
    use datafusion::execution::config::SessionConfig;
    use datafusion::prelude::SessionContext;

    use super::*;

    /// What is told of a statement that fails.
    async fn of(sql: &str) -> UserError {
        let mut config = SessionConfig::new();
        config.options_mut().sql_parser.collect_spans = true;
        let context = SessionContext::new_with_config(config);
        let error = match context.sql(sql).await {
            Ok(frame) => frame.collect().await.unwrap_err(),
            Err(error) => error,
        };
        Error::from(error).told()
    }

    #[tokio::test]
    async fn statements_are_told_by_message_place_and_help() {
        let told = of("SELECT 1 +\n  )").await;
        let wanted = UserError::new("Expected: an expression, found: )").at(Place::new(2, 3));
        assert_eq!(told, wanted);
        let told = of("SELECT a,\n  nope FROM (VALUES (1)) AS t(a)").await;
        assert_eq!(told.head(), "line 2, column 3: column 'nope' not found; available: a");
        let told = of("SELECT a, max(b) FROM (VALUES (1, 2)) AS t(a, b)").await;
        assert_eq!(told.place, Place::new(1, 8), "{told}");
        assert!(told.help.iter().any(|help| help.contains("GROUP BY")), "{told}");
        let told = of("SELECT a FROM (VALUES (1)) AS t(a), (VALUES (1)) AS u(a)").await;
        assert_eq!(told.help, ["possible column t.a", "possible column u.a"], "{told}");
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_with_its_kind() {
        let told = of("SELECT * FROM nope").await;
        assert_eq!(told.message, "table 'nope' not found");
        assert_eq!(told.missing, Some(Missing::Table("nope".into())));
        let told = of("SELECT cout(*) FROM (VALUES (1)) AS t(a)").await;
        assert_eq!(told.message, "function 'cout' not found");
        assert_eq!(told.missing, Some(Missing::Function("cout".into())));
        let told = of("SELECT * FROM a.csv").await;
        assert_eq!((told.message.as_str(), &told.missing), ("table 'a.csv' not found", &None));
        assert_eq!(told.help, ["a file goes in quotes: 'a.csv'"]);
    }

    #[test]
    fn a_column_that_is_not_there_is_told_with_what_is_near() {
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
    }

    #[tokio::test]
    async fn types_that_a_function_takes_are_listed() {
        let told = of("SELECT sum(true)").await.message;
        assert!(told.starts_with("Function 'sum' takes no Boolean; it takes "), "{told}");
    }

    #[test]
    fn a_full_disk_is_told_as_one() {
        let full = || io::Error::from_raw_os_error(28);
        let error = DataFusionError::ParquetError(Box::new(full().into()));
        let told = Error::DataFusion(error.context("Failed to parse parquet")).told();
        assert!(told.message.starts_with("the disk is full: "), "{told}");
        let told = Error::Io(full()).told();
        assert!(told.message.starts_with("the disk is full: "), "{told}");
    }

    #[tokio::test]
    async fn mistakes_of_ours_are_told_as_such() {
        let internal = DataFusionError::Internal("no such thing".into());
        let ours = "no such thing (this is a bug in thalweg: please report it)";
        assert_eq!(Error::from(internal).told().message, ours);
        let panicked = async |work: fn()| {
            let task = tokio::spawn(async move { work() }).await;
            let shared = DataFusionError::External(task.unwrap_err().to_string().into());
            Error::from(shared).told().message
        };
        let planted = panicked(|| panic!("planted")).await;
        assert!(planted.ends_with("(this is a bug in thalweg: please report it)"), "{planted}");
        let overflow = || drop(OffsetBuffer::<i32>::from_lengths([i32::MAX as usize, 1]));
        assert!(panicked(overflow).await.contains("longer than 2 GiB"));
        let types = of("SELECT true BETWEEN 1 AND 2").await.message;
        assert!(!types.contains("bug"), "{types}");
    }

    #[test]
    fn causes_are_found_under_the_layers() {
        let cause = DataFusionError::External(Box::new(Error::Data("a.csv, line 3: bad".into())));
        let wrapped = ArrowError::ExternalError(Box::new(cause.context("while reading")));
        assert_eq!(Error::Arrow(wrapped).told().message, "a.csv, line 3: bad");
        let user = UserError::new("no").at(Place::new(3, 1)).help("yes");
        let cause = DataFusionError::from(Error::from(user.clone()));
        assert_eq!(Error::from(cause.context("while planning")).told(), user);
    }
}
