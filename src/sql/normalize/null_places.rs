//! NULLS FIRST and NULLS LAST of arrays or rows. They apply to values that are NULL; a NULL within a value is greater
//! than all else in any case. DataFusion applies them to both.
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

/// The plan with such NULL placements as sort keys of their own.
pub(super) fn expand_null_placement(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| match plan {
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
    Ok(rewritten?.data)
}

/// An ORDER BY list in which a NULL placement other than "NULL is greatest" becomes a key of its own.
fn orders(orders: Vec<SortExpr>, schema: &DFSchema) -> DfResult<Transformed<Vec<SortExpr>>> {
    let mut keys = Vec::with_capacity(orders.len());
    let before = orders.len();
    for SortExpr { expr, asc, nulls_first } in orders {
        let is_said = nulls_first == asc && expr.get_type(schema)?.is_nested();
        if is_said {
            keys.push(SortExpr::new(expr.clone().is_null(), !nulls_first, false));
        }
        keys.push(SortExpr { expr, asc, nulls_first: nulls_first ^ is_said });
    }
    let changed = keys.len() > before;
    Ok(if changed { Transformed::yes(keys) } else { Transformed::no(keys) })
}

/// The DISTINCT ON keys have to stay the first sort keys; the keys after them are rewritten.
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

/// Functions with rewritten ORDER BY lists, under their previous names.
fn functions(exprs: Vec<Expr>, schema: &DFSchema) -> DfResult<Transformed<Vec<Expr>>> {
    let mut changed = false;
    let mut rewritten = Vec::with_capacity(exprs.len());
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
        rewritten.push(reordered.map_or(expr, |function| function.alias(name)));
    }
    Ok(if changed { Transformed::yes(rewritten) } else { Transformed::no(rewritten) })
}
