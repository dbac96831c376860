//! The frame of a window function whose rows are ordered by arrays or rows. With RANGE, which is what is meant where nobody
//! says, DataFusion asks which of two values is the greater one, and of arrays in arrays with a NULL it does not know. Up
//! to the rows that are equal to the present one, GROUPS says the same, and asks for equality alone.

use std::sync::Arc;

use datafusion::{
    common::{
        ScalarValue,
        tree_node::{Transformed, TreeNode},
    },
    error::Result as DfResult,
    logical_expr::{
        Expr, ExprSchemable, LogicalPlan, Projection, Window, WindowFrame, WindowFrameBound, WindowFrameUnits,
        expr::WindowFunction,
    },
};

use crate::error::Result;

pub(super) fn by_groups(plan: LogicalPlan) -> Result<LogicalPlan> {
    let grouped = |plan| match plan {
        LogicalPlan::Window(window) if asks_for_more(&window)? => Ok(Transformed::yes(grouped(window)?)),
        other => Ok(Transformed::no(other)),
    };
    Ok(plan.transform_up_with_subqueries(grouped)?.data)
}

fn asks_for_more(window: &Window) -> DfResult<bool> {
    let mut found = false;
    for expr in &window.window_expr {
        found |= expr.exists(|expr| match expr {
            Expr::WindowFunction(call) => compares_nested(call, &window.input),
            _ => Ok(false),
        })?;
    }
    Ok(found)
}

fn compares_nested(call: &WindowFunction, input: &LogicalPlan) -> DfResult<bool> {
    let frame = &call.params.window_frame;
    if frame.units != WindowFrameUnits::Range || !is_of_peers(&frame.start_bound) || !is_of_peers(&frame.end_bound) {
        return Ok(false);
    }
    for order in &call.params.order_by {
        if order.expr.get_type(input.schema())?.is_nested() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a bound is that of all rows, or of those that are equal to the present one.
fn is_of_peers(bound: &WindowFrameBound) -> bool {
    match bound {
        WindowFrameBound::CurrentRow => true,
        WindowFrameBound::Preceding(distance) | WindowFrameBound::Following(distance) => distance.is_null(),
    }
}

fn in_groups(bound: &WindowFrameBound) -> WindowFrameBound {
    match bound {
        WindowFrameBound::CurrentRow => WindowFrameBound::CurrentRow,
        WindowFrameBound::Preceding(_) => WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
        WindowFrameBound::Following(_) => WindowFrameBound::Following(ScalarValue::UInt64(None)),
    }
}

fn grouped(window: Window) -> DfResult<LogicalPlan> {
    let input = window.input.clone();
    let regrouped = |expr: Expr| {
        expr.transform_up(|expr| match expr {
            Expr::WindowFunction(mut call) if compares_nested(&call, &input)? => {
                let frame = &call.params.window_frame;
                let (start, end) = (in_groups(&frame.start_bound), in_groups(&frame.end_bound));
                call.params.window_frame = WindowFrame::new_bounds(WindowFrameUnits::Groups, start, end);
                Ok(Transformed::yes(Expr::WindowFunction(call)))
            }
            other => Ok(Transformed::no(other)),
        })
        .map(|expr| expr.data)
    };
    let exprs = window.window_expr.into_iter().map(regrouped).collect::<DfResult<Vec<_>>>()?;
    let plan = LogicalPlan::Window(Window::try_new(exprs, window.input)?);
    // By the names that they had.
    let named = plan.schema().columns().into_iter().zip(window.schema.iter()).map(|(column, (relation, field))| {
        let same = column.name == *field.name();
        let column = Expr::Column(column);
        if same { column } else { column.alias_qualified(relation.cloned(), field.name()) }
    });
    Ok(LogicalPlan::Projection(Projection::try_new(named.collect(), Arc::new(plan))?))
}
