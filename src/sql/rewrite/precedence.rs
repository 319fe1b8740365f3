//! `IS [NOT] DISTINCT FROM` binds as tightly as every other IS.
//!
//! The stock grammar reads all that follows as its right operand, AND and OR among it. What does
//! not belong there is moved behind it, in the syntax tree. Parentheses are nodes of the tree, so
//! that what stands in them stays together.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Ident, UnaryOperator, VisitorMut};

/// Visits expressions, the inner ones first.
#[derive(Debug)]
pub struct Precedence;

impl VisitorMut for Precedence {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        bind(expr);
        ControlFlow::Continue(())
    }
}

/// How tightly an operator binds; comparisons and arithmetic are `TIGHT`.
const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const IS: u8 = 4;
const TIGHT: u8 = 5;

/// Gives an operator the operand that is its own, where its last operand holds more than that.
fn bind(expr: &mut Expr) {
    let Some((right, level)) = last_operand(expr) else { return };
    if !is_looser(right, level) {
        return;
    }
    let mut whole = std::mem::replace(right, nothing());
    let first = first_operand(&mut whole, level);
    *right = std::mem::replace(first, nothing());
    *first = std::mem::replace(expr, nothing());
    *expr = whole;
}

fn nothing() -> Expr {
    Expr::Identifier(Ident::new(""))
}

/// The operand behind the last operator of an expression, and how tightly the operator binds.
fn last_operand(expr: &mut Expr) -> Option<(&mut Expr, u8)> {
    match expr {
        Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) => Some((right, IS)),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => Some((expr, NOT)),
        Expr::BinaryOp { op, right, .. } => Some((right, level(op))),
        _ => None,
    }
}

fn level(op: &BinaryOperator) -> u8 {
    match op {
        BinaryOperator::Or => OR,
        BinaryOperator::And => AND,
        _ => TIGHT,
    }
}

/// Whether an expression is of operands whose first belongs to an operator of this level before it.
fn is_looser(expr: &Expr, than: u8) -> bool {
    match expr {
        Expr::BinaryOp { op, .. } => level(op) <= than && level(op) < TIGHT,
        Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => IS <= than,
        Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::IsTrue(_) | Expr::IsNotTrue(_) => IS <= than,
        Expr::IsFalse(_) | Expr::IsNotFalse(_) => IS <= than,
        Expr::IsUnknown(_) | Expr::IsNotUnknown(_) => IS <= than,
        _ => false,
    }
}

/// The first operand of an expression that an operator of this level before it takes.
fn first_operand(mut expr: &mut Expr, level: u8) -> &mut Expr {
    while is_looser(expr, level) {
        expr = match expr {
            Expr::BinaryOp { left, .. } => left,
            Expr::IsDistinctFrom(left, _) | Expr::IsNotDistinctFrom(left, _) => left,
            Expr::IsNull(inner) | Expr::IsNotNull(inner) => inner,
            Expr::IsTrue(inner) | Expr::IsNotTrue(inner) => inner,
            Expr::IsFalse(inner) | Expr::IsNotFalse(inner) => inner,
            Expr::IsUnknown(inner) | Expr::IsNotUnknown(inner) => inner,
            other => return other,
        };
    }
    expr
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParserBuilder;
    use datafusion::sql::sqlparser::ast::VisitMut;

    use super::*;

    fn read(text: &str) -> Expr {
        let mut expr = DFParserBuilder::new(text).build().unwrap().parse_expr().unwrap().expr;
        let _ = expr.visit(&mut Precedence);
        expr
    }

    /// The expression without its parentheses.
    fn bare(text: &str) -> String {
        struct Bare;
        impl VisitorMut for Bare {
            type Break = ();
            fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
                while let Expr::Nested(inner) = expr {
                    *expr = std::mem::replace(inner.as_mut(), nothing());
                }
                ControlFlow::Continue(())
            }
        }
        let mut expr = read(text);
        let _ = expr.visit(&mut Bare);
        format!("{expr:#?}").lines().filter(|line| !line.contains("Location(")).collect()
    }

    #[test]
    fn it_reads_as_if_parentheses_stood_there() {
        let pairs = [
            ("a IS DISTINCT FROM b AND c", "(a IS DISTINCT FROM b) AND c"),
            ("a IS NOT DISTINCT FROM b OR c AND d", "(a IS NOT DISTINCT FROM b) OR (c AND d)"),
            (
                "a IS DISTINCT FROM b AND c IS DISTINCT FROM d OR e",
                "((a IS DISTINCT FROM b) AND (c IS DISTINCT FROM d)) OR e",
            ),
            ("x OR a IS DISTINCT FROM b AND c OR y", "(x OR ((a IS DISTINCT FROM b) AND c)) OR y"),
            ("NOT a IS DISTINCT FROM b OR c", "(NOT (a IS DISTINCT FROM b)) OR c"),
            ("a IS DISTINCT FROM b + 1 = c", "a IS DISTINCT FROM ((b + 1) = c)"),
            ("a IS DISTINCT FROM b IS NULL", "(a IS DISTINCT FROM b) IS NULL"),
            ("a IS DISTINCT FROM (b AND c) OR d", "(a IS DISTINCT FROM (b AND c)) OR d"),
            (
                "a IS DISTINCT FROM b BETWEEN c AND d AND e",
                "(a IS DISTINCT FROM (b BETWEEN c AND d)) AND e",
            ),
            ("x AND NOT a IS DISTINCT FROM b OR c", "(x AND (NOT (a IS DISTINCT FROM b))) OR c"),
        ];
        for (one, other) in pairs {
            assert_eq!(bare(one), bare(other), "{one}");
        }
        assert_ne!(bare("a IS DISTINCT FROM (b AND c)"), bare("(a IS DISTINCT FROM b) AND c"));
    }
}
