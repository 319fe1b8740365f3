//! Messages of DataFusion, and the layers that its errors, Arrow's and Parquet's come through.

use datafusion::error::DataFusionError;

use super::between;
use crate::error::Missing;

/// The layers, as they put themselves before a message. Those that say something of the message,
/// such as that a feature is not implemented, are not among them.
const LAYERS: [&str; 18] = [
    // DataFusion's.
    "Arrow error: ",
    "Error during planning: ",
    "Execution error: ",
    "External error: ",
    "Internal error: ",
    "Invalid or Unsupported Configuration: ",
    "IO error: ",
    "Object Store error: ",
    "Parquet error: ",
    "Schema error: ",
    "SQL error: ",
    // Arrow's.
    "Arithmetic overflow: ",
    "Cast error: ",
    "Compute error: ",
    "Invalid argument error: ",
    "Parser error: ",
    // Parquet's.
    "External: ",
    // sqlparser's.
    "sql parser error: ",
];

/// A message without the layers that it came through.
pub fn without_layers(text: &str) -> &str {
    let mut rest = text.trim();
    while let Some(next) = LAYERS.iter().find_map(|layer| rest.strip_prefix(layer)) {
        rest = next;
    }
    rest
}

/// A message without what follows it: a backtrace, or the plea to report what is not expected.
pub fn without_report(text: &str) -> &str {
    let report = ".\nThis issue was likely caused by a bug in DataFusion";
    let ends = [DataFusionError::BACK_TRACE_SEP, report].map(|mark| text.find(mark));
    let end = ends.into_iter().flatten().min().unwrap_or(text.len());
    text[..end].trim_end()
}

/// A message that quotes another one, without the layer of that.
pub fn without_quoted_layers(text: &str) -> String {
    text.replace("Error during planning: ", "")
}

/// What a message, without its layers, says is not there.
pub fn missing(text: &str) -> Option<Missing> {
    // The nearest function that it offers is near by letters only, however far.
    if let Some(rest) = text.strip_prefix("Invalid function '") {
        let (name, _) = rest.split_once("'.\nDid you mean ")?;
        return Some(Missing::Function(name.to_string()));
    }
    let name = text.strip_prefix("table '")?.strip_suffix("' not found")?;
    let name = name.strip_prefix("datafusion.public.").unwrap_or(name);
    Some(Missing::Table(name.to_string()))
}

/// The name of a file that is no table for want of quotes: its folder or stem was taken for a
/// schema of DataFusion's catalog.
pub fn unquoted_file(table: &str) -> Option<&str> {
    const ENDINGS: [&str; 6] = [".parquet", ".csv", ".tsv", ".json", ".ndjson", ".arrow"];
    let name = table.strip_prefix("datafusion.")?;
    ENDINGS.iter().any(|ending| name.ends_with(ending)).then_some(name)
}

/// A function that does not take its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSignature<'a> {
    /// `Function 'sum'`.
    pub function: &'a str,
    pub received: &'a str,
    pub taken: Vec<&'a str>,
}

/// What is said of a function with several signatures: `Function 'sum' failed to match any
/// signature, errors: .. Function 'sum' requires Decimal, but received String (DataType: Utf8).,
/// ..`.
pub fn no_signature(text: &str) -> Option<NoSignature<'_>> {
    let (function, errors) = text.split_once(" failed to match any signature, errors: ")?;
    let received = between(errors, "(DataType: ", ")")?;
    let parts = errors.split(" requires ").skip(1);
    let taken = parts.filter_map(|part| Some(part.split_once(", but")?.0)).collect();
    Some(NoSignature { function, received, taken })
}

/// Whether an internal error is one of types that do not go together: rules that look at types do
/// not tell a query's mistakes from DataFusion's.
pub fn is_of_types(internal: &str) -> bool {
    internal.starts_with("Failed to coerce types ")
}

/// Whether an internal error is that an output could not be written, of which the writer keeps the
/// cause to itself.
pub fn is_of_writing(internal: &str) -> bool {
    internal.starts_with("Error encountered while ")
}

/// Whether an error of planning is that two expressions have one name.
pub fn is_of_one_name(plan: &str) -> bool {
    plan.contains("require unique expression names")
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::io;
    use std::net::TcpListener;
    use std::sync::Arc;

    use arrow::error::ArrowError;
    use datafusion::common::SchemaError;
    use datafusion::parquet::errors::ParquetError;
    use datafusion::prelude::SessionContext;
    use object_store::http::HttpBuilder;
    use object_store::{ClientOptions, RetryConfig};
    use url::Url;

    use super::*;

    /// The error of a statement that is planned and run.
    async fn error(sql: &str) -> DataFusionError {
        let context = SessionContext::new();
        match context.sql(sql).await {
            Ok(frame) => frame.collect().await.unwrap_err(),
            Err(error) => error,
        }
    }

    async fn message(sql: &str) -> String {
        let text = error(sql).await.to_string();
        without_layers(without_report(&text)).to_string()
    }

    #[test]
    fn every_layer_is_dropped() {
        let said = || "planted".to_string();
        let store = object_store::Error::NotImplemented { operation: said(), implementer: said() };
        let parse = datafusion::sql::sqlparser::parser::ParserError::ParserError(said());
        let field = SchemaError::DuplicateUnqualifiedField { name: said() };
        let layered: [Box<dyn fmt::Display>; 18] = [
            Box::new(DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None)),
            Box::new(DataFusionError::Plan(said())),
            Box::new(DataFusionError::Execution(said())),
            Box::new(DataFusionError::External("planted".into())),
            Box::new(DataFusionError::Internal(said())),
            Box::new(DataFusionError::Configuration(said())),
            Box::new(DataFusionError::IoError(io::Error::other("planted"))),
            Box::new(DataFusionError::ObjectStore(Box::new(store))),
            Box::new(DataFusionError::ParquetError(Box::new(ParquetError::EOF(said())))),
            Box::new(DataFusionError::SchemaError(Box::new(field), Box::new(None))),
            Box::new(DataFusionError::SQL(Box::new(parse.clone()), None)),
            Box::new(ArrowError::ArithmeticOverflow(said())),
            Box::new(ArrowError::CastError(said())),
            Box::new(ArrowError::ComputeError(said())),
            Box::new(ArrowError::InvalidArgumentError(said())),
            Box::new(ArrowError::ParseError(said())),
            Box::new(ParquetError::External("planted".into())),
            Box::new(parse),
        ];
        for (layer, error) in LAYERS.iter().zip(&layered) {
            let text = error.to_string();
            let inner = text.strip_prefix(layer);
            assert!(inner.is_some(), "{text} does not begin with {layer}");
            assert_eq!(Some(without_report(without_layers(&text))), inner.map(without_report));
        }
        let inner = ArrowError::ParseError("bad number '1x'".into());
        let nested = ArrowError::ExternalError(Box::new(DataFusionError::from(inner)));
        assert_eq!(without_layers(&nested.to_string()), "bad number '1x'");
    }

    #[test]
    fn what_follows_a_message_is_dropped() {
        let internal = DataFusionError::Internal("planted".into()).to_string();
        assert!(internal.len() > 100, "{internal}");
        assert_eq!(without_layers(without_report(&internal)), "planted");
        let traced = format!("planted{}0: main", DataFusionError::BACK_TRACE_SEP);
        assert_eq!(without_report(&traced), "planted");
    }

    #[tokio::test]
    async fn what_is_not_there_is_known() {
        let table = |name: &str| Some(Missing::Table(name.to_string()));
        for (sql, wanted) in [
            ("SELECT * FROM nope", table("nope")),
            ("SELECT * FROM s.nope", table("datafusion.s.nope")),
            ("SELECT cout(*) FROM (VALUES (1)) AS t(a)", Some(Missing::Function("cout".into()))),
            ("SELECT 1 / 0", None),
        ] {
            let text = message(sql).await;
            assert_eq!(missing(&text), wanted, "{text}");
        }
        let text = message("SELECT * FROM flights.csv").await;
        let Some(Missing::Table(name)) = missing(&text) else { panic!("{text}") };
        assert_eq!(unquoted_file(&name), Some("flights.csv"));
        assert_eq!(unquoted_file("datafusion.s.nope"), None);
    }

    #[tokio::test]
    async fn messages_are_quoted_without_their_layers() {
        let text = message("SELECT greatest()").await;
        assert!(text.contains("Error during planning: "), "{text}");
        let told = without_quoted_layers(&text);
        assert!(told.contains("failed with: greatest was called"), "{told}");
    }

    #[tokio::test]
    async fn types_that_a_function_takes_are_found() {
        let text = message("SELECT sum(true)").await;
        let found = no_signature(&text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!((found.function, found.received), ("Function 'sum'", "Boolean"), "{text}");
        assert!(found.taken.contains(&"Decimal"), "{text}");
    }

    #[tokio::test]
    async fn internal_errors_of_types_are_known() {
        let error = error("SELECT true BETWEEN 1 AND 2").await;
        let DataFusionError::Internal(text) = error.find_root() else { panic!("{error:?}") };
        assert!(is_of_types(text), "{text}");
    }

    #[tokio::test]
    async fn expressions_of_one_name_are_known() {
        let error = error("SELECT a, a FROM (VALUES (1)) AS t(a)").await;
        let DataFusionError::Plan(text) = error.find_root() else { panic!("{error:?}") };
        assert!(is_of_one_name(text), "{text}");
    }

    #[tokio::test]
    async fn outputs_that_are_not_written_are_known() {
        // Where nobody listens.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = Url::parse(&format!("http://{address}")).unwrap();
        let retries = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let options = ClientOptions::new().with_allow_http(true);
        let builder = HttpBuilder::new().with_url(url.as_str()).with_client_options(options);
        let store = builder.with_retry(retries).build().unwrap();
        let context = SessionContext::new();
        context.register_object_store(&url, Arc::new(store));
        let copy = format!("COPY (SELECT 1 AS a) TO '{url}a.csv' STORED AS CSV");
        let error = context.sql(&copy).await.unwrap().collect().await.unwrap_err();
        let DataFusionError::Internal(text) = error.find_root() else { panic!("{error:?}") };
        assert!(is_of_writing(text), "{text}");
    }
}
