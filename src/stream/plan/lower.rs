//! Windows and watermark filters as plain expressions, as which DataFusion runs them.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;
use datafusion::prelude::SessionContext;

use super::watermark_filter::WatermarkFilterNode;
use super::window::node::WindowNode;

/// The plan with its windows and watermark filters in plain expressions.
pub fn lowered(plan: LogicalPlan) -> Result<LogicalPlan> {
    let lowered = plan.transform_up_with_subqueries(|node| {
        Ok(plain(&node)?.map_or_else(|| Transformed::no(node), Transformed::yes))
    })?;
    Ok(lowered.data)
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
        let [input] = node.inputs()[..] else { return Ok(None) };
        let schema = input.schema().clone();
        let leaf = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema });
        let over_leaf = match node {
            LogicalPlan::Extension(_) => node.with_new_exprs(node.expressions(), vec![leaf])?,
            _ => return Ok(None),
        };
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
        let lowered = plan.transform_up_with_subqueries(|node| {
            let plain = self.analyzed(&node, config)?;
            Ok(plain.map_or_else(|| Transformed::no(node), Transformed::yes))
        })?;
        Ok(lowered.data)
    }

    fn name(&self) -> &str {
        "lower_windows"
    }
}
