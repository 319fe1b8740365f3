//! The twin of `wgsl`: computes an expression for one row on the host, with the same faults.

use crate::expr::ir::{Expr, Fault, Kind};

/// What a lookup table holds for one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LookupEntry {
    /// The value's bits; meaningless unless `valid`.
    pub value: u128,
    pub valid: bool,
    /// The expression raised an error for this string.
    pub failed: bool,
}

/// One row's inputs and the lookup tables.
pub trait Env {
    /// The bits of input `index`, `None` if it is NULL.
    fn input(&self, index: usize) -> Option<u128>;
    /// The entry of `table` for `code` (0 is NULL).
    fn lookup(&self, table: usize, code: u32) -> LookupEntry;
}

/// The value of `expr` for one row, `None` for NULL. Where the row raises, `1 << fault` is set in
/// `faults` and the value means nothing.
pub fn eval(expr: &Expr, env: &dyn Env, faults: &mut u32) -> Option<u128> {
    match &expr.kind {
        Kind::Input(index) => env.input(*index),
        Kind::Literal(bits) => *bits,
        Kind::Parameter(parameter) => Some(parameter.bits()),
        Kind::Call(prim, args) => {
            // All arguments are evaluated, NULL or not: each may raise.
            let args: Vec<_> = args.iter().map(|arg| eval(arg, env, faults)).collect();
            let args = args.into_iter().collect::<Option<Vec<_>>>()?;
            if let Some((_, fails, fault)) = prim.fails
                && fails(&args)
            {
                *faults |= 1 << fault as u32;
            }
            Some((prim.eval)(&args))
        }
        Kind::And(left, right) => match eval(left, env, faults) {
            Some(0) => Some(0),
            left => match (left, eval(right, env, faults)) {
                (_, Some(0)) => Some(0),
                (Some(_), Some(_)) => Some(1),
                _ => None,
            },
        },
        Kind::Or(left, right) => match eval(left, env, faults) {
            Some(1) => Some(1),
            left => match (left, eval(right, env, faults)) {
                (_, Some(1)) => Some(1),
                (Some(_), Some(_)) => Some(0),
                _ => None,
            },
        },
        Kind::Not(inner) => eval(inner, env, faults).map(|bits| bits ^ 1),
        Kind::IsNull(inner) => Some(u128::from(eval(inner, env, faults).is_none())),
        Kind::Case(branches, otherwise) => {
            for (when, then) in branches {
                if eval(when, env, faults) == Some(1) {
                    return eval(then, env, faults);
                }
            }
            otherwise.as_ref().and_then(|otherwise| eval(otherwise, env, faults))
        }
        Kind::Lookup { table, code } => {
            let code = eval(code, env, faults).unwrap_or(0);
            let entry = env.lookup(*table, code as u32);
            if entry.failed {
                *faults |= 1 << Fault::Lookup as u32;
            }
            entry.valid.then_some(entry.value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::ir::Rep;
    use crate::expr::prim;
    use std::sync::Arc;

    struct Row(Vec<Option<u128>>);

    impl Env for Row {
        fn input(&self, index: usize) -> Option<u128> {
            self.0[index]
        }

        fn lookup(&self, _: usize, code: u32) -> LookupEntry {
            LookupEntry { value: u128::from(code), valid: code != 2, failed: code == 3 }
        }
    }

    fn run(expr: &Expr, row: &[Option<u128>]) -> (Option<u128>, u32) {
        let mut faults = 0;
        let value = eval(expr, &Row(row.to_vec()), &mut faults);
        (value, faults)
    }

    fn b(index: usize) -> Expr {
        Expr::input(index, Rep::B1, true)
    }

    #[test]
    fn three_valued_logic() {
        let values = [None, Some(0), Some(1)];
        for left in values {
            for right in values {
                let and = match (left, right) {
                    (Some(0), _) | (_, Some(0)) => Some(0),
                    (Some(1), Some(1)) => Some(1),
                    _ => None,
                };
                let or = match (left, right) {
                    (Some(1), _) | (_, Some(1)) => Some(1),
                    (Some(0), Some(0)) => Some(0),
                    _ => None,
                };
                assert_eq!(run(&b(0).and(b(1)), &[left, right]).0, and);
                assert_eq!(run(&b(0).or(b(1)), &[left, right]).0, or);
            }
        }
    }

    #[test]
    fn faults_only_where_reached() {
        let x = || Expr::input(0, Rep::I32, true);
        let zero = || Expr::literal(Some(0), Rep::I32);
        let fails = Expr::call(&prim::DIVISOR_I32, vec![x(), zero()]);
        let fails = Expr::call(&prim::EQ_I32, vec![fails, zero()]);
        let divide = 1 << Fault::DivideByZero as u32;
        assert_eq!(run(&fails, &[Some(1)]).1, divide);
        assert_eq!(run(&fails, &[None]), (None, 0));
        let is_one = Expr::call(&prim::EQ_I32, vec![x(), Expr::literal(Some(1), Rep::I32)]);
        let guarded = is_one.clone().and(fails.clone());
        assert_eq!(run(&guarded, &[Some(1)]).1, divide);
        assert_eq!(run(&guarded, &[Some(2)]), (Some(0), 0));
        let guarded = is_one.clone().or(fails.clone());
        assert_eq!(run(&guarded, &[Some(1)]), (Some(1), 0));
        assert_eq!(run(&guarded, &[Some(2)]).1, divide);
        let case = Expr {
            kind: Kind::Case(vec![(is_one, zero())], Some(Arc::new(x()))),
            rep: Rep::I32,
            nullable: true,
        };
        assert_eq!(run(&case, &[Some(1)]), (Some(0), 0));
        assert_eq!(run(&case, &[Some(7)]), (Some(7), 0));
        assert_eq!(run(&case, &[None]), (None, 0));
    }

    #[test]
    fn lookups_take_null_as_code_zero() {
        let code = Arc::new(Expr::input(0, Rep::U32, true));
        let lookup = Expr { kind: Kind::Lookup { table: 0, code }, rep: Rep::U32, nullable: true };
        assert_eq!(run(&lookup, &[None]), (Some(0), 0));
        assert_eq!(run(&lookup, &[Some(1)]), (Some(1), 0));
        assert_eq!(run(&lookup, &[Some(2)]), (None, 0));
        assert_eq!(run(&lookup, &[Some(3)]).1, 1 << Fault::Lookup as u32);
    }
}
