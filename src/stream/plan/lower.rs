//! Windows and watermark filters as plain expressions, as which DataFusion runs them.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;
use datafusion::prelude::SessionContext;

use super::late::row_by_row;
use super::watermark_filter::WatermarkFilterNode;
use super::window::node::WindowNode;
use crate::plan::ExtensionNode;

/// The plan with its windows and watermark filters in plain expressions.
pub fn lowered(plan: LogicalPlan) -> Result<LogicalPlan> {
    replaced(plan, plain)
}

/// A plan with each node replaced for which there is another.
fn replaced(
    plan: LogicalPlan,
    of: impl Fn(&LogicalPlan) -> Result<Option<LogicalPlan>>,
) -> Result<LogicalPlan> {
    let replaced = plan.transform_up_with_subqueries(|node| {
        Ok(of(&node)?.map_or_else(|| Transformed::no(node), Transformed::yes))
    })?;
    Ok(replaced.data)
}

/// A node in plain expressions; `None` for one that is plain.
fn plain(node: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    if let Some(windows) = WindowNode::of(node) {
        return windows.lowered().map(Some);
    }
    WatermarkFilterNode::of(node).map(WatermarkFilterNode::lowered).transpose()
}

/// Makes a session lower windows and watermark filters when all other rules of its analyzer have
/// seen the nodes: those that `rules` are see the expressions too.
pub fn register(context: &SessionContext, rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>>) {
    context.add_analyzer_rule(Arc::new(Lower { rules }));
}

#[derive(Debug)]
struct Lower {
    rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>>,
}

impl Lower {
    /// A node in plain expressions, analyzed by themselves.
    fn analyzed(&self, node: &LogicalPlan, config: &ConfigOptions) -> Result<Option<LogicalPlan>> {
        let Some(input) = row_by_row(node) else { return Ok(None) };
        let schema = input.schema().clone();
        let leaf = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema });
        let over_leaf = node.with_new_exprs(node.expressions(), vec![leaf])?;
        let Some(plain) = plain(&over_leaf)? else { return Ok(None) };
        let analyzed =
            self.rules.iter().try_fold(plain, |plan, rule| rule.analyze(plan, config))?;
        let whole = analyzed.transform_down(|node| match node {
            LogicalPlan::EmptyRelation(_) => {
                Ok(Transformed::new(input.clone(), true, TreeNodeRecursion::Jump))
            }
            _ => Ok(Transformed::no(node)),
        })?;
        Ok(Some(whole.data))
    }
}

impl AnalyzerRule for Lower {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        replaced(plan, |node| self.analyzed(node, config))
    }

    fn name(&self) -> &str {
        "lower_windows"
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use datafusion::common::{Column, DFSchema};

    use super::*;
    use crate::stream::log::partition::WATERMARK;
    use crate::stream::plan::window::spec::{Function, Windows};

    /// A time in seconds, whose windows are in milliseconds, and the watermark before it.
    fn rows(zone: Option<&str>) -> LogicalPlan {
        let time = |unit| DataType::Timestamp(unit, zone.map(Arc::from));
        let schema = Schema::new(vec![
            Field::new("ts", time(TimeUnit::Second), false),
            Field::new(WATERMARK, time(TimeUnit::Microsecond), false),
        ]);
        let schema = Arc::new(DFSchema::try_from_qualified_schema("t", &schema).unwrap());
        LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema })
    }

    fn windows(function: Function, zone: Option<&str>) -> LogicalPlan {
        let day = 86_400_000_000_000;
        let size_ns = if function == Function::Tumble { day } else { 3 * day };
        let spec = Windows { function, size_ns, step_ns: day, offset_ns: 0, days: true };
        WindowNode::new(rows(zone), Column::new(Some("t"), "ts"), spec).unwrap().plan()
    }

    #[test]
    fn lowered_windows_have_the_columns_of_their_node() {
        for function in [Function::Tumble, Function::Hop, Function::Cumulate] {
            for zone in [None, Some("Europe/Berlin")] {
                let node = windows(function, zone);
                let lowered = lowered(node.clone()).unwrap();
                assert_eq!(node.schema(), lowered.schema(), "{function} {zone:?}");
                assert!(!lowered.display_indent().to_string().contains(&function.to_string()));
            }
        }
    }

    /// State folders know a query by the text of its lowered plan: it does not change.
    #[test]
    fn the_text_of_a_lowered_plan_is_that_of_earlier_versions() {
        let end = Column::new_unqualified("window_end");
        let node = WatermarkFilterNode::new(windows(Function::Tumble, None), end).unwrap().plan();
        let found = lowered(node).unwrap().display_indent().to_string();
        let bin = "date_bin(IntervalMonthDayNano(\"IntervalMonthDayNano { months: 0, days: 0, \
                   nanoseconds: 86400000000000 }\"), CAST(t.ts AS Timestamp(ms)))";
        let day = "DurationMillisecond(\"86400000\")";
        let expected = format!(
            "Filter: window_end > t.__watermark\n  Projection: t.ts, t.__watermark, {bin} AS \
             window_start, {bin} + {day} AS window_end, {bin} + {day} - \
             DurationMillisecond(\"1\") AS window_time\n    EmptyRelation: rows=0"
        );
        assert_eq!(found, expected);
    }
}
