//! What the prompt offers to complete a word: keywords, tables, columns, files in quotes.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use datafusion::prelude::SessionContext;
use parking_lot::Mutex;
use reedline::{Completer, CompletionResult, Span, Suggestion};

use super::lexer::{Kind, pieces};

/// Keywords that begin or join clauses, our own among them.
pub const KEYWORDS: [&str; 94] = [
    "ALL",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CHANGES",
    "COPY",
    "CREATE",
    "CROSS",
    "DATE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DESCRIPTOR",
    "DISTINCT",
    "DROP",
    "ELSE",
    "EMIT",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "EXTERNAL",
    "EXTRACT",
    "FALSE",
    "FILTER",
    "FOR",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "HOP",
    "IF",
    "IN",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "LOCATION",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OPTIONS",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PARTITIONED",
    "PRINT",
    "RECURSIVE",
    "REPLACE",
    "RIGHT",
    "ROWS",
    "SELECT",
    "SEMI",
    "ANTI",
    "SESSION",
    "SET",
    "SHOW",
    "SINK",
    "STORED",
    "STREAM",
    "STREAMS",
    "TABLE",
    "TABLES",
    "THEN",
    "TIMESTAMP",
    "TO",
    "TRUE",
    "TUMBLE",
    "UNION",
    "UNNEST",
    "USING",
    "VALUES",
    "VIEW",
    "WATERMARK",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
];

/// Tables and columns of the session, as of the last statement.
pub type Names = Arc<Mutex<BTreeSet<String>>>;

/// The session's tables by name.
pub fn tables(context: &SessionContext) -> Vec<String> {
    let mut tables = Vec::new();
    for catalog in context.catalog_names().iter().filter_map(|name| context.catalog(name)) {
        let schemas =
            catalog.schema_names().into_iter().filter(|name| name != "information_schema");
        for schema in schemas.filter_map(|name| catalog.schema(&name)) {
            tables.extend(schema.table_names());
        }
    }
    tables
}

/// Looks the session's tables and columns up.
pub async fn names(context: &SessionContext) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for catalog in context.catalog_names() {
        let Some(catalog) = context.catalog(&catalog) else { continue };
        for schema in catalog.schema_names().iter().filter(|name| *name != "information_schema") {
            let Some(schema) = catalog.schema(schema) else { continue };
            for table in schema.table_names() {
                if let Ok(Some(provider)) = schema.table(&table).await {
                    let fields = provider.schema();
                    names.extend(fields.fields().iter().map(|field| field.name().clone()));
                }
                names.insert(table);
            }
        }
    }
    names
}

/// Completes the word or the quoted file before the cursor.
pub struct SqlCompleter {
    pub names: Names,
}

impl Completer for SqlCompleter {
    fn complete(&mut self, line: &str, position: usize) -> CompletionResult {
        let before = &line[..position];
        let last = pieces(before).pop();
        let suggestions = match last {
            Some(piece) if piece.kind == Kind::Text && piece.open => {
                let typed = &piece.text[1..];
                suggest(position - typed.len(), position, files(typed))
            }
            Some(piece) if piece.kind == Kind::Word => {
                let words = words(piece.text, &self.names.lock());
                suggest(position - piece.text.len(), position, words)
            }
            _ => Vec::new(),
        };
        CompletionResult::fresh(suggestions)
    }
}

/// Names as they are; keywords in the case that was begun.
fn words(typed: &str, names: &BTreeSet<String>) -> Vec<String> {
    let begun = typed.to_lowercase();
    let starts = |name: &str| name.to_lowercase().starts_with(&begun);
    let upper = typed.chars().all(|c| !c.is_lowercase());
    let keywords = KEYWORDS.iter().filter(|word| starts(word)).map(|word| match upper {
        true => (*word).to_string(),
        false => word.to_lowercase(),
    });
    names.iter().filter(|name| starts(name)).cloned().chain(keywords).collect()
}

/// Files and directories that begin as typed; a directory with its slash.
fn files(typed: &str) -> Vec<String> {
    let (directory, begun) = match typed.rsplit_once('/') {
        Some((directory, begun)) => (format!("{directory}/"), begun),
        None => (String::new(), typed),
    };
    let read =
        std::fs::read_dir(if directory.is_empty() { Path::new(".") } else { directory.as_ref() });
    let mut found: Vec<String> = read
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path().is_dir()))
        .filter(|(name, _)| {
            name.starts_with(begun) && (!begun.is_empty() || !name.starts_with('.'))
        })
        .map(|(name, is_directory)| {
            format!("{directory}{name}{}", if is_directory { "/" } else { "'" })
        })
        .collect();
    found.sort();
    found
}

fn suggest(start: usize, end: usize, values: Vec<String>) -> Vec<Suggestion> {
    let suggestion = |value: String| Suggestion {
        append_whitespace: !value.ends_with(['/', '\'']),
        value,
        span: Span::new(start, end),
        ..Suggestion::default()
    };
    values.into_iter().map(suggestion).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(line: &str) -> Vec<String> {
        let names = ["orders", "o_orderkey", "Odd"].map(String::from).into();
        let mut completer = SqlCompleter { names: Arc::new(Mutex::new(names)) };
        let result = completer.complete(line, line.len());
        result.suggestions().iter().map(|suggestion| suggestion.value.clone()).collect()
    }

    #[test]
    fn names_and_keywords_are_offered_in_the_case_begun() {
        assert_eq!(offered("select o_"), ["o_orderkey"]);
        assert_eq!(offered("sel"), ["select"]);
        assert_eq!(offered("SEL"), ["SELECT"]);
        assert!(offered("select 'or").iter().all(|name| !name.contains("orders")));
        assert!(offered("select 1 ").is_empty());
    }

    #[test]
    fn files_are_offered_in_quotes() {
        assert_eq!(offered("SELECT * FROM 'Cargo.t"), ["Cargo.toml'"]);
        assert!(offered("SELECT * FROM 'src/c").contains(&"src/cli/".to_string()));
    }
}
