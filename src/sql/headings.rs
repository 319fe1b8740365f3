//! Names of result columns: an expression without a name is called what the user wrote, not what
//! the planner makes of it, which tells tables, types and the paths of files.
//!
//! Only what is shown is renamed. Plans keep the planner's names, and so does what is stored by
//! them: tables made of a query, views, files, results of a pipeline.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{Expr, Query, Select, SelectItem, SetExpr, Statement};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use futures::StreamExt;

use super::token::is_word;

/// What the items of the outermost SELECT are called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headings(Vec<Heading>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Heading {
    /// Any number of columns.
    Columns,
    /// One column that has a name.
    Named,
    /// One column, as written.
    Text(String),
}

impl Heading {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Named | Self::Columns => None,
        }
    }
}

impl Headings {
    /// Of a statement and the texts of its items; none where the two do not agree.
    pub fn of(statement: &DfStatement, items: Vec<String>) -> Self {
        let DfStatement::Statement(statement) = statement else { return Self::default() };
        let Statement::Query(query) = statement.as_ref() else { return Self::default() };
        let Some(select) = outermost(query) else { return Self::default() };
        if select.projection.len() != items.len() || select.top.is_some() {
            return Self::default();
        }
        let items = select.projection.iter().zip(items);
        Self(items.map(|(item, text)| heading(item, text)).collect())
    }

    /// The rows under these names.
    pub fn over(&self, rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let Some(schema) = self.schema(&rows.schema()) else { return rows };
        let named = Arc::clone(&schema);
        let rows = rows.map(move |batch| {
            let batch = batch?;
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let columns = batch.columns().to_vec();
            Ok(RecordBatch::try_new_with_options(Arc::clone(&named), columns, &options)?)
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }

    /// `None` where nothing is called otherwise.
    fn schema(&self, schema: &SchemaRef) -> Option<SchemaRef> {
        let texts = self.texts(schema.fields().len())?;
        let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
        for (column, text) in texts.into_iter().enumerate() {
            // A name that another column has is not given twice.
            let Some(text) = text else { continue };
            if fields.iter().all(|field| field.name() != text) {
                fields[column] = Arc::new(fields[column].as_ref().clone().with_name(text));
            }
        }
        let named = Schema::new_with_metadata(fields, schema.metadata().clone());
        (named != **schema).then(|| Arc::new(named))
    }

    /// What each of so many columns is called. Items that stand between two that are any number of
    /// columns have no known place.
    fn texts(&self, columns: usize) -> Option<Vec<Option<&str>>> {
        let is_open = |heading: &Heading| *heading == Heading::Columns;
        let Some(first) = self.0.iter().position(is_open) else {
            // A plain list is as long as the result, or the rows are of another query.
            let known = self.0.len() == columns;
            return known.then(|| self.0.iter().map(Heading::text).collect());
        };
        let last = self.0.iter().rposition(is_open)?;
        let behind = &self.0[last + 1..];
        let open = columns.checked_sub(first + behind.len())?;
        let texts = self.0[..first].iter().map(Heading::text);
        let texts = texts.chain(std::iter::repeat_n(None, open));
        Some(texts.chain(behind.iter().map(Heading::text)).collect())
    }
}

/// The SELECT that names the columns of a query.
fn outermost(query: &Query) -> Option<&Select> {
    let mut body = query.body.as_ref();
    loop {
        body = match body {
            SetExpr::Select(select) => return Some(select),
            SetExpr::Query(query) => query.body.as_ref(),
            SetExpr::SetOperation { left, .. } => left.as_ref(),
            _ => return None,
        };
    }
}

fn heading(item: &SelectItem, text: String) -> Heading {
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => {
            Heading::Named
        }
        SelectItem::UnnamedExpr(_) => Heading::Text(text),
        SelectItem::ExprWithAlias { .. } => Heading::Named,
        _ => Heading::Columns,
    }
}

/// The items of the outermost SELECT of a statement, as written.
pub fn selected(tokens: &[TokenWithSpan]) -> Vec<String> {
    let outer = tokens.iter().take_while(|token| token.token == Token::LParen).count();
    let begins = |word: &str| tokens.get(outer).is_some_and(|token| is_word(&token.token, word));
    if !begins("SELECT") && !begins("WITH") {
        return Vec::new();
    }
    let mut rest = &tokens[outer..];
    let mut depth = 0_usize;
    // Behind the queries of WITH.
    while let [first, more @ ..] = rest {
        rest = more;
        match &first.token {
            token if depth == 0 && is_word(token, "SELECT") => break,
            token => depth = deeper(depth, token),
        }
    }
    let rest = behind_distinct(rest);
    let (mut items, mut item) = (Vec::new(), Vec::new());
    let mut depth = 0_usize;
    for (at, token) in rest.iter().enumerate() {
        let before = &rest[..at];
        if depth == 0 && (ends(before, token) || closes(&token.token)) {
            break;
        }
        if depth == 0 && token.token == Token::Comma {
            items.push(as_written(&std::mem::take(&mut item)));
            continue;
        }
        depth = deeper(depth, &token.token);
        item.push(token);
    }
    items.push(as_written(&item));
    items
}

/// What stands behind `DISTINCT`, `DISTINCT ON (..)` or `ALL`.
fn behind_distinct(tokens: &[TokenWithSpan]) -> &[TokenWithSpan] {
    let is =
        |at: usize, word: &str| tokens.get(at).is_some_and(|token| is_word(&token.token, word));
    if is(0, "ALL") || (is(0, "DISTINCT") && !is(1, "ON")) {
        return &tokens[1..];
    }
    if !is(0, "DISTINCT") {
        return tokens;
    }
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(2) {
        depth = deeper(depth, &token.token);
        if depth == 0 {
            return &tokens[at + 1..];
        }
    }
    &[]
}

fn closes(token: &Token) -> bool {
    matches!(token, Token::RParen | Token::RBracket | Token::RBrace)
}

fn deeper(depth: usize, token: &Token) -> usize {
    match token {
        Token::LParen | Token::LBracket | Token::LBrace => depth + 1,
        token if closes(token) => depth.saturating_sub(1),
        _ => depth,
    }
}

/// Whether the list of items ends with a word.
fn ends(before: &[TokenWithSpan], token: &TokenWithSpan) -> bool {
    const CLAUSES: [&str; 8] =
        ["INTO", "WHERE", "HAVING", "ORDER", "LIMIT", "UNION", "INTERSECT", "QUALIFY"];
    let is = |word: &str| is_word(&token.token, word);
    let last = before.last().map(|token| &token.token);
    let behind = |word: &str| last.is_some_and(|token| is_word(token, word));
    // IS DISTINCT FROM, WITHIN GROUP, * EXCEPT (..), t.from
    match last {
        Some(Token::Period) => false,
        _ if is("FROM") => !behind("DISTINCT"),
        _ if is("GROUP") => !behind("WITHIN"),
        Some(Token::Mul) if is("EXCEPT") => false,
        _ => is("EXCEPT") || CLAUSES.iter().any(|word| is(word)),
    }
}

/// Tokens with one blank where the text has any.
fn as_written(tokens: &[&TokenWithSpan]) -> String {
    let mut text = String::new();
    for (at, token) in tokens.iter().enumerate() {
        if at > 0 && tokens[at - 1].span.end != token.span.start {
            text.push(' ');
        }
        text += &token.token.to_string();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::grammar::Grammar;
    use super::super::{Kind, parse};
    use super::*;

    /// The names of a statement's result, `-` where the planner's are kept.
    fn names(text: &str, columns: usize) -> Option<Vec<String>> {
        let mut statements = parse::parse(text, Grammar::default()).unwrap();
        let statement = statements.remove(0);
        assert!(matches!(statement.kind, Kind::Sql(_)));
        let texts = statement.headings.texts(columns)?;
        Some(texts.into_iter().map(|text| text.unwrap_or("-").to_string()).collect())
    }

    #[test]
    fn expressions_are_called_what_was_written() {
        let cases = [
            ("SELECT count(*), max(a) FROM 'x.csv'", vec!["count(*)", "max(a)"]),
            ("SELECT a+1, a  +\n 1, t.b, c AS d FROM t", vec!["a+1", "a + 1", "-", "-"]),
            ("SELECT a IS DISTINCT FROM b, 1 FROM t", vec!["a IS DISTINCT FROM b", "1"]),
            ("SELECT extract(year FROM d), [1, 2] FROM t", vec!["extract(year FROM d)", "[1, 2]"]),
            ("SELECT DISTINCT ON (a, b) a, b + 1 FROM t", vec!["-", "b + 1"]),
            ("SELECT DISTINCT upper(a) FROM t", vec!["upper(a)"]),
            ("WITH t AS (SELECT 1 AS a) SELECT -a FROM t", vec!["-a"]),
            ("(SELECT 1 /* one */ + 1 UNION SELECT 2)", vec!["1 + 1"]),
            ("SELECT 'x', (SELECT max(a) FROM t)", vec!["'x'", "(SELECT max(a) FROM t)"]),
            (
                "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) LIMIT 1",
                vec!["percentile_cont(0.5) WITHIN GROUP (ORDER BY a)"],
            ),
        ];
        for (text, wanted) in cases {
            assert_eq!(names(text, wanted.len()).unwrap(), wanted, "{text}");
        }
    }

    #[test]
    fn stars_are_any_number_of_columns() {
        let text = "SELECT a + 1, *, b + 1, t.*, c + 1 FROM t";
        assert_eq!(names(text, 6).unwrap(), ["a + 1", "-", "-", "-", "-", "c + 1"]);
        assert_eq!(names("SELECT * EXCEPT (a), b + 1 FROM t", 2).unwrap(), ["-", "b + 1"]);
        assert_eq!(names("SELECT a + 1, b FROM t", 3), None);
        assert_eq!(names("VALUES (1)", 1), None);
    }

    #[test]
    fn names_that_are_taken_stay() {
        let headings = Headings(vec![Heading::Text("a+1".into()), Heading::Text("b".into())]);
        let field = |name: &str| Field::new(name, arrow::datatypes::DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![field("t.a + Int64(1)"), field("b")]));
        let named = headings.schema(&schema).unwrap();
        assert_eq!((named.field(0).name().as_str(), named.field(1).name().as_str()), ("a+1", "b"));
        let twice = Headings(vec![Heading::Text("x".into()), Heading::Text("x".into())]);
        let named = twice.schema(&schema).unwrap();
        assert_eq!((named.field(0).name().as_str(), named.field(1).name().as_str()), ("x", "b"));
    }
}
