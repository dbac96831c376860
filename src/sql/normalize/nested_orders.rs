//! ORDER BY of arrays or rows in a batch query. A sort with a LIMIT drops rows behind those it has by Arrow's `<`,
//! which puts NULLs within values first. `first_value` and its like cannot compare nested arrays, nor can a node above
//! a window function that is sorted by them.
//!
//! ```text
//! Sort a DESC fetch 10                      Sort sort_key(a) DESC fetch 10
//! Aggregate first_value(x ORDER BY a)  ─▶   Aggregate first_value(x ORDER BY sort_key(a))
//! Window rank() OVER (PARTITION BY a)       Window rank() OVER (PARTITION BY sort_key(a))
//! ```

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        DFSchema,
        tree_node::{Transformed, TreeNodeIterator, TreeNodeRecursion},
    },
    error::Result as DfResult,
    logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, Sort, SortExpr, Window},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};

use crate::sql::functions::{needs_sort_key, sort_key_of};

/// Runs after all rules that depend on sort orders.
#[derive(Debug, Default)]
pub(in crate::sql) struct NestedOrders;

impl OptimizerRule for NestedOrders {
    fn name(&self) -> &str {
        "nested_orders"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Sort(Sort { expr, input, fetch: Some(fetch) }) => {
                let keys = keys(expr, input.schema())?;
                Ok(keys.update_data(|expr| LogicalPlan::Sort(Sort { expr, input, fetch: Some(fetch) })))
            }
            LogicalPlan::Aggregate(Aggregate { input, group_expr, aggr_expr, schema, .. }) => {
                let of_function = |expr| function(expr, input.schema());
                let functions = aggr_expr.into_iter().map_until_stop_and_collect(of_function)?;
                functions.map_data(|functions| {
                    let aggregate = Aggregate::try_new_with_schema(input, group_expr, functions, schema)?;
                    Ok(LogicalPlan::Aggregate(aggregate))
                })
            }
            LogicalPlan::Window(Window { input, window_expr, .. }) => {
                let of_window = |expr| window(expr, input.schema());
                let functions = window_expr.into_iter().map_until_stop_and_collect(of_window)?;
                functions.map_data(|functions| Ok(LogicalPlan::Window(Window::try_new(functions, input)?)))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// A window function without nested arrays as sort keys, under its previous name.
fn window(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let name = expr.schema_name().to_string();
    let Expr::WindowFunction(mut call) = expr.clone().unalias() else { return Ok(Transformed::no(expr)) };
    let params = &mut call.params;
    let mut changed = false;
    let by = params.partition_by.iter_mut().chain(params.order_by.iter_mut().map(|by| &mut by.expr));
    for by in by {
        let of = by.get_type(schema)?;
        if needs_sort_key(&of) && has_nested_parts(&of) {
            *by = sort_key_of(std::mem::take(by));
            changed = true;
        }
    }
    Ok(if changed { Transformed::yes(Expr::WindowFunction(call).alias(name)) } else { Transformed::no(expr) })
}

fn has_nested_parts(of: &DataType) -> bool {
    match of {
        DataType::List(part) | DataType::LargeList(part) | DataType::FixedSizeList(part, _) => {
            part.data_type().is_nested()
        }
        DataType::Struct(parts) => parts.iter().any(|part| part.data_type().is_nested()),
        _ => false,
    }
}

fn keys(order: Vec<SortExpr>, schema: &DFSchema) -> DfResult<Transformed<Vec<SortExpr>>> {
    let mut changed = false;
    let mut keys = Vec::with_capacity(order.len());
    for by in order {
        let nested = needs_sort_key(&by.expr.get_type(schema)?);
        changed |= nested;
        keys.push(if nested { SortExpr { expr: sort_key_of(by.expr), ..by } } else { by });
    }
    Ok(Transformed::new(keys, changed, TreeNodeRecursion::Continue))
}

/// A function with such sort keys, under its previous name. DISTINCT values are sorted by themselves.
fn function(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let name = expr.schema_name().to_string();
    match expr.clone().unalias() {
        Expr::AggregateFunction(mut call) if !call.params.distinct => {
            let order = keys(std::mem::take(&mut call.params.order_by), schema)?;
            if !order.transformed {
                return Ok(Transformed::no(expr));
            }
            call.params.order_by = order.data;
            Ok(Transformed::yes(Expr::AggregateFunction(call).alias(name)))
        }
        _ => Ok(Transformed::no(expr)),
    }
}
