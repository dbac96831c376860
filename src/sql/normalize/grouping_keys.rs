//! Computed keys of GROUPING SETS, ROLLUP and CUBE become columns of the input, under their names in the output.
//! DataFusion keeps the name of a key that it rewrites (`||` becomes a function), but not that of one within a set.
//!
//! ```text
//! Aggregate ROLLUP (y || 'x')  ─▶  Aggregate ROLLUP ("y || 'x'") over Projection *, y || 'x' AS "y || 'x'"
//! ```

use std::sync::Arc;

use datafusion::{
    common::{Column, tree_node::Transformed},
    error::Result as DfResult,
    logical_expr::{Aggregate, Expr, GroupingSet, LogicalPlan, Projection},
};

use crate::error::Result;

/// The plan with only columns as keys of grouping sets.
pub(super) fn as_columns(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate),
        other => Ok(Transformed::no(other)),
    });
    Ok(plan?.data)
}

fn of_aggregate(aggregate: Aggregate) -> DfResult<Transformed<LogicalPlan>> {
    let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() else {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    };
    let taken = |name: &str| aggregate.input.schema().has_column_with_unqualified_name(name);
    let mut computed: Vec<(Expr, String)> = Vec::new();
    for key in sets.distinct_expr() {
        let name = key.schema_name().to_string();
        if !matches!(key, Expr::Column(_)) && !taken(&name) {
            computed.push((key.clone(), name));
        }
    }
    if computed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let column = |key: &Expr| match computed.iter().find(|(computed, _)| computed == key) {
        Some((_, name)) => Expr::Column(Column::new_unqualified(name)),
        None => key.clone(),
    };
    let columns = |keys: &[Expr]| keys.iter().map(column).collect::<Vec<_>>();
    let sets = match sets {
        GroupingSet::Rollup(keys) => GroupingSet::Rollup(columns(keys)),
        GroupingSet::Cube(keys) => GroupingSet::Cube(columns(keys)),
        GroupingSet::GroupingSets(sets) => GroupingSet::GroupingSets(sets.iter().map(|keys| columns(keys)).collect()),
    };
    let own = aggregate.input.schema().columns().into_iter().map(Expr::Column);
    let exprs = own.chain(computed.iter().map(|(key, name)| key.clone().alias(name))).collect();
    let input = LogicalPlan::Projection(Projection::try_new(exprs, aggregate.input)?);
    let aggregate = Aggregate::try_new(Arc::new(input), vec![Expr::GroupingSet(sets)], aggregate.aggr_expr)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}
