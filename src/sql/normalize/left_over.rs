//! Subqueries that no rule could turn into a join are refused by name.

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    logical_expr::{Expr, LogicalPlan},
};

use crate::error::{Error, Result};

/// Fails on a subquery that the optimizer has left in an expression. An uncorrelated scalar one may be left to a batch
/// query, which computes it first.
pub(in crate::sql) fn refuse_subqueries(plan: &LogicalPlan) -> Result<()> {
    let left = |expr: &Expr| match expr {
        Expr::ScalarSubquery(subquery) if subquery.outer_ref_columns.is_empty() => Ok(TreeNodeRecursion::Continue),
        Expr::ScalarSubquery(_) => Err(refused("a correlated scalar subquery of this kind")),
        Expr::InSubquery(_) | Expr::SetComparison(_) => Err(refused("IN, ANY or ALL (subquery) of this kind")),
        Expr::Exists(_) => Err(refused("EXISTS (subquery) of this kind")),
        Expr::OuterReferenceColumn(_, column) => Err(Error::unsupported(format!(
            "a subquery in FROM that reads column \"{}\" of another input",
            column.name
        ))
        .hint("Where it is unnest, write it among the columns: SELECT id, unnest(items) AS item FROM t.")),
        _ => Ok(TreeNodeRecursion::Continue),
    };
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| expr.apply(|expr| left(expr).map_err(Into::into)))
    })?;
    Ok(())
}

fn refused(construct: &str) -> Error {
    Error::unsupported(construct).hint(
        "Join with a subquery in FROM that reads no column of the query around it, on what the two have in common.",
    )
}
