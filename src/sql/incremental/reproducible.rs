//! Whether an epoch that is run again, from another checkpoint, gives the same rows bit by bit. Most do: sums are exact,
//! and what depends on the order of rows is ordered. What is below does not: it rounds after each row, or its sketch is
//! merged in the order of batches, and a state that was saved and loaded folds its rows in another order.

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    logical_expr::{Expr, LogicalPlan, WindowFunctionDefinition},
};

use crate::error::Result;

/// The aggregates whose last digits depend on the order of rows.
const INEXACT: &[&str] = &["approx_", "corr", "covar_", "regr_", "stddev", "var_"];

/// Of a batch plan. A view over one that is not is none either.
pub(super) fn is_reproducible(plan: &LogicalPlan) -> Result<bool> {
    let mut exact = true;
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                exact &= !is_inexact(expr);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(exact)
}

fn is_inexact(expr: &Expr) -> bool {
    let name = match expr {
        Expr::AggregateFunction(call) => call.func.name(),
        Expr::WindowFunction(call) => match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) => function.name(),
            WindowFunctionDefinition::WindowUDF(_) => return false,
        },
        _ => return false,
    };
    INEXACT.iter().any(|inexact| name.starts_with(inexact))
}
