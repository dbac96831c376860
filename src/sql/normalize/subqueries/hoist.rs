//! Subqueries in aggregates, window functions, DISTINCT ON, ORDER BY and ON become columns of a projection below:
//! DataFusion turns them into joins only in projections and filters.
//!
//! ```text
//! Aggregate sum(v * (SELECT …))     ─▶     Aggregate sum(__subquery0)
//!   input                                    Projection *, v * (SELECT …) AS __subquery0
//!                                              input
//! ```

use std::sync::Arc;

use datafusion::{
    common::{
        Column, DFSchema, JoinType,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    error::Result as DfResult,
    logical_expr::{
        Aggregate, Distinct, DistinctOn, Expr, Filter, Join, LogicalPlan, Projection, Sort, SortExpr, Subquery, Window,
        utils::{conjunction, split_conjunction_owned},
    },
};

use crate::sql::normalize::has_subquery::has_subquery;

/// The node over a projection of its subqueries; unchanged if its own expressions may have subqueries.
pub(super) fn into_input(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate),
        LogicalPlan::Window(window) => of_window(window),
        LogicalPlan::Sort(sort) => of_sort(sort),
        LogicalPlan::Join(join) => of_join(join),
        LogicalPlan::Distinct(Distinct::On(distinct)) => of_distinct(distinct),
        other => Ok(other),
    }
}

/// Columns to be added to an input.
#[derive(Default)]
struct Hoisted(Vec<Expr>);

impl Hoisted {
    /// The column that replaces an expression.
    fn column(&mut self, expr: Expr) -> Expr {
        let place = self.0.iter().position(|other| *other == expr).unwrap_or_else(|| {
            self.0.push(expr);
            self.0.len() - 1
        });
        Expr::Column(Column::from_name(name(place)))
    }

    /// Replaces the arguments and FILTER predicates of functions, where they have subqueries.
    fn arguments(&mut self, function: Expr) -> DfResult<Expr> {
        let name = function.schema_name().to_string();
        let replaced = function.transform_down(|expr| match expr {
            Expr::AggregateFunction(mut call) => {
                self.each(&mut call.params.args);
                self.order(&mut call.params.order_by);
                call.params.filter = call.params.filter.map(|filter| Box::new(self.one(*filter)));
                Ok(Transformed::new(Expr::AggregateFunction(call), true, TreeNodeRecursion::Jump))
            }
            Expr::WindowFunction(mut call) => {
                self.each(&mut call.params.args);
                self.each(&mut call.params.partition_by);
                self.order(&mut call.params.order_by);
                call.params.filter = call.params.filter.map(|filter| Box::new(self.one(*filter)));
                Ok(Transformed::new(Expr::WindowFunction(call), true, TreeNodeRecursion::Jump))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(replaced.data.unalias().alias(name))
    }

    fn one(&mut self, expr: Expr) -> Expr {
        if has_subquery(&expr) { self.column(expr) } else { expr }
    }

    fn each(&mut self, exprs: &mut [Expr]) {
        exprs.iter_mut().for_each(|expr| *expr = self.one(std::mem::take(expr)));
    }

    fn order(&mut self, order: &mut [SortExpr]) {
        order.iter_mut().for_each(|by| by.expr = self.one(std::mem::take(&mut by.expr)));
    }

    fn over(self, input: Arc<LogicalPlan>) -> DfResult<Arc<LogicalPlan>> {
        if self.0.is_empty() {
            return Ok(input);
        }
        let mut columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
        columns.extend(self.0.into_iter().enumerate().map(|(place, expr)| expr.alias(name(place))));
        Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(columns, input)?)))
    }
}

fn name(place: usize) -> String {
    format!("__subquery{place}")
}

fn of_aggregate(aggregate: Aggregate) -> DfResult<LogicalPlan> {
    let mut hoisted = Hoisted::default();
    let schema = aggregate.schema.clone();
    let mut groups = aggregate.group_expr;
    if !groups.iter().any(|group| matches!(group, Expr::GroupingSet(_))) {
        hoisted.each(&mut groups);
    }
    let functions = aggregate.aggr_expr.into_iter().map(|function| match has_subquery(&function) {
        true => hoisted.arguments(function),
        false => Ok(function),
    });
    let functions = functions.collect::<DfResult<_>>()?;
    let plan = Aggregate::try_new(hoisted.over(aggregate.input)?, groups, functions)?;
    renamed(LogicalPlan::Aggregate(plan), &schema, |place| place)
}

fn of_window(window: Window) -> DfResult<LogicalPlan> {
    let mut hoisted = Hoisted::default();
    let schema = window.schema.clone();
    let own = window.input.schema().fields().len();
    let functions = window.window_expr.into_iter().map(|function| match has_subquery(&function) {
        true => hoisted.arguments(function),
        false => Ok(function),
    });
    let functions = functions.collect::<DfResult<_>>()?;
    let added = hoisted.0.len();
    let plan = Window::try_new(functions, hoisted.over(window.input)?)?;
    renamed(LogicalPlan::Window(plan), &schema, |place| if place < own { place } else { place + added })
}

fn of_sort(sort: Sort) -> DfResult<LogicalPlan> {
    let mut hoisted = Hoisted::default();
    let schema = sort.input.schema().clone();
    let mut order = sort.expr;
    let input = with_outer_columns(sort.input, &order)?;
    hoisted.order(&mut order);
    let plan = Sort { expr: order, input: hoisted.over(input)?, fetch: sort.fetch };
    renamed(LogicalPlan::Sort(plan), &schema, |place| place)
}

fn of_distinct(mut distinct: DistinctOn) -> DfResult<LogicalPlan> {
    let mut hoisted = Hoisted::default();
    hoisted.each(&mut distinct.on_expr);
    distinct.sort_expr.iter_mut().for_each(|order| hoisted.order(order));
    let shown = distinct.select_expr.into_iter().map(|expr| match has_subquery(&expr) {
        true => {
            let name = expr.schema_name().to_string();
            hoisted.column(expr.unalias()).alias(name)
        }
        false => expr,
    });
    let shown = shown.collect();
    let input = hoisted.over(distinct.input)?;
    let distinct = DistinctOn::try_new(distinct.on_expr, shown, distinct.sort_expr, input)?;
    Ok(LogicalPlan::Distinct(Distinct::On(distinct)))
}

/// The input of a Sort, with the columns that its subqueries read, even if they are not output.
fn with_outer_columns(input: Arc<LogicalPlan>, order: &[SortExpr]) -> DfResult<Arc<LogicalPlan>> {
    let LogicalPlan::Projection(projection) = input.as_ref() else { return Ok(input) };
    let mut exprs = projection.expr.clone();
    for by in order {
        by.expr.apply(|expr| {
            for column in subquery(expr).into_iter().flat_map(outer_columns) {
                let below = projection.input.schema();
                let added = Expr::Column(column.clone());
                if !projection.schema.has_column(&column) && below.has_column(&column) && !exprs.contains(&added) {
                    exprs.push(added);
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, projection.input.clone())?)))
}

/// A projection of the plan's columns under the names of a schema; `place` maps their indexes.
fn renamed(plan: LogicalPlan, schema: &DFSchema, place: impl Fn(usize) -> usize) -> DfResult<LogicalPlan> {
    let columns = plan.schema().columns();
    let named = schema.iter().enumerate().map(|(n, (qualifier, field))| {
        let column = columns[place(n)].clone();
        match column.relation.as_ref() == qualifier && column.name == *field.name() {
            true => Expr::Column(column),
            false => Expr::Column(column).alias_qualified(qualifier.cloned(), field.name()),
        }
    });
    let named: Vec<Expr> = named.collect();
    Ok(LogicalPlan::Projection(Projection::try_new(named, Arc::new(plan))?))
}

/// A subquery in ON becomes a column of the side whose columns it reads. One that reads both sides becomes a filter
/// over an inner join, and is left in other joins.
fn of_join(join: Join) -> DfResult<LogicalPlan> {
    let schema = join.schema.clone();
    let counts = [join.left.schema().fields().len(), join.right.schema().fields().len()];
    let mut sides = [Hoisted::default(), Hoisted::default()];
    let (mut on, mut above) = (Vec::new(), Vec::new());
    let parts = join.on.iter().map(|(l, r)| l.clone().eq(r.clone())).filter(has_subquery);
    let parts: Vec<Expr> = parts.chain(join.filter.into_iter().flat_map(split_conjunction_owned)).collect();
    let keys = join.on.into_iter().filter(|(l, r)| !has_subquery(l) && !has_subquery(r)).collect();
    for part in parts {
        let moved = part.clone().transform_down(|expr| {
            if subquery(&expr).is_none() {
                return Ok(Transformed::no(expr));
            }
            let Some(side) = side(&expr, [join.left.schema(), join.right.schema()]) else {
                return Ok(Transformed::no(expr));
            };
            let Hoisted(columns) = &mut sides[side];
            columns.push(expr);
            let column = Expr::Column(Column::from_name(side_name(side, columns.len() - 1)));
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        })?;
        match has_subquery(&moved.data) && join.join_type == JoinType::Inner {
            true => above.push(moved.data),
            false => on.push(moved.data),
        }
    }
    let [left, right] = sides;
    let left = on_side(left, 0, join.left)?;
    let right = on_side(right, 1, join.right)?;
    let added = left.schema().fields().len() - counts[0];
    let filter = conjunction(on);
    let plan = Join::try_new(
        left,
        right,
        keys,
        filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    let mut plan = LogicalPlan::Join(plan);
    if let Some(above) = conjunction(above) {
        plan = LogicalPlan::Filter(Filter::try_new(above, Arc::new(plan))?);
    }
    match plan.schema().fields().len() == schema.fields().len() {
        true => Ok(plan),
        false => renamed(plan, &schema, |place| if place < counts[0] { place } else { place + added }),
    }
}

fn side_name(side: usize, place: usize) -> String {
    format!("__{}_subquery{place}", ["left", "right"][side])
}

fn on_side(hoisted: Hoisted, side: usize, input: Arc<LogicalPlan>) -> DfResult<Arc<LogicalPlan>> {
    if hoisted.0.is_empty() {
        return Ok(input);
    }
    let mut columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    columns.extend(hoisted.0.into_iter().enumerate().map(|(place, expr)| expr.alias(side_name(side, place))));
    Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(columns, input)?)))
}

/// The subquery of an expression, if it is one.
fn subquery(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(within) => Some(&within.subquery),
        Expr::SetComparison(compared) => Some(&compared.subquery),
        Expr::ScalarSubquery(subquery) => Some(subquery),
        _ => None,
    }
}

/// The outer columns that a subquery reads.
fn outer_columns(subquery: &Subquery) -> impl Iterator<Item = Column> {
    subquery.outer_ref_columns.iter().filter_map(|outer| match outer {
        Expr::OuterReferenceColumn(_, column) => Some(column.clone()),
        _ => None,
    })
}

/// The only side whose columns a subquery reads.
fn side(expr: &Expr, sides: [&DFSchema; 2]) -> Option<usize> {
    let mut columns: Vec<Column> = expr.column_refs().into_iter().cloned().collect();
    columns.extend(outer_columns(subquery(expr)?));
    (0..2).rev().find(|n| columns.iter().all(|column| sides[*n].has_column(column)))
}
