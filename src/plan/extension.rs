//! Nodes that DataFusion does not know, in its logical plans.

use std::sync::Arc;

use datafusion::logical_expr::{Extension, LogicalPlan, UserDefinedLogicalNodeCore};

/// A node of ours on its way into a logical plan and back.
pub trait ExtensionNode: UserDefinedLogicalNodeCore {
    fn plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The node of a plan, if it is one.
    fn of(plan: &LogicalPlan) -> Option<&Self> {
        let LogicalPlan::Extension(extension) = plan else { return None };
        extension.node.as_any().downcast_ref()
    }
}

impl<T: UserDefinedLogicalNodeCore> ExtensionNode for T {}
