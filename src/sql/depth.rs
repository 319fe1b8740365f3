//! How deep a statement is. `a + b + c ..` is read as one operation inside the other, as many deep
//! as there are, and what looks at an expression goes as deep on the stack. So is a query over a
//! query over a query, which parts of `WITH` make without parentheses. Both are counted before
//! anything goes down; the parser itself counts parentheses.

use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::token::{is_word, place};
use crate::error::{Error, Result};

/// Operations one inside the other, at most: several times what people and generators write, and
/// less than half of what the stack of a thread has room for in debug builds.
const MOST_OPERATIONS: usize = 4000;

/// Levels of a plan, at most.
const MOST_LEVELS: usize = 4000;

/// Types within one another that a string may name, as for `arrow_cast`.
const MOST_TYPES: usize = 100;

/// Words that stand between operands.
const OPERATORS: [&str; 14] = [
    "AND", "OR", "XOR", "NOT", "IS", "IN", "LIKE", "ILIKE", "SIMILAR", "BETWEEN", "AT", "COLLATE",
    "DIV", "REGEXP",
];

/// Words that end an expression.
const ENDS: [&str; 19] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "HAVING",
    "QUALIFY",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "JOIN",
    "ON",
    "USING",
    "WHEN",
    "THEN",
    "ELSE",
    "VALUES",
];

/// Errors: an expression is deeper than the stack, with its place.
pub fn of_text(tokens: &[TokenWithSpan]) -> Result<()> {
    let (mut open, mut depth) = (vec![Level::default()], 0_usize);
    let mut operand_next = true;
    let types = tokens.iter().any(|token| {
        ["arrow_cast", "arrow_try_cast"].iter().any(|name| is_word(&token.token, name))
    });
    for TokenWithSpan { token, span } in tokens {
        let role = role(token, operand_next);
        operand_next = matches!(role, Role::Operation { .. } | Role::Opens | Role::Comma);
        let Some(level) = open.last_mut() else { return Ok(()) };
        let before = level.depth();
        match role {
            Role::Operation { loose: true } => *level = Level { loose: level.loose + 1, tight: 0 },
            Role::Operation { loose: false } => level.tight += 1,
            Role::Comma | Role::Ends => *level = Level::default(),
            Role::Opens => {
                // An index is an operation, too.
                level.tight += usize::from(*token == Token::LBracket);
            }
            Role::Closes | Role::Operand => {}
        }
        depth = depth + level.depth() - before;
        match role {
            Role::Opens => open.push(Level::default()),
            Role::Closes if open.len() > 1 => {
                depth -= open.pop().map_or(0, |level| level.depth());
            }
            _ => {}
        }
        let named = match token {
            Token::SingleQuotedString(text) if types => text.matches(['(', '<']).count(),
            _ => 0,
        };
        if depth > MOST_OPERATIONS || named > MOST_TYPES {
            return Err(place("the statement is nested too deeply", span.start));
        }
    }
    Ok(())
}

/// Operations at one level of parentheses, on the way to the deepest operand so far.
#[derive(Debug, Default, Clone, Copy)]
struct Level {
    /// AND and OR, which have the others inside.
    loose: usize,
    tight: usize,
}

impl Level {
    fn depth(self) -> usize {
        self.loose + self.tight
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Operand,
    Operation { loose: bool },
    Opens,
    Closes,
    Comma,
    Ends,
}

/// What a token does. Where an operand is next, a word is one, whatever it means elsewhere.
fn role(token: &Token, operand_next: bool) -> Role {
    let among = |words: &[&str]| words.iter().any(|word| is_word(token, word));
    match token {
        Token::LParen | Token::LBracket | Token::LBrace => Role::Opens,
        Token::RParen | Token::RBracket | Token::RBrace => Role::Closes,
        Token::Comma => Role::Comma,
        Token::Word(_) if among(&["CASE"]) => Role::Opens,
        Token::Word(_) if among(&["NOT"]) => Role::Operation { loose: false },
        Token::Word(_) if operand_next => Role::Operand,
        Token::Word(_) if among(&["END"]) => Role::Closes,
        Token::Word(_) if among(&ENDS) => Role::Ends,
        Token::Word(_) if among(&OPERATORS) => Role::Operation { loose: among(&["AND", "OR"]) },
        Token::Word(_)
        | Token::Number(..)
        | Token::Char(_)
        | Token::Placeholder(_)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::Whitespace(_)
        | Token::SemiColon
        | Token::EOF => Role::Operand,
        _ => Role::Operation { loose: false },
    }
}

/// Errors: a plan is deeper than the stack.
pub fn of_plan(plan: &LogicalPlan) -> Result<()> {
    let mut next = vec![(plan, 1_usize)];
    while let Some((plan, level)) = next.pop() {
        if level > MOST_LEVELS {
            return Err(Error::user(format!(
                "the statement is nested too deeply: a query over a query, more than {MOST_LEVELS} \
                 levels deep; keep parts of it in tables"
            )));
        }
        next.extend(plan.inputs().into_iter().map(|input| (input, level + 1)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::script::split;
    use super::*;

    fn is_too_deep(text: &str) -> bool {
        let chunks = split(text).unwrap();
        match of_text(&chunks[0].tokens) {
            Ok(()) => false,
            Err(error) => {
                assert!(error.to_string().contains("nested too deeply"), "{error}");
                true
            }
        }
    }

    /// A text with `count` pieces between its ends.
    fn chain(first: &str, piece: &str, count: usize) -> String {
        format!("SELECT {first}{}", piece.repeat(count))
    }

    #[test]
    fn chains_of_operators_have_a_bound() {
        let pieces = [
            " + 1",
            " AND a",
            " OR a = 1",
            " || 'x'",
            "::INT",
            " IS NULL",
            "[1]",
            " LIKE 'x'",
            " AT TIME ZONE 'UTC'",
            " BETWEEN 1 AND 2",
            " - - 1",
            " = 1",
            " -> 'x'",
            " + end",
            " + when",
            " + \"from\"",
            " + CASE WHEN a THEN 1",
            " + f(a, b)",
            " COLLATE x",
        ];
        for piece in pieces {
            assert!(is_too_deep(&chain("a", piece, MOST_OPERATIONS + 1)), "{piece}");
            assert!(!is_too_deep(&chain("a", piece, MOST_OPERATIONS / 4)), "{piece}");
        }
        let types =
            format!("SELECT arrow_cast(NULL, '{}Int8{}')", "List(".repeat(900), ")".repeat(900));
        assert!(is_too_deep(&types) && is_too_deep(&types.replace("arrow_cast", "ARROW_CAST")));
        assert!(is_too_deep(&chain("CAST(a AS INT", "[]", MOST_OPERATIONS + 1)));
        // Spread over parentheses, none of which is too deep by itself.
        let part = format!("a {}", "+ 1".repeat(MOST_OPERATIONS / 3));
        let nested = format!("SELECT {part} + ({part} + ({part} + ({part})))");
        assert!(is_too_deep(&nested));
    }

    #[test]
    fn what_is_long_and_flat_has_none() {
        let many = 3 * MOST_OPERATIONS;
        for text in [
            chain("1", ", a + 1", many),
            chain("*", " FROM t UNION ALL SELECT a + 1", many),
            chain("CASE", " WHEN a = 1 THEN b + 1", many) + " END",
            chain("*", " FROM t JOIN u ON a = b AND c = d", many),
            format!("INSERT INTO t VALUES (1){}", ", (-1, 'x')".repeat(many)),
            chain("a IN (1", ", 2", many) + ")",
            chain("f(a)", ", f(a[1] + 2)", many),
        ] {
            assert!(!is_too_deep(&text), "{}", &text[..60]);
        }
    }
}
