//! Floats that are equal in PostgreSQL: -0 and 0, any NaN and any other. What a plan compares, groups or orders by is
//! brought to canonical form, in which Arrow's order is PostgreSQL's; see [`crate::changes::canonical`]. Output values
//! are not changed, except group keys.
//!
//! ```text
//! Aggregate [x], min(y)        Aggregate [canonical(x) AS x], min(canonical(y))      a `min` of its own
//!   Filter y > z         ─▶      Filter canonical(y) > canonical(z)
//!     input                        input
//! ```
//!
//! An analyzer rule, after type coercion, when all types are known. It may run several times over a plan.

mod compared;
mod forms;

use std::sync::Arc;

use datafusion::{
    common::{
        Column,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    error::Result as DfResult,
    logical_expr::{
        Aggregate, BinaryExpr, Distinct, DistinctOn, Expr, Filter, GroupingSet, Join, JoinConstraint, LogicalPlan,
        Operator, Projection, RecursiveQuery, Sort,
        expr_rewriter::NamePreserver,
        utils::{conjunction, split_conjunction, split_conjunction_owned},
    },
    optimizer::AnalyzerRule,
};

pub(super) use self::compared::compares;
use self::forms::in_one_form;
pub(in crate::sql) use self::{compared::compared, forms::Forms};
use crate::sql::functions::is_canonical;

/// The analyzer rule.
#[derive(Debug)]
pub(in crate::sql) struct FloatRules;

impl AnalyzerRule for FloatRules {
    fn name(&self) -> &str {
        "floats"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let forms = Forms::of(&plan)?;
    match plan {
        LogicalPlan::Aggregate(aggregate) => grouped(aggregate, &forms),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let input = in_one_form(input)?;
            Ok(Transformed::new(LogicalPlan::Distinct(Distinct::All(input.data)), input.transformed, input.tnr))
        }
        LogicalPlan::Distinct(Distinct::On(clause)) => distinct_on(clause, &forms),
        LogicalPlan::Sort(sort) => {
            let mut changed = false;
            let mut order = sort.expr;
            for by in &mut order {
                changed |= keyed(&mut by.expr, &forms)?;
            }
            let sort = LogicalPlan::Sort(Sort { expr: order, ..sort });
            Ok(Transformed::new(sort, changed, TreeNodeRecursion::Continue))
        }
        LogicalPlan::Join(join) => joined(join, &forms),
        LogicalPlan::Filter(filter) => filtered(filter, &forms),
        LogicalPlan::RecursiveQuery(query) if query.is_distinct => {
            let (first, next) = (in_one_form(query.static_term)?, in_one_form(query.recursive_term)?);
            let changed = first.transformed || next.transformed;
            let query = RecursiveQuery { static_term: first.data, recursive_term: next.data, ..query };
            Ok(Transformed::new(LogicalPlan::RecursiveQuery(query), changed, TreeNodeRecursion::Continue))
        }
        plan => named_expressions(plan, |expr| compared(expr, &forms)),
    }
}

/// Rewrites the expressions of a node and keeps their names; the expressions of grouping sets one by one.
pub(in crate::sql) fn named_expressions(
    plan: LogicalPlan,
    change: impl Fn(Expr) -> DfResult<Transformed<Expr>>,
) -> DfResult<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&plan);
    let named = |expr: Expr| {
        let name = names.save(&expr);
        Ok(change(expr)?.update_data(|expr| name.restore(expr)))
    };
    plan.map_expressions(|expr| match expr {
        Expr::GroupingSet(_) => expr.map_children(named),
        expr => named(expr),
    })
}

/// Rewrites an expression that is a key: its comparisons and its value.
fn keyed(expr: &mut Expr, forms: &Forms) -> DfResult<bool> {
    let inner = compared(std::mem::take(expr), forms)?;
    *expr = inner.data;
    Ok(forms.key(expr)? | inner.transformed)
}

/// A key that is part of the output, under its previous name.
fn shown_key(expr: &mut Expr, forms: &Forms) -> DfResult<bool> {
    let name = NamePreserver::new_for_projection().save(expr);
    let changed = keyed(expr, forms)?;
    if changed {
        *expr = name.restore(std::mem::take(expr));
    }
    Ok(changed)
}

fn grouped(aggregate: Aggregate, forms: &Forms) -> DfResult<Transformed<LogicalPlan>> {
    let Aggregate { input, mut group_expr, mut aggr_expr, schema, .. } = aggregate;
    let mut changed = false;
    for key in &mut group_expr {
        match key {
            Expr::GroupingSet(GroupingSet::Rollup(keys) | GroupingSet::Cube(keys)) => {
                for key in keys {
                    changed |= shown_key(key, forms)?;
                }
            }
            Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => {
                for key in sets.iter_mut().flatten() {
                    changed |= shown_key(key, forms)?;
                }
            }
            key => changed |= shown_key(key, forms)?,
        }
    }
    for function in &mut aggr_expr {
        let name = NamePreserver::new_for_projection().save(function);
        let inner = compared(std::mem::take(function), forms)?;
        changed |= inner.transformed;
        *function = name.restore(inner.data);
    }
    let plan = match changed {
        true => Aggregate::try_new(input, group_expr, aggr_expr)?,
        false => Aggregate::try_new_with_schema(input, group_expr, aggr_expr, schema)?,
    };
    Ok(Transformed::new(LogicalPlan::Aggregate(plan), changed, TreeNodeRecursion::Continue))
}

fn distinct_on(clause: DistinctOn, forms: &Forms) -> DfResult<Transformed<LogicalPlan>> {
    let DistinctOn { mut on_expr, mut select_expr, mut sort_expr, input, schema } = clause;
    let mut changed = false;
    for key in on_expr.iter_mut().chain(sort_expr.iter_mut().flatten().map(|by| &mut by.expr)) {
        changed |= keyed(key, forms)?;
    }
    for shown in &mut select_expr {
        let name = NamePreserver::new_for_projection().save(shown);
        let inner = compared(std::mem::take(shown), forms)?;
        changed |= inner.transformed;
        *shown = name.restore(inner.data);
    }
    let clause = DistinctOn { on_expr, select_expr, sort_expr, input, schema };
    Ok(Transformed::new(LogicalPlan::Distinct(Distinct::On(clause)), changed, TreeNodeRecursion::Continue))
}

fn joined(mut join: Join, forms: &Forms) -> DfResult<Transformed<LogicalPlan>> {
    let mut changed = false;
    for (left, right) in &mut join.on {
        changed |= keyed(left, forms)? | keyed(right, forms)?;
    }
    if changed {
        // USING only allows columns.
        join.join_constraint = JoinConstraint::On;
    }
    if let Some(filter) = join.filter.take() {
        let filter = compared(filter, forms)?;
        changed |= filter.transformed;
        join.filter = Some(filter.data);
    }
    Ok(Transformed::new(LogicalPlan::Join(join), changed, TreeNodeRecursion::Continue))
}

/// Prefix of the names of columns in canonical form.
const FORM: &str = "__float";

/// A filter. A subquery can become a join only where a column of its own equals an outer expression, so the inner side
/// of such an equality becomes a column.
fn filtered(filter: Filter, forms: &Forms) -> DfResult<Transformed<LogicalPlan>> {
    let predicate = compared(filter.predicate, forms)?;
    let correlated = |part: &&Expr| matches!(part, Expr::BinaryExpr(equal) if own_side(equal).is_some());
    if !predicate.transformed || !split_conjunction(&predicate.data).iter().any(correlated) {
        let plan = LogicalPlan::Filter(Filter::try_new(predicate.data, filter.input)?);
        return Ok(Transformed::new(plan, predicate.transformed, TreeNodeRecursion::Continue));
    }
    let below = forms_below(&filter.input)?;
    let columns: Vec<Expr> = filter.input.schema().columns().into_iter().map(Expr::Column).collect();
    let mut with_forms = columns.clone();
    let parts = split_conjunction_owned(predicate.data).into_iter().map(|part| match part {
        Expr::BinaryExpr(mut equal) => {
            if let Some(side) = own_side(&equal) {
                let side = if side { &mut equal.left } else { &mut equal.right };
                let name = format!("{FORM}{}", below + with_forms.len() - columns.len());
                with_forms.push(std::mem::take(side.as_mut()).alias(&name));
                **side = Expr::Column(Column::new_unqualified(name));
            }
            Expr::BinaryExpr(equal)
        }
        other => other,
    });
    let predicate = conjunction(parts.collect::<Vec<_>>()).unwrap_or_default();
    let plan = LogicalPlan::Projection(Projection::try_new(with_forms, filter.input)?);
    let plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?);
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?)))
}

/// Which side of an equality is a canonical expression of the subquery's own columns, opposite an outer one: true is
/// left.
fn own_side(equal: &BinaryExpr) -> Option<bool> {
    let own = |side: &Expr| is_canonical(side) && side.any_column_refs() && !side.contains_outer();
    let outer = |side: &Expr| side.contains_outer() && !side.any_column_refs();
    match equal.op {
        Operator::Eq if own(&equal.left) && outer(&equal.right) => Some(true),
        Operator::Eq if own(&equal.right) && outer(&equal.left) => Some(false),
        _ => None,
    }
}

/// How many columns named by the prefix a plan has.
fn forms_below(plan: &LogicalPlan) -> DfResult<usize> {
    let mut count = 0;
    plan.apply(|plan| {
        if let LogicalPlan::Projection(projection) = plan {
            count += projection.schema.fields().iter().filter(|field| field.name().starts_with(FORM)).count();
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(count)
}
