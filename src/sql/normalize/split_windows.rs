//! Window functions of one node that need different sort orders, or that became equal.
//!
//! DataFusion's planner puts functions of one order into a node, and takes the order of the first for that of all.
//! Rules that simplify expressions in between can change the order of one function only; and a common subexpression of
//! two functions that became equal is extracted as something that is not a window function.

use std::sync::Arc;

use datafusion::{
    common::{Column, tree_node::Transformed},
    error::Result as DfResult,
    logical_expr::{Expr, LogicalPlan, Projection, SortExpr, Window, utils::generate_sort_key},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};

/// The sort keys of a window, each with whether it is a PARTITION BY key.
type WindowOrder = Vec<(SortExpr, bool)>;

/// Splits a node by sort order.
#[derive(Debug, Default)]
pub(in crate::sql) struct SplitWindows;

impl OptimizerRule for SplitWindows {
    fn name(&self) -> &str {
        "windows_apart"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Window(window) => once(window)?.transform_data(|plan| match plan {
                LogicalPlan::Window(window) => by_order(window),
                other => Ok(Transformed::no(other)),
            }),
            other => Ok(Transformed::no(other)),
        }
    }
}

/// A node that computes each function once; functions that equal another one, here or in the node below, become
/// columns.
fn once(window: Window) -> DfResult<Transformed<LogicalPlan>> {
    let mut known = of_nodes(&window.input);
    let own = window.input.schema().columns();
    let results = window.schema.columns().split_off(own.len());
    let mut functions: Vec<Expr> = Vec::new();
    let mut columns: Vec<Expr> = own.into_iter().map(Expr::Column).collect();
    for (expr, column) in window.window_expr.iter().zip(results) {
        let bare = expr.clone().unalias_nested().data;
        match known.iter().find(|(other, _)| *other == bare && !bare.is_volatile()) {
            Some((_, same)) => {
                columns.push(Expr::Column(same.clone()).alias_qualified(column.relation.clone(), &column.name));
            }
            None => {
                functions.push(expr.clone());
                known.push((bare, column.clone()));
                columns.push(Expr::Column(column));
            }
        }
    }
    if functions.len() == window.window_expr.len() {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let input = match functions.is_empty() {
        true => window.input,
        false => Arc::new(LogicalPlan::Window(Window::try_new(functions, window.input)?)),
    };
    let plan = Projection::try_new_with_schema(columns, input, window.schema)?;
    Ok(Transformed::yes(LogicalPlan::Projection(plan)))
}

/// The functions of adjacent window nodes, each with its output column.
fn of_nodes(plan: &LogicalPlan) -> Vec<(Expr, Column)> {
    let LogicalPlan::Window(window) = plan else { return Vec::new() };
    let results = window.schema.columns().split_off(window.input.schema().fields().len());
    let bare = window.window_expr.iter().map(|expr| expr.clone().unalias_nested().data);
    bare.zip(results).chain(of_nodes(&window.input)).collect()
}

/// Splits a node into one for each sort order.
pub(in crate::sql) fn by_order(window: Window) -> DfResult<Transformed<LogicalPlan>> {
    let mut groups: Vec<(WindowOrder, Vec<usize>)> = Vec::new();
    for (place, expr) in window.window_expr.iter().enumerate() {
        let key = sort_key(expr)?;
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, places)) => places.push(place),
            None => groups.push((key, vec![place])),
        }
    }
    match groups.len() {
        0 | 1 => Ok(Transformed::no(LogicalPlan::Window(window))),
        _ => Ok(Transformed::yes(stack_windows(window, groups)?)),
    }
}

fn sort_key(expr: &Expr) -> DfResult<WindowOrder> {
    match expr {
        Expr::Alias(alias) => sort_key(&alias.expr),
        Expr::WindowFunction(call) => generate_sort_key(&call.params.partition_by, &call.params.order_by),
        _ => Ok(Vec::new()),
    }
}

/// Stacked nodes, one for each group, with the output columns in their original order.
fn stack_windows(window: Window, groups: Vec<(WindowOrder, Vec<usize>)>) -> DfResult<LogicalPlan> {
    let own = window.input.schema().fields().len();
    let mut places: Vec<usize> = Vec::new();
    let mut plan = window.input;
    for (_, group) in groups {
        let exprs = group.iter().map(|place| window.window_expr[*place].clone()).collect();
        plan = Arc::new(LogicalPlan::Window(Window::try_new(exprs, plan)?));
        places.extend(group);
    }
    let columns = plan.schema().columns();
    let at = |place: usize| own + places.iter().position(|other| *other == place).unwrap_or(place);
    let order = (0..own).chain((0..places.len()).map(at));
    let exprs = order.map(|place| Expr::Column(columns[place].clone())).collect();
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(exprs, plan, window.schema)?))
}
