//! RANGE frames over types without a distance: times of day, bytes, intervals, structs, arrays.
//!
//! A RANGE frame without an offset starts and ends at the first or last peer row, or at the ends of the partition: the
//! same as GROUPS (SQL:2011, 7.15). DataFusion needs a distance all the same, even for the implicit frame of `rank()
//! OVER (ORDER BY …)`; and it cannot compare nested arrays with a NULL.

use arrow::datatypes::DataType;
use datafusion::{
    common::{DFSchema, tree_node::Transformed},
    error::Result as DfResult,
    logical_expr::{
        Expr, ExprSchemable, LogicalPlan, Window, WindowFrame, WindowFrameBound, WindowFrameUnits, expr::WindowFunction,
    },
};

use super::types::sql_type;
use crate::error::{Error, Result};

/// The plan with GROUPS frames where the type has no distance. A frame with an offset is refused there.
pub(super) fn by_groups(plan: LogicalPlan) -> Result<LogicalPlan> {
    let node = |node| match node {
        LogicalPlan::Window(window) => {
            let schema = window.input.schema();
            let changed: Vec<Option<Expr>> =
                window.window_expr.iter().map(|expr| grouped(expr, schema)).collect::<DfResult<_>>()?;
            if changed.iter().all(Option::is_none) {
                return Ok(Transformed::no(LogicalPlan::Window(window)));
            }
            let exprs = window.window_expr.iter().zip(changed).map(|(own, changed)| changed.unwrap_or(own.clone()));
            let window = Window::try_new(exprs.collect(), window.input.clone())?;
            Ok(Transformed::yes(LogicalPlan::Window(window)))
        }
        other => Ok(Transformed::no(other)),
    };
    Ok(plan.transform_up_with_subqueries(node)?.data)
}

/// The window function with a GROUPS frame, under its previous name; `None` if its frame needs no change.
fn grouped(expr: &Expr, schema: &DFSchema) -> DfResult<Option<Expr>> {
    let (function, name) = match expr {
        Expr::WindowFunction(function) => (function, expr.schema_name().to_string()),
        Expr::Alias(alias) => match alias.expr.as_ref() {
            Expr::WindowFunction(function) => (function, alias.name.clone()),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let WindowFunction { fun, params } = function.as_ref();
    if params.window_frame.units != WindowFrameUnits::Range {
        return Ok(None);
    }
    // Several sort keys are allowed only if the frame has no offset.
    let types = params.order_by.iter().map(|by| by.expr.get_type(schema)).collect::<DfResult<Vec<_>>>()?;
    let Some(of) = types.into_iter().find(|of| !has_distance(of)) else { return Ok(None) };
    let (start, end) = (bound(&params.window_frame.start_bound, &of)?, bound(&params.window_frame.end_bound, &of)?);
    let mut params = params.clone();
    params.window_frame = WindowFrame::new_bounds(WindowFrameUnits::Groups, start, end);
    Ok(Some(Expr::WindowFunction(Box::new(WindowFunction { fun: fun.clone(), params })).alias(name)))
}

fn has_distance(of: &DataType) -> bool {
    match of {
        DataType::Dictionary(_, value) => has_distance(value),
        DataType::Time32(_) | DataType::Time64(_) | DataType::Interval(_) | DataType::Duration(_) => false,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => false,
        of if of.is_nested() => false,
        _ => true,
    }
}

/// The bound in GROUPS; fails if it has an offset.
fn bound(bound: &WindowFrameBound, of: &DataType) -> DfResult<WindowFrameBound> {
    use datafusion::common::ScalarValue;
    match bound {
        WindowFrameBound::CurrentRow => Ok(WindowFrameBound::CurrentRow),
        WindowFrameBound::Preceding(distance) if distance.is_null() => {
            Ok(WindowFrameBound::Preceding(ScalarValue::UInt64(None)))
        }
        WindowFrameBound::Following(distance) if distance.is_null() => {
            Ok(WindowFrameBound::Following(ScalarValue::UInt64(None)))
        }
        _ => {
            let what = format!("RANGE with a distance in an order by {}", sql_type(of));
            Err(Error::unsupported(what).hint("Count rows instead: ROWS BETWEEN … or GROUPS BETWEEN ….").into())
        }
    }
}
