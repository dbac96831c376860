//! Window functions of one node whose rows are to be in different orders.
//!
//! DataFusion's planner puts functions of one order into a node, and takes the order of the first for that of all. Rules
//! between the two, which make expressions simpler, can change the order of one and not of another.

use std::sync::Arc;

use datafusion::{
    common::tree_node::Transformed,
    error::Result as DfResult,
    logical_expr::{Expr, LogicalPlan, Projection, SortExpr, Window, utils::generate_sort_key},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};

/// What rows are sorted by, and whether it is of the partition.
type Key = Vec<(SortExpr, bool)>;

/// Makes a node for each order.
#[derive(Debug, Default)]
pub(in crate::sql) struct WindowsApart;

impl OptimizerRule for WindowsApart {
    fn name(&self) -> &str {
        "windows_apart"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Window(window) => by_order(window),
            other => Ok(Transformed::no(other)),
        }
    }
}

/// A node for each order of the functions of one.
pub(in crate::sql) fn by_order(window: Window) -> DfResult<Transformed<LogicalPlan>> {
    let mut groups: Vec<(Key, Vec<usize>)> = Vec::new();
    for (place, expr) in window.window_expr.iter().enumerate() {
        let key = sort_key(expr)?;
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, places)) => places.push(place),
            None => groups.push((key, vec![place])),
        }
    }
    match groups.len() {
        0 | 1 => Ok(Transformed::no(LogicalPlan::Window(window))),
        _ => Ok(Transformed::yes(apart(window, groups)?)),
    }
}

fn sort_key(expr: &Expr) -> DfResult<Key> {
    match expr {
        Expr::Alias(alias) => sort_key(&alias.expr),
        Expr::WindowFunction(call) => generate_sort_key(&call.params.partition_by, &call.params.order_by),
        _ => Ok(Vec::new()),
    }
}

/// One node upon another, with the columns in the order that they had.
fn apart(window: Window, groups: Vec<(Key, Vec<usize>)>) -> DfResult<LogicalPlan> {
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
