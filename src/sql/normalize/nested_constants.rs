//! Constants that cannot be compared, such as nested arrays. To derive the ordering of an expression, DataFusion makes
//! an interval with a literal as both bounds, and fails if the literal does not equal itself.
//!
//! ```text
//! Projection [[1]] AS o  ─▶  Projection constant() AS o
//! ```

use datafusion::{
    common::{
        ScalarValue,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    error::Result as DfResult,
    logical_expr::{Expr, LogicalPlan, expr_rewriter::NamePreserver},
};

use crate::sql::functions::constant;

/// The final plan, with such constants as function calls.
pub(in crate::sql) fn constants_as_calls(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(of_node).data()
}

fn of_node(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    if !has_order(&node) || !has_such(&node)? {
        return Ok(Transformed::no(node));
    }
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        Ok(expr.transform_up(|expr| Ok(as_call(expr)))?.update_data(|expr| name.restore(expr)))
    })
}

/// Whether DataFusion derives the ordering of a node's expressions.
fn has_order(node: &LogicalPlan) -> bool {
    use LogicalPlan::{Aggregate, Filter, Projection, Sort, Window};
    matches!(node, Projection(_) | Filter(_) | Aggregate(_) | Window(_) | Sort(_))
}

fn has_such(node: &LogicalPlan) -> DfResult<bool> {
    let mut found = false;
    node.apply_expressions(|expr| {
        found |= expr.exists(|expr| Ok(is_such(expr)))?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn is_such(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if is_incomparable(value))
}

fn is_incomparable(value: &ScalarValue) -> bool {
    !value.is_null() && value.partial_cmp(value).is_none()
}

fn as_call(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::Literal(value, _) if is_incomparable(&value) => Transformed::yes(constant(value)),
        other => Transformed::no(other),
    }
}
