//! Casts, as Arrow's cast kernel does them: out of range is an error, or NULL for TRY_CAST;
//! decimals round half away from zero, decimals to integers truncate.

use super::float::Floats;
use super::types::{Decimal, decimal, integer, within};
use super::*;

use crate::expr::prim;

/// The least and the greatest value of an integer type.
fn limits(bits: u32, signed: bool) -> (i128, i128) {
    if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

/// An integer of any type, extended to 128 bits.
fn wide(value: Expr) -> Expr {
    match value.rep {
        Rep::I32 => call1(&prim::I128_FROM_I64, call1(&prim::I64_FROM_I32, value)),
        Rep::U32 => call1(&prim::I128_FROM_I64, call1(&prim::I64_FROM_U32, value)),
        Rep::I64 => call1(&prim::I128_FROM_I64, value),
        Rep::U64 => call1(&prim::I128_FROM_U64, value),
        _ => value,
    }
}

/// A value of 64 or 128 bits that fits, taken to an integer type.
fn narrow(value: Expr, bits: u32, signed: bool) -> Expr {
    let value = match (value.rep, bits, signed) {
        (Rep::I128, 64, false) => return call1(&prim::U64_FROM_I128, value),
        (Rep::I128, ..) => call1(&prim::I64_FROM_I128, value),
        (Rep::U64, 64, false) => return value,
        (Rep::U64, ..) => call1(&prim::I64_FROM_U64, value),
        _ => value,
    };
    match (bits, signed) {
        (64, true) => value,
        (64, false) => call1(&prim::U64_FROM_I64, value),
        (_, true) => call1(&prim::I32_FROM_I64, value),
        (_, false) => call1(&prim::U32_FROM_I64, value),
    }
}

fn integer_to_integer(
    value: Expr,
    (from, from_signed): (u32, bool),
    (to, to_signed): (u32, bool),
    safe: bool,
) -> Expr {
    let (low, high) = limits(from, from_signed);
    let (to_low, to_high) = limits(to, to_signed);
    let fits = to_low <= low && high <= to_high;
    if fits && from <= 32 && to <= 32 {
        return match (from_signed, to_signed) {
            (true, true) | (false, false) => value,
            (true, false) => call1(&prim::U32_FROM_I32, value),
            (false, true) => call1(&prim::I32_FROM_U32, value),
        };
    }
    let value = match value.rep {
        Rep::I32 => call1(&prim::I64_FROM_I32, value),
        Rep::U32 => call1(&prim::I64_FROM_U32, value),
        _ => value,
    };
    let value = if fits { value } else { within(value, to_low.max(low), to_high.min(high), safe) };
    narrow(value, to, to_signed)
}

fn integer_to_decimal(
    value: Expr,
    (bits, signed): (u32, bool),
    to: Decimal,
    safe: bool,
) -> Option<Expr> {
    // Arrow truncates an integer wider than the decimal's before it scales.
    let holds = bits + u32::from(!signed) <= to.bits;
    if !(0..=38).contains(&to.scale) || !holds {
        return None;
    }
    let factor = 10_i128.pow(to.scale as u32);
    let most = (10_i128.pow(u32::from(to.precision)) - 1) / factor;
    let (low, high) = limits(bits, signed);
    let mut value = wide(value);
    if high > most || -low > most {
        value = within(value, -most, most, safe);
    }
    if factor > 1 {
        value = call2(&prim::SCALE_I128, value, int(factor, Rep::I128));
    }
    Some(to.narrow(value))
}

fn decimal_to_integer(
    value: Expr,
    from: Decimal,
    (bits, signed): (u32, bool),
    safe: bool,
) -> Option<Expr> {
    if !(0..=i8::try_from(from.max_precision()).ok()?).contains(&from.scale) {
        return None;
    }
    let mut value = from.wide(value);
    if from.scale > 0 {
        value = call2(&prim::QUOT_I128, value, int(10_i128.pow(from.scale as u32), Rep::I128));
    }
    let (low, high) = limits(bits, signed);
    Some(narrow(within(value, low, high, safe), bits, signed))
}

fn decimal_to_decimal(value: Expr, from: Decimal, to: Decimal, safe: bool) -> Option<Expr> {
    let most = 10_i128.pow(u32::from(to.precision)) - 1;
    let change = i32::from(to.scale) - i32::from(from.scale);
    if from.bits == to.bits && change == 0 && from.precision <= to.precision {
        return Some(value);
    }
    // A value of the source's digits always fits where the digits before the point do; when
    // rounding, one more.
    let kept = i32::from(from.precision) + change;
    if change >= 0 {
        if change > i32::from(to.max_precision()) {
            return None;
        }
        let factor = 10_i128.checked_pow(change as u32)?;
        let mut value = from.wide(value);
        if kept > i32::from(to.precision) {
            value = within(value, -(most / factor), most / factor, safe);
        }
        if factor > 1 {
            value = call2(&prim::SCALE_I128, value, int(factor, Rep::I128));
        }
        return Some(to.narrow(value));
    }
    if -change > i32::from(from.max_precision()) {
        return Some(case(
            vec![(value.is_null(), Expr::literal(None, rep_of_decimal(to)))],
            int(0, rep_of_decimal(to)),
        ));
    }
    let by = int(10_i128.pow(-change as u32), Rep::I128);
    let mut value = call2(&prim::DIV_ROUND_I128, from.wide(value), by);
    if kept >= i32::from(to.precision) {
        value = within(value, -most, most, safe);
    }
    Some(to.narrow(value))
}

fn rep_of_decimal(decimal: Decimal) -> Rep {
    match decimal.bits {
        32 => Rep::I32,
        64 => Rep::I64,
        _ => Rep::I128,
    }
}

impl Lowering<'_> {
    pub(super) fn cast_node(
        &mut self,
        whole: &Arc<dyn PhysicalExpr>,
        inner: &Arc<dyn PhysicalExpr>,
        to: &DataType,
        safe: bool,
    ) -> Result<Expr, Declined> {
        let from = self.type_of(inner)?;
        let value = self.lower(inner)?;
        self.cast(value, &from, to, safe)
            .ok_or_else(|| no_form(whole.as_ref(), format!("it casts {from} to {to}")))
    }

    /// `value` of type `from` as type `to`; `None` where that is not exact.
    pub(super) fn cast(
        &mut self,
        value: Expr,
        from: &DataType,
        to: &DataType,
        safe: bool,
    ) -> Option<Expr> {
        if from == to {
            return Some(value);
        }
        if *from == DataType::Null {
            return Some(Expr::literal(None, rep_of(to).ok()?));
        }
        if is_string(from) || is_string(to) {
            return None;
        }
        if *from == DataType::Boolean {
            return from_boolean(value, to);
        }
        match (integer(from), decimal(from), integer(to), decimal(to)) {
            (Some(from), _, Some(to), _) => Some(integer_to_integer(value, from, to, safe)),
            (Some(from), _, _, Some(to)) => integer_to_decimal(value, from, to, safe),
            (_, Some(from), Some(to), _) => decimal_to_integer(value, from, to, safe),
            (_, Some(from), _, Some(to)) => decimal_to_decimal(value, from, to, safe),
            (Some(_), ..) if *to == DataType::Boolean => {
                let zero = int(0, value.rep);
                Some(call2(prim::eq(value.rep), value, zero).not())
            }
            _ => self.cast_float(value, from, to, safe),
        }
    }

    fn cast_float(
        &mut self,
        value: Expr,
        from: &DataType,
        to: &DataType,
        safe: bool,
    ) -> Option<Expr> {
        let floats = Floats { exact: self.scope.floats() };
        match (from.is_floating(), to.is_floating()) {
            (_, true) => match decimal(from) {
                Some(from) => floats.of_decimal(value, from, *to == DataType::Float32),
                None => float::to_float(value, from, to),
            },
            (true, false) => {
                if *to == DataType::Boolean {
                    let value = logic::plus_zero(value);
                    let zero = int(0, value.rep);
                    return Some(call2(prim::eq(value.rep), value, zero).not());
                }
                if let Some(to) = decimal(to) {
                    return floats.to_decimal(value, to, safe);
                }
                let (bits, signed) = integer(to)?;
                let unsigned = (bits, signed) == (64, false);
                let whole = float::whole(value, unsigned, safe);
                if bits == 64 {
                    return Some(whole);
                }
                let (low, high) = limits(bits, signed);
                Some(narrow(within(whole, low, high, safe), bits, signed))
            }
            _ => self.cast_time(value, from, to, safe),
        }
    }
}

fn from_boolean(value: Expr, to: &DataType) -> Option<Expr> {
    if to.is_floating() {
        let rep = rep_of(to).ok()?;
        let null = (value.clone().is_null(), Expr::literal(None, rep));
        return Some(case(vec![null, (value, float::float(1.0, rep))], float::float(0.0, rep)));
    }
    let (bits, signed) = integer(to)?;
    Some(match (bits, signed) {
        (64, true) => call1(&prim::I64_FROM_U32, call1(&prim::U32_FROM_B1, value)),
        (64, false) => call1(&prim::U64_FROM_U32, call1(&prim::U32_FROM_B1, value)),
        (_, true) => call1(&prim::I32_FROM_B1, value),
        (_, false) => call1(&prim::U32_FROM_B1, value),
    })
}
