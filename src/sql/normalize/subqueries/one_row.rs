//! Subqueries that have exactly one row for any input: those of an aggregate without GROUP BY.
//!
//! ```text
//! SELECT 10 / count(*) FROM u HAVING max(u.v) > 3
//!                  └ column               └ condition, over: Aggregate [count(*), max(u.v)]
//! ```

use std::sync::Arc;

use datafusion::{
    common::{
        DFSchema,
        tree_node::{Transformed, TreeNode},
    },
    error::Result as DfResult,
    logical_expr::{
        Distinct, Expr, LogicalPlan, Operator,
        expr::{Exists, InSubquery, SetComparison},
    },
};

use super::limit::numbers;

/// The one row: its columns as expressions over the aggregate, and the HAVING predicates that it must pass.
pub(super) struct OneRow {
    pub aggregate: Arc<LogicalPlan>,
    pub columns: Vec<Expr>,
    pub conditions: Vec<Expr>,
}

impl OneRow {
    /// Whether the columns can be computed within the subquery: no predicate, and nothing can fail.
    pub fn is_plain(&self) -> bool {
        self.conditions.is_empty()
            && self.columns.iter().all(|expr| match expr {
                Expr::Column(_) => true,
                // One column of the aggregate costs no more outside the subquery.
                _ => !can_fail(expr) && expr.column_refs().len() != 1,
            })
    }
}

/// Whether an expression may fail for some values.
fn can_fail(expr: &Expr) -> bool {
    let fails = |expr: &Expr| match expr {
        Expr::BinaryExpr(binary) => !matches!(
            binary.op,
            Operator::And
                | Operator::Or
                | Operator::Eq
                | Operator::NotEq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
                | Operator::IsDistinctFrom
                | Operator::IsNotDistinctFrom
        ),
        Expr::Cast(_) | Expr::ScalarFunction(_) | Expr::Negative(_) => true,
        _ => false,
    };
    expr.exists(|expr| Ok(fails(expr))).unwrap_or(true)
}

/// The one row of a subquery; `None` if it may have several rows, or none for another reason than a predicate.
pub(super) fn one_row(plan: &LogicalPlan) -> DfResult<Option<OneRow>> {
    match plan {
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => {
            // Predicates below the aggregate do not matter here.
            let columns = aggregate.schema.columns().into_iter().map(Expr::Column).collect();
            Ok(Some(OneRow { aggregate: Arc::new(plan.clone()), columns, conditions: Vec::new() }))
        }
        LogicalPlan::Projection(projection) => {
            let Some(row) = one_row(&projection.input)? else { return Ok(None) };
            let stays = |expr: &Expr| is_of_many(expr) || reads(expr, projection.input.schema());
            if projection.expr.iter().any(stays) {
                return Ok(None);
            }
            let columns = projection.expr.iter().map(|expr| over(expr, &row, projection.input.schema()));
            let columns = columns.collect::<DfResult<_>>()?;
            Ok(Some(OneRow { columns, ..row }))
        }
        LogicalPlan::Filter(filter) => {
            let Some(mut row) = one_row(&filter.input)? else { return Ok(None) };
            if reads(&filter.predicate, filter.input.schema()) {
                return Ok(None);
            }
            row.conditions.push(over(&filter.predicate, &row, filter.input.schema())?);
            Ok(Some(row))
        }
        LogicalPlan::SubqueryAlias(alias) => one_row(&alias.input),
        LogicalPlan::Subquery(subquery) => one_row(&subquery.subquery),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => one_row(&sort.input),
        LogicalPlan::Distinct(Distinct::All(input)) => one_row(input),
        LogicalPlan::Limit(limit) => match numbers(limit)? {
            Some((0, fetch)) if fetch != Some(0) => one_row(&limit.input),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

/// Whether an expression of a projection can have several values for one row.
fn is_of_many(expr: &Expr) -> bool {
    let many = |expr: &Expr| matches!(expr, Expr::Unnest(_)) || expr.is_volatile_node();
    expr.exists(|expr| Ok(many(expr))).unwrap_or(true)
}

/// Whether a subquery in an expression reads columns of the aggregate, so that it cannot move to the outer query.
fn reads(expr: &Expr, columns: &DFSchema) -> bool {
    let is_own = |expr: &Expr| match expr {
        Expr::OuterReferenceColumn(_, column) => columns.has_column(column),
        _ => true,
    };
    let reads = |expr: &Expr| match expr {
        Expr::Exists(Exists { subquery, .. })
        | Expr::InSubquery(InSubquery { subquery, .. })
        | Expr::SetComparison(SetComparison { subquery, .. })
        | Expr::ScalarSubquery(subquery) => subquery.outer_ref_columns.iter().any(is_own),
        _ => false,
    };
    expr.exists(|expr| Ok(reads(expr))).unwrap_or(true)
}

/// An expression over the row's columns, rewritten to one over its aggregate.
fn over(expr: &Expr, row: &OneRow, schema: &DFSchema) -> DfResult<Expr> {
    let replaced = expr.clone().unalias().transform_up(|expr| match expr {
        Expr::Column(column) => Ok(Transformed::yes(row.columns[schema.index_of_column(&column)?].clone())),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(replaced.data)
}
