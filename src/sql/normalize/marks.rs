//! EXISTS and IN (subquery) outside of a WHERE conjunction: in the SELECT list, under OR, NOT, CASE. Each becomes a
//! boolean column of a join, true where a row has a match in the subquery. (Mark joins: Neumann, Leis, Kemper, "The
//! Complete Story of Joins (in HyPer)", 2017.)
//!
//! ```text
//! x IN (SELECT y FROM u)     ─▶     CASE WHEN some y = x THEN true  WHEN some y = x is NULL THEN NULL  ELSE false END
//! ```
//!
//! DataFusion does so in filters only, and treats NULL as false there.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::{
    common::{
        Column, DFSchema, ExprSchema, JoinType, ScalarValue,
        alias::AliasGenerator,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    error::Result as DfResult,
    logical_expr::{
        Expr, Filter, LogicalPlan, LogicalPlanBuilder, Projection,
        expr::{Exists, InSubquery},
        lit,
        utils::{conjunction, split_conjunction_owned},
        when,
    },
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule, decorrelate::PullUpCorrelatedExpr},
};

/// The optimizer rule. A subquery whose correlation cannot be pulled up stays, and is refused after all rules.
#[derive(Debug, Default)]
pub(in crate::sql) struct MarkSubqueries;

impl OptimizerRule for MarkSubqueries {
    fn name(&self) -> &str {
        "mark_subqueries"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let below = |subquery: LogicalPlan| subquery.transform_down(|plan| self.rewrite(plan, config));
        let plan = plan.map_subqueries(below)?.data;
        let plan = plan.map_expressions(|expr| expr.transform_up(|expr| named(expr, config)))?.data;
        match plan {
            LogicalPlan::Projection(projection) if projection.expr.iter().any(has_predicate) => {
                let mut marks =
                    MarkRewriter { input: Arc::unwrap_or_clone(projection.input), names: config.alias_generator() };
                let exprs = projection.expr.into_iter().map(|expr| marks.replace(expr)).collect::<DfResult<_>>()?;
                let plan = Projection::try_new_with_schema(exprs, Arc::new(marks.input), projection.schema)?;
                Ok(Transformed::yes(LogicalPlan::Projection(plan)))
            }
            LogicalPlan::Filter(filter) if has_predicate(&filter.predicate) => {
                let (own, others): (Vec<_>, Vec<_>) = split_conjunction_owned(filter.predicate)
                    .into_iter()
                    .partition(|part| has_predicate(part) && !is_condition(part, false));
                let schema = filter.input.schema().clone();
                let mut marks =
                    MarkRewriter { input: Arc::unwrap_or_clone(filter.input), names: config.alias_generator() };
                let replaced = own.into_iter().map(|part| marks.replace(part)).collect::<DfResult<Vec<_>>>()?;
                let marked = marks.input.schema().fields().len() > schema.fields().len();
                let mut plan = marks.input;
                if let Some(predicate) = conjunction(replaced.into_iter().chain(others)) {
                    plan = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?);
                }
                if marked {
                    let columns = schema.columns().into_iter().map(Expr::Column).collect();
                    plan = LogicalPlan::Projection(Projection::try_new_with_schema(columns, Arc::new(plan), schema)?);
                }
                Ok(Transformed { transformed: marked, ..Transformed::yes(plan) })
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// IN with a subquery whose values are cast gets an alias: the cast would otherwise have the same name as its column,
/// which a predicate pulled up from the subquery may read too.
fn named(expr: Expr, config: &dyn OptimizerConfig) -> DfResult<Transformed<Expr>> {
    let Expr::InSubquery(mut within) = expr else { return Ok(Transformed::no(expr)) };
    if let LogicalPlan::Projection(projection) = within.subquery.subquery.as_ref()
        && let [cast @ Expr::Cast(_)] = projection.expr.as_slice()
    {
        let value = cast.clone().alias(config.alias_generator().next("__in"));
        let named = Projection::try_new(vec![value], projection.input.clone())?;
        within.subquery.subquery = Arc::new(LogicalPlan::Projection(named));
        return Ok(Transformed::yes(Expr::InSubquery(within)));
    }
    Ok(Transformed::no(Expr::InSubquery(within)))
}

fn has_predicate(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::Exists(_) | Expr::InSubquery(_)))).unwrap_or(true)
}

/// Whether a conjunct of a filter is a bare subquery: these become semi or anti joins.
fn is_condition(expr: &Expr, negated: bool) -> bool {
    match expr {
        Expr::Not(inner) => !negated && is_condition(inner, true),
        Expr::Exists(_) => true,
        // NOT IN depends on NULLs, which DataFusion honors in a join of one key only; a constant is no join key.
        Expr::InSubquery(within) => {
            let is_in = within.negated == negated;
            let one_key = within.subquery.outer_ref_columns.is_empty() && !within.expr.column_refs().is_empty();
            (is_in || one_key) && !has_predicate(&within.expr)
        }
        _ => false,
    }
}

/// A plan under construction, with one more column for each subquery.
struct MarkRewriter<'a> {
    input: LogicalPlan,
    names: &'a Arc<AliasGenerator>,
}

impl MarkRewriter<'_> {
    /// Replaces the subqueries of an expression by columns of the input, and keeps its name.
    fn replace(&mut self, expr: Expr) -> DfResult<Expr> {
        let name = expr.schema_name().to_string();
        let replaced = expr.transform_up(|expr| match expr {
            Expr::Exists(exists) => self.exists(exists),
            Expr::InSubquery(within) => self.within(within),
            other => Ok(Transformed::no(other)),
        })?;
        match replaced.transformed && replaced.data.schema_name().to_string() != name {
            true => Ok(replaced.data.unalias().alias(name)),
            false => Ok(replaced.data),
        }
    }

    fn exists(&mut self, exists: Exists) -> DfResult<Transformed<Expr>> {
        match self.mark(&exists.subquery.subquery)? {
            Some(mark) => Ok(Transformed::yes(if exists.negated { !mark } else { mark })),
            None => Ok(Transformed::no(Expr::Exists(exists))),
        }
    }

    fn within(&mut self, within: InSubquery) -> DfResult<Transformed<Expr>> {
        let plan = &within.subquery.subquery;
        let value = Expr::Column(Column::from(plan.schema().qualified_field(0)));
        let wanted = outer(within.expr.as_ref().clone(), self.input.schema())?;
        let equal = wanted.clone().eq(value.clone());
        let meets = LogicalPlanBuilder::from(plan.as_ref().clone()).filter(equal)?.build()?;
        let unknown = wanted.is_null().or(value.is_null());
        let unknown = LogicalPlanBuilder::from(plan.as_ref().clone()).filter(unknown)?.build()?;
        let before = self.input.clone();
        let (Some(meets), Some(unknown)) = (self.mark(&meets)?, self.mark(&unknown)?) else {
            self.input = before;
            return Ok(Transformed::no(Expr::InSubquery(within)));
        };
        let null = lit(ScalarValue::Boolean(None));
        let is_in = when(meets, lit(true)).when(unknown, null).otherwise(lit(false))?;
        Ok(Transformed::yes(if within.negated { !is_in } else { is_in }))
    }

    /// A column that says whether a subquery has a row; `None` where its correlation cannot be pulled up.
    fn mark(&mut self, subquery: &LogicalPlan) -> DfResult<Option<Expr>> {
        let mut pull_up = PullUpCorrelatedExpr::new().with_exists_sub_query(true);
        let plan = subquery.clone().rewrite(&mut pull_up).data()?;
        if !pull_up.can_pull_up {
            return Ok(None);
        }
        let alias = self.names.next("__correlated_sq");
        let plan = LogicalPlanBuilder::from(plan).alias(alias.clone())?.build()?;
        let correlated: BTreeSet<Column> = pull_up.correlated_subquery_cols_map.into_values().flatten().collect();
        let condition = match conjunction(pull_up.join_filters) {
            Some(condition) => requalified(condition, &correlated, &alias)?,
            None => lit(true),
        };
        let needed = condition.column_refs();
        let needed: Vec<Expr> =
            plan.schema().columns().into_iter().filter(|column| needed.contains(column)).map(Expr::Column).collect();
        let plan = match needed.is_empty() {
            true => plan,
            false => LogicalPlanBuilder::from(plan).project(needed)?.build()?,
        };
        let input = std::mem::take(&mut self.input);
        self.input = LogicalPlanBuilder::from(input).join_on(plan, JoinType::LeftMark, Some(condition))?.build()?;
        Ok(Some(Expr::Column(Column::new(Some(alias), "mark"))))
    }
}

/// Qualifies the subquery's columns in an expression with its new alias.
fn requalified(expr: Expr, columns: &BTreeSet<Column>, alias: &str) -> DfResult<Expr> {
    expr.transform(|expr| match expr {
        Expr::Column(column) if columns.contains(&column) => {
            Ok(Transformed::yes(Expr::Column(Column::new(Some(alias), column.name))))
        }
        other => Ok(Transformed::no(other)),
    })
    .data()
}

/// An expression of the outer query with its columns as outer references.
fn outer(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    expr.transform_down(|expr| match expr {
        Expr::Column(column) => {
            let field = schema.field_from_column(&column)?.clone();
            Ok(Transformed::new(Expr::OuterReferenceColumn(field, column), true, TreeNodeRecursion::Jump))
        }
        other => Ok(Transformed::no(other)),
    })
    .data()
}
