//! `count(t.*)` counts the rows of `t`: a row that an outer join pads with NULLs on the side of `t` does not count.
//! DataFusion counts all rows of the join.
//!
//! ```text
//! count(t.*)                     count(t.__row)
//!   LEFT JOIN            ─▶        LEFT JOIN
//!     s                              s
//!     t                              SELECT *, true AS __row FROM t
//! ```

use std::sync::Arc;

use datafusion::{
    common::{
        Column, TableReference,
        tree_node::{Transformed, TreeNode},
    },
    error::Result as DfResult,
    logical_expr::{Aggregate, Expr, Filter, Join, LogicalPlan, Projection, Window, lit},
};

use crate::{
    error::{Error, Result},
    sql::functions::relation_of_rows,
};

/// The name of a column that is true in each row of its relation, and NULL where a join pads.
const ROW: &str = "__row";

pub(super) fn of_relations(plan: LogicalPlan) -> Result<LogicalPlan> {
    let counted = |plan| match plan {
        LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.iter().any(counts_relation) => {
            let Aggregate { input, group_expr, aggr_expr, .. } = aggregate;
            let (input, functions) = with_rows(input, aggr_expr)?;
            Ok(Transformed::yes(LogicalPlan::Aggregate(Aggregate::try_new(input, group_expr, functions)?)))
        }
        LogicalPlan::Window(window) if window.window_expr.iter().any(counts_relation) => {
            let schema = window.schema.clone();
            let own = window.input.schema().columns();
            let (input, functions) = with_rows(window.input, window.window_expr)?;
            let below = input.schema().fields().len();
            let plan = LogicalPlan::Window(Window::try_new(functions, input)?);
            let made = plan.schema().columns().into_iter().skip(below);
            let columns = own.into_iter().chain(made).map(Expr::Column).collect();
            let plan = Projection::try_new_with_schema(columns, Arc::new(plan), schema)?;
            Ok(Transformed::yes(LogicalPlan::Projection(plan)))
        }
        other => Ok(Transformed::no(other)),
    };
    Ok(plan.transform_up_with_subqueries(counted)?.data)
}

fn counts_relation(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(relation_of_rows(expr).is_some())).unwrap_or(true)
}

/// The functions over these columns, one for each counted relation, and their input with the columns.
fn with_rows(input: Arc<LogicalPlan>, functions: Vec<Expr>) -> DfResult<(Arc<LogicalPlan>, Vec<Expr>)> {
    let mut input = Arc::unwrap_or_clone(input);
    let mut over_rows = Vec::new();
    for function in functions {
        let name = function.schema_name().to_string();
        let of_rows = function.transform_up(|expr| {
            let Some(name) = relation_of_rows(&expr) else { return Ok(Transformed::no(expr)) };
            let of = input.schema().iter().find_map(|(of, _)| of.filter(|of| of.table() == name).cloned());
            let of = of.ok_or_else(|| Error::unsupported(format!("count({name}.*) here")))?;
            let column = Column::new(Some(of.clone()), ROW);
            if !input.schema().has_column(&column) {
                input = with_row(input.clone(), &of)?;
            }
            Ok(Transformed::yes(Expr::Column(column)))
        })?;
        over_rows.push(match of_rows.transformed {
            true => of_rows.data.unalias().alias(name),
            false => of_rows.data,
        });
    }
    Ok((Arc::new(input), over_rows))
}

/// The plan with a column that is true in each row that has a row of the relation.
fn with_row(plan: LogicalPlan, of: &TableReference) -> DfResult<LogicalPlan> {
    let has = |plan: &LogicalPlan| plan.schema().iter().any(|(qualifier, _)| qualifier == Some(of));
    match plan {
        LogicalPlan::Join(join) => {
            let (mut left, mut right) = (join.left, join.right);
            match has(&left) {
                true => left = Arc::new(with_row(Arc::unwrap_or_clone(left), of)?),
                false => right = Arc::new(with_row(Arc::unwrap_or_clone(right), of)?),
            }
            Ok(LogicalPlan::Join(Join::try_new(
                left,
                right,
                join.on,
                join.filter,
                join.join_type,
                join.join_constraint,
                join.null_equality,
                join.null_aware,
            )?))
        }
        LogicalPlan::Filter(filter) => {
            let input = with_row(Arc::unwrap_or_clone(filter.input), of)?;
            Ok(LogicalPlan::Filter(Filter::try_new(filter.predicate, Arc::new(input))?))
        }
        plan if plan.schema().iter().all(|(qualifier, _)| qualifier == Some(of)) => {
            let mut columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
            columns.push(lit(true).alias_qualified(Some(of.clone()), ROW));
            Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
        }
        _ => Err(Error::unsupported(format!("count({}.*) here", of.table()))
            .hint("Count a column that is never NULL, such as one of the primary key.")
            .into()),
    }
}
