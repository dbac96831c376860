//! The order of a subquery's rows. It matters to a LIMIT, and to order-dependent functions: these get it as an ORDER BY
//! of their own, so that a Sort is only directly below a Limit and at the top.
//!
//! ```text
//! Limit 2                        Projection a
//!   Projection a         ─▶        Limit 2
//!     Sort c                         Sort __order0
//!       input                          Projection a, c AS __order0
//!                                        input
//! ```
//!
//! Between a Sort and the node that depends on it there may be nodes that pass rows on one by one in order: a
//! projection, a filter, an alias, another LIMIT. After any other node the order of rows is undefined in SQL.

use std::sync::Arc;

use datafusion::{
    common::{
        Column, DFSchema,
        tree_node::{Transformed, TreeNode},
    },
    error::Result as DfResult,
    logical_expr::{
        Aggregate, Distinct, DistinctOn, Expr, Filter, Limit, LogicalPlan, Projection, Sort, SortExpr, SubqueryAlias,
        Window, WindowFunctionDefinition, expr::WindowFunction,
    },
};

use crate::{
    error::{Error, Result},
    operators::is_in_order,
};

/// The plan with its top-level order, and without sorts that no node depends on.
pub(super) fn top_level_ordered(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(remove_unused_sorts(plan, true)?)
}

/// The same for a plan whose top-level order does not matter: its rows are materialized.
pub(in crate::sql) fn unordered(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(remove_unused_sorts(plan, false)?)
}

/// `seen`: whether a node above depends on the order of the rows.
fn remove_unused_sorts(plan: LogicalPlan, seen: bool) -> DfResult<LogicalPlan> {
    let plan = match plan {
        LogicalPlan::Sort(sort) if !seen && sort.fetch.is_none() => {
            return remove_unused_sorts(Arc::unwrap_or_clone(sort.input), false);
        }
        LogicalPlan::Limit(limit) => first_rows(limit)?,
        LogicalPlan::Aggregate(aggregate) => ordered_functions(aggregate)?,
        LogicalPlan::Window(window) => ordered_windows(window)?,
        other => other,
    };
    let below = match &plan {
        LogicalPlan::Limit(_) => true,
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Unnest(_) => seen,
        _ => false,
    };
    let plan = plan.map_subqueries(|subquery| Ok(Transformed::yes(remove_unused_sorts(subquery, false)?)))?.data;
    Ok(plan.map_children(|child| Ok(Transformed::yes(remove_unused_sorts(child, below)?)))?.data)
}

/// A plan without its Sort, and the sort order. The columns of the original plan come first.
pub(super) struct OrderedAggregates {
    pub plan: LogicalPlan,
    pub order: Vec<SortExpr>,
}

impl OrderedAggregates {
    fn sorted(self) -> LogicalPlan {
        LogicalPlan::Sort(Sort { expr: self.order, input: Arc::new(self.plan), fetch: None })
    }
}

/// For a plan whose rows have an order; `None` for others.
pub(super) fn ordered(plan: &LogicalPlan) -> DfResult<Option<OrderedAggregates>> {
    match plan {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
            Ok(Some(OrderedAggregates { plan: sort.input.as_ref().clone(), order: sort.expr.clone() }))
        }
        LogicalPlan::Projection(projection) => {
            let Some(input) = ordered(&projection.input)? else { return Ok(None) };
            let mut exprs = projection.expr.clone();
            let order = carried(&mut exprs, input.order, input.plan.schema())?;
            let plan = Projection::try_new(exprs, Arc::new(input.plan))?;
            let order = resolved(order, plan.schema.as_ref());
            Ok(Some(OrderedAggregates { plan: LogicalPlan::Projection(plan), order }))
        }
        LogicalPlan::Filter(filter) => {
            let Some(input) = ordered(&filter.input)? else { return Ok(None) };
            let plan = LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), Arc::new(input.plan))?);
            Ok(Some(OrderedAggregates { plan, order: input.order }))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let Some(input) = ordered(&alias.input)? else { return Ok(None) };
            let from = input.plan.schema().clone();
            let plan = SubqueryAlias::try_new(Arc::new(input.plan), alias.alias.clone())?;
            let rename = |by: SortExpr| moved(by, &from, &plan.schema);
            let order = input.order.into_iter().map(rename).collect::<DfResult<_>>()?;
            Ok(Some(OrderedAggregates { plan: LogicalPlan::SubqueryAlias(plan), order }))
        }
        LogicalPlan::Limit(limit) => {
            let Some(input) = ordered(&limit.input)? else { return Ok(None) };
            let order = input.order.clone();
            let limit = Limit { skip: limit.skip.clone(), fetch: limit.fetch.clone(), input: Arc::new(input.sorted()) };
            Ok(Some(OrderedAggregates { plan: LogicalPlan::Limit(limit), order }))
        }
        LogicalPlan::Distinct(Distinct::On(on)) => of_distinct_on(on),
        LogicalPlan::Unnest(unnest) if ordered(&unnest.input)?.is_some() => {
            Err(Error::unsupported("LIMIT over the elements of arrays whose rows have an order")
                .hint("Put ORDER BY beside LIMIT: SELECT … FROM (SELECT unnest(items) AS item, n FROM t) AS s ORDER BY n LIMIT 3.")
                .into())
        }
        _ => Ok(None),
    }
}

/// The rows of `DISTINCT ON (a, b) … ORDER BY a, b, c` are ordered by the ON keys.
fn of_distinct_on(on: &DistinctOn) -> DfResult<Option<OrderedAggregates>> {
    let Some(sort) = &on.sort_expr else { return Ok(None) };
    let leading = sort.iter().take(on.on_expr.len()).cloned().collect();
    let mut select = on.select_expr.clone();
    let order = carried(&mut select, leading, on.input.schema())?;
    let plan = DistinctOn::try_new(on.on_expr.clone(), select, on.sort_expr.clone(), on.input.clone())?;
    let order = resolved(order, plan.schema.as_ref());
    Ok(Some(OrderedAggregates { plan: LogicalPlan::Distinct(Distinct::On(plan)), order }))
}

/// The index of each sort key in `exprs`, to which missing keys are appended.
fn carried(exprs: &mut Vec<Expr>, order: Vec<SortExpr>, input: &DFSchema) -> DfResult<Vec<(usize, SortExpr)>> {
    let mut places = Vec::new();
    for by in order {
        let same = |expr: &Expr| expr.clone().unalias() == by.expr;
        let place = match exprs.iter().position(same) {
            Some(place) => place,
            None => {
                let taken = |name: &str| {
                    exprs.iter().any(|e| e.schema_name().to_string() == name)
                        || input.has_column_with_unqualified_name(name)
                };
                let name = (0..).map(|n| format!("__order{n}")).find(|name| !taken(name)).unwrap_or_default();
                exprs.push(by.expr.clone().alias(name));
                exprs.len() - 1
            }
        };
        places.push((place, by));
    }
    Ok(places)
}

/// Sort keys as columns of a schema.
fn resolved(order: Vec<(usize, SortExpr)>, schema: &DFSchema) -> Vec<SortExpr> {
    let by = |(place, by): (usize, SortExpr)| SortExpr {
        expr: Expr::Column(Column::from(schema.qualified_field(place))),
        ..by
    };
    order.into_iter().map(by).collect()
}

/// A sort key over the same columns under other names.
fn moved(by: SortExpr, from: &DFSchema, to: &DFSchema) -> DfResult<SortExpr> {
    let expr = by.expr.transform(|expr| match expr {
        Expr::Column(column) => {
            let place = from.index_of_column(&column)?;
            Ok(Transformed::yes(Expr::Column(Column::from(to.qualified_field(place)))))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(SortExpr { expr: expr.data, ..by })
}

/// A LIMIT with the Sort that decides it directly below.
fn first_rows(limit: Limit) -> DfResult<LogicalPlan> {
    if matches!(limit.input.as_ref(), LogicalPlan::Sort(_)) {
        return Ok(LogicalPlan::Limit(limit));
    }
    let Some(input) = ordered(&limit.input)? else { return Ok(LogicalPlan::Limit(limit)) };
    let schema = limit.input.schema().clone();
    let columns = own_columns(&input.plan, schema.fields().len());
    let first = LogicalPlan::Limit(Limit { input: Arc::new(input.sorted()), ..limit });
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(columns, Arc::new(first), schema)?))
}

fn own_columns(plan: &LogicalPlan, count: usize) -> Vec<Expr> {
    plan.schema().columns().into_iter().take(count).map(Expr::Column).collect()
}

/// Order-dependent aggregate functions over sorted rows: as `array_agg(x ORDER BY …)`.
fn ordered_functions(mut aggregate: Aggregate) -> DfResult<LogicalPlan> {
    if !aggregate.aggr_expr.iter().any(takes_order) {
        return Ok(LogicalPlan::Aggregate(aggregate));
    }
    let Some(input) = ordered(&aggregate.input)? else { return Ok(LogicalPlan::Aggregate(aggregate)) };
    let by_order = |expr: Expr| -> DfResult<Expr> {
        if !takes_order(&expr) {
            return Ok(expr);
        }
        let name = expr.schema_name().to_string();
        let Expr::AggregateFunction(mut call) = expr.unalias() else {
            return Err(Error::internal("an aggregate is no function").into());
        };
        call.params.order_by = input.order.clone();
        Ok(Expr::AggregateFunction(call).alias(name))
    };
    let functions = std::mem::take(&mut aggregate.aggr_expr).into_iter().map(by_order).collect::<DfResult<_>>()?;
    Ok(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input.plan), aggregate.group_expr, functions)?))
}

/// Whether an aggregate function depends on the order of its input. DISTINCT values are sorted by themselves.
fn takes_order(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => takes_order(&alias.expr),
        Expr::AggregateFunction(call) => {
            is_in_order(&call.func) && call.params.order_by.is_empty() && !call.params.distinct
        }
        _ => false,
    }
}

/// The same for window functions without an ORDER BY.
fn ordered_windows(window: Window) -> DfResult<LogicalPlan> {
    if !window.window_expr.iter().any(|expr| function(expr).is_some_and(is_by_arrival)) {
        return Ok(LogicalPlan::Window(window));
    }
    let Some(input) = ordered(&window.input)? else { return Ok(LogicalPlan::Window(window)) };
    let schema = window.schema.clone();
    let own = window.input.schema().fields().len();
    let by_order = |expr: &Expr| -> DfResult<Expr> {
        let name = expr.schema_name().to_string();
        let Some(mut call) = function(expr).filter(|call| can_be_ordered(call)).cloned() else {
            return Err(Error::unsupported(
                "functions OVER rows of a subquery with ORDER BY, of which some have no order",
            )
            .hint("Put the order into the function: row_number() OVER (ORDER BY n).")
            .into());
        };
        call.params.order_by = input.order.clone();
        Ok(Expr::WindowFunction(Box::new(call)).alias(name))
    };
    let exprs = window.window_expr.iter().map(by_order).collect::<DfResult<_>>()?;
    let mut columns = own_columns(&input.plan, own);
    let below = input.plan.schema().fields().len();
    let ordered = LogicalPlan::Window(Window::try_new(exprs, Arc::new(input.plan))?);
    columns.extend(ordered.schema().columns().into_iter().skip(below).map(Expr::Column));
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(columns, Arc::new(ordered), schema)?))
}

fn function(expr: &Expr) -> Option<&WindowFunction> {
    match expr {
        Expr::Alias(alias) => function(&alias.expr),
        Expr::WindowFunction(call) => Some(call),
        _ => None,
    }
}

/// Whether its result depends on the arrival order of rows.
fn is_by_arrival(call: &WindowFunction) -> bool {
    call.params.order_by.is_empty()
        && match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) => is_in_order(function),
            WindowFunctionDefinition::WindowUDF(_) => !is_rank(call),
        }
}

/// For these, all rows are peers without an ORDER BY: adding one would change the result.
fn is_rank(call: &WindowFunction) -> bool {
    matches!(call.fun.name(), "rank" | "dense_rank" | "percent_rank" | "cume_dist")
}

/// Whether an ORDER BY may be added without changing the result.
fn can_be_ordered(call: &WindowFunction) -> bool {
    call.params.order_by.is_empty() && !is_rank(call)
}
