//! `INTERSECT ALL` and `EXCEPT ALL` as Postgres and the standard have them: of multisets. A row that one side has `m` times
//! and the other `n` times is in the first `least(m, n)` times, and in the second `m - n` times. DataFusion keeps all of
//! the left side's copies or none.
//!
//! ```text
//! a EXCEPT ALL b     ─▶     a numbered within equal rows  ANTI JOIN  b numbered within equal rows, on all columns and the number
//! ```

//!
//! And the columns of all arms of a UNION have the names of the first arm's: DataFusion puts what it makes of the union's
//! columns on each arm by their names, which another arm may have for other columns.

use std::sync::Arc;

use datafusion::{
    common::{Column, JoinType, NullEquality, tree_node::Transformed},
    error::Result as DfResult,
    functions_window::row_number::row_number_udwf,
    logical_expr::{
        Distinct, Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder, Projection, Union,
        WindowFunctionDefinition, expr::WindowFunction,
    },
};

use crate::error::Result;

pub(super) fn of_multisets(plan: LogicalPlan) -> Result<LogicalPlan> {
    let counted = |plan| match plan {
        LogicalPlan::Join(join) if is_of_all(&join) => Ok(Transformed::yes(by_copy(join)?)),
        LogicalPlan::Union(union) => Ok(Transformed::yes(LogicalPlan::Union(named_alike(union)?))),
        other => Ok(Transformed::no(other)),
    };
    Ok(plan.transform_up_with_subqueries(counted)?.data)
}

/// The same union, the columns of whose arms have its names.
fn named_alike(Union { inputs, schema }: Union) -> DfResult<Union> {
    let is_named = |arm: &LogicalPlan| {
        arm.schema().fields().iter().zip(schema.fields()).all(|(field, named)| field.name() == named.name())
    };
    let named = |arm: Arc<LogicalPlan>| -> DfResult<Arc<LogicalPlan>> {
        if is_named(&arm) {
            return Ok(arm);
        }
        let (columns, input) = match Arc::unwrap_or_clone(arm) {
            LogicalPlan::Projection(projection) => (projection.expr, projection.input),
            other => (other.schema().columns().into_iter().map(Expr::Column).collect(), Arc::new(other)),
        };
        let columns =
            columns.into_iter().zip(schema.fields()).map(|(column, named)| column.unalias().alias(named.name()));
        Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(columns.collect(), input)?)))
    };
    Ok(Union { inputs: inputs.into_iter().map(named).collect::<DfResult<_>>()?, schema: schema.clone() })
}

/// Whether a join is what DataFusion's planner makes of a set operation with ALL. Before any optimization no other join
/// has NULLs that equal each other; without ALL its left side is distinct. One of a plain view has been rewritten before.
fn is_of_all(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(Distinct::All(_)))
        && !join.left.schema().has_column_with_unqualified_name(LEFT)
}

/// The same join of rows with the number of their copy.
fn by_copy(join: Join) -> DfResult<LogicalPlan> {
    let columns = join.left.schema().columns().into_iter().map(Expr::Column).collect();
    let schema = join.schema.clone();
    let (left, right) = (numbered(join.left, LEFT)?, numbered(join.right, RIGHT)?);
    let mut on = join.on;
    on.push((Expr::Column(Column::from_name(LEFT)), Expr::Column(Column::from_name(RIGHT))));
    let join = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        join.filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    let join = Arc::new(LogicalPlan::Join(join));
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(columns, join, schema)?))
}

/// The number of a row among those that equal it, in the left and in the right side.
const LEFT: &str = "__left_copy";
const RIGHT: &str = "__right_copy";

fn numbered(plan: Arc<LogicalPlan>, name: &str) -> DfResult<LogicalPlan> {
    let columns = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let number = WindowFunction::new(WindowFunctionDefinition::WindowUDF(row_number_udwf()), vec![]);
    let number = Expr::from(number).partition_by(columns).build()?;
    LogicalPlanBuilder::from(plan).window(vec![number.alias(name)])?.build()
}
