//! `INTERSECT ALL` and `EXCEPT ALL` on multisets, as in Postgres and the standard. A row with multiplicity `m` on the
//! left and `n` on the right has `least(m, n)` in the first, and `m - n` in the second. DataFusion keeps all copies of
//! the left side or none.
//!
//! ```text
//! a EXCEPT ALL b     ─▶     a numbered within equal rows  ANTI JOIN  b numbered within equal rows, on all columns and the number
//! ```

//!
//! The columns of all arms of a UNION get the names of the first arm's: DataFusion pushes expressions over the union's
//! columns into each arm by name, and another arm may use a name for another column.

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

/// The union, with the names of its columns in all arms.
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

/// Whether a join is DataFusion's plan of a set operation with ALL. Before optimization only those joins treat NULLs as
/// equal; without ALL the left side is distinct. In a plain view it is rewritten already.
fn is_of_all(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(Distinct::All(_)))
        && !join.left.schema().has_column_with_unqualified_name(LEFT)
}

/// The same join, also on the copy number of each row.
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

/// The number of a row among equal rows, in the left and in the right input.
const LEFT: &str = "__left_copy";
const RIGHT: &str = "__right_copy";

fn numbered(plan: Arc<LogicalPlan>, name: &str) -> DfResult<LogicalPlan> {
    let columns = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let number = WindowFunction::new(WindowFunctionDefinition::WindowUDF(row_number_udwf()), vec![]);
    let number = Expr::from(number).partition_by(columns).build()?;
    LogicalPlanBuilder::from(plan).window(vec![number.alias(name)])?.build()
}
