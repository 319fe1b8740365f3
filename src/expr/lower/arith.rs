//! Arithmetic, as Arrow's numeric kernels do it: integers wrap, decimals overflow as errors,
//! division by zero is an error where both sides are present.

use super::float::Floats;
use super::types::{Decimal, decimal, integer};
use super::*;

use datafusion::logical_expr::Operator;

use crate::expr::prim;

/// The primitives of one integer rep.
struct Ring {
    add: &'static Prim,
    sub: &'static Prim,
    mul: &'static Prim,
    div: &'static Prim,
    rem: &'static Prim,
    divisor: &'static Prim,
    and: &'static Prim,
    or: &'static Prim,
    xor: &'static Prim,
    shl: &'static Prim,
    shr: &'static Prim,
}

macro_rules! ring {
    ($add:ident $sub:ident $mul:ident $div:ident $rem:ident $divisor:ident
     $and:ident $or:ident $xor:ident $shl:ident $shr:ident) => {
        Ring {
            add: &prim::$add,
            sub: &prim::$sub,
            mul: &prim::$mul,
            div: &prim::$div,
            rem: &prim::$rem,
            divisor: &prim::$divisor,
            and: &prim::$and,
            or: &prim::$or,
            xor: &prim::$xor,
            shl: &prim::$shl,
            shr: &prim::$shr,
        }
    };
}

fn ring(rep: Rep) -> Ring {
    match rep {
        Rep::I32 => ring!(ADD_I32 SUB_I32 MUL_I32 DIV_I32 REM_I32 DIVISOR_I32
            AND_I32 OR_I32 XOR_I32 SHL_I32 SHR_I32),
        Rep::U32 => ring!(ADD_U32 SUB_U32 MUL_U32 DIV_U32 REM_U32 DIVISOR_U32
            AND_U32 OR_U32 XOR_U32 SHL_U32 SHR_U32),
        Rep::U64 => ring!(ADD_U64 SUB_U64 MUL_U64 DIV_U64 REM_U64 DIVISOR_U64
            AND_U64 OR_U64 XOR_U64 SHL_U64 SHR_U64),
        _ => ring!(ADD_I64 SUB_I64 MUL_I64 DIV_I64 REM_I64 DIVISOR_I64
            AND_I64 OR_I64 XOR_I64 SHL_I64 SHR_I64),
    }
}

/// Brings the result of 32-bit arithmetic back into a narrow type.
pub(super) fn wrap(value: Expr, bits: u32, signed: bool) -> Expr {
    match (bits, signed) {
        (8, true) => call1(&prim::WRAP_I8, value),
        (16, true) => call1(&prim::WRAP_I16, value),
        (8, false) => call1(&prim::WRAP_U8, value),
        (16, false) => call1(&prim::WRAP_U16, value),
        _ => value,
    }
}

/// The value of a constant, if the expression is one that is not NULL. What is made of it may
/// depend on whether a divisor is 0 or -1, and on nothing else.
fn known(expr: &Expr) -> Option<u128> {
    match &expr.kind {
        Kind::Literal(bits) => *bits,
        Kind::Parameter(parameter) => Some(parameter.bits()),
        _ => None,
    }
}

/// The divisor, raising where it is zero; a known divisor other than zero needs no test.
fn divisor(prim: &'static Prim, left: &Expr, right: Expr) -> Expr {
    match known(&right) {
        Some(bits) if bits != 0 => right,
        _ => call2(prim, left.clone(), right),
    }
}

/// True if the expression is known to be neither 0 nor -1: dividing by it never raises.
fn plain_divisor(right: &Expr) -> bool {
    known(right).is_some_and(|bits| bits != 0 && bits != bits_of(-1, right.rep))
}

impl Lowering<'_> {
    pub(super) fn arithmetic(
        &mut self,
        expr: &BinaryExpr,
        left_type: &DataType,
        right_type: &DataType,
    ) -> Result<Expr, Declined> {
        let (op, left, right) = (*expr.op(), expr.left(), expr.right());
        if *expr != BinaryExpr::new(Arc::clone(left), op, Arc::clone(right)) {
            return Err(no_form(expr, "it is to fail on overflow"));
        }
        let decline = || no_form(expr, format!("it computes {left_type} {op} {right_type}"));
        if let Some((bits, signed)) = integer(left_type)
            && left_type == right_type
        {
            let (left, right) = (self.lower(left)?, self.lower(right)?);
            return integer_op(op, bits, signed, left, right).ok_or_else(decline);
        }
        if let (Some(l), Some(r)) = (decimal(left_type), decimal(right_type))
            && l.bits == r.bits
        {
            let (left, right) = (self.lower(left)?, self.lower(right)?);
            return decimal_op(op, l, r, left, right).ok_or_else(decline);
        }
        if left_type == right_type && left_type.is_floating() {
            let (left, right) = (self.lower(left)?, self.lower(right)?);
            let floats = Floats { exact: self.scope.floats() };
            return floats.arithmetic(op, left, right).ok_or_else(decline);
        }
        self.temporal(expr, left_type, right_type)
    }

    pub(super) fn negative(&mut self, expr: &NegativeExpr) -> Result<Expr, Declined> {
        let data_type = self.type_of(expr.arg())?;
        let value = self.lower(expr.arg())?;
        if let Some((bits, true)) = integer(&data_type) {
            let prim = if bits == 64 { &prim::NEG_I64 } else { &prim::NEG_I32 };
            return Ok(wrap(call1(prim, value), bits, true));
        }
        if let Some(decimal) = decimal(&data_type) {
            let negated = call1(&prim::NEG_I128, decimal.wide(value));
            return Ok(decimal.narrow(decimal.checked(negated)));
        }
        match data_type {
            DataType::Duration(_) => Ok(call1(&prim::NEG_CHECKED_I64, value)),
            DataType::Float32 => Ok(call1(&prim::NEG_F32, value)),
            DataType::Float64 => Ok(call1(&prim::NEG_F64, value)),
            _ => Err(no_form(expr, format!("it negates {data_type}"))),
        }
    }
}

impl Lowering<'_> {
    /// A decimal that must have no more digits than its type.
    pub(super) fn within_digits(
        &mut self,
        value: &Arc<dyn PhysicalExpr>,
    ) -> Result<Option<Expr>, Declined> {
        let Some(decimal) = decimal(&self.type_of(value)?) else { return Ok(None) };
        let value = decimal.wide(self.lower(value)?);
        let most = 10_i128.pow(u32::from(decimal.precision)) - 1;
        let bounds = vec![value, int(-most, Rep::I128), int(most, Rep::I128)];
        Ok(Some(decimal.narrow(Expr::call(&prim::BOUND_I128, bounds))))
    }

    /// A quotient of decimals, rounded half away from zero; declined where the host may need more
    /// than 128 bits on the way.
    pub(super) fn quotient(
        &mut self,
        left: &Arc<dyn PhysicalExpr>,
        right: &Arc<dyn PhysicalExpr>,
        result: &DataType,
    ) -> Result<Option<Expr>, Declined> {
        let (left_type, right_type) = (self.type_of(left)?, self.type_of(right)?);
        let (Some(l), Some(r), Some(to)) =
            (decimal(&left_type), decimal(&right_type), decimal(result))
        else {
            return Ok(None);
        };
        let power = i32::from(to.scale) - i32::from(l.scale) + i32::from(r.scale);
        let digits = i32::from(l.precision) + power.max(0);
        if digits > 38 || i32::from(r.precision) + (-power).max(0) > 38 {
            return Ok(None);
        }
        let scaled = |value: Expr, power: i32| match power {
            1.. => call2(&prim::SCALE_I128, value, int(10_i128.pow(power as u32), Rep::I128)),
            _ => value,
        };
        let (left, right) = (self.lower(left)?, self.lower(right)?);
        let (x, y) = (scaled(l.wide(left), power), scaled(r.wide(right), -power));
        let y = divisor(&prim::DIVISOR_I128, &x, y);
        let quotient = call2(&prim::DIV_HALF_I128, x, y);
        // No quotient has more digits than its dividend: a divisor is at least one.
        if digits <= i32::from(to.precision) {
            return Ok(Some(to.narrow(quotient)));
        }
        let most = 10_i128.pow(u32::from(to.precision)) - 1;
        let bounds = vec![quotient, int(-most, Rep::I128), int(most, Rep::I128)];
        Ok(Some(to.narrow(Expr::call(&prim::BOUND_I128, bounds))))
    }
}

fn integer_op(op: Operator, bits: u32, signed: bool, left: Expr, right: Expr) -> Option<Expr> {
    let rep = left.rep;
    let ring = ring(rep);
    let result = match op {
        Operator::Plus => call2(ring.add, left, right),
        Operator::Minus => call2(ring.sub, left, right),
        Operator::Multiply => call2(ring.mul, left, right),
        Operator::Divide if plain_divisor(&right) => {
            let prim = match rep {
                Rep::I32 => &prim::QUOT_I32,
                Rep::I64 => &prim::QUOT_I64,
                _ => ring.div,
            };
            call2(prim, left, right)
        }
        Operator::Divide => {
            let right = divisor(ring.divisor, &left, right);
            let quotient = call2(ring.div, left, right);
            if bits < 32 && signed {
                let limit = 1_i128 << (bits - 1);
                let bounds = vec![quotient, int(-limit, rep), int(limit - 1, rep)];
                return Some(Expr::call(&prim::BOUND_I32, bounds));
            }
            quotient
        }
        Operator::Modulo => {
            let right = divisor(ring.divisor, &left, right);
            call2(ring.rem, left, right)
        }
        Operator::BitwiseAnd => call2(ring.and, left, right),
        Operator::BitwiseOr => call2(ring.or, left, right),
        Operator::BitwiseXor => call2(ring.xor, left, right),
        // Narrow types shift by their own width.
        Operator::BitwiseShiftLeft | Operator::BitwiseShiftRight => {
            let prim = if op == Operator::BitwiseShiftLeft { ring.shl } else { ring.shr };
            let by = match bits {
                8 | 16 => call2(ring.and, right, int(i128::from(bits) - 1, rep)),
                _ => right,
            };
            call2(prim, left, by)
        }
        _ => return None,
    };
    Some(wrap(result, bits, signed))
}

/// The rules of Arrow's decimal kernels: operands are brought to a common scale by a checked
/// product, the result keeps it; a quotient has four digits more than the dividend.
fn decimal_op(op: Operator, l: Decimal, r: Decimal, left: Expr, right: Expr) -> Option<Expr> {
    let scale = l.scale.max(r.scale);
    let (left_power, right_power) = match op {
        Operator::Plus | Operator::Minus | Operator::Modulo => {
            (i32::from(scale - l.scale), i32::from(scale - r.scale))
        }
        Operator::Multiply if l.scale.checked_add(r.scale)? <= l.max_scale() => (0, 0),
        Operator::Divide => {
            let quotient_scale = l.scale.saturating_add(4).min(l.max_scale());
            let power = i32::from(quotient_scale - l.scale + r.scale);
            (power.max(0), (-power).max(0))
        }
        _ => return None,
    };
    let most = i32::from(l.max_precision());
    if left_power > most || right_power > most {
        return None;
    }
    // Bringing one side to scale may overflow: not where the other is NULL.
    let may_overflow =
        |decimal: Decimal, power: i32| power > 0 && i32::from(decimal.precision) + power > most;
    let guard_left = right.nullable && may_overflow(l, left_power);
    let guard_right = left.nullable && may_overflow(r, right_power);
    let null_left = guard_right.then(|| left.clone().is_null());
    let null_right = guard_left.then(|| right.clone().is_null());
    let x = l.scaled(l.wide(left), left_power as u32);
    let y = l.scaled(r.wide(right), right_power as u32);
    let result = match op {
        Operator::Plus => call2(&prim::ADD_I128, x, y),
        Operator::Minus => call2(&prim::SUB_I128, x, y),
        Operator::Multiply => call2(&prim::MUL_I128, x, y),
        Operator::Divide if plain_divisor(&y) => call2(&prim::QUOT_I128, x, y),
        Operator::Divide => {
            let y = divisor(&prim::DIVISOR_I128, &x, y);
            call2(&prim::DIV_I128, x, y)
        }
        _ => {
            let y = divisor(&prim::DIVISOR_I128, &x, y);
            call2(&prim::REM_I128, x, y)
        }
    };
    let mut result = l.narrow(l.checked(result));
    for null in [null_left, null_right].into_iter().flatten() {
        result = only_if(null.not(), result);
    }
    Some(result)
}
