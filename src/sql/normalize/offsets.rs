//! OFFSET without LIMIT, below a node that does not depend on the order of its input.
//!
//! DataFusion removes a sort that no node above depends on, unless it has a row limit: in `max(a) FROM (SELECT a FROM t
//! ORDER BY c OFFSET 2)` an arbitrary two rows were skipped.
//!
//! ```text
//! Limit skip 2      ─▶      Filter __place > 2
//!   Sort c                    Window row_number() OVER (ORDER BY c) AS __place
//!     input                     input
//! ```

use std::sync::Arc;

use datafusion::{
    common::{
        ScalarValue,
        tree_node::{Transformed, TreeNode},
    },
    error::Result as DfResult,
    functions_window::row_number::row_number_udwf,
    logical_expr::{
        Expr, ExprFunctionExt, Limit, LogicalPlan, LogicalPlanBuilder, Projection, SkipType, WindowFrame,
        WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, col, expr::WindowFunction, lit,
    },
    optimizer::{OptimizerConfig, OptimizerRule},
};

/// Replaces such an OFFSET by a filter on row numbers. Runs before the rules that remove sorts.
#[derive(Debug, Default)]
pub(in crate::sql) struct CountedOffsets;

impl OptimizerRule for CountedOffsets {
    fn name(&self) -> &str {
        "counted_offsets"
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        counted(plan, true)
    }
}

/// `seen`: whether the output order of the rows matters.
fn counted(plan: LogicalPlan, seen: bool) -> DfResult<Transformed<LogicalPlan>> {
    let plan = match plan {
        LogicalPlan::Limit(limit) if !seen => match numbered(&limit)? {
            Some(plan) => Transformed::yes(plan),
            None => Transformed::no(LogicalPlan::Limit(limit)),
        },
        other => Transformed::no(other),
    };
    let seen = match &plan.data {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => seen,
        _ => false,
    };
    plan.transform_data(|plan| plan.map_subqueries(|subquery| counted(subquery, false)))?
        .transform_data(|plan| plan.map_children(|child| counted(child, seen)))
}

const PLACE: &str = "__place";

/// The rows after an OFFSET, by a filter on row numbers; `None` if it has a LIMIT or no sort.
fn numbered(limit: &Limit) -> DfResult<Option<LogicalPlan>> {
    let (SkipType::Literal(skip @ 1..), None) = (limit.get_skip_type()?, &limit.fetch) else { return Ok(None) };
    let LogicalPlan::Sort(sort) = limit.input.as_ref() else { return Ok(None) };
    let columns = sort.input.schema().columns().into_iter().map(Expr::Column).collect();
    let first = WindowFrameBound::Preceding(ScalarValue::UInt64(None));
    let frame = WindowFrame::new_bounds(WindowFrameUnits::Rows, first, WindowFrameBound::CurrentRow);
    let place = WindowFunction::new(WindowFunctionDefinition::WindowUDF(row_number_udwf()), vec![]);
    let place = Expr::from(place).order_by(sort.expr.clone()).window_frame(frame).build()?.alias(PLACE);
    let skip = u64::try_from(skip).unwrap_or(u64::MAX);
    let input = LogicalPlanBuilder::from(sort.input.clone()).window(vec![place])?;
    let plan = Arc::new(input.filter(col(PLACE).gt(lit(skip)))?.build()?);
    Ok(Some(LogicalPlan::Projection(Projection::try_new_with_schema(columns, plan, sort.input.schema().clone())?)))
}
