//! Columns of `CREATE STREAM` and `CREATE TABLE` whose names the stock grammar takes for the
//! beginning of a constraint, as MySQL writes them: `key BIGINT`, `index INT`.

use datafusion::sql::sqlparser::ast::DataType;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::sql::grammar::Grammar;
use crate::sql::token::is_word;

/// Words that begin a constraint. `CONSTRAINT` is followed by a name, which may be a type's.
const CONSTRAINTS: [&str; 8] =
    ["KEY", "INDEX", "UNIQUE", "CHECK", "PRIMARY", "FOREIGN", "FULLTEXT", "SPATIAL"];

/// Words between `CREATE` and `TABLE`.
const KINDS: [&str; 6] = ["OR", "REPLACE", "EXTERNAL", "UNBOUNDED", "TEMP", "TEMPORARY"];

/// Tokens of a type that are looked at: a longer one is nested, and no constraint's name.
const TYPE_TOKENS: usize = 64;

/// Quotes such a word where a column begins and a type follows it.
pub fn quoted(mut tokens: Vec<TokenWithSpan>, grammar: &Grammar) -> Vec<TokenWithSpan> {
    let Some(open) = list(&tokens) else { return tokens };
    let mut depth = 0;
    for at in open..tokens.len() {
        match &tokens[at].token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::Comma => {}
            _ => continue,
        }
        if depth == 0 {
            break;
        }
        let begins = depth == 1 && tokens[at].token != Token::RParen;
        let Some(Token::Word(word)) = tokens.get(at + 1).map(|next| &next.token) else { continue };
        let known = CONSTRAINTS.iter().any(|known| is_word(&tokens[at + 1].token, known));
        if begins && known && is_type(&tokens[at + 2..], grammar) {
            let name = grammar.word(word);
            tokens[at + 1].token = Token::make_word(&name, Some('"'));
        }
    }
    tokens
}

/// Where the list of columns begins in a statement that has one.
fn list(tokens: &[TokenWithSpan]) -> Option<usize> {
    let word = |at: usize, text: &str| tokens.get(at).is_some_and(|t| is_word(&t.token, text));
    if !word(0, "CREATE") {
        return None;
    }
    let kinds = (1..).take_while(|at| KINDS.iter().any(|kind| word(*at, kind))).count();
    if !word(kinds + 1, "TABLE") && !word(kinds + 1, "STREAM") {
        return None;
    }
    tokens.iter().position(|token| token.token == Token::LParen)
}

/// Whether tokens begin with a type that SQL has.
fn is_type(tokens: &[TokenWithSpan], grammar: &Grammar) -> bool {
    let tokens = tokens.iter().take(TYPE_TOKENS).cloned().collect();
    let dialect = grammar.dialect();
    let mut parser = Parser::new(dialect.as_ref()).with_tokens_with_locations(tokens);
    let found = parser.parse_data_type();
    found.is_ok_and(|found| !matches!(found, DataType::Custom(..)))
}

#[cfg(test)]
mod tests {
    use crate::sql::script::rewritten;

    #[test]
    fn names_of_constraints_are_columns_where_a_type_follows() {
        assert_eq!(
            rewritten("CREATE STREAM s (Key BIGINT, p DECIMAL(9, 2), index VARCHAR(10) NOT NULL)"),
            "CREATE STREAM s ( \"key\" BIGINT , p DECIMAL ( 9 , 2 ) , \"index\" VARCHAR ( 10 ) \
             NOT NULL )"
        );
        assert_eq!(
            rewritten("CREATE OR REPLACE TABLE t (unique INT, check TIMESTAMP, primary DATE)"),
            "CREATE OR REPLACE TABLE t ( \"unique\" INT , \"check\" TIMESTAMP , \"primary\" DATE )"
        );
        assert_eq!(
            rewritten("CREATE EXTERNAL TABLE t (key STRING) STORED AS CSV LOCATION 'x'"),
            "CREATE EXTERNAL TABLE t ( \"key\" STRING ) STORED AS CSV LOCATION 'x'"
        );
    }

    #[test]
    fn constraints_stay_what_they_are() {
        for text in [
            "CREATE TABLE t ( a INT , PRIMARY KEY ( a ) , UNIQUE ( a ) , CHECK ( a > 0 ) )",
            "CREATE TABLE t ( a INT , UNIQUE KEY u ( a ) , KEY k ( a ) , INDEX i ( a ) )",
            "CREATE TABLE t ( a INT , FOREIGN KEY ( a ) REFERENCES u ( key ) )",
            "CREATE TABLE t AS SELECT f ( key , index ) FROM u",
            "SELECT f ( key , index )",
        ] {
            assert_eq!(rewritten(text), text);
        }
    }
}
