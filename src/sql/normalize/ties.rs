//! Rows that tie in the order of `array_agg(y ORDER BY o)` are ordered by the arguments. So the result depends on the
//! rows alone, not on threads nor on earlier changes, in a SELECT and in a view.
//!
//! ```text
//! array_agg(y ORDER BY o), array_agg(z ORDER BY o) ─▶ array_agg(y ORDER BY o, y, z), array_agg(z ORDER BY o, y, z)
//! array_agg(DISTINCT y)                            ─▶ array_agg(DISTINCT y ORDER BY y), as Postgres sorts them
//! ```
//!
//! Functions with the same ORDER BY keep the same order, so that their arrays still correspond element by element.

use arrow::datatypes::DataType;
use datafusion::{
    common::{DFSchema, tree_node::Transformed},
    error::Result as DfResult,
    logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, SortExpr, expr::AggregateFunction},
};

use crate::{error::Result, operators::is_in_order};

/// A plan whose ordered aggregates break ties, as far as rows that differ can be told apart.
pub(super) fn broken(plan: LogicalPlan) -> Result<LogicalPlan> {
    let broken = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.iter().any(|expr| ordered(expr).is_some()) => {
            Ok(Transformed::yes(LogicalPlan::Aggregate(without_ties(aggregate)?)))
        }
        other => Ok(Transformed::no(other)),
    });
    Ok(broken?.data)
}

fn without_ties(mut aggregate: Aggregate) -> DfResult<Aggregate> {
    let functions = std::mem::take(&mut aggregate.aggr_expr);
    let schema = aggregate.input.schema().clone();
    let orders: Vec<_> = functions.iter().map(|expr| Some(order(ordered(expr)?, &functions, &schema))).collect();
    let with = |(expr, order): (Expr, Option<Vec<SortExpr>>)| match order {
        Some(order) => reordered(expr, order),
        None => expr,
    };
    let functions = functions.into_iter().zip(orders).map(with).collect();
    Aggregate::try_new(aggregate.input, aggregate.group_expr, functions)
}

/// The aggregate call of an expression, if rows may tie in its order.
fn ordered(expr: &Expr) -> Option<&AggregateFunction> {
    match expr {
        Expr::Alias(alias) => ordered(&alias.expr),
        Expr::AggregateFunction(call) if is_in_order(&call.func) => {
            // DISTINCT with an ORDER BY of its own has no ties.
            (call.params.distinct == call.params.order_by.is_empty()).then_some(call)
        }
        _ => None,
    }
}

/// The complete order of a call: its ORDER BY, then the arguments of all functions with the same ORDER BY.
fn order(call: &AggregateFunction, functions: &[Expr], schema: &DFSchema) -> Vec<SortExpr> {
    let mut order = call.params.order_by.clone();
    if call.params.distinct {
        order.extend(call.params.args.first().filter(|of| can_be_sorted(of, schema)).map(by));
        return order;
    }
    let others = functions.iter().filter_map(ordered).filter(|other| {
        let (own, other) = (&call.params, &other.params);
        !other.distinct && own.order_by == other.order_by
    });
    for argument in others.flat_map(|other| &other.params.args).filter(|argument| can_be_sorted(argument, schema)) {
        if !order.iter().any(|by| by.expr == *argument) {
            order.push(by(argument));
        }
    }
    order
}

fn by(expr: &Expr) -> SortExpr {
    SortExpr::new(expr.clone(), true, false)
}

/// Whether an expression can break ties: literals cannot, and nested types are not compared.
fn can_be_sorted(expr: &Expr, schema: &DFSchema) -> bool {
    let simple = |of: &DataType| of.is_primitive() || of.is_string() || of.is_binary() || *of == DataType::Boolean;
    !matches!(expr, Expr::Literal(..)) && !expr.is_volatile() && expr.get_type(schema).is_ok_and(|of| simple(&of))
}

/// The call with another ORDER BY, under its previous name.
fn reordered(expr: Expr, order: Vec<SortExpr>) -> Expr {
    match expr {
        Expr::Alias(mut alias) => {
            alias.expr = Box::new(reordered(*alias.expr, order).unalias());
            Expr::Alias(alias)
        }
        Expr::AggregateFunction(mut call) => {
            let name = Expr::AggregateFunction(call.clone()).schema_name().to_string();
            call.params.order_by = order;
            Expr::AggregateFunction(call).alias(name)
        }
        other => other,
    }
}
