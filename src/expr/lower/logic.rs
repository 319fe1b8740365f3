//! Comparisons, three-valued logic, CASE and IN.

use super::*;

use datafusion::logical_expr::Operator;

use crate::expr::prim;

/// True if values of the two types compare as their bits do.
pub(super) fn comparable(left: &DataType, right: &DataType) -> bool {
    match (left, right) {
        (DataType::Timestamp(left, _), DataType::Timestamp(right, _)) => left == right,
        (DataType::Decimal32(_, left), DataType::Decimal32(_, right)) => left == right,
        (DataType::Decimal64(_, left), DataType::Decimal64(_, right)) => left == right,
        (DataType::Decimal128(_, left), DataType::Decimal128(_, right)) => left == right,
        _ => left == right,
    }
}

/// A float with -0.0 taken for 0.0, as DataFusion's comparisons do before Arrow compares the bits.
pub(super) fn plus_zero(value: Expr) -> Expr {
    let prim = match value.rep {
        Rep::F32 => &prim::PLUS_ZERO_F32,
        Rep::F64 => &prim::PLUS_ZERO_F64,
        _ => return value,
    };
    match &value.kind {
        Kind::Literal(Some(bits)) => Expr::literal(Some((prim.eval)(&[*bits])), value.rep),
        Kind::Parameter(constant) => Expr::parameter((prim.eval)(&[constant.bits()]), value.rep),
        _ => call1(prim, value),
    }
}

/// `left op right` for values of one rep; `None` if `op` is no comparison.
pub(super) fn compare(op: &Operator, left: Expr, right: Expr) -> Option<Expr> {
    let rep = left.rep;
    let (left, right) = (plus_zero(left), plus_zero(right));
    Some(match op {
        Operator::Eq => call2(prim::eq(rep), left, right),
        Operator::NotEq => call2(prim::eq(rep), left, right).not(),
        Operator::Lt => call2(prim::lt(rep), left, right),
        Operator::LtEq => call2(prim::le(rep), left, right),
        Operator::Gt => call2(prim::lt(rep), right, left),
        Operator::GtEq => call2(prim::le(rep), right, left),
        Operator::IsDistinctFrom => distinct(left, right),
        Operator::IsNotDistinctFrom => distinct(left, right).not(),
        _ => return None,
    })
}

/// Equality in which NULL is a value.
fn distinct(left: Expr, right: Expr) -> Expr {
    let equal = call2(prim::eq(left.rep), left.clone(), right.clone());
    if !equal.nullable {
        return equal.not();
    }
    let both = left.clone().is_null().and(right.clone().is_null());
    let either = left.is_null().or(right.is_null());
    let bool = |value| Expr::literal(Some(u128::from(value)), Rep::B1);
    // The last branch is reached only where neither is NULL.
    let mut result = case(vec![(both, bool(false)), (either, bool(true))], equal.not());
    result.nullable = false;
    result
}

impl Lowering<'_> {
    pub(super) fn binary(&mut self, expr: &BinaryExpr) -> Result<Expr, Declined> {
        match expr.op() {
            Operator::And => Ok(self.boolean(expr.left())?.and(self.boolean(expr.right())?)),
            Operator::Or => Ok(self.boolean(expr.left())?.or(self.boolean(expr.right())?)),
            _ => {
                let (left_type, right_type) =
                    (self.type_of(expr.left())?, self.type_of(expr.right())?);
                if compare(expr.op(), int(0, Rep::B1), int(0, Rep::B1)).is_none() {
                    let (left, right) = (Arc::clone(expr.left()), Arc::clone(expr.right()));
                    if *expr != BinaryExpr::new(left, *expr.op(), right) {
                        return Err(no_form(expr, "it fails where plain arithmetic wraps around"));
                    }
                    return self.arithmetic(expr, &left_type, &right_type);
                }
                if is_string(&left_type) || is_string(&right_type) {
                    let why = "strings are compared by code, one column at a time";
                    return Err(no_form(expr, why));
                }
                if !comparable(&left_type, &right_type) {
                    let why = format!("it compares {left_type} with {right_type}");
                    return Err(no_form(expr, why));
                }
                let (left, right) = (self.lower(expr.left())?, self.lower(expr.right())?);
                compare(expr.op(), left, right).ok_or_else(|| no_form(expr, "it is no comparison"))
            }
        }
    }

    pub(super) fn case(
        &mut self,
        expr: &Arc<dyn PhysicalExpr>,
        case: &CaseExpr,
    ) -> Result<Expr, Declined> {
        let data_type = self.type_of(expr)?;
        let many = case.when_then_expr().len();
        if many > MOST_CHOICES {
            return Err(too_large(expr.as_ref(), format!("it has {many} branches")));
        }
        let mut branches = Vec::new();
        for (when, then) in case.when_then_expr() {
            let condition = match case.expr() {
                // Here floats are equal where their bits are.
                Some(base) if self.type_of(base)?.is_floating() => {
                    let base_type = self.type_of(base)?;
                    let value = self.lower(base)?;
                    call2(prim::eq(value.rep), value, self.branch(expr, when, &base_type)?)
                }
                Some(base) => {
                    let equal = BinaryExpr::new(Arc::clone(base), Operator::Eq, Arc::clone(when));
                    self.boolean(&(Arc::new(equal) as Arc<dyn PhysicalExpr>))?
                }
                None => self.boolean(when)?,
            };
            branches.push((condition, self.branch(expr, then, &data_type)?));
        }
        let rep = rep_of(&data_type)?;
        let otherwise = match case.else_expr() {
            Some(otherwise) => self.branch(expr, otherwise, &data_type)?,
            None => Expr::literal(None, rep),
        };
        Ok(super::case(branches, otherwise))
    }

    /// One of several values of which the row takes one, of type `data_type`.
    pub(super) fn branch(
        &mut self,
        whole: &Arc<dyn PhysicalExpr>,
        value: &Arc<dyn PhysicalExpr>,
        data_type: &DataType,
    ) -> Result<Expr, Declined> {
        let rep = rep_of(data_type)?;
        let own = self.type_of(value)?;
        if own == DataType::Null {
            return Ok(Expr::literal(None, rep));
        }
        if is_string(data_type) {
            let why = "it chooses between strings, whose codes belong to different columns";
            return Err(no_form(whole.as_ref(), why));
        }
        if !comparable(&own, data_type) {
            let why = format!("one of its values is {own}, its result {data_type}");
            return Err(no_form(whole.as_ref(), why));
        }
        self.lower(value)
    }

    /// Like an OR of equalities, except that all of the list is evaluated.
    pub(super) fn in_list(&mut self, list: &InListExpr) -> Result<Expr, Declined> {
        let data_type = self.type_of(list.expr())?;
        if is_string(&data_type) {
            return Err(no_form(list, "it reads more than one column, one of them of strings"));
        }
        let many = list.list().len();
        if many > MOST_CHOICES {
            return Err(too_large(list, format!("it has {many} values")));
        }
        let value = self.lower(list.expr())?;
        let mut tests = Vec::with_capacity(list.list().len());
        for item in list.list() {
            let own = self.type_of(item)?;
            let item = match own {
                DataType::Null => Expr::literal(None, value.rep),
                _ if comparable(&own, &data_type) => self.lower(item)?,
                _ => return Err(no_form(list, format!("it compares {data_type} with {own}"))),
            };
            if crate::expr::wgsl::raises(&item) {
                return Err(no_form(list, "a value in its list may raise an error"));
            }
            tests.push(call2(prim::eq(value.rep), value.clone(), item));
        }
        let found = balanced_or(tests);
        Ok(if list.negated() { found.not() } else { found })
    }
}

/// The disjunction as a tree of logarithmic depth; of nothing, false.
fn balanced_or(mut tests: Vec<Expr>) -> Expr {
    if tests.len() > 1 {
        let right = tests.split_off(tests.len() / 2);
        return balanced_or(tests).or(balanced_or(right));
    }
    tests.pop().unwrap_or_else(|| int(0, Rep::B1))
}
