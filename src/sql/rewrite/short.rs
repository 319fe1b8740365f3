//! Short forms: `FROM t` alone is `SELECT * FROM t`; the unit of `datediff(day, a, b)` is a word.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, Value,
    VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::plan::is_unit;
use crate::sql::token::is_word;

/// Functions whose first argument of three is a unit.
const WITH_UNIT: [&str; 2] = ["datediff", "date_diff"];

/// Words behind which a query may begin.
const BEFORE: [&str; 8] =
    ["AS", "EXPLAIN", "ANALYZE", "VERBOSE", "UNION", "ALL", "EXCEPT", "INTERSECT"];

/// Words that end a part of a query.
const SETS: [&str; 3] = ["UNION", "EXCEPT", "INTERSECT"];

/// Puts `SELECT *` before every FROM that a query begins with and that no SELECT follows.
pub fn selecting(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 2);
    // For each parenthesis that is open, whether a query is still to come in it, behind WITH or
    // INSERT.
    let mut awaited = vec![false];
    for (at, token) in tokens.iter().enumerate() {
        let begins = begins(&out);
        let is_awaited = awaited.last().copied().unwrap_or(false);
        match &token.token {
            Token::LParen => awaited.push(false),
            Token::RParen => drop(awaited.pop()),
            word if begins && is_one(word, &["WITH", "INSERT"]) => set(&mut awaited, true),
            word if is_one(word, &["SELECT", "VALUES"]) => set(&mut awaited, false),
            word if is_word(word, "FROM") => {
                let is_short = (begins || is_awaited) && !selects(&tokens[at..]);
                set(&mut awaited, false);
                if is_short {
                    let span = token.span;
                    let short = [Token::make_keyword("SELECT"), Token::Mul];
                    out.extend(short.map(|token| TokenWithSpan { token, span }));
                }
            }
            _ => {}
        }
        out.push(token.clone());
    }
    out
}

fn set(awaited: &mut [bool], value: bool) {
    if let Some(last) = awaited.last_mut() {
        *last = value;
    }
}

fn is_one(token: &Token, words: &[&str]) -> bool {
    words.iter().any(|word| is_word(token, word))
}

/// Whether a query may begin behind these tokens.
fn begins(before: &[TokenWithSpan]) -> bool {
    let Some((last, rest)) = before.split_last() else { return true };
    match &last.token {
        // `trim(FROM x)` has no query.
        Token::LParen => !rest.last().is_some_and(|word| is_word(&word.token, "TRIM")),
        word => is_one(word, &BEFORE),
    }
}

/// Whether a SELECT follows in the same part of a query.
fn selects(tokens: &[TokenWithSpan]) -> bool {
    let mut depth = 0_usize;
    for token in tokens {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => return false,
            Token::RParen => depth -= 1,
            word if depth == 0 && is_word(word, "SELECT") => return true,
            word if depth == 0 && is_one(word, &SETS) => return false,
            _ => {}
        }
    }
    false
}

/// Makes the words of units text.
#[derive(Debug)]
pub struct Units;

impl VisitorMut for Units {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) = expr
        else {
            return ControlFlow::Continue(());
        };
        let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else {
            return ControlFlow::Continue(());
        };
        let is_known = WITH_UNIT.iter().any(|known| name.value.eq_ignore_ascii_case(known));
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(unit)), _, _] = list.args.as_mut_slice()
        else {
            return ControlFlow::Continue(());
        };
        if let Expr::Identifier(Ident { value, quote_style: None, .. }) = unit
            && is_known
            && is_unit(value)
        {
            *unit = Expr::Value(Value::SingleQuotedString(value.clone()).into());
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use crate::sql::script::rewritten;

    #[test]
    fn a_query_may_begin_with_from() {
        for (text, want) in [
            ("FROM t", "SELECT * FROM t"),
            ("from t WHERE a", "SELECT * from t WHERE a"),
            ("EXPLAIN ANALYZE FROM t LIMIT 1", "EXPLAIN ANALYZE SELECT * FROM t LIMIT 1"),
            ("FROM (FROM t)", "SELECT * FROM ( SELECT * FROM t )"),
            ("FROM t UNION ALL FROM u", "SELECT * FROM t UNION ALL SELECT * FROM u"),
            ("CREATE VIEW v AS FROM t", "CREATE VIEW v AS SELECT * FROM t"),
            ("WITH c AS (SELECT 1) FROM c", "WITH c AS ( SELECT 1 ) SELECT * FROM c"),
            ("INSERT INTO s FROM t", "INSERT INTO s SELECT * FROM t"),
            ("INSERT INTO s (a) FROM t", "INSERT INTO s ( a ) SELECT * FROM t"),
        ] {
            assert_eq!(rewritten(text), want);
        }
        for same in [
            "FROM t SELECT a",
            "SELECT ( 1 ) FROM t",
            "WITH c AS ( SELECT 1 ) SELECT ( a ) FROM c",
            "SELECT extract ( day FROM d ) , trim ( FROM a ) , a IS DISTINCT FROM b FROM t",
            "DELETE FROM t",
            "INSERT INTO s SELECT a FROM t",
            "COPY ( SELECT a FROM t ) TO 'x'",
        ] {
            assert_eq!(rewritten(same), same);
        }
    }
}
