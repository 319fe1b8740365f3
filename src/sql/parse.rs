//! Statements: what the stock grammar reads, and `CREATE STREAM`, `CREATE SINK`, `DROP STREAM`,
//! `DROP SINK`, `SHOW STREAMS`, `SHOW SINKS`, `AUDIT`, `RECONCILE`, `PRINT`, which are ours.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::sql::parser::{CopyToSource, DFParser, DFParserBuilder, Statement as DfStatement};
use datafusion::sql::sqlparser::ast::{self, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location, Token};

use super::depth;
use super::grammar::Grammar;
use super::headings::Headings;
use super::rewrite::asof::AsOfJoins;
use super::rewrite::escape::Escapes;
use super::rewrite::group_window::GroupWindows;
use super::rewrite::precedence::Precedence;
use super::rewrite::readers::Readers;
use super::rewrite::short::Units;
use super::rewrite::unions::Chains;
use super::rewrite::using;
use super::script::{Chunk, Script};
use super::statement::{
    ComputedClause, CreateSink, CreateStream, Kind, Object, Statement, StreamColumn,
    WatermarkClause,
};
use super::token::{is_word, place, place_of};
use crate::error::foreign::sqlparser;
use crate::error::{Error, Result};
use crate::stream::plan::window;

/// Parses a script, from its beginning by this grammar. Errors name line, column and the offending
/// word.
pub fn parse(text: &str, mut grammar: Grammar) -> Result<Vec<Statement>> {
    let mut script = Script::new(text, &grammar);
    let mut statements = Vec::new();
    while let Some(chunk) = script.next(&grammar)? {
        let statement = statement(chunk, &grammar)?;
        if let Kind::Sql(sql) = &statement.kind {
            let before = grammar.clone();
            grammar.after(sql);
            if grammar != before {
                script.read(&grammar);
            }
        }
        statements.push(statement);
    }
    Ok(statements)
}

fn statement(chunk: Chunk, grammar: &Grammar) -> Result<Statement> {
    let Chunk { emit, start, end, items, .. } = chunk;
    depth::of_text(&chunk.tokens)?;
    let dialect = grammar.dialect();
    let builder = DFParserBuilder::new(chunk.tokens).with_dialect(dialect.as_ref());
    let mut parser = builder.with_recursion_limit(grammar.recursion_limit()).build()?;
    let mut kind = kind(&mut parser, grammar).map_err(|error| located(error, end))?;
    let next = parser.parser.peek_token();
    if next.token != Token::EOF {
        let message = format!("Expected: end of statement or ';', found: {next}");
        return Err(place(&message, next.span.start));
    }
    let mut headings = Headings::default();
    if let Kind::CreateStream(create) = &mut kind {
        for clause in create.columns.iter_mut().filter_map(|column| column.computed.as_mut()) {
            let _ = clause.expression.visit(&mut Units);
        }
    }
    if let Kind::Sql(statement) = &mut kind {
        headings = Headings::of(statement, items);
        let _ = visit(statement, &mut Units);
        if let ControlFlow::Break(error) = visit(statement, &mut Readers) {
            return Err(Error::from(error).told().at(place_of(start)).into());
        }
        if let ControlFlow::Break(error) = visit(statement, &mut Chains) {
            return Err(error.at(place_of(start)));
        }
        let _ = visit(statement, &mut Precedence);
        if let ControlFlow::Break(error) = visit(statement, &mut Escapes) {
            return Err(error.at(place_of(start)));
        }
        if let ControlFlow::Break(error) = visit(statement, &mut GroupWindows) {
            return Err(error.at(place_of(start)));
        }
        if let ControlFlow::Break(error) = visit(statement, &mut AsOfJoins) {
            return Err(error.at(place_of(start)));
        }
        let _ = visit(statement, &mut TableArguments);
        if visit(statement, &mut using::Merges).is_break() {
            let _ = visit(statement, &mut using::UsingJoins);
        }
    }
    Ok(Statement { kind, emit, line: start.line, headings })
}

fn kind(parser: &mut DFParser<'_>, grammar: &Grammar) -> Result<Kind, DataFusionError> {
    let word = |nth: usize, text: &str| is_word(&parser.parser.peek_nth_token(nth).token, text);
    let object = |nth: usize| match () {
        () if word(nth, "STREAM") || word(nth, "STREAMS") => Some(Object::Stream),
        () if word(nth, "SINK") || word(nth, "SINKS") => Some(Object::Sink),
        () => None,
    };
    let against_batch = match () {
        () if word(0, "RECONCILE") => Some(false),
        () if word(0, "AUDIT") => Some(true),
        () => None,
    };
    if let Some(audit) = against_batch {
        return check(parser, audit, grammar);
    }
    if word(0, "PRINT") {
        parser.parser.next_token();
        let text = parser.parser.next_token();
        return match text.token {
            Token::SingleQuotedString(text) => Ok(Kind::Print(text)),
            _ => Ok(parser.parser.expected("a text in quotes", text)?),
        };
    }
    match object(1) {
        Some(object) if word(0, "CREATE") => return create(parser, object, grammar),
        Some(object) if word(0, "DROP") => return drop(parser, object, grammar),
        Some(object) if word(0, "SHOW") => {
            parser.parser.next_token();
            parser.parser.next_token();
            return Ok(Kind::Show(object));
        }
        _ => {}
    }
    Ok(Kind::Sql(Box::new(parser.parse_statement()?)))
}

/// `AUDIT result [SINCE '..']`, `RECONCILE result [SINCE '..']`.
fn check(
    parser: &mut DFParser<'_>,
    audit: bool,
    grammar: &Grammar,
) -> Result<Kind, DataFusionError> {
    let parser = &mut parser.parser;
    parser.next_token();
    let result = grammar.name(&parser.parse_identifier()?);
    let mut since = None;
    if is_word(&parser.peek_token().token, "SINCE") {
        parser.next_token();
        let _ = parser.parse_keyword(Keyword::TIMESTAMP);
        since = Some(parser.parse_literal_string()?);
    }
    Ok(Kind::Check { result, since, audit })
}

fn create(
    parser: &mut DFParser<'_>,
    object: Object,
    grammar: &Grammar,
) -> Result<Kind, DataFusionError> {
    let parser = &mut parser.parser;
    parser.next_token();
    parser.next_token();
    let if_not_exists = parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
    let name = grammar.name(&parser.parse_identifier()?);
    if object == Object::Sink {
        let options = options(parser)?;
        return Ok(Kind::CreateSink(CreateSink { name, if_not_exists, options }));
    }
    parser.expect_token(&Token::LParen)?;
    let (mut columns, mut watermark) = (Vec::new(), None);
    loop {
        let next = parser.peek_token();
        let clause =
            is_word(&next.token, "WATERMARK") && is_word(&parser.peek_nth_token(1).token, "FOR");
        if !clause {
            columns.push(column(parser, grammar)?);
        } else if watermark.is_some() {
            return Ok(parser.expected("one WATERMARK only", next)?);
        } else {
            parser.next_token();
            parser.next_token();
            let column = grammar.name(&parser.parse_identifier()?);
            parser.expect_keyword(Keyword::AS)?;
            let at = parser.peek_token().span.start;
            watermark = Some(WatermarkClause { column, expression: parser.parse_expr()?, at });
        }
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    parser.expect_token(&Token::RParen)?;
    let options = options(parser)?;
    let stream = CreateStream { name, if_not_exists, columns, watermark, options };
    Ok(Kind::CreateStream(Box::new(stream)))
}

fn column(parser: &mut Parser<'_>, grammar: &Grammar) -> Result<StreamColumn, DataFusionError> {
    let at = parser.peek_token().span.start;
    if is_word(&parser.peek_nth_token(1).token, "AS") {
        let name = grammar.name(&parser.parse_identifier()?);
        parser.expect_keyword(Keyword::AS)?;
        let computed = Some(ComputedClause { expression: parser.parse_expr()?, at });
        return Ok(StreamColumn { name, definition: None, computed });
    }
    let mut definition = parser.parse_column_def()?;
    let (mut computed, mut options) = (None, Vec::new());
    for option in std::mem::take(&mut definition.options) {
        match option.option {
            ast::ColumnOption::Generated { generation_expr: Some(expression), .. } => {
                computed = Some(ComputedClause { expression, at });
            }
            _ => options.push(option),
        }
    }
    definition.options = options;
    let name = grammar.name(&definition.name);
    Ok(StreamColumn { name, definition: Some(definition), computed })
}

fn drop(
    parser: &mut DFParser<'_>,
    object: Object,
    grammar: &Grammar,
) -> Result<Kind, DataFusionError> {
    let parser = &mut parser.parser;
    parser.next_token();
    parser.next_token();
    let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
    let name = grammar.name(&parser.parse_identifier()?);
    Ok(Kind::Drop { object, name, if_exists })
}

/// `WITH (name = 'value', ...)`. Names are words or strings, values strings, numbers or words.
fn options(parser: &mut Parser<'_>) -> Result<BTreeMap<String, String>, DataFusionError> {
    let mut options = BTreeMap::new();
    parser.expect_keyword(Keyword::WITH)?;
    parser.expect_token(&Token::LParen)?;
    loop {
        let at = parser.peek_token();
        let name = parser.parse_identifier()?.value.to_ascii_lowercase();
        parser.expect_token(&Token::Eq)?;
        let value = parser.next_token();
        let value = match value.token {
            Token::SingleQuotedString(text) | Token::Number(text, _) => text,
            Token::Word(word) => word.value,
            _ => return Ok(parser.expected("the option's value, such as 'text'", value)?),
        };
        if options.insert(name, value).is_some() {
            return Ok(parser.expected("each option once", at)?);
        }
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    parser.expect_token(&Token::RParen)?;
    Ok(options)
}

/// Turns the parser's error into ours; one without a place is at the statement's end.
fn located(error: DataFusionError, end: Location) -> Error {
    match error.find_root() {
        DataFusionError::SQL(parse, _) => sqlparser::told(parse).at(place_of(end)).into(),
        _ => Error::DataFusion(error),
    }
}

/// Leads a visitor through what DataFusion will plan of a statement.
pub fn visit<V: VisitorMut>(statement: &mut DfStatement, visitor: &mut V) -> ControlFlow<V::Break> {
    match statement {
        DfStatement::Statement(statement) => statement.visit(visitor),
        DfStatement::Explain(explain) => visit(&mut explain.statement, visitor),
        DfStatement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => query.visit(visitor),
            CopyToSource::Relation(_) => ControlFlow::Continue(()),
        },
        _ => ControlFlow::Continue(()),
    }
}

/// Makes a bare name as the table of a window function a subquery: tables are looked up before
/// planning, and only where the grammar knows that a name is one.
struct TableArguments;

impl VisitorMut for TableArguments {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &mut ast::TableFactor) -> ControlFlow<()> {
        if let Some(args) = window::arguments_mut(table) {
            let first = args.iter_mut().enumerate().find_map(|(at, arg)| match arg {
                ast::FunctionArg::Named { name, arg: ast::FunctionArgExpr::Expr(expr), .. } => {
                    name.value.eq_ignore_ascii_case("data").then_some(expr)
                }
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) if at == 0 => {
                    Some(expr)
                }
                _ => None,
            });
            if let Some(expr) = first
                && names_a_table(expr)
                && let Some(query) = select_all(&expr.to_string())
            {
                *expr = ast::Expr::Subquery(query);
            }
        }
        ControlFlow::Continue(())
    }
}

/// A name, or a file as a string.
fn names_a_table(expr: &ast::Expr) -> bool {
    match expr {
        ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) => true,
        ast::Expr::Value(value) => matches!(value.value, ast::Value::SingleQuotedString(_)),
        _ => false,
    }
}

fn select_all(table: &str) -> Option<Box<ast::Query>> {
    let text = format!("SELECT * FROM {table}");
    DFParserBuilder::new(text.as_str()).build().ok()?.parser.parse_query().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Kind {
        let mut statements = parse(text, Grammar::default()).unwrap();
        assert_eq!(statements.len(), 1);
        statements.remove(0).kind
    }

    fn error(text: &str) -> String {
        parse(text, Grammar::default()).unwrap_err().to_string()
    }

    #[test]
    fn streams_and_sinks() {
        let text = "CREATE STREAM IF NOT EXISTS Bids (a BIGINT, \"Ts\" TIMESTAMP NOT NULL,
            WATERMARK FOR \"Ts\" AS \"Ts\" - INTERVAL '5' SECOND)
            WITH (connector = 'file', 'path' = 'b/', events = 10, header = false)";
        let Kind::CreateStream(stream) = one(text) else { panic!("not a stream") };
        assert_eq!((stream.name.as_str(), stream.if_not_exists), ("bids", true));
        assert_eq!(stream.columns.len(), 2);
        let watermark = stream.watermark.unwrap();
        assert_eq!(watermark.column, "Ts");
        assert_eq!(watermark.at.line, 2);
        let options: Vec<_> = stream.options.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(options, ["connector=file", "events=10", "header=false", "path=b/"]);
        let Kind::CreateSink(sink) = one("create sink k with (connector='console')") else {
            panic!("not a sink")
        };
        assert_eq!(sink.name, "k");
        let Kind::Print(text) = one("PRINT 'it''s here'") else { panic!("not a text") };
        assert_eq!(text, "it's here");
        assert!(error("PRINT here").contains("a text in quotes, found: here"));
        assert!(matches!(one("SHOW STREAMS"), Kind::Show(Object::Stream)));
        let Kind::Drop { object, name, if_exists } = one("DROP SINK IF EXISTS k") else {
            panic!("not a drop")
        };
        assert_eq!((object, name.as_str(), if_exists), (Object::Sink, "k", true));
        let text = "CREATE STREAM s (ms BIGINT, t TIMESTAMP NOT NULL AS (f(ms)), \"U\" AS ms + 1)
            WITH (connector = 'file')";
        let Kind::CreateStream(stream) = one(text) else { panic!("not a stream") };
        let shown = stream.columns.iter().map(|column| {
            let computed = column.computed.as_ref().map(|clause| clause.expression.to_string());
            format!("{} {:?} {computed:?}", column.name, column.definition.is_some())
        });
        let want = ["ms true None", "t true Some(\"f(ms)\")", "U false Some(\"ms + 1\")"];
        assert_eq!(shown.collect::<Vec<_>>(), want);
        // A column may be called watermark.
        one("CREATE STREAM s (watermark BIGINT) WITH (connector = 'file')");
    }

    #[test]
    fn lines_are_those_of_the_first_token() {
        let text = "-- head\n\nSELECT 1;\nSELECT\n2;\n\n  SHOW STREAMS;\n";
        let statements = parse(text, Grammar::default()).unwrap();
        let lines: Vec<_> = statements.iter().map(|statement| statement.line).collect();
        assert_eq!(lines, [3, 4, 7]);
    }

    #[test]
    fn errors_are_placed_and_name_the_word() {
        assert_eq!(
            error("SELECT 1;\nSELEC 2"),
            "line 2, column 1: Expected: an SQL statement, found: SELEC"
        );
        let text = error("SELECT 1;\nSELECT (1 + 2");
        assert!(text.starts_with("line 2, column 1"), "{text}");
        let text = error("CREATE SINK k\nWITH (connector 'x')");
        assert_eq!(text, "line 2, column 17: Expected: =, found: 'x'");
        let text = error("CREATE SINK k WITH (a = 1, a = 2)");
        assert_eq!(text, "line 1, column 28: Expected: each option once, found: a");
        let text = error("SELECT 1 1");
        assert!(text.contains("found: 1"), "{text}");
    }
    #[test]
    fn options_of_the_parser_hold_for_the_statements_behind_them() {
        let of = |text: &str| {
            let statements = parse(text, Grammar::default()).unwrap();
            let mut shown = statements.iter().map(|statement| match &statement.kind {
                Kind::Sql(sql) => format!("{}: {sql}", statement.line),
                other => format!("{}: {other:?}", statement.line),
            });
            shown.next_back().unwrap()
        };
        let set = "SET datafusion.sql_parser.";
        // A comment and a name that only this dialect can read, in the lines where they stand.
        let text = format!("{set}dialect = 'MySQL';\n# it's\nSELECT `a b` FROM t");
        assert_eq!(of(&text), "3: SELECT `a b` FROM t");
        let text =
            format!("{set}dialect = duckdb; RESET datafusion.sql_parser.dialect; SELECT 2^3");
        assert_eq!(of(&text), "1: SELECT 2 ^ 3");
        let text = format!("{set}enable_ident_normalization = false; CREATE SINK K WITH (a = 1)");
        assert!(of(&text).contains("\"K\""), "{}", of(&text));
        let text = format!("{set}recursion_limit = 8; SELECT ((((((((1))))))))");
        let error = parse(&text, Grammar::default()).unwrap_err().to_string();
        assert!(error.contains("nested too deeply"), "{error}");
        let error = error_of_dialect();
        assert!(error.starts_with("line 3, column 8"), "{error}");
    }

    /// What no dialect reads is told where it stands.
    fn error_of_dialect() -> String {
        error("SET datafusion.sql_parser.dialect = 'mysql';\n\nSELECT 'abc")
    }
}
