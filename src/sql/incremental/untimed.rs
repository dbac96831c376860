//! Rows without an event time below sliding windows.
//!
//! Such a row is in no sliding window and would be dropped before late rows are counted. If windows are emitted on
//! close, it gets a NULL window instead, which the operator above removes and reports.

use std::sync::Arc;

use datafusion::{
    common::Column,
    logical_expr::{BinaryExpr, Expr, LogicalPlan, Unnest, expr::ScalarFunction},
};

use crate::sql::functions::{HOP_STARTS, hop_starts_or_null};

/// The plan with NULL windows for such rows; `None` unless one of `keys` is a window start or end.
pub(super) fn with_untimed(plan: &LogicalPlan, keys: &[Expr]) -> Option<LogicalPlan> {
    keys.iter().flat_map(Expr::column_refs).find_map(|column| of_column(plan, column))
}

fn of_column(plan: &LogicalPlan, column: &Column) -> Option<LogicalPlan> {
    let at = plan.schema().maybe_index_of_column(column)?;
    match plan {
        LogicalPlan::Projection(projection) => {
            let input = of_column(&projection.input, start(projection.expr.get(at)?)?)?;
            plan.with_new_exprs(projection.expr.clone(), vec![input]).ok()
        }
        LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
            let [input] = plan.inputs()[..] else { return None };
            let input = of_column(input, &Column::from(input.schema().qualified_field(at)))?;
            plan.with_new_exprs(plan.expressions(), vec![input]).ok()
        }
        LogicalPlan::Unnest(unnest) => {
            let LogicalPlan::Projection(below) = unnest.input.as_ref() else { return None };
            let list = *unnest.dependency_indices.get(at)?;
            let mut exprs = below.expr.clone();
            let name = exprs.get(list)?.schema_name().to_string();
            exprs[list] = or_null(exprs[list].clone())?.alias(name);
            let input = unnest.input.with_new_exprs(exprs, vec![below.input.as_ref().clone()]).ok()?;
            let unnest = Unnest::try_new(Arc::new(input), unnest.exec_columns.clone(), unnest.options.clone());
            unnest.ok().map(LogicalPlan::Unnest)
        }
        _ => None,
    }
}

/// The column of window starts that an expression is or is derived from: a window's end is its start plus a length.
fn start(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => start(&alias.expr),
        Expr::BinaryExpr(BinaryExpr { left, .. }) => start(left),
        // A struct of both window bounds.
        Expr::ScalarFunction(call) if call.name() == "named_struct" => start(call.args.get(1)?),
        _ => None,
    }
}

fn or_null(expr: Expr) -> Option<Expr> {
    match expr {
        Expr::Alias(alias) => or_null(*alias.expr),
        Expr::ScalarFunction(call) if call.name() == HOP_STARTS => {
            Some(Expr::ScalarFunction(ScalarFunction::new_udf(hop_starts_or_null(), call.args)))
        }
        _ => None,
    }
}
