//! Rewrites subqueries so that the joins that DataFusion makes of them have the right result.
//!
//! - An aggregate without GROUP BY has one row, even on empty input: EXISTS is true, IN is an equality, and an
//!   expression over the aggregate is evaluated only where its value is needed ([`one_row`]).
//! - `(SELECT v FROM u WHERE u.k = t.k ORDER BY o LIMIT 1)` is `first_value(v ORDER BY o)`.
//! - In an aggregate, a window function, ORDER BY or ON a subquery is a column of the input ([`hoist`]).
//! - The columns that a predicate compares with outer columns get unique names ([`pulled`]).
//! - A subquery whose correlation cannot be pulled up is refused by name ([`correlation`]).

mod correlation;
mod hoist;
mod limit;
mod one_row;
mod pulled;

use std::sync::Arc;

use datafusion::{
    common::{
        Column, DFSchema, Spans,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    error::Result as DfResult,
    functions::core::named_struct,
    functions_aggregate::{count::count_udaf, first_last::first_value_udaf},
    logical_expr::{
        Aggregate, Expr, LogicalPlan, Projection, Subquery,
        expr::{AggregateFunction, Exists, InSubquery, SetComparison, SetQuantifier},
        expr_rewriter::NamePreserver,
        lit, when,
    },
    scalar::ScalarValue,
};

use self::{
    correlation::lateral,
    limit::limited,
    one_row::{OneRow, one_row},
};
use super::{has_subquery::has_subquery, ordering::ordered};
use crate::{
    error::Result,
    sql::functions::{only_row, perhaps_null},
};

pub(super) fn of_one_meaning(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = pulled::named(plan)?.transform_up_with_subqueries(of_node)?.data;
    correlation::check_aggregates(&plan)?;
    Ok(plan)
}

fn of_node(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    if let LogicalPlan::Join(_) = &plan {
        plan.inputs().into_iter().filter_map(lateral).try_for_each(|subquery| {
            correlation::check(subquery)?;
            correlation::check_rows(subquery)
        })?;
    }
    if !plan.expressions().iter().any(has_subquery) {
        return Ok(Transformed::no(plan));
    }
    Ok(Transformed::yes(of_hoisted(hoist::into_input(plan)?, HOISTED_DEPTH)?))
}

/// Depth of the nodes with subqueries after hoisting: a projection, the node itself, a projection.
const HOISTED_DEPTH: usize = 3;

/// Rewrites the nearest nodes that have subqueries.
fn of_hoisted(plan: LogicalPlan, depth: usize) -> DfResult<LogicalPlan> {
    if plan.expressions().iter().any(has_subquery) {
        return Ok(of_expressions(plan)?.data);
    }
    match depth {
        0 => Ok(plan),
        _ => Ok(plan.map_children(|child| Ok(Transformed::yes(of_hoisted(child, depth - 1)?)))?.data),
    }
}

fn of_expressions(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&plan);
    let inputs: Vec<_> = plan.inputs().into_iter().map(|input| input.schema().clone()).collect();
    let outer: Vec<&DFSchema> = inputs.iter().map(AsRef::as_ref).collect();
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| of_subquery(expr, &outer))?;
        Ok(expr.update_data(|expr| name.restore(expr)))
    })?;
    plan.map_data(LogicalPlan::recompute_schema)
}

/// Rewrites one subquery of a node's expression; `outer` are the schemas of the node's inputs.
fn of_subquery(expr: Expr, outer: &[&DFSchema]) -> DfResult<Transformed<Expr>> {
    match expr {
        Expr::Exists(exists) => of_exists(exists, outer),
        Expr::InSubquery(within) => match one_row(&within.subquery.subquery)?.filter(OneRow::is_of_one_column) {
            Some(row) => {
                let InSubquery { expr, negated, .. } = within;
                let is_in = row.otherwise_false(Expr::eq(*expr, row.value(outer)?), outer)?;
                Ok(Transformed::yes(if negated { !is_in } else { is_in }))
            }
            None => {
                correlation::check(&within.subquery.subquery)?;
                let InSubquery { expr, subquery, negated } = within;
                Ok(answer(subquery)?.update_data(|subquery| Expr::InSubquery(InSubquery { expr, subquery, negated })))
            }
        },
        Expr::SetComparison(compared) => match one_row(&compared.subquery.subquery)?.filter(OneRow::is_of_one_column) {
            Some(row) => {
                let SetComparison { expr, op, quantifier, .. } = compared;
                let holds = datafusion::logical_expr::binary_expr(*expr, op, row.value(outer)?);
                Ok(Transformed::yes(match quantifier {
                    SetQuantifier::Any => row.otherwise_false(holds, outer)?,
                    SetQuantifier::All => row.otherwise(holds, lit(true), outer)?,
                }))
            }
            None => {
                correlation::check(&compared.subquery.subquery)?;
                let SetComparison { expr, subquery, op, quantifier } = compared;
                let of = |subquery| Expr::SetComparison(SetComparison { expr, subquery, op, quantifier });
                Ok(answer(subquery)?.update_data(of))
            }
        },
        Expr::ScalarSubquery(subquery) => of_scalar(subquery, outer),
        other => Ok(Transformed::no(other)),
    }
}

fn of_exists(exists: Exists, outer: &[&DFSchema]) -> DfResult<Transformed<Expr>> {
    let Exists { subquery, negated } = exists;
    let said = |is: Expr| Ok(Transformed::yes(if negated { !is } else { is }));
    if let Some(row) = one_row(&subquery.subquery)? {
        return said(row.exists(outer)?);
    }
    let is_correlated = is_correlated(&subquery.subquery);
    match limited(&subquery.subquery)? {
        Some((_, _, Some(0))) => said(lit(false)),
        Some((input, 0, _)) => {
            correlation::check(&input)?;
            Ok(Transformed::yes(Expr::Exists(Exists { subquery: subquery_of(input), negated })))
        }
        // Whether there are more rows than the offset.
        Some((input, skip, _)) if is_correlated => {
            correlation::check(&input)?;
            let skip = i64::try_from(skip).unwrap_or(i64::MAX);
            said(count_of(input)?.gt(lit(skip)))
        }
        _ => {
            correlation::check(&subquery.subquery)?;
            Ok(Transformed::no(Expr::Exists(Exists { subquery, negated })))
        }
    }
}

fn of_scalar(subquery: Subquery, outer: &[&DFSchema]) -> DfResult<Transformed<Expr>> {
    let plan = &subquery.subquery;
    if plan.schema().fields().len() != 1 {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    }
    if let Some(row) = one_row(plan)? {
        return match row.is_plain() {
            true => {
                correlation::check(&row.aggregate)?;
                valued(subquery)
            }
            false => {
                let value = row.value(outer)?;
                Ok(Transformed::yes(row.otherwise(value, lit(ScalarValue::Null), outer)?))
            }
        };
    }
    if is_correlated(plan)
        && let Some((input, 0, Some(1))) = limited(plan)?
    {
        correlation::check(&input)?;
        return Ok(Transformed::yes(perhaps_null(Expr::ScalarSubquery(subquery_of(first_of(input)?)))));
    }
    correlation::check(plan)?;
    if may_have_several_rows(plan) {
        let row = Expr::ScalarSubquery(subquery_of(counted(plan.as_ref().clone())?));
        return Ok(Transformed::yes(only_row(row)));
    }
    Ok(Transformed::yes(perhaps_null(valued(subquery)?.data)))
}

/// A correlated subquery that is grouped by its correlation keys has one row for each outer row.
fn may_have_several_rows(plan: &LogicalPlan) -> bool {
    match is_correlated(plan) {
        true => !is_grouped(plan),
        false => plan.max_rows().is_none_or(|rows| rows > 1),
    }
}

/// Whether the rows come from an aggregate, for which DataFusion can prove one row for each outer row.
fn is_grouped(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(_) => true,
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) => {
            plan.inputs().into_iter().any(is_grouped)
        }
        _ => false,
    }
}

/// `SELECT named_struct('value', first_value(v), 'rows', count(*)) FROM input`
fn counted(input: LogicalPlan) -> DfResult<LogicalPlan> {
    let value = Expr::Column(Column::from(input.schema().qualified_field(0)));
    let first = AggregateFunction::new_udf(first_value_udaf(), vec![value], false, None, vec![], None);
    let count = AggregateFunction::new_udf(count_udaf(), vec![lit(1i64)], false, None, vec![], None);
    let functions = vec![Expr::AggregateFunction(first), Expr::AggregateFunction(count)];
    let aggregate = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), vec![], functions)?);
    let mut fields = Vec::new();
    for (name, column) in ["value", "rows"].into_iter().zip(aggregate.schema().columns()) {
        fields.extend([lit(name), Expr::Column(column)]);
    }
    let row = named_struct().call(fields).alias(VALUE);
    Ok(LogicalPlan::Projection(Projection::try_new(vec![row], Arc::new(aggregate))?))
}

/// The column name of a subquery: the other side of the join or comparison may have a column of the original name, and
/// of the same relation if both sides read it.
const VALUE: &str = "__value";

fn valued(subquery: Subquery) -> DfResult<Transformed<Expr>> {
    Ok(answer(subquery)?.update_data(Expr::ScalarSubquery))
}

/// A subquery with its only column renamed to `VALUE`.
fn answer(subquery: Subquery) -> DfResult<Transformed<Subquery>> {
    let fields = subquery.subquery.schema().fields();
    match fields.len() != 1 || fields[0].name() == VALUE {
        true => Ok(Transformed::no(subquery)),
        false => Ok(Transformed::yes(subquery_of(value_of(subquery.subquery)?))),
    }
}

/// The first column of a plan, renamed likewise.
fn value_of(plan: Arc<LogicalPlan>) -> DfResult<LogicalPlan> {
    let value = Expr::Column(Column::from(plan.schema().qualified_field(0))).alias(VALUE);
    Ok(LogicalPlan::Projection(Projection::try_new(vec![value], plan)?))
}

/// The first value by the plan's order, or any value if it has none.
fn first_of(input: LogicalPlan) -> DfResult<LogicalPlan> {
    let (input, order) = match ordered(&input)? {
        Some(ordered) => (ordered.plan, ordered.order),
        None => (input, Vec::new()),
    };
    let value = Expr::Column(Column::from(input.schema().qualified_field(0)));
    let first = AggregateFunction::new_udf(first_value_udaf(), vec![value], false, None, order, None);
    let aggregate = Aggregate::try_new(Arc::new(input), vec![], vec![Expr::AggregateFunction(first)])?;
    value_of(Arc::new(LogicalPlan::Aggregate(aggregate)))
}

/// `(SELECT count(*) FROM input)`
fn count_of(input: LogicalPlan) -> DfResult<Expr> {
    let count = AggregateFunction::new_udf(count_udaf(), vec![lit(1i64)], false, None, vec![], None);
    let aggregate = Aggregate::try_new(Arc::new(input), vec![], vec![Expr::AggregateFunction(count)])?;
    Ok(Expr::ScalarSubquery(subquery_of(value_of(Arc::new(LogicalPlan::Aggregate(aggregate)))?)))
}

fn is_correlated(plan: &LogicalPlan) -> bool {
    !plan.all_out_ref_exprs().is_empty()
}

fn subquery_of(plan: LogicalPlan) -> Subquery {
    let outer_ref_columns = plan.all_out_ref_exprs();
    Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() }
}

impl OneRow {
    fn is_of_one_column(&self) -> bool {
        self.columns.len() == 1
    }

    /// The value of its only column, as an expression over the outer columns.
    fn value(&self, outer: &[&DFSchema]) -> DfResult<Expr> {
        let value = self.columns.first().cloned().unwrap_or_else(|| lit(ScalarValue::Null));
        self.outside(value, outer)
    }

    /// Whether the row passes all predicates.
    fn exists(&self, outer: &[&DFSchema]) -> DfResult<Expr> {
        let mut all: Option<Expr> = None;
        for condition in &self.conditions {
            let condition = self.outside(condition.clone(), outer)?.is_true();
            all = Some(all.map_or(condition.clone(), |all| all.and(condition)));
        }
        Ok(all.unwrap_or_else(|| lit(true)))
    }

    /// `expr` where there is a row, `none` where there is not.
    fn otherwise(&self, expr: Expr, none: Expr, outer: &[&DFSchema]) -> DfResult<Expr> {
        match self.conditions.is_empty() {
            true => Ok(expr),
            false => when(self.exists(outer)?, expr).otherwise(none),
        }
    }

    fn otherwise_false(&self, expr: Expr, outer: &[&DFSchema]) -> DfResult<Expr> {
        self.otherwise(expr, lit(false), outer)
    }

    /// An expression over the aggregate as an outer one: each of the aggregate's columns becomes a scalar subquery.
    fn outside(&self, expr: Expr, outer: &[&DFSchema]) -> DfResult<Expr> {
        let moved = expr.transform_down(|expr| match expr {
            Expr::Column(column) => {
                correlation::check(&self.aggregate)?;
                let value = Expr::Column(column).alias(VALUE);
                let plan = Projection::try_new(vec![value], self.aggregate.clone())?;
                let subquery = subquery_of(LogicalPlan::Projection(plan));
                Ok(Transformed::new(Expr::ScalarSubquery(subquery), true, TreeNodeRecursion::Jump))
            }
            Expr::OuterReferenceColumn(_, column) if outer.iter().any(|schema| schema.has_column(&column)) => {
                Ok(Transformed::new(Expr::Column(column), true, TreeNodeRecursion::Jump))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(moved.data)
    }
}
