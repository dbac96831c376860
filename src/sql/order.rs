//! Orders of aggregates and of DISTINCT ON, without what they name twice.
//!
//! The second time decides nothing, but DataFusion's `first_value` panics at it: it counts on as many columns as there
//! are expressions that differ. What is the same shows once names are resolved: `id` and `t.id` are.

use std::collections::HashSet;

use datafusion::{
    common::tree_node::Transformed,
    error::Result as DfResult,
    logical_expr::{Aggregate, Distinct, Expr, LogicalPlan, SortExpr},
};

use crate::error::Result;

/// The plan with each expression once in an order.
pub(super) fn named_once(plan: LogicalPlan) -> Result<LogicalPlan> {
    let once = |node| match node {
        LogicalPlan::Distinct(Distinct::On(mut on)) if on.sort_expr.as_deref().is_some_and(repeats) => {
            on.sort_expr.iter_mut().for_each(without_repeats);
            Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::On(on))))
        }
        LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.iter().any(is_repeating) => of_functions(aggregate),
        other => Ok(Transformed::no(other)),
    };
    Ok(plan.transform_up_with_subqueries(once)?.data)
}

/// Its functions keep the names that they had.
fn of_functions(aggregate: Aggregate) -> DfResult<Transformed<LogicalPlan>> {
    let function = |expr: Expr| match expr {
        Expr::AggregateFunction(mut call) if repeats(&call.params.order_by) => {
            let name = Expr::AggregateFunction(call.clone()).schema_name().to_string();
            without_repeats(&mut call.params.order_by);
            Expr::AggregateFunction(call).alias(name)
        }
        other => other,
    };
    let functions = aggregate.aggr_expr.into_iter().map(function).collect();
    let aggregate = Aggregate::try_new(aggregate.input, aggregate.group_expr, functions)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

fn is_repeating(expr: &Expr) -> bool {
    matches!(expr, Expr::AggregateFunction(call) if repeats(&call.params.order_by))
}

fn repeats(order: &[SortExpr]) -> bool {
    order.iter().map(|by| &by.expr).collect::<HashSet<_>>().len() < order.len()
}

fn without_repeats(order: &mut Vec<SortExpr>) {
    let mut seen = HashSet::new();
    order.retain(|by| seen.insert(by.expr.clone()));
}
