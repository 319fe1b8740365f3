//! Casts to a zone and from one, and instants of a zone that are moved: see `functions::zones`.
//!
//! Behind the coercion, so that casts which it puts in are seen as well.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, TryCast,
};
use datafusion::optimizer::AnalyzerRule;

use super::schemas::visible;
use crate::plan::functions::zones::{at_zone, is_utc, local_time, moved};

/// What a format of a time has that tells the zone: such a time is an instant.
const INSTANTS: [&str; 7] = ["%z", "%:", "%#", "%Z", "%+", "%s", "%c"];

/// Puts our functions in the place of Arrow's casts.
#[derive(Debug)]
pub struct Zones;

impl AnalyzerRule for Zones {
    fn name(&self) -> &str {
        "zones"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let in_node = |node: LogicalPlan| {
            let schema = visible(&node)?;
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let mended = expr.transform_up(|expr| mend(expr, &schema))?;
                Ok(mended.update_data(|expr| name.restore(expr)))
            })
        };
        Ok(plan.transform_up_with_subqueries(in_node)?.data)
    }
}

/// A zone in which clocks do not show universal time.
fn has_clocks(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, Some(zone)) if !is_utc(zone))
}

fn mend(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mended = match &expr {
        Expr::Cast(Cast { expr, field }) => casted(expr, field.data_type(), schema, false)?,
        Expr::TryCast(TryCast { expr, field }) => casted(expr, field.data_type(), schema, true)?,
        Expr::ScalarFunction(function) => called(function, &expr, schema)?,
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: op @ (Operator::Plus | Operator::Minus),
            right,
        }) => {
            let (l, r) = (left.get_type(schema)?, right.get_type(schema)?);
            let back = *op == Operator::Minus;
            let (left, right) = (left.as_ref(), right.as_ref());
            match (&l, &r) {
                (_, DataType::Interval(_)) if has_clocks(&l) => {
                    Some(moved(left.clone(), right.clone(), l, back))
                }
                (DataType::Interval(_), _) if !back && has_clocks(&r) => {
                    Some(moved(right.clone(), left.clone(), r, back))
                }
                _ => None,
            }
        }
        _ => None,
    };
    Ok(match mended {
        Some(mended) => Transformed::yes(mended),
        None => Transformed::no(expr),
    })
}

/// `arrow_cast`, and functions that answer a time of the session's zone.
fn called(function: &ScalarFunction, expr: &Expr, schema: &DFSchema) -> Result<Option<Expr>> {
    use datafusion::functions::datetime;
    let none = ConfigOptions::default();
    let local = match function.name() {
        "arrow_cast" => None,
        "to_timestamp" => Some(datetime::to_timestamp(&none)),
        "to_timestamp_seconds" => Some(datetime::to_timestamp_seconds(&none)),
        "to_timestamp_millis" => Some(datetime::to_timestamp_millis(&none)),
        "to_timestamp_micros" => Some(datetime::to_timestamp_micros(&none)),
        "to_timestamp_nanos" => Some(datetime::to_timestamp_nanos(&none)),
        _ => return Ok(None),
    };
    let to = expr.get_type(schema)?;
    let (true, [value, formats @ ..]) = (has_clocks(&to), &function.args[..]) else {
        return Ok(None);
    };
    // Numbers are seconds, or other units of time, in no zone.
    match local {
        Some(_) if formats.is_empty() => casted(value, &to, schema, false),
        Some(local) if formats.iter().all(is_local) => {
            Ok(Some(at_zone(local.call(function.args.clone()), to, false)))
        }
        Some(_) => Ok(None),
        None => casted(value, &to, schema, false),
    }
}

/// A format that is written and tells no zone.
fn is_local(format: &Expr) -> bool {
    let text = match format {
        Expr::Literal(text, _) => text.try_as_str().flatten(),
        _ => None,
    };
    text.is_some_and(|text| !INSTANTS.iter().any(|mark| text.contains(mark)))
}

fn casted(value: &Expr, to: &DataType, schema: &DFSchema, safe: bool) -> Result<Option<Expr>> {
    use DataType::{Date32, Date64, Timestamp};
    let from = match (to, value.get_type(schema)) {
        (Timestamp(..), Ok(from)) => from,
        _ => return Ok(None),
    };
    let local = from.is_string() || matches!(from, Date32 | Date64 | Timestamp(_, None));
    Ok(if local && has_clocks(to) {
        Some(at_zone(value.clone(), to.clone(), safe))
    } else if has_clocks(&from) && matches!(to, Timestamp(_, None)) {
        Some(local_time(value.clone(), to.clone(), safe))
    } else {
        None
    })
}
