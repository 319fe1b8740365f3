//! As-of joins, which the stock grammar reads in one of their three forms only (`ASOF JOIN ..
//! MATCH_CONDITION (..)`): in tokens, the other two become what it can read; in the syntax tree,
//! each becomes the last join of a nested join, which our planner of relations sees.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    FunctionArg, FunctionArgExpr, Select, TableFactor, TableFunctionArgs, TableVersion,
    TableWithJoins, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::Error;
use crate::sql::token::is_word;
use crate::stream::plan::asof::plan::is_as_of;

/// The argument of a table that holds the column of its `FOR SYSTEM_TIME AS OF`.
const AS_OF: &str = "__as_of";

/// Rewrites `t FOR SYSTEM_TIME AS OF a.ts` into `t(__as_of => a.ts)`, and `ASOF JOIN` without a
/// MATCH_CONDITION into `GLOBAL JOIN`, which nothing else uses: where it is written, it goes.
pub fn clauses(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 8);
    let mut at = 0;
    while at < tokens.len() {
        let span = tokens[at].span;
        let token = |token| TokenWithSpan { token, span };
        let is_named = matches!(out.last().map(|last| &last.token), Some(Token::Word(_)));
        // A table may be called so.
        let is_table = out.last().is_some_and(|last| {
            last.token == Token::Comma
                || is_word(&last.token, "FROM")
                || is_word(&last.token, "JOIN")
        });
        let joins = join(&tokens[at + 1..]).filter(|_| !is_table);
        if let Some(end) = column(&tokens, at).filter(|_| is_named) {
            let name = Token::make_word(AS_OF, None);
            out.extend([Token::LParen, name, Token::RArrow].map(token));
            out.extend_from_slice(&tokens[at + 4..end]);
            out.push(token(Token::RParen));
            at = end;
            continue;
        }
        match joins {
            Some(_) if is_word(&tokens[at].token, "GLOBAL") => {}
            Some(table)
                if is_word(&tokens[at].token, "ASOF") && !matches(&tokens[at + 1 + table..]) =>
            {
                out.push(token(Token::make_word("GLOBAL", None)));
            }
            _ => out.push(tokens[at].clone()),
        }
        at += 1;
    }
    out
}

/// Where the column of a `FOR SYSTEM_TIME AS OF` ends, which begins at `at`.
fn column(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let word = |nth: usize| matches!(tokens.get(nth).map(|t| &t.token), Some(Token::Word(_)));
    let is = |nth: usize, text| tokens.get(nth).is_some_and(|t| is_word(&t.token, text));
    let begins = ["FOR", "SYSTEM_TIME", "AS", "OF"];
    if !begins.iter().enumerate().all(|(nth, text)| is(at + nth, text)) || !word(at + 4) {
        return None;
    }
    let mut end = at + 5;
    while tokens.get(end).is_some_and(|t| t.token == Token::Period) && word(end + 1) {
        end += 2;
    }
    // What goes on is an expression.
    let next = tokens.get(end).map(|next| &next.token);
    let ends = matches!(next, None | Some(Token::Word(_) | Token::RParen | Token::Comma));
    ends.then_some(end)
}

/// How many tokens `[INNER | LEFT | .. [OUTER]] JOIN` takes, with which these begin.
fn join(tokens: &[TokenWithSpan]) -> Option<usize> {
    let is = |nth: usize, text| tokens.get(nth).is_some_and(|t| is_word(&t.token, text));
    let kind = usize::from(["INNER", "LEFT", "RIGHT", "FULL"].iter().any(|kind| is(0, kind)));
    let outer = kind + usize::from(kind > 0 && is(kind, "OUTER"));
    is(outer, "JOIN").then_some(outer + 1)
}

/// Whether a MATCH_CONDITION follows the table that these tokens begin with.
fn matches(tokens: &[TokenWithSpan]) -> bool {
    let mut depth = 0_usize;
    for token in tokens {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => return false,
            Token::RParen => depth -= 1,
            _ if depth > 0 => {}
            word if is_word(word, "MATCH_CONDITION") => return true,
            word if ["ON", "USING", "JOIN", "WHERE"].iter().any(|end| is_word(word, end)) => {
                return false;
            }
            _ => {}
        }
    }
    false
}

/// Nests as-of joins, so that each is the last of its relation.
#[derive(Debug)]
pub struct AsOfJoins;

impl VisitorMut for AsOfJoins {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        select.from.iter_mut().for_each(|from| nest(from, false));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Error> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = table {
            nest(table_with_joins, true);
        }
        if let TableFactor::Table { name, args: Some(args), .. } = table
            && let Some(time) = time(args)
        {
            return ControlFlow::Break(Error::user(format!(
                "{name} FOR SYSTEM_TIME AS OF {time}: a column is of another table, so this is \
                 JOIN {name} FOR SYSTEM_TIME AS OF {time} ON .., or AS OF takes a constant"
            )));
        }
        ControlFlow::Continue(())
    }
}

/// Puts what stands up to each as-of join into a relation of its own; `whole` is one already.
fn nest(tables: &mut TableWithJoins, whole: bool) {
    let joins = std::mem::take(&mut tables.joins);
    let last = joins.len().saturating_sub(1);
    for (at, mut join) in joins.into_iter().enumerate() {
        take_time(&mut join.relation);
        let nests = is_as_of(&join) && !(whole && at == last);
        tables.joins.push(join);
        if nests {
            let joins = std::mem::take(&mut tables.joins);
            let inner = TableWithJoins { relation: tables.relation.clone(), joins };
            tables.relation =
                TableFactor::NestedJoin { table_with_joins: Box::new(inner), alias: None };
        }
    }
}

/// The column of `FOR SYSTEM_TIME AS OF` becomes the table's version.
fn take_time(table: &mut TableFactor) {
    let TableFactor::Table { args, version, .. } = table else { return };
    if let Some(time) = args.as_ref().and_then(time).cloned() {
        (*args, *version) = (None, Some(TableVersion::ForSystemTimeAsOf(time)));
    }
}

fn time(args: &TableFunctionArgs) -> Option<&datafusion::sql::sqlparser::ast::Expr> {
    match args.args.as_slice() {
        [FunctionArg::Named { name, arg: FunctionArgExpr::Expr(time), .. }]
            if name.value == AS_OF =>
        {
            Some(time)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::sql::script::rewritten;

    #[test]
    fn a_column_of_another_table_becomes_an_argument() {
        assert_eq!(
            rewritten("o LEFT JOIN r FOR SYSTEM_TIME AS OF o.ts AS x ON o.k = x.k"),
            "o LEFT JOIN r ( __as_of => o . ts ) AS x ON o . k = x . k"
        );
        assert_eq!(rewritten("JOIN a.r for system_time as of ts"), "JOIN a . r ( __as_of => ts )");
    }

    #[test]
    fn only_joins_without_a_match_condition_are_global() {
        let kept = "t ASOF JOIN ( SELECT 1 ) q MATCH_CONDITION ( t . a >= q . a ) ON t . k = q . k";
        assert_eq!(rewritten(kept), kept);
        assert_eq!(rewritten("t ASOF JOIN q ON 1"), "t GLOBAL JOIN q ON 1");
        assert_eq!(
            rewritten("t asof left outer join q USING (a) ASOF JOIN s MATCH_CONDITION (1)"),
            "t GLOBAL left outer join q USING ( a ) ASOF JOIN s MATCH_CONDITION ( 1 )"
        );
        assert_eq!(rewritten("t GLOBAL JOIN q ON 1"), "t JOIN q ON 1");
        let names = "SELECT asof , global FROM asof LEFT JOIN global JOIN t";
        assert_eq!(rewritten(names), names);
    }
}
