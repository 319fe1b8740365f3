//! Plans in messages: with literals as one writes them in SQL, which the display of plans has not.

use arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};

/// A node's own line.
pub fn shown(plan: &LogicalPlan) -> String {
    match plan.clone().map_expressions(|expr| expr.transform_up(spelled)) {
        Ok(spelled) => spelled.data.display().to_string(),
        Err(_) => plan.display().to_string(),
    }
}

/// A literal whose display is not SQL as a column that is called as SQL has it.
fn spelled(expr: Expr) -> datafusion::common::Result<Transformed<Expr>> {
    let value = match &expr {
        Expr::Literal(value, _) => value,
        // The planner's, where a difference of times is compared with an interval.
        Expr::Cast(cast) if matches!(cast.field.data_type(), DataType::Interval(_)) => {
            return Ok(Transformed::yes(cast.expr.as_ref().clone()));
        }
        _ => return Ok(Transformed::no(expr)),
    };
    let text = match value {
        ScalarValue::IntervalMonthDayNano(Some(value)) => interval(value),
        ScalarValue::DurationSecond(Some(s)) => seconds(i128::from(*s) * 1_000_000_000),
        ScalarValue::DurationMillisecond(Some(ms)) => seconds(i128::from(*ms) * 1_000_000),
        ScalarValue::DurationMicrosecond(Some(us)) => seconds(i128::from(*us) * 1_000),
        ScalarValue::DurationNanosecond(Some(ns)) => seconds(i128::from(*ns)),
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            format!("'{}'", text.replace('\'', "''"))
        }
        value if value.is_null() => "NULL".to_string(),
        value if value.data_type().is_numeric() => value.to_string(),
        _ => return Ok(Transformed::no(expr)),
    };
    Ok(Transformed::yes(Expr::Column(Column::new_unqualified(text))))
}

fn interval(value: &IntervalMonthDayNano) -> String {
    match (value.months, value.days, value.nanoseconds) {
        (0, 0, ns) => seconds(i128::from(ns)),
        (0, days, 0) => format!("INTERVAL '{days}' DAY"),
        (months, 0, 0) => format!("INTERVAL '{months}' MONTH"),
        (months, days, ns) => {
            format!("INTERVAL '{months} months {days} days {} seconds'", decimal(i128::from(ns)))
        }
    }
}

fn seconds(nanoseconds: i128) -> String {
    format!("INTERVAL '{}' SECOND", decimal(nanoseconds))
}

/// Seconds with as many digits as they have.
fn decimal(nanoseconds: i128) -> String {
    let (sign, size) = (if nanoseconds < 0 { "-" } else { "" }, nanoseconds.abs());
    let text = format!("{sign}{}.{:09}", size / 1_000_000_000, size % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_read_as_sql() {
        let of = |months, days, ns| interval(&IntervalMonthDayNano::new(months, days, ns));
        assert_eq!(of(0, 0, 5_000_000_000), "INTERVAL '5' SECOND");
        assert_eq!(of(0, 0, -1_500_000_000), "INTERVAL '-1.5' SECOND");
        assert_eq!(of(0, 2, 0), "INTERVAL '2' DAY");
        assert_eq!(of(1, 2, 3_000_000_000), "INTERVAL '1 months 2 days 3 seconds'");
    }
}
