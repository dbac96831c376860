//! DataFusion optimizer rules that rewrite a plan node by node.

use std::{fmt, sync::Arc};

use datafusion::{
    common::{
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    error::Result as DfResult,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::replace_children_if_necessary,
};

use super::Plan;

/// A rule of DataFusion's optimizer.
pub(super) type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

struct NodeRule<F> {
    name: &'static str,
    rewrite: F,
}

/// A rule that may replace each node of a plan, from the leaves up, by one with the same columns.
pub(super) fn node_rule(
    name: &'static str,
    rewrite: impl Fn(Plan) -> DfResult<Transformed<Plan>> + Send + Sync + 'static,
) -> Rule {
    Arc::new(NodeRule { name, rewrite })
}

/// A node with each input replaced by `replace`, which takes the input's number.
pub(super) fn with_inputs(plan: Plan, replace: impl Fn(usize, Plan) -> Plan) -> DfResult<Plan> {
    let children = plan.children().into_iter().cloned().enumerate();
    let children = children.map(|(n, child)| replace(n, child)).collect();
    replace_children_if_necessary(plan, children)
}

impl<F> fmt::Debug for NodeRule<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<F: Fn(Plan) -> DfResult<Transformed<Plan>> + 'static> PhysicalOptimizerRule for NodeRule<F> {
    fn name(&self) -> &str {
        self.name
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Plan, _: &ConfigOptions) -> DfResult<Plan> {
        plan.transform_up(&self.rewrite).data()
    }
}
