//! Scalar functions, by name.

use super::float::Floats;
use super::types::{Decimal, decimal, integer};
use super::*;

use crate::expr::prim;

/// More arguments than this would make a tree of too many nodes.
const MOST_EXTREMES: usize = 6;

impl Lowering<'_> {
    pub(super) fn function(
        &mut self,
        expr: &Arc<dyn PhysicalExpr>,
        function: &ScalarFunctionExpr,
    ) -> Result<Expr, Declined> {
        let args = function.args();
        let result = self.type_of(expr)?;
        let lowered = match (function.name(), args) {
            ("coalesce" | "nvl" | "ifnull", [_, ..]) => return self.coalesce(expr, args, &result),
            ("nullif", [value, other]) => self.null_if(expr, value, other, &result)?,
            ("nvl2", [test, some, none]) => {
                let present = self.lower(test)?.is_null().not();
                let some = self.branch(expr, some, &result)?;
                let none = self.branch(expr, none, &result)?;
                Some(case(vec![(present, some)], none))
            }
            ("greatest" | "least", [_, ..]) => {
                self.extreme(expr, args, &result, function.name() == "greatest")?
            }
            ("decimal_within", [value]) => self.within_digits(value)?,
            ("decimal_quotient", [left, right]) => self.quotient(left, right, &result)?,
            ("abs", [value]) => self.abs(value)?,
            ("floor" | "ceil" | "trunc", [value]) => self.whole(function.name(), value)?,
            ("round", [value, rest @ ..]) if rest.len() <= 1 => {
                self.round(value, rest.first(), &result)?
            }
            ("float_value", [value]) => {
                self.by_float(value, &prim::ONE_NAN_F32, &prim::ONE_NAN_F64)?
            }
            ("float_key", [value]) => {
                let value = self.by_float(value, &prim::ONE_NAN_F32, &prim::ONE_NAN_F64)?;
                value.map(super::logic::plus_zero)
            }
            ("signum", [value]) => self.by_float(value, &prim::SIGNUM_F32, &prim::SIGNUM_F64)?,
            ("sqrt", [value]) => self.by_float(value, &prim::SQRT_F32, &prim::SQRT_F64)?,
            ("date_part" | "datepart", [part, value]) => self.part_of_date(text(part), value)?,
            ("date_trunc" | "datetrunc", [part, value]) => {
                let (part, data_type) = (text(part), self.type_of(value)?);
                let value = self.lower(value)?;
                part.and_then(|part| self.date_trunc(&part, value, &data_type))
            }
            ("date_bin", [stride, value, rest @ ..]) if rest.len() <= 1 => {
                let data_type = self.type_of(value)?;
                let value = self.lower(value)?;
                let origin = rest.first().map_or(Some(0), origin);
                stride_nanos(stride).zip(origin).and_then(|(stride, origin)| {
                    super::dates::date_bin(value, &data_type, stride, origin)
                })
            }
            _ => {
                let why = format!("the function {} is not known there", function.name());
                return Err(no_form(expr.as_ref(), why));
            }
        };
        lowered.ok_or_else(|| {
            let types: Result<Vec<_>, _> = args.iter().map(|arg| self.type_of(arg)).collect();
            match types {
                Ok(types) => {
                    let types: Vec<_> = types.iter().map(ToString::to_string).collect();
                    no_form(expr.as_ref(), format!("its arguments are {}", types.join(", ")))
                }
                Err(reason) => reason,
            }
        })
    }

    fn part_of_date(
        &mut self,
        part: Option<String>,
        value: &Arc<dyn PhysicalExpr>,
    ) -> Result<Option<Expr>, Declined> {
        let data_type = self.type_of(value)?;
        let value = self.lower(value)?;
        Ok(part.and_then(|part| match part.to_lowercase().trim_matches(['\'', '"']) {
            "epoch" => self.epoch(value, &data_type),
            _ => self.date_part(&part, value, &data_type),
        }))
    }

    fn coalesce(
        &mut self,
        expr: &Arc<dyn PhysicalExpr>,
        args: &[Arc<dyn PhysicalExpr>],
        result: &DataType,
    ) -> Result<Expr, Declined> {
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            values.push(self.branch(expr, arg, result)?);
        }
        let last = values.pop().unwrap_or(Expr::literal(None, rep_of(result)?));
        let branches = values.into_iter().map(|value| (value.clone().is_null().not(), value));
        Ok(case(branches.collect(), last))
    }

    fn null_if(
        &mut self,
        expr: &Arc<dyn PhysicalExpr>,
        value: &Arc<dyn PhysicalExpr>,
        other: &Arc<dyn PhysicalExpr>,
        result: &DataType,
    ) -> Result<Option<Expr>, Declined> {
        let value = self.branch(expr, value, result)?;
        let other = self.branch(expr, other, result)?;
        let equal = call2(prim::eq(value.rep), value.clone(), other);
        Ok(Some(case(vec![(equal, Expr::literal(None, value.rep))], value)))
    }

    /// The greatest or least argument that is not NULL.
    fn extreme(
        &mut self,
        expr: &Arc<dyn PhysicalExpr>,
        args: &[Arc<dyn PhysicalExpr>],
        result: &DataType,
        greatest: bool,
    ) -> Result<Option<Expr>, Declined> {
        if args.len() > MOST_EXTREMES {
            return Ok(None);
        }
        let mut best: Option<Expr> = None;
        for arg in args {
            let value = self.branch(expr, arg, result)?;
            best = Some(match best {
                None => value,
                Some(best) => {
                    let le = prim::le(value.rep);
                    let keep = if greatest {
                        call2(le, value.clone(), best.clone())
                    } else {
                        call2(le, best.clone(), value.clone())
                    };
                    let keep = keep.or(value.clone().is_null());
                    // The comparison with a NULL that was best so far is NULL: not kept.
                    case(vec![(keep, best)], value)
                }
            });
        }
        Ok(best)
    }

    fn abs(&mut self, value: &Arc<dyn PhysicalExpr>) -> Result<Option<Expr>, Declined> {
        let data_type = self.type_of(value)?;
        let value = self.lower(value)?;
        if let Some((bits, signed)) = integer(&data_type) {
            return Ok(Some(match (bits, signed) {
                (_, false) => value,
                (64, true) => call1(&prim::ABS_I64, value),
                (32, true) => call1(&prim::ABS_I32, value),
                (_, true) => {
                    let most = (1_i128 << (bits - 1)) - 1;
                    let bounds = [int(-most, Rep::I32), int(most, Rep::I32)];
                    let [low, high] = bounds;
                    let value = Expr::call(&prim::BOUND_I32, vec![value, low, high]);
                    call1(&prim::ABS_I32, value)
                }
            }));
        }
        if data_type.is_floating() {
            let prim = if value.rep == Rep::F32 { &prim::ABS_F32 } else { &prim::ABS_F64 };
            return Ok(Some(call1(prim, value)));
        }
        // Decimals wrap: a minimum of 32 or 64 bits comes back as itself.
        Ok(decimal(&data_type)
            .map(|decimal| decimal.narrow(call1(&prim::ABS_I128, decimal.wide(value)))))
    }

    /// A function of one float.
    fn by_float(
        &mut self,
        value: &Arc<dyn PhysicalExpr>,
        narrow: &'static Prim,
        wide: &'static Prim,
    ) -> Result<Option<Expr>, Declined> {
        let value = self.lower(value)?;
        Ok(match value.rep {
            Rep::F32 => Some(call1(narrow, value)),
            Rep::F64 => Some(call1(wide, value)),
            _ => None,
        })
    }

    fn round(
        &mut self,
        value: &Arc<dyn PhysicalExpr>,
        places: Option<&Arc<dyn PhysicalExpr>>,
        result: &DataType,
    ) -> Result<Option<Expr>, Declined> {
        let places = match places.map(|places| places.downcast_ref::<Literal>()) {
            None => 0,
            Some(Some(places)) => match places.value() {
                ScalarValue::Int32(Some(places)) => *places,
                _ => return Ok(None),
            },
            Some(None) => return Ok(None),
        };
        let data_type = self.type_of(value)?;
        let value = self.lower(value)?;
        let floats = Floats { exact: self.scope.floats() };
        Ok(match data_type {
            DataType::Float32 | DataType::Float64 if data_type == *result => {
                floats.round(value, places)
            }
            _ if integer(&data_type).is_some() && data_type == *result && places >= 0 => {
                Some(value)
            }
            _ => None,
        })
    }

    /// A float or a decimal rounded to a whole number of the same type.
    fn whole(
        &mut self,
        name: &str,
        value: &Arc<dyn PhysicalExpr>,
    ) -> Result<Option<Expr>, Declined> {
        let data_type = self.type_of(value)?;
        let value = self.lower(value)?;
        if let Some(decimal) = decimal(&data_type) {
            return Ok(whole_decimal(name, decimal, value));
        }
        Ok(match (name, value.rep) {
            ("floor", Rep::F32) => Some(call1(&prim::FLOOR_F32, value)),
            ("floor", Rep::F64) => Some(call1(&prim::FLOOR_F64, value)),
            ("ceil", Rep::F32) => Some(call1(&prim::CEIL_F32, value)),
            ("ceil", Rep::F64) => Some(call1(&prim::CEIL_F64, value)),
            // Truncating a column gives 0.0 for -0.0.
            ("trunc", Rep::F32) => Some(call1(&prim::TRUNC_F32, logic::plus_zero(value))),
            ("trunc", Rep::F64) => Some(call1(&prim::TRUNC_F64, logic::plus_zero(value))),
            _ => None,
        })
    }
}

/// `value` without its fraction: toward zero, or with a step of one for what was lost on the side
/// that floor or ceil goes to, which may overflow the precision.
fn whole_decimal(name: &str, decimal: Decimal, value: Expr) -> Option<Expr> {
    if decimal.scale <= 0 {
        return (decimal.scale == 0 || name != "trunc").then_some(value);
    }
    if name == "trunc" && decimal.scale as u8 >= decimal.max_precision() {
        return None;
    }
    let factor = 10_i128.checked_pow(decimal.scale as u32)?;
    let literal = |value| int(value, Rep::I128);
    let value = decimal.wide(value);
    let whole = call2(&prim::QUOT_I128, value.clone(), literal(factor));
    let whole = call2(&prim::SCALE_I128, whole, literal(factor));
    let (lost, step) = match name {
        "trunc" => return Some(decimal.narrow(whole)),
        "floor" => (call2(&prim::LT_I128, value, whole.clone()), -factor),
        _ => (call2(&prim::LT_I128, whole.clone(), value), factor),
    };
    let stepped = call2(&prim::ADD_I128, whole.clone(), literal(step));
    let result = case(vec![(lost, stepped)], whole);
    let most = 10_i128.pow(u32::from(decimal.precision)) - 1;
    let bounds = vec![result, literal(-most), literal(most)];
    Some(decimal.narrow(Expr::call(&prim::BOUND_I128, bounds)))
}

/// The text of a string literal.
fn text(expr: &Arc<dyn PhysicalExpr>) -> Option<String> {
    expr.downcast_ref::<Literal>()?.value().try_as_str()?.map(str::to_owned)
}

/// The nanoseconds of an interval literal without months.
fn stride_nanos(expr: &Arc<dyn PhysicalExpr>) -> Option<i64> {
    let (days, nanos) = match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::IntervalDayTime(Some(value)) => {
            (value.days, i64::from(value.milliseconds) * 1_000_000)
        }
        ScalarValue::IntervalMonthDayNano(Some(value)) if value.months == 0 => {
            (value.days, value.nanoseconds)
        }
        _ => return None,
    };
    i64::from(days).checked_mul(86_400_000_000_000)?.checked_add(nanos)
}

/// The nanoseconds of a timestamp literal.
fn origin(expr: &Arc<dyn PhysicalExpr>) -> Option<i64> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::TimestampNanosecond(value, _) => *value,
        _ => None,
    }
}
