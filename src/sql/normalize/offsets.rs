//! OFFSET without LIMIT, below what does not depend on the order of its rows.
//!
//! DataFusion leaves out a sort that nothing above asks for, unless it has a number of rows to give: it takes
//! `max(a) FROM (SELECT a FROM t ORDER BY c OFFSET 2)` for a query that needs no order. All rows behind the first two are
//! as many as there can be.

use datafusion::{
    common::tree_node::{Transformed, TreeNode},
    error::Result as DfResult,
    logical_expr::{Limit, LogicalPlan, lit},
    optimizer::{OptimizerConfig, OptimizerRule},
};

/// Gives such an OFFSET a LIMIT that no table reaches.
#[derive(Debug, Default)]
pub(in crate::sql) struct LimitOffsets;

impl OptimizerRule for LimitOffsets {
    fn name(&self) -> &str {
        "limit_offsets"
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        below(plan, true)
    }
}

/// `seen` says whether the rows come out in their order.
fn below(plan: LogicalPlan, seen: bool) -> DfResult<Transformed<LogicalPlan>> {
    let (plan, changed) = match plan {
        LogicalPlan::Limit(limit) if !seen && limit.fetch.is_none() && limit.skip.is_some() => {
            (LogicalPlan::Limit(Limit { fetch: Some(Box::new(lit(i64::MAX))), ..limit }), true)
        }
        other => (other, false),
    };
    let seen = match &plan {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => seen,
        _ => false,
    };
    let mut below = plan.map_children(|child| below(child, seen))?;
    below.transformed |= changed;
    Ok(below)
}
