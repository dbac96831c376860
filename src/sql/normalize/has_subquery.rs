//! Which expressions have subqueries.

use datafusion::{common::tree_node::TreeNode, logical_expr::Expr};

/// Whether an expression has a subquery of any kind in it.
pub(super) fn has_subquery(expr: &Expr) -> bool {
    let is = |expr: &Expr| {
        matches!(expr, Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_))
    };
    expr.exists(|expr| Ok(is(expr))).unwrap_or(true)
}
