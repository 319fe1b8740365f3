//! Earlier versions of tables: `t [FOR] VERSION AS OF 3`, `TIMESTAMP AS OF '..'` and `FOR
//! SYSTEM_TIME AS OF '..'`, which the grammar cannot read, become the table's name with the version
//! in it.

use datafusion::sql::sqlparser::keywords::RESERVED_FOR_TABLE_ALIAS;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::Result;
use crate::lake::travel;
use crate::sql::grammar::Grammar;
use crate::sql::token::{is_word, place};

/// Rewrites all tables of a statement.
///
/// Errors: what is no constant.
pub fn versions(tokens: Vec<TokenWithSpan>, grammar: &Grammar) -> Result<Vec<TokenWithSpan>> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let word = |nth: usize, text: &str| {
            tokens.get(nth).is_some_and(|token| is_word(&token.token, text))
        };
        let start = at + usize::from(word(at, "FOR"));
        let is_for = start > at;
        let version = word(start, "VERSION") || (is_for && word(start, "SYSTEM_VERSION"));
        let time = word(start, "TIMESTAMP") || (is_for && word(start, "SYSTEM_TIME"));
        let clause = (version || time) && word(start + 1, "AS") && word(start + 2, "OF");
        let name = match out.last().map(|last| &last.token) {
            Some(Token::Word(word)) if clause => Some((grammar.word(word), true)),
            Some(Token::SingleQuotedString(file)) if clause => Some((file.clone(), false)),
            _ => None,
        };
        let Some((name, is_named)) = name else {
            out.push(tokens[at].clone());
            at += 1;
            continue;
        };
        let span = tokens[at].span;
        let (value, end) =
            constant(&tokens, start + 3).ok_or_else(|| place(not_constant(version), span.start))?;
        let (value, none) = (Some(value.as_str()), None);
        let (of_version, of_time) = if version { (value, none) } else { (none, value) };
        let full = travel::name(&name, of_version, of_time);
        out.pop();
        out.push(TokenWithSpan { token: Token::make_word(&full, Some('"')), span });
        at = end;
        if is_named && !tokens.get(at).is_some_and(|next| begins_alias(&next.token)) {
            let alias = [Token::make_word("AS", None), Token::make_word(&name, Some('"'))];
            out.extend(alias.map(|token| TokenWithSpan { token, span }));
        }
    }
    Ok(out)
}

/// A number, a string or `TIMESTAMP '..'`, and where it ends; what follows is not part of it.
fn constant(tokens: &[TokenWithSpan], at: usize) -> Option<(String, usize)> {
    let at = at + usize::from(tokens.get(at).is_some_and(|t| is_word(&t.token, "TIMESTAMP")));
    match &tokens.get(at)?.token {
        Token::Number(text, _) | Token::SingleQuotedString(text) => Some((text.clone(), at + 1)),
        _ => None,
    }
}

fn not_constant(version: bool) -> &'static str {
    match version {
        true => "VERSION AS OF takes a number, such as VERSION AS OF 3",
        false => {
            "AS OF takes a constant, such as FOR SYSTEM_TIME AS OF '2026-01-01 12:00:00', or, \
             behind JOIN, the column of the left side that holds the time of each row"
        }
    }
}

fn begins_alias(token: &Token) -> bool {
    match token {
        Token::Word(word) => {
            is_word(token, "AS") || !RESERVED_FOR_TABLE_ALIAS.contains(&word.keyword)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::sql::script::{rewritten, split};

    #[test]
    fn versions_become_part_of_the_name() {
        let from = |text: &str| rewritten(&format!("SELECT * FROM {text}"));
        let version = "SELECT * FROM \"t@version=3\" AS \"t\"";
        assert_eq!(from("T FOR VERSION AS OF 3"), version);
        assert_eq!(from("t VERSION AS OF '3' WHERE 1"), format!("{version} WHERE 1"));
        assert_eq!(from("t VERSION AS OF 3 x, u"), "SELECT * FROM \"t@version=3\" x , u");
        let time = "SELECT * FROM \"t@timestamp=2026-01-01\" AS x";
        assert_eq!(from("t FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-01' AS x"), time);
        assert_eq!(from("t TIMESTAMP AS OF '2026-01-01' AS x"), time);
        assert_eq!(from("'a/b' VERSION AS OF 0"), "SELECT * FROM \"a/b@version=0\"");
    }

    #[test]
    fn other_words_stay() {
        let text = "SELECT version AS of_it , timestamp AS t FROM v FOR UPDATE";
        assert_eq!(rewritten(text), text);
    }

    #[test]
    fn a_time_that_is_no_constant_is_refused_where_it_stands() {
        let text = "SELECT 1 FROM b\nJOIN t FOR SYSTEM_TIME AS OF b.ts - 1 ON 1";
        let error = split(text).unwrap_err().to_string();
        assert!(error.starts_with("line 2, column 8: AS OF takes a constant"), "{error}");
    }
}
