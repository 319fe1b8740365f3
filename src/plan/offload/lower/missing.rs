//! What a tuple may lack after an outer join, and what that means for what was computed before.
//!
//! A join that keeps build rows without a match goes on with tuples that have no probe side. What
//! was computed over the probe side is NULL there, whatever the expression would make of NULLs:
//! `coalesce(y, 0)`, `y IS NULL` and the constant `7` are values of rows that were there.
//! Expressions are computed where they are needed, so that those which NULLs alone do not make NULL
//! are tied to an input that tells whether the tuple came to the join from its probe side.
//!
//! The build side needs nothing of this: what is computed of it is a column of the join's table.

use std::sync::Arc;

use super::{Col, Stage};
use crate::expr::ir::{Expr, Kind, Rep};
use crate::fragment::spec::{Input, Step};

impl Stage {
    /// From the join with `table` on, tuples may have only a row of that table.
    pub(super) fn may_miss_all(&mut self, table: usize) {
        self.source_missing = true;
        let probed = self.steps.iter().filter_map(|step| match step {
            Step::Probe(probe) => Some(probe.table),
            Step::Filter(_) => None,
        });
        let probed: Vec<usize> = probed.collect();
        self.missing.extend(probed);
        let mut cols = std::mem::take(&mut self.cols);
        for col in &mut cols {
            if let Col::Computed(expr, _) = col {
                *expr = match null_of_nulls(expr, &self.inputs) {
                    true => all_nullable(expr),
                    false => self.of_probe_side(table, all_nullable(expr)),
                };
            }
        }
        self.cols = cols;
    }

    /// The value where the tuple came to the join from its probe side, else NULL.
    fn of_probe_side(&mut self, table: usize, value: Expr) -> Expr {
        let came = Expr::input(self.input(Input::Probed { table }), Rep::B1, false);
        let (rep, missing) = (value.rep, Expr::literal(None, value.rep));
        let kind = Kind::Case(vec![(came, value)], Some(Arc::new(missing)));
        Expr { kind, rep, nullable: true }
    }
}

/// True if the expression is NULL wherever all columns are.
fn null_of_nulls(expr: &Expr, inputs: &[Input]) -> bool {
    let null = |expr: &Expr| null_of_nulls(expr, inputs);
    match &expr.kind {
        Kind::Input(index) => !matches!(inputs[*index], Input::Probed { .. }),
        Kind::Literal(bits) => bits.is_none(),
        Kind::Parameter(_) => false,
        Kind::Call(_, args) => args.iter().any(null),
        Kind::And(left, right) | Kind::Or(left, right) => null(left) && null(right),
        Kind::Not(inner) => null(inner),
        Kind::IsNull(_) => false,
        Kind::Case(branches, otherwise) => {
            let otherwise = otherwise.as_ref().is_none_or(|otherwise| null(otherwise));
            otherwise && branches.iter().all(|(_, then)| null(then))
        }
        // The table has an entry of its own for NULL.
        Kind::Lookup { .. } => false,
    }
}

/// The expression with nothing proved about NULLs any more.
fn all_nullable(expr: &Expr) -> Expr {
    let all = |items: &[Expr]| items.iter().map(all_nullable).collect::<Vec<_>>();
    let one = |inner: &Arc<Expr>| Arc::new(all_nullable(inner));
    let (kind, nullable) = match &expr.kind {
        Kind::Input(index) => (Kind::Input(*index), true),
        Kind::Literal(bits) => (Kind::Literal(*bits), bits.is_none()),
        Kind::Parameter(constant) => (Kind::Parameter(constant.clone()), false),
        Kind::Call(prim, args) => (Kind::Call(prim, all(args)), true),
        Kind::And(left, right) => (Kind::And(one(left), one(right)), true),
        Kind::Or(left, right) => (Kind::Or(one(left), one(right)), true),
        Kind::Not(inner) => (Kind::Not(one(inner)), true),
        Kind::IsNull(inner) => (Kind::IsNull(one(inner)), false),
        Kind::Case(branches, otherwise) => {
            let branches = branches
                .iter()
                .map(|(when, then)| (all_nullable(when), all_nullable(then)))
                .collect();
            (Kind::Case(branches, otherwise.as_ref().map(one)), true)
        }
        Kind::Lookup { table, code } => (Kind::Lookup { table: *table, code: one(code) }, true),
    };
    Expr { kind, rep: expr.rep, nullable }
}
