//! How the text of a script is read: the options `datafusion.sql_parser.*` in force where a
//! statement stands. A script is parsed as a whole before it runs, so what its own `SET` and
//! `RESET` statements change holds for the statements behind them.

use datafusion::common::config::{ConfigField, ConfigOptions, SqlParserOptions};
use datafusion::sql::parser::{ResetStatement, Statement};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, dialect_from_str};
use datafusion::sql::sqlparser::tokenizer::Word;

/// Where these options are found among all.
const PREFIX: &str = "datafusion.sql_parser.";

/// The options by which text becomes statements.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grammar(SqlParserOptions);

impl Grammar {
    /// What a session has set.
    pub fn of(options: &ConfigOptions) -> Self {
        Self(options.sql_parser.clone())
    }

    /// The parser's own form of the dialect.
    pub fn dialect(&self) -> Box<dyn Dialect> {
        let named = dialect_from_str(self.0.dialect);
        named.unwrap_or_else(|| Box::new(GenericDialect {}))
    }

    /// How deep expressions and queries may be nested.
    pub fn recursion_limit(&self) -> usize {
        self.0.recursion_limit.get()
    }

    /// A name as the catalog has it: in lower case unless quoted, where nothing else is set.
    pub fn name(&self, name: &ast::Ident) -> String {
        self.spelled(&name.value, name.quote_style)
    }

    /// The same of a token.
    pub fn word(&self, word: &Word) -> String {
        self.spelled(&word.value, word.quote_style)
    }

    fn spelled(&self, name: &str, quote: Option<char>) -> String {
        match quote.is_none() && self.0.enable_ident_normalization {
            true => name.to_ascii_lowercase(),
            false => name.to_string(),
        }
    }

    /// The options behind a statement. A value that is none is told when the statement runs, and
    /// nothing behind it does then.
    pub fn after(&mut self, statement: &Statement) {
        match statement {
            Statement::Reset(ResetStatement::Variable(name)) => {
                let Some(option) = option(name) else { return };
                let mut changed = self.0.clone();
                if changed.reset(&option).is_ok() {
                    self.0 = changed;
                }
            }
            Statement::Statement(statement) => {
                let ast::Statement::Set(ast::Set::SingleAssignment { variable, values, .. }) =
                    statement.as_ref()
                else {
                    return;
                };
                if let (Some(option), [value]) = (option(variable), values.as_slice()) {
                    self.set(&option, &text(value));
                }
            }
            _ => {}
        }
    }

    fn set(&mut self, option: &str, value: &str) {
        let mut changed = self.0.clone();
        if changed.set(option, value).is_ok() {
            self.0 = changed;
        }
    }
}

/// The option's own name, where it is one of the parser's.
fn option(name: &ast::ObjectName) -> Option<String> {
    let parts = name.0.iter().filter_map(|part| part.as_ident());
    let name = parts.map(|part| part.value.to_lowercase()).collect::<Vec<_>>().join(".");
    name.strip_prefix(PREFIX).map(str::to_string)
}

/// A value as `SET` takes it.
fn text(value: &ast::Expr) -> String {
    match value {
        ast::Expr::Identifier(word) if word.quote_style.is_none() => word.value.to_lowercase(),
        ast::Expr::Identifier(word) => word.value.clone(),
        ast::Expr::Value(value) => match value.value.clone().into_string() {
            Some(text) => text,
            None => value.to_string(),
        },
        other => other.to_string(),
    }
}
