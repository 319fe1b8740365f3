//! Long chains of set operations. `a UNION ALL b UNION ALL c ..` is read as one operation inside
//! the other, as many deep as there are, and everything that looks at a query would go as deep.
//! Of operations of one kind the order does not matter: they become a tree of little depth.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Query, SetExpr, SetOperator, SetQuantifier, Values, VisitorMut,
};

use crate::error::Error;

/// Chains up to this length stay as they are written.
const SHORT: usize = 64;

/// Operations that differ in kind are nested as written, and at most so deep.
const DEEPEST: usize = 1000;

/// Visits all queries, the outer ones first.
#[derive(Debug)]
pub struct Chains;

impl VisitorMut for Chains {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let (depth, mut levels) = (depth(&query.body), 0);
        if depth <= SHORT {
            return ControlFlow::Continue(());
        }
        let mut body: &mut SetExpr = &mut query.body;
        while let SetExpr::SetOperation { .. } = body {
            levels += 1;
            if levels > DEEPEST {
                return ControlFlow::Break(Error::user(format!(
                    "{depth} set operations in a row, of different kinds: at most {DEEPEST} can \
                     be nested; put those of one kind together, or keep parts in tables"
                )));
            }
            balance(body);
            // Behind the chain of one kind there may be one of another.
            body = match first(body) {
                Some(next) => next,
                None => break,
            };
        }
        ControlFlow::Continue(())
    }
}

fn depth(mut body: &SetExpr) -> usize {
    let mut depth = 0;
    while let SetExpr::SetOperation { left, .. } = body {
        depth += 1;
        body = left;
    }
    depth
}

/// Kinds whose operations may be done in any order.
fn is_associative(op: SetOperator, quantifier: SetQuantifier) -> bool {
    let plain =
        matches!(quantifier, SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None);
    plain && matches!(op, SetOperator::Union | SetOperator::Intersect)
}

/// Makes the chain of one kind that a body is a tree.
fn balance(body: &mut SetExpr) {
    let SetExpr::SetOperation { op, set_quantifier, .. } = body else { return };
    let kind = (*op, *set_quantifier);
    if !is_associative(kind.0, kind.1) {
        return;
    }
    let nothing =
        SetExpr::Values(Values { explicit_row: false, value_keyword: false, rows: Vec::new() });
    let mut rest = std::mem::replace(body, nothing);
    let mut parts = Vec::new();
    loop {
        match rest {
            SetExpr::SetOperation { op, set_quantifier, left, right }
                if (op, set_quantifier) == kind =>
            {
                parts.push(*right);
                rest = *left;
            }
            other => {
                parts.push(other);
                break;
            }
        }
    }
    parts.reverse();
    *body = tree(parts, kind);
}

fn tree(mut parts: Vec<SetExpr>, kind: (SetOperator, SetQuantifier)) -> SetExpr {
    let behind = parts.split_off(parts.len().div_ceil(2));
    if behind.is_empty() {
        return parts.pop().unwrap_or(SetExpr::Values(Values {
            explicit_row: false,
            value_keyword: false,
            rows: Vec::new(),
        }));
    }
    SetExpr::SetOperation {
        op: kind.0,
        set_quantifier: kind.1,
        left: Box::new(tree(parts, kind)),
        right: Box::new(tree(behind, kind)),
    }
}

/// The first part of a tree that is of another kind; of what stays as it is, the left side.
fn first(body: &mut SetExpr) -> Option<&mut SetExpr> {
    let SetExpr::SetOperation { op, set_quantifier, left, .. } = body else { return None };
    let kind = (*op, *set_quantifier);
    let mut next = left;
    while is_associative(kind.0, kind.1) && is_of(next, kind) {
        let SetExpr::SetOperation { left, .. } = next.as_mut() else { return None };
        next = left;
    }
    Some(next)
}

fn is_of(body: &SetExpr, kind: (SetOperator, SetQuantifier)) -> bool {
    matches!(body, SetExpr::SetOperation { op, set_quantifier, .. }
        if (*op, *set_quantifier) == kind)
}
