//! A script as tokens, before the grammar: statements split at `;`, and the forms that the
//! stock grammar cannot read rewritten into ones it can. Tokens keep their places in the text, so
//! that errors point there.

use std::collections::VecDeque;

use datafusion::sql::sqlparser::tokenizer::{
    Location, Span, Token, TokenWithSpan, Tokenizer, TokenizerError,
};

use super::grammar::Grammar;
use super::headings::selected;
use super::rewrite::asof::clauses;
use super::rewrite::columns::quoted;
use super::rewrite::emit;
use super::rewrite::short::selecting;
use super::rewrite::travel::versions;
use super::token::{is_word, place};
use crate::error::Result;
use crate::stream::plan::session::plan::PARTITION_BY;
use crate::stream::time::emit::Emit;

/// The tokens of one statement, without white space and without the `;`.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub tokens: Vec<TokenWithSpan>,
    /// What stood behind the query.
    pub emit: Option<Emit>,
    /// The items of its outermost SELECT, as written.
    pub items: Vec<String>,
    /// Where its first token stands; lines count from 1.
    pub start: Location,
    /// Where the text of the statement ends.
    pub end: Location,
}

/// A script on its way to statements, one after another: each may change how the rest is read.
pub struct Script<'a> {
    text: &'a str,
    /// Tokens that are not yet part of a statement, of the rest as it is read now.
    tokens: VecDeque<TokenWithSpan>,
    /// What the tokenizer could not read, behind these tokens.
    unreadable: Option<TokenizerError>,
    /// Where the rest begins.
    at: Location,
}

impl<'a> Script<'a> {
    pub fn new(text: &'a str, grammar: &Grammar) -> Self {
        let at = Location { line: 1, column: 1 };
        let mut script = Self { text, tokens: VecDeque::new(), unreadable: None, at };
        script.read(grammar);
        script
    }

    /// Reads the rest (again). Places of tokens are those in the whole text.
    pub fn read(&mut self, grammar: &Grammar) {
        let from = self.at;
        let mut lines = self.text.split_inclusive('\n');
        let above: usize = lines.by_ref().take(from.line as usize - 1).map(str::len).sum();
        let line = &self.text[above..];
        let before: usize = line.chars().take(from.column as usize - 1).map(char::len_utf8).sum();
        let blank = "\n".repeat(from.line as usize - 1) + &" ".repeat(from.column as usize - 1);
        let rest = blank + &line[before..];
        let dialect = grammar.dialect();
        let mut tokens = Vec::new();
        let read =
            Tokenizer::new(dialect.as_ref(), &rest).tokenize_with_location_into_buf(&mut tokens);
        self.tokens = tokens.into();
        self.unreadable = read.err();
    }

    /// The next statement, rewritten for the stock grammar.
    ///
    /// Errors: what the tokenizer cannot read (an unterminated string), with line and column; an
    /// `EMIT` of another form.
    pub fn next(&mut self, grammar: &Grammar) -> Result<Option<Chunk>> {
        loop {
            let mut tokens = Vec::new();
            let mut ended = false;
            while let Some(token) = self.tokens.pop_front() {
                match token.token {
                    Token::SemiColon => {
                        self.at = token.span.end;
                        ended = true;
                        break;
                    }
                    Token::Whitespace(_) | Token::EOF => {}
                    _ => tokens.push(token),
                }
            }
            if !ended && let Some(error) = self.unreadable.take() {
                return Err(place(&error.message, error.location));
            }
            let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
                match ended {
                    true => continue,
                    false => return Ok(None),
                }
            };
            let (start, end) = (first.span.start, last.span.end);
            if !ended {
                // All is read: another reading must not give the last statement again.
                self.at = end;
            }
            let (tokens, emit) = emit::cut(tokens)?;
            let tokens = selecting(tokens);
            let items = selected(&tokens);
            let tokens = versions(clauses(quoted(tokens, grammar)), grammar)?;
            let tokens = tables(partitions(tokens));
            return Ok(Some(Chunk { tokens, emit, items, start, end }));
        }
    }
}

/// All statements of a script in the usual grammar.
#[cfg(test)]
pub fn split(text: &str) -> Result<Vec<Chunk>> {
    let grammar = Grammar::default();
    let mut script = Script::new(text, &grammar);
    std::iter::from_fn(|| script.next(&grammar).transpose()).collect()
}

/// Rewrites `TABLE name` as the argument of a function into `(SELECT * FROM name)`.
///
/// A subquery, because tables are looked up before planning starts and only where the grammar
/// knows that a name is one.
fn tables(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 16);
    let mut at = 0;
    while at < tokens.len() {
        let before = out.last().map(|token| &token.token);
        let argument = matches!(before, Some(Token::LParen | Token::Comma | Token::RArrow));
        let named = matches!(
            tokens.get(at + 1).map(|token| &token.token),
            Some(Token::Word(_) | Token::SingleQuotedString(_))
        );
        if !(argument && named && is_word(&tokens[at].token, "TABLE")) {
            out.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let span = tokens[at].span;
        out.extend(opening(span));
        out.push(tokens[at + 1].clone());
        at += 2;
        while at + 1 < tokens.len() && tokens[at].token == Token::Period {
            out.extend_from_slice(&tokens[at..at + 2]);
            at += 2;
        }
        if tokens.get(at).is_some_and(|token| is_word(&token.token, "AS")) {
            out.extend(tokens[at..].iter().take(2).cloned());
            at += 2;
        }
        out.push(TokenWithSpan { token: Token::RParen, span });
    }
    out
}

/// Rewrites `PARTITION BY a, b` behind the table of `SESSION` into an argument of its own.
fn partitions(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 4);
    // Whether each open parenthesis is that of SESSION.
    let mut open = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let word = |nth: usize, text| tokens.get(nth).is_some_and(|t| is_word(&t.token, text));
        if open.last() == Some(&true) && word(at, "PARTITION") && word(at + 1, "BY") {
            let span = tokens[at].span;
            let end = at + 2 + names(&tokens[at + 2..]);
            let enclosed = tokens.get(at + 2).is_some_and(|t| t.token == Token::LParen);
            let mut add = |token| out.push(TokenWithSpan { token, span });
            add(Token::Comma);
            add(Token::make_word(PARTITION_BY, None));
            match enclosed {
                true => out.extend_from_slice(&tokens[at + 2..end]),
                false => {
                    add(Token::LParen);
                    out.extend_from_slice(&tokens[at + 2..end]);
                    out.push(TokenWithSpan { token: Token::RParen, span });
                }
            }
            at = end;
            continue;
        }
        match tokens[at].token {
            Token::LParen => open.push(at > 0 && is_word(&tokens[at - 1].token, "SESSION")),
            Token::RParen => drop(open.pop()),
            _ => {}
        }
        out.push(tokens[at].clone());
        at += 1;
    }
    out
}

/// How many tokens the columns of `PARTITION BY` are: a list in parentheses, or names up to a
/// comma that no name follows.
fn names(tokens: &[TokenWithSpan]) -> usize {
    let is = |at: usize, wanted: Token| tokens.get(at).is_some_and(|t| t.token == wanted);
    if is(0, Token::LParen) {
        let close = tokens.iter().position(|token| token.token == Token::RParen);
        return close.map_or(tokens.len(), |close| close + 1);
    }
    let mut end = 0;
    loop {
        while !is(end, Token::Comma) && !is(end, Token::RParen) && end < tokens.len() {
            end += 1;
        }
        // Another name, or the next argument?
        let mut next = end + 1;
        while is(next + 1, Token::Period) {
            next += 2;
        }
        let name = matches!(tokens.get(next).map(|t| &t.token), Some(Token::Word(_)));
        if !(is(end, Token::Comma) && name && is(next + 1, Token::Comma)) {
            return end;
        }
        end = next + 1;
    }
}

/// `(SELECT * FROM`
fn opening(span: Span) -> impl Iterator<Item = TokenWithSpan> {
    let select = Token::make_word("SELECT", None);
    let from = Token::make_word("FROM", None);
    let tokens = [Token::LParen, select, Token::Mul, from];
    tokens.into_iter().map(move |token| TokenWithSpan { token, span })
}

/// The first statement of a text as it is split, its tokens parted by spaces.
#[cfg(test)]
pub fn rewritten(text: &str) -> String {
    let chunk = split(text).unwrap().remove(0);
    let words: Vec<_> = chunk.tokens.iter().map(|t| t.token.to_string()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> Vec<String> {
        let join = |chunk: &Chunk| {
            let words: Vec<_> = chunk.tokens.iter().map(|t| t.token.to_string()).collect();
            words.join(" ")
        };
        split(text).unwrap().iter().map(join).collect()
    }

    #[test]
    fn statements_split_outside_strings_and_comments_only() {
        let text = "SELECT ';' -- a; b\n, 1;\n\n;;SELECT /* ; */ \"x;y\"";
        let chunks = split(text).unwrap();
        assert_eq!(chunks.iter().map(|chunk| chunk.start.line).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(rewritten(text), ["SELECT ';' , 1", "SELECT \"x;y\""]);
    }

    #[test]
    fn table_arguments_become_subqueries() {
        let text = "SELECT * FROM TABLE(TUMBLE(TABLE a.b, DESCRIPTOR(ts), INTERVAL '1' DAY))";
        let want = "SELECT * FROM TABLE ( TUMBLE ( ( SELECT * FROM a . b ) , DESCRIPTOR ( ts ) , \
                    INTERVAL '1' DAY ) )";
        assert_eq!(rewritten(text), [want]);
        assert_eq!(
            rewritten("f(DATA => TABLE 'x/*.csv', 1)"),
            ["f ( DATA => ( SELECT * FROM 'x/*.csv' ) , 1 )"]
        );
        // A table that is made, and a quoted column, stay what they are.
        assert_eq!(rewritten("CREATE TABLE t (a INT)"), ["CREATE TABLE t ( a INT )"]);
        assert_eq!(rewritten("f(\"TABLE\" x)"), ["f ( \"TABLE\" x )"]);
    }

    #[test]
    fn partitions_of_sessions_become_arguments() {
        let session = |text: &str| rewritten(&format!("SESSION({text})")).remove(0);
        let want = "SESSION ( ( SELECT * FROM t ) , __partition_by ( a , t . b ) , \
                    DESCRIPTOR ( ts ) , 1 )";
        assert_eq!(session("TABLE t PARTITION BY a, t.b, DESCRIPTOR(ts), 1"), want);
        assert_eq!(session("TABLE t PARTITION BY (a, t.b), DESCRIPTOR(ts), 1"), want);
        let want = "SESSION ( DATA => ( SELECT * FROM t ) , __partition_by ( a ) , GAP => 1 )";
        assert_eq!(session("DATA => TABLE t PARTITION BY a, GAP => 1"), want);
        let over = "sum(a) OVER (PARTITION BY b)";
        assert_eq!(rewritten(over), ["sum ( a ) OVER ( PARTITION BY b )"]);
    }

    #[test]
    fn unterminated_strings_are_placed() {
        let error = split("SELECT 1;\nSELECT 'abc").unwrap_err().to_string();
        assert!(error.starts_with("line 2, column 8: "), "{error}");
    }
}
