//! `SELECT DISTINCT ON (id) … EMIT ON WINDOW CLOSE`: the first row of each id, kept until the watermark expires it.
//!
//! DataFusion makes a group of each id, which no watermark closes. For append-only output the clause becomes a node of
//! its own instead, which the optimizer does not rewrite.

use std::{cmp::Ordering, fmt, sync::Arc};

use datafusion::{
    common::{DFSchemaRef, tree_node::Transformed},
    error::Result as DfResult,
    logical_expr::{Distinct, DistinctOn, Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore},
};

use crate::error::{Error, Result};

/// The clause; its input is a child plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DistinctOnNode(DistinctOn);

impl PartialOrd for DistinctOnNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.0.partial_cmp(&other.0)
    }
}

impl DistinctOnNode {
    pub fn of(plan: &LogicalPlan) -> Option<&DistinctOnNode> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }

    /// The id expressions.
    pub fn on(&self) -> &[Expr] {
        &self.0.on_expr
    }

    pub fn input(&self) -> &LogicalPlan {
        &self.0.input
    }

    /// The output expressions, in the order of [`DistinctOnNode::schema`].
    pub fn shown(&self) -> &[Expr] {
        &self.0.select_expr
    }

    /// Whether it has an ORDER BY, so that the result may not be the first row to arrive.
    pub fn is_ordered(&self) -> bool {
        let sort = self.0.sort_expr.as_deref().unwrap_or_default();
        !sort.iter().all(|by| self.on().contains(&by.expr))
    }
}

/// The plan with such nodes in place of DISTINCT ON; `None` if it has none.
pub fn lift(plan: LogicalPlan) -> Result<Option<LogicalPlan>> {
    let lifted = plan.transform_up_with_subqueries(|plan| {
        Ok(match plan {
            LogicalPlan::Distinct(Distinct::On(clause)) => {
                Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(DistinctOnNode(clause)) }))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(lifted.transformed.then_some(lifted.data))
}

impl UserDefinedLogicalNodeCore for DistinctOnNode {
    fn name(&self) -> &str {
        "DistinctOn"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.0.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.0.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let sort = self.0.sort_expr.iter().flatten().map(|by| &by.expr);
        self.0.on_expr.iter().chain(&self.0.select_expr).chain(sort).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let on: Vec<String> = self.on().iter().map(ToString::to_string).collect();
        write!(f, "DistinctOn: {}", on.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let input = inputs.pop().ok_or_else(|| Error::internal("DISTINCT ON has no input"))?;
        let mut exprs = exprs.into_iter();
        let on_expr = exprs.by_ref().take(self.0.on_expr.len()).collect();
        let select_expr = exprs.by_ref().take(self.0.select_expr.len()).collect();
        let sort_expr =
            self.0.sort_expr.as_ref().map(|sort| sort.iter().zip(exprs).map(|(by, expr)| by.with_expr(expr)).collect());
        let (input, schema) = (Arc::new(input), self.0.schema.clone());
        Ok(DistinctOnNode(DistinctOn { on_expr, select_expr, sort_expr, input, schema }))
    }
}
