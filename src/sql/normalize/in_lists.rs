//! Computed elements of an IN list are compared one by one. DataFusion treats a list as constant if its elements can be
//! evaluated over zero rows, and CASE is NULL there, whatever its value for a row is.
//!
//! ```text
//! 5 NOT IN (1, 2, CASE WHEN a > 7 THEN b END)   ─▶   5 NOT IN (1, 2) AND 5 <> CASE WHEN a > 7 THEN b END
//! ```

use datafusion::{
    common::tree_node::{Transformed, TreeNode},
    error::Result as DfResult,
    logical_expr::{Expr, LogicalPlan, expr::InList, expr_rewriter::NamePreserver},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};

/// Runs after constant folding.
#[derive(Debug, Default)]
pub(in crate::sql) struct InLists;

impl OptimizerRule for InLists {
    fn name(&self) -> &str {
        "in_lists"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let rewritten = expr.transform_up(|expr| match expr {
                // A volatile operand must not be evaluated more than once.
                Expr::InList(within) if !within.expr.is_volatile() && within.list.iter().any(is_computed) => {
                    Ok(Transformed::yes(split_in_list(within)))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(rewritten.update_data(|expr| name.restore(expr)))
        })
    }
}

fn is_computed(element: &Expr) -> bool {
    !matches!(element, Expr::Literal(..) | Expr::Column(_))
}

/// An IN list of plain elements, and a comparison for each computed one.
fn split_in_list(InList { expr, list, negated }: InList) -> Expr {
    let (computed, plain): (Vec<Expr>, Vec<Expr>) = list.into_iter().partition(is_computed);
    let is = |element: Expr| match negated {
        true => expr.as_ref().clone().not_eq(element),
        false => expr.as_ref().clone().eq(element),
    };
    let mut parts: Vec<Expr> = computed.into_iter().map(is).collect();
    if !plain.is_empty() {
        parts.insert(0, expr.in_list(plain, negated));
    }
    joined(&mut parts, negated)
}

/// Joins the parts by AND or OR into a balanced tree.
fn joined(parts: &mut [Expr], negated: bool) -> Expr {
    match parts {
        [part] => std::mem::take(part),
        parts => {
            let (left, right) = parts.split_at_mut(parts.len() / 2);
            let (left, right) = (joined(left, negated), joined(right, negated));
            if negated { left.and(right) } else { left.or(right) }
        }
    }
}
