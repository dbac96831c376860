//! Which correlated subqueries are supported. DataFusion pulls correlated predicates up to the join that it makes of
//! the subquery, past all nodes in between, even where that changes their result: those are refused by name.

use datafusion::{
    common::{
        JoinType,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    error::Result as DfResult,
    logical_expr::{Expr, Join, LogicalPlan, Operator, utils::split_conjunction},
};

use crate::error::Error;

/// The subquery of a LATERAL join input, which reads columns of the other input.
pub(super) fn lateral(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    match plan {
        LogicalPlan::Subquery(subquery) => Some(&subquery.subquery),
        LogicalPlan::SubqueryAlias(alias) => lateral(&alias.input),
        _ => None,
    }
}

/// Fails on a correlated subquery whose result would change as a join.
pub(super) fn check(plan: &LogicalPlan) -> DfResult<()> {
    pulled(plan, true)
}

/// `top`: only row-by-row nodes are above. Then an aggregate without GROUP BY gives one row for each outer row, even on
/// empty input.
fn pulled(plan: &LogicalPlan, top: bool) -> DfResult<()> {
    if plan.all_out_ref_exprs().is_empty() {
        return Ok(());
    }
    let below = match plan {
        // HAVING on an aggregate without keys would drop its row for empty input, whatever the predicate.
        LogicalPlan::Filter(filter) if is_of_none(&filter.input) => {
            return Err(refused("HAVING without GROUP BY in a correlated subquery"));
        }
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Distinct(_) => top,
        LogicalPlan::Aggregate(aggregate) => {
            let sets = aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)));
            if sets || (aggregate.group_expr.is_empty() && !top) {
                return Err(refused("an aggregate inside of a correlated subquery's FROM"));
            }
            false
        }
        // Pulling up a predicate of one side drops the LIMIT of the other.
        LogicalPlan::Join(_) if plan.exists(|node| Ok(matches!(node, LogicalPlan::Limit(_))))? => {
            return Err(refused("LIMIT in a join of a correlated subquery"));
        }
        LogicalPlan::Join(join) if join.join_type != JoinType::Inner && reads_around(join) => {
            return Err(refused("an outer join of a correlated subquery that reads columns of a query further out"));
        }
        // The join keeps its schema, which lacks the columns that the pulled-up predicate needs.
        LogicalPlan::Join(join) if join_inputs(join).any(|input| !matches!(input, LogicalPlan::Join(_))) => {
            return Err(refused("a subquery in a join that reads columns of a query further out"));
        }
        LogicalPlan::Limit(_) => return Err(refused("LIMIT in a correlated subquery")),
        LogicalPlan::Window(_) => return Err(refused("a function with OVER in a correlated subquery")),
        _ => false,
    };
    plan.inputs().into_iter().try_for_each(|input| pulled(input, below))
}

/// Whether a join has outer references, in its predicate or below. An outer join pads rows that such a predicate
/// rejects; they are lost once it is pulled up.
fn reads_around(join: &Join) -> bool {
    let on = join.on.iter().flat_map(|(left, right)| [left, right]);
    on.chain(&join.filter).any(Expr::contains_outer) || join_inputs(join).next().is_some()
}

/// The inputs of a join that have outer references. Those of a LATERAL to the join's left input do not count.
fn join_inputs(join: &Join) -> impl Iterator<Item = &LogicalPlan> {
    let left = join.left.schema();
    [&join.left, &join.right].into_iter().map(AsRef::as_ref).filter(|input: &&LogicalPlan| {
        let is_around = |read: &Expr| !matches!(read, Expr::OuterReferenceColumn(_, column) if left.has_column(column));
        match lateral(input) {
            Some(lateral) => lateral.all_out_ref_exprs().iter().any(is_around),
            None => !input.all_out_ref_exprs().is_empty(),
        }
    })
}

/// Fails on an aggregate over a predicate that cannot be pulled past it: anything but an equality with a column of its
/// input. Otherwise the error would be about generated columns.
pub(super) fn check_aggregates(plan: &LogicalPlan) -> DfResult<()> {
    plan.apply_with_subqueries(|node| match node {
        LogicalPlan::Aggregate(aggregate) if !aggregate.aggr_expr.is_empty() && is_held(&aggregate.input) => {
            Err(refused("an aggregate in a correlated subquery whose condition is no equality"))
        }
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(())
}

/// The same for a subquery whose rows are joined one by one (LATERAL), for GROUP BY and DISTINCT: DataFusion would add
/// the predicate's columns to their keys, and return a row for each of their values.
pub(super) fn check_rows(plan: &LogicalPlan) -> DfResult<()> {
    plan.apply(|node| match node {
        LogicalPlan::Aggregate(aggregate) if is_held(&aggregate.input) => {
            Err(refused("GROUP BY in a LATERAL whose condition is no equality"))
        }
        LogicalPlan::Distinct(distinct) if is_held(distinct.input()) => {
            Err(refused("DISTINCT in a LATERAL whose condition is no equality"))
        }
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(())
}

/// Whether a plan is an aggregate that returns a row even if no inner row matches the outer one.
fn is_of_none(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) => {
            plan.inputs().into_iter().any(is_of_none)
        }
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.is_empty() && !aggregate.input.all_out_ref_exprs().is_empty()
        }
        _ => false,
    }
}

fn is_held(plan: &LogicalPlan) -> bool {
    let other = |condition: &&Expr| condition.contains_outer() && !is_equality(condition);
    match plan {
        // Its outer references are resolved by this subquery.
        LogicalPlan::Subquery(_) => false,
        LogicalPlan::Filter(filter) if split_conjunction(&filter.predicate).iter().any(other) => true,
        _ => plan.inputs().into_iter().any(is_held),
    }
}

/// Whether DataFusion pulls a predicate past an aggregate.
fn is_equality(condition: &Expr) -> bool {
    let Expr::BinaryExpr(binary) = condition else { return false };
    let is_column = |expr: &Expr| match expr {
        Expr::Cast(cast) => matches!(cast.expr.as_ref(), Expr::Column(_)),
        expr => matches!(expr, Expr::Column(_)),
    };
    let (left, right) = (binary.left.as_ref(), binary.right.as_ref());
    binary.op == Operator::Eq
        && ((is_column(left) && !right.any_column_refs()) || (is_column(right) && !left.any_column_refs()))
}

fn refused(what: &str) -> datafusion::error::DataFusionError {
    Error::unsupported(what)
        .hint(
            "Join with a subquery in FROM that reads no column of the query around it: GROUP BY, or row_number() OVER \
               (PARTITION BY …), by what the two are joined on.",
        )
        .into()
}
