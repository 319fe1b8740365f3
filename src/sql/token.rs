//! Tokens of a script, before the grammar: statements split at `;`, and the two forms that the
//! stock grammar cannot read rewritten into ones it can. Tokens keep their places in the text, so
//! that errors point there.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use crate::error::{Error, Result};

/// The tokens of one statement, without white space and without the `;`.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub tokens: Vec<TokenWithSpan>,
    /// Line of the first token, from 1.
    pub line: u64,
    /// Where the text of the statement ends.
    pub end: Location,
}

/// Splits a script into statements and rewrites each for the stock grammar.
///
/// Errors: what the tokenizer cannot read (an unterminated string), with line and column; an
/// `EMIT` that is not there yet.
pub fn split(text: &str) -> Result<Vec<Chunk>> {
    let tokens = Tokenizer::new(&GenericDialect {}, text)
        .tokenize_with_location()
        .map_err(|error| place(&error.message, error.location))?;
    let mut chunks = Vec::new();
    for tokens in tokens.split(|token| token.token == Token::SemiColon) {
        let blank =
            |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_) | Token::EOF);
        let tokens: Vec<_> = tokens.iter().filter(blank).cloned().collect();
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { continue };
        let (line, end) = (first.span.start.line, last.span.end);
        chunks.push(Chunk { tokens: tables(emission(tokens)?), line, end });
    }
    Ok(chunks)
}

/// True for the unquoted word `text`, in any case.
pub fn is_word(token: &Token, text: &str) -> bool {
    matches!(token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
}

/// An error of the user at a place in the text.
pub fn place(message: &str, at: Location) -> Error {
    if at.line == 0 {
        return Error::User(message.to_string());
    }
    Error::User(format!("line {}, column {}: {message}", at.line, at.column))
}

/// Takes a trailing `EMIT ON|AFTER WINDOW CLOSE` away, which is what happens anyway; left there,
/// the grammar would take `EMIT` for the alias of a table.
fn emission(mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let mut depth = 0_i32;
    for at in 0..tokens.len() {
        match &tokens[at].token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            word if depth == 0 && is_word(word, "EMIT") => {
                let rest: Vec<_> = tokens[at + 1..].iter().map(|t| t.token.to_string()).collect();
                let rest = rest.join(" ").to_ascii_uppercase();
                if rest == "ON WINDOW CLOSE" || rest == "AFTER WINDOW CLOSE" {
                    tokens.truncate(at);
                    break;
                }
                if rest.starts_with("CHANGES") || rest.starts_with("AFTER") {
                    let what = "windows are emitted when they close: EMIT ON WINDOW CLOSE, or no \
                                EMIT at all; other policies are not there yet";
                    return Err(place(what, tokens[at].span.start));
                }
            }
            _ => {}
        }
    }
    Ok(tokens)
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
        out.push(TokenWithSpan { token: Token::RParen, span });
    }
    out
}

/// `(SELECT * FROM`
fn opening(span: Span) -> impl Iterator<Item = TokenWithSpan> {
    let select = Token::make_word("SELECT", None);
    let from = Token::make_word("FROM", None);
    let tokens = [Token::LParen, select, Token::Mul, from];
    tokens.into_iter().map(move |token| TokenWithSpan { token, span })
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
        assert_eq!(chunks.iter().map(|chunk| chunk.line).collect::<Vec<_>>(), [1, 4]);
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
    fn emission_is_taken_or_refused() {
        assert_eq!(rewritten("SELECT a FROM t EMIT ON WINDOW CLOSE"), ["SELECT a FROM t"]);
        assert_eq!(rewritten("SELECT emit FROM t"), ["SELECT emit FROM t"]);
        let error = split("SELECT a\nFROM t EMIT CHANGES").unwrap_err().to_string();
        assert!(error.starts_with("line 2, column 8: "), "{error}");
    }

    #[test]
    fn unterminated_strings_are_placed() {
        let error = split("SELECT 1;\nSELECT 'abc").unwrap_err().to_string();
        assert!(error.starts_with("line 2, column 8: "), "{error}");
    }
}
