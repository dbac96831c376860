//! ORDER BY of aggregates and of DISTINCT ON without redundant keys: repeated ones, and all keys of functions that do
//! not depend on the order of their rows.
//!
//! DataFusion's functions panic on them: `first_value` expects as many columns as there are distinct expressions, and
//! `sum` at most one. Which are equal is known after name resolution (`id` and `t.id`), and again after simplification:
//! `coalesce(id, 1)` is `id` where that is never NULL.

use std::collections::HashSet;

use datafusion::{
    common::tree_node::Transformed,
    error::Result as DfResult,
    logical_expr::{Aggregate, Distinct, Expr, LogicalPlan, SortExpr, expr::AggregateFunction},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};

use crate::{error::Result, operators::is_in_order};

/// The plan with each sort key once.
pub(super) fn named_once(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(once)?.data)
}

/// The same, as an optimizer rule.
#[derive(Debug, Default)]
pub(in crate::sql) struct OrdersOnce;

impl OptimizerRule for OrdersOnce {
    fn name(&self) -> &str {
        "orders_once"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        once(plan)
    }
}

fn once(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Distinct(Distinct::On(mut on)) if on.sort_expr.as_deref().is_some_and(repeats) => {
            on.sort_expr.iter_mut().for_each(without_repeats);
            Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::On(on))))
        }
        LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.iter().any(is_repeating) => of_functions(aggregate),
        other => Ok(Transformed::no(other)),
    }
}

/// Its functions keep their names.
fn of_functions(aggregate: Aggregate) -> DfResult<Transformed<LogicalPlan>> {
    let function = |expr: Expr| {
        if !is_repeating(&expr) {
            return expr;
        }
        let name = expr.schema_name().to_string();
        match expr.unalias() {
            Expr::AggregateFunction(mut call) => {
                match is_idle(&call) {
                    true => call.params.order_by.clear(),
                    false => without_repeats(&mut call.params.order_by),
                }
                Expr::AggregateFunction(call).alias(name)
            }
            other => other.alias(name),
        }
    };
    let functions = aggregate.aggr_expr.into_iter().map(function).collect();
    let aggregate = Aggregate::try_new(aggregate.input, aggregate.group_expr, functions)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

fn is_repeating(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_repeating(&alias.expr),
        Expr::AggregateFunction(call) => is_idle(call) || repeats(&call.params.order_by),
        _ => false,
    }
}

/// Whether a function has an ORDER BY that it does not depend on. `WITHIN GROUP (ORDER BY …)` is an argument.
fn is_idle(call: &AggregateFunction) -> bool {
    !call.params.order_by.is_empty() && !is_in_order(&call.func) && !call.func.supports_within_group_clause()
}

fn repeats(order: &[SortExpr]) -> bool {
    order.iter().map(sorted_by).collect::<HashSet<_>>().len() < order.len()
}

fn without_repeats(order: &mut Vec<SortExpr>) {
    let mut seen = HashSet::new();
    order.retain(|by| seen.insert(sorted_by(by)));
}

/// The sort expression without the alias that simplification leaves.
fn sorted_by(by: &SortExpr) -> Expr {
    by.expr.clone().unalias_nested().data
}
