//! Where NULLs stand in an order by arrays or rows. `NULLS FIRST` and `NULLS LAST` are said of the values that are NULL; a
//! NULL within a value is greater than all else, whatever is said. DataFusion takes them to be said of both.
//!
//! ```text
//! ORDER BY a DESC NULLS LAST   ─▶   ORDER BY a IS NULL, a DESC NULLS FIRST
//! ```

use datafusion::{
    common::{DFSchema, tree_node::Transformed},
    error::Result as DfResult,
    logical_expr::{
        Aggregate, Distinct, DistinctOn, Expr, ExprSchemable, LogicalPlan, Sort, SortExpr, Window,
        expr::{AggregateFunction, WindowFunction},
    },
};

use crate::error::Result;

pub(super) fn said_apart(plan: LogicalPlan) -> Result<LogicalPlan> {
    let apart = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Sort(Sort { expr, input, fetch }) => {
            let expr = orders(expr, input.schema())?;
            Ok(expr.update_data(|expr| LogicalPlan::Sort(Sort { expr, input, fetch })))
        }
        LogicalPlan::Aggregate(Aggregate { input, group_expr, aggr_expr, .. }) => {
            let functions = functions(aggr_expr, input.schema())?;
            functions
                .map_data(|functions| Ok(LogicalPlan::Aggregate(Aggregate::try_new(input, group_expr, functions)?)))
        }
        LogicalPlan::Window(Window { input, window_expr, .. }) => {
            let functions = functions(window_expr, input.schema())?;
            functions.map_data(|functions| Ok(LogicalPlan::Window(Window::try_new(functions, input)?)))
        }
        LogicalPlan::Distinct(Distinct::On(distinct)) => of_distinct(distinct),
        other => Ok(Transformed::no(other)),
    });
    Ok(apart?.data)
}

/// An order in which each place of NULLs that is not that of the greatest value is a key of its own.
fn orders(orders: Vec<SortExpr>, schema: &DFSchema) -> DfResult<Transformed<Vec<SortExpr>>> {
    let mut apart = Vec::with_capacity(orders.len());
    let before = orders.len();
    for SortExpr { expr, asc, nulls_first } in orders {
        let is_said = nulls_first == asc && expr.get_type(schema)?.is_nested();
        if is_said {
            apart.push(SortExpr::new(expr.clone().is_null(), !nulls_first, false));
        }
        apart.push(SortExpr { expr, asc, nulls_first: nulls_first ^ is_said });
    }
    let changed = apart.len() > before;
    Ok(if changed { Transformed::yes(apart) } else { Transformed::no(apart) })
}

/// What rows are the same by has to stay at the front; of each such row the others are in an order of their own.
fn of_distinct(mut distinct: DistinctOn) -> DfResult<Transformed<LogicalPlan>> {
    let mut order = distinct.sort_expr.take().unwrap_or_default();
    let own = order.split_off(distinct.on_expr.len().min(order.len()));
    let own = orders(own, distinct.input.schema())?;
    own.map_data(|own| {
        order.extend(own);
        let order = (!order.is_empty()).then_some(order);
        let distinct = DistinctOn::try_new(distinct.on_expr, distinct.select_expr, order, distinct.input)?;
        Ok(LogicalPlan::Distinct(Distinct::On(distinct)))
    })
}

/// Functions with such orders, under the names that they had.
fn functions(exprs: Vec<Expr>, schema: &DFSchema) -> DfResult<Transformed<Vec<Expr>>> {
    let mut changed = false;
    let mut apart = Vec::with_capacity(exprs.len());
    for expr in exprs {
        let name = expr.schema_name().to_string();
        let function = expr.clone().unalias();
        let reordered = match function {
            Expr::AggregateFunction(AggregateFunction { func, mut params }) => {
                let order = orders(params.order_by, schema)?;
                let is_new = order.transformed;
                params.order_by = order.data;
                is_new.then_some(Expr::AggregateFunction(AggregateFunction { func, params }))
            }
            Expr::WindowFunction(function) => {
                let WindowFunction { fun, mut params } = *function;
                let order = orders(params.order_by, schema)?;
                let is_new = order.transformed;
                params.order_by = order.data;
                is_new.then(|| Expr::WindowFunction(Box::new(WindowFunction { fun, params })))
            }
            _ => None,
        };
        changed |= reordered.is_some();
        apart.push(reordered.map_or(expr, |function| function.alias(name)));
    }
    Ok(if changed { Transformed::yes(apart) } else { Transformed::no(apart) })
}
