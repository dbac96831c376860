//! Gives unique names to the columns that a correlated predicate compares with outer columns. DataFusion pulls the
//! predicate up to the join that it makes of the subquery, and the columns with it, under an alias that turns both
//! `u.c` and `w.c` into `c`.
//!
//! ```text
//! Filter w.c = outer(o.b)       Projection u.c, w.c
//!   u, w                    ─▶    Filter __pulled_1_0 = outer(o.b)
//!                                   Projection u.c, w.c, w.c AS __pulled_1_0
//! ```
//!
//! An alias above such a predicate becomes a projection, which passes that column on.

use std::sync::Arc;

use datafusion::{
    common::{
        Column,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    error::Result as DfResult,
    logical_expr::{
        Expr, Filter, LogicalPlan, Projection, SubqueryAlias,
        utils::{conjunction, split_conjunction_owned},
    },
};

use crate::sql::normalize::has_subquery::has_subquery;

/// The plan with a unique name for each column that may be pulled up. Subqueries of equal text stay equal.
pub(super) fn named(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    within(plan, 0)
}

/// The same for a plan at a nesting depth of subqueries.
fn within(plan: LogicalPlan, depth: usize) -> DfResult<LogicalPlan> {
    let mut names = (0..).map(|n| format!("__pulled_{depth}_{n}"));
    let plan = plan.transform_up(|plan| {
        let plan = plan.map_subqueries(|plan| Ok(Transformed::yes(within(plan, depth + 1)?)))?.data;
        match plan {
            LogicalPlan::Filter(filter) if filter.predicate.contains_outer() => of_filter(filter, &mut names),
            LogicalPlan::SubqueryAlias(alias) if is_passed(&alias.input) => of_alias(alias),
            other => Ok(Transformed::no(other)),
        }
    });
    Ok(plan?.data)
}

/// Whether a predicate is pulled up through a plan. From a LATERAL it is pulled up to the join above.
fn is_passed(plan: &LogicalPlan) -> bool {
    !matches!(plan, LogicalPlan::Subquery(_)) && !plan.all_out_ref_exprs().is_empty()
}

fn of_alias(SubqueryAlias { input, alias, .. }: SubqueryAlias) -> DfResult<Transformed<LogicalPlan>> {
    let columns = input.schema().columns().into_iter().map(|column| {
        let name = column.name.clone();
        Expr::Column(column).alias_qualified(Some(alias.clone()), name)
    });
    let columns = columns.collect();
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(columns, input)?)))
}

fn of_filter(filter: Filter, names: &mut impl Iterator<Item = String>) -> DfResult<Transformed<LogicalPlan>> {
    let Filter { predicate, input, .. } = filter;
    let own = input.schema().columns();
    let mut pulled: Vec<(Column, String)> = Vec::new();
    let mut column = |column: Column| {
        let name = match pulled.iter().find(|(other, _)| *other == column) {
            Some((_, name)) => name.clone(),
            None => {
                let name = names.next().unwrap_or_default();
                pulled.push((column, name.clone()));
                name
            }
        };
        Expr::Column(Column::new_unqualified(name))
    };
    let mut renamed = |condition: Expr| -> DfResult<Expr> {
        // A predicate with a subquery is not pulled up.
        if !condition.contains_outer() || has_subquery(&condition) {
            return Ok(condition);
        }
        let renamed = condition.transform_down(|expr| match expr {
            Expr::Column(of) => Ok(Transformed::new(column(of), true, TreeNodeRecursion::Jump)),
            other => Ok(Transformed::no(other)),
        });
        Ok(renamed?.data)
    };
    let conditions = split_conjunction_owned(predicate).into_iter().map(&mut renamed).collect::<DfResult<Vec<_>>>()?;
    let predicate = conjunction(conditions).unwrap_or_else(|| datafusion::logical_expr::lit(true));
    if pulled.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Filter(Filter::try_new(predicate, input)?)));
    }
    let columns = own.iter().cloned().map(Expr::Column);
    let named = pulled.into_iter().map(|(column, name)| Expr::Column(column).alias(name));
    let input = LogicalPlan::Projection(Projection::try_new(columns.chain(named).collect(), input)?);
    let filter = Arc::new(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?));
    let own = own.into_iter().map(Expr::Column).collect();
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(own, filter)?)))
}
