//! Expressions of a SELECT that differ in their casts alone. DataFusion leaves casts out of the names of expressions, and
//! takes one name in a GROUP BY, or among the functions of a SELECT, for one expression, which it refuses to see twice.
//!
//! ```text
//! SELECT max(ts::date), max(ts)   ─▶   SELECT max(cast(ts::date, 'DATE')), max(ts)
//! ```

use std::{collections::HashMap, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, Value, VisitMut, VisitorMut, visit_expressions,
    visit_expressions_mut,
};

use super::{functions::NAMED_CAST, quantified::calls};

/// Gives a name to the casts of each SELECT of a query that could not be told apart without.
pub(super) fn told_apart(query: &mut Query) {
    let _ = query.visit(&mut Selects);
}

struct Selects;

impl VisitorMut for Selects {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let changed = in_selects(query.body.as_mut());
        if changed && matches!(query.body.as_ref(), SetExpr::Select(_)) {
            name_casts(&mut query.order_by);
        }
        ControlFlow::Continue(())
    }
}

fn in_selects(body: &mut SetExpr) -> bool {
    match body {
        SetExpr::Select(select) if has_twins(select) => {
            name_casts(&mut select.projection);
            name_casts(&mut select.group_by);
            name_casts(&mut select.having);
            name_casts(&mut select.named_window);
            if let Some(Distinct::On(exprs)) = &mut select.distinct {
                name_casts(exprs);
            }
            true
        }
        SetExpr::SetOperation { left, right, .. } => {
            in_selects(left);
            in_selects(right)
        }
        _ => false,
    }
}

/// Whether two keys, or two calls of functions, are one but for their casts.
fn has_twins(select: &Select) -> bool {
    let mut keys: Vec<Expr> = Vec::new();
    if let GroupByExpr::Expressions(exprs, _) = &select.group_by
        && !exprs.is_empty()
    {
        keys.extend(exprs.iter().flat_map(of_sets));
        // A key may be the name of one of these, or its place.
        keys.extend(select.projection.iter().filter_map(|item| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.clone()),
            _ => None,
        }));
    }
    let mut calls: Vec<Expr> = Vec::new();
    let mut collect = |expr: &Expr| {
        if matches!(expr, Expr::Function(_)) {
            calls.push(expr.clone());
        }
        ControlFlow::<()>::Continue(())
    };
    let _ = visit_expressions(&select.projection, &mut collect);
    let _ = visit_expressions(&select.having, &mut collect);
    are_twins(keys) || are_twins(calls)
}

/// The expressions of GROUPING SETS and its like.
fn of_sets(expr: &Expr) -> Vec<Expr> {
    match expr {
        Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => sets.concat(),
        other => vec![other.clone()],
    }
}

fn are_twins(exprs: Vec<Expr>) -> bool {
    let mut seen: HashMap<String, String> = HashMap::new();
    exprs.into_iter().any(|mut expr| {
        let _ = visit_expressions_mut(&mut expr, |part| {
            // Which relation a column is of may be said or not.
            if let Expr::CompoundIdentifier(parts) = part
                && let Some(name) = parts.pop()
            {
                *part = Expr::Identifier(name);
            }
            ControlFlow::<()>::Continue(())
        });
        let whole = expr.to_string();
        let _ = visit_expressions_mut(&mut expr, |part| {
            while let Expr::Cast { expr: inner, .. } | Expr::Nested(inner) = part {
                *part = std::mem::replace(inner.as_mut(), Expr::value(Value::Null));
            }
            ControlFlow::<()>::Continue(())
        });
        let before = seen.entry(expr.to_string()).or_insert_with(|| whole.clone());
        *before != whole
    })
}

fn name_casts(exprs: &mut impl VisitMut) {
    // From within: a cast that has its name is not looked at again.
    let _ = visit_expressions_mut(exprs, |expr| {
        if let Expr::Cast { expr: inner, data_type, .. } = expr
            && !matches!(inner.as_ref(), Expr::Value(_))
        {
            let name = Expr::value(Value::SingleQuotedString(data_type.to_string()));
            *expr = calls(NAMED_CAST, vec![expr.clone(), name]);
        }
        ControlFlow::<()>::Continue(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{parse, statement::Body};

    fn check(sql: &str, changed: bool) {
        let Body::Query(query) = parse(sql).unwrap().remove(0).body else { panic!("not a query") };
        let mut apart = query.clone();
        told_apart(&mut apart);
        assert_eq!(apart.to_string().contains("cast("), changed, "{sql}: {apart}");
    }

    #[test]
    fn casts_get_names_only_where_something_else_has_theirs() {
        check("SELECT max(ts::date), max(t.ts) FROM t", true);
        check("SELECT ts::date AS d, ts FROM t GROUP BY d, ts", true);
        check("SELECT 1 WHERE EXISTS (SELECT sum(a::int), sum(a::float8) FROM t)", true);
        check("SELECT 1 UNION SELECT count(a) + count(a::text) FROM t", true);
        check("SELECT sum(a::int) OVER (ORDER BY b), sum(a) OVER (ORDER BY b) FROM t", true);
        check("SELECT max(ts::date), max(t.ts::date) FROM t", false);
        check("SELECT ts::date, ts FROM t", false);
        check("SELECT ts::date, count(*) FROM t GROUP BY ts::date", false);
        check("SELECT max(ts::date), min(ts) FROM t", false);
    }
}
