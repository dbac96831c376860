//! Expressions of a SELECT that differ only in their casts. DataFusion leaves casts out of the names of expressions,
//! and refuses two GROUP BY keys, or two functions of a SELECT, of the same name.
//!
//! ```text
//! SELECT max(ts::date), max(ts)   ─▶   SELECT max(cast(ts::date, 'DATE')), max(ts)
//! ```

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
};

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, OrderBy, Query, Select, SelectItem, SetExpr, Value, VisitMut, VisitorMut,
    visit_expressions, visit_expressions_mut,
};

use super::{functions::NAMED_CAST, quantified::calls};

/// Names the casts in each SELECT of a statement that would otherwise be ambiguous.
pub(super) fn name_ambiguous_casts(node: &mut impl VisitMut) {
    let _ = node.visit(&mut Selects);
}

struct Selects;

impl VisitorMut for Selects {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let twins = in_selects(query.body.as_mut(), query.order_by.as_ref());
        if let (Some(twins), SetExpr::Select(_)) = (twins, query.body.as_ref()) {
            name_casts(&mut query.order_by, &twins);
        }
        ControlFlow::Continue(())
    }
}

/// The ambiguous expressions of a SELECT, after naming its casts; `None` for set operations.
fn in_selects(body: &mut SetExpr, order: Option<&OrderBy>) -> Option<HashSet<String>> {
    match body {
        SetExpr::Select(select) => {
            let (keys, calls) = (twins(keys(select)), twins(calls_of(select, order)));
            if keys.is_empty() && calls.is_empty() {
                return None;
            }
            name_casts(&mut select.projection, &calls);
            name_casts(&mut select.group_by, &calls);
            name_casts(&mut select.having, &calls);
            name_casts(&mut select.named_window, &calls);
            if let Some(Distinct::On(exprs)) = &mut select.distinct {
                name_casts(exprs, &calls);
            }
            Some(calls)
        }
        SetExpr::SetOperation { left, right, .. } => {
            in_selects(left, None);
            in_selects(right, None);
            None
        }
        _ => None,
    }
}

/// The GROUP BY keys of a SELECT.
fn keys(select: &Select) -> Vec<Expr> {
    let GroupByExpr::Expressions(exprs, _) = &select.group_by else { return Vec::new() };
    if exprs.is_empty() {
        return Vec::new();
    }
    let mut keys: Vec<Expr> = exprs.iter().flat_map(of_sets).collect();
    // A key may refer to one of these by name or position.
    keys.extend(select.projection.iter().filter_map(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.clone()),
        _ => None,
    }));
    keys
}

/// The function calls in a SELECT and its ORDER BY.
fn calls_of(select: &Select, order: Option<&OrderBy>) -> Vec<Expr> {
    let mut calls: Vec<Expr> = Vec::new();
    let mut collect = |expr: &Expr| {
        if matches!(expr, Expr::Function(_)) {
            calls.push(expr.clone());
        }
        ControlFlow::<()>::Continue(())
    };
    let _ = visit_expressions(&select.projection, &mut collect);
    let _ = visit_expressions(&select.having, &mut collect);
    let _ = order.map(|order| visit_expressions(order, &mut collect));
    calls
}

/// The expressions of GROUPING SETS, ROLLUP and CUBE.
fn of_sets(expr: &Expr) -> Vec<Expr> {
    match expr {
        Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => sets.concat(),
        other => vec![other.clone()],
    }
}

/// Expressions that are equal but for their casts, as text.
fn twins(exprs: Vec<Expr>) -> HashSet<String> {
    let mut alike: HashMap<String, HashSet<String>> = HashMap::new();
    for expr in exprs {
        let whole = unqualified(expr);
        let mut bare = whole.clone();
        let _ = visit_expressions_mut(&mut bare, |part| {
            while let Expr::Cast { expr: inner, .. } | Expr::Nested(inner) = part {
                *part = std::mem::replace(inner.as_mut(), Expr::value(Value::Null));
            }
            ControlFlow::<()>::Continue(())
        });
        alike.entry(bare.to_string()).or_default().insert(whole.to_string());
    }
    alike.into_values().filter(|wholes| wholes.len() > 1).flatten().collect()
}

/// Without qualifiers: they are optional.
fn unqualified(mut expr: Expr) -> Expr {
    let _ = visit_expressions_mut(&mut expr, |part| {
        if let Expr::CompoundIdentifier(parts) = part
            && let Some(name) = parts.pop()
        {
            *part = Expr::Identifier(name);
        }
        ControlFlow::<()>::Continue(())
    });
    expr
}

/// Names the casts of some expressions. Casts of literals, where a literal may be required, only if calls are
/// ambiguous.
fn name_casts(exprs: &mut impl VisitMut, twins: &HashSet<String>) {
    let name = |expr: &mut Expr, literal: bool| {
        if let Expr::Cast { expr: inner, data_type, .. } = expr
            && literal == matches!(inner.as_ref(), Expr::Value(_))
        {
            let name = Expr::value(Value::SingleQuotedString(data_type.to_string()));
            *expr = calls(NAMED_CAST, vec![expr.clone(), name]);
        }
    };
    // Innermost first: a cast that has its name is not visited again.
    let _ = visit_expressions_mut(exprs, |expr| {
        if matches!(expr, Expr::Function(_)) && twins.contains(&unqualified(expr.clone()).to_string()) {
            let _ = visit_expressions_mut(expr, |part| {
                name(part, true);
                ControlFlow::<()>::Continue(())
            });
        }
        ControlFlow::<()>::Continue(())
    });
    let _ = visit_expressions_mut(exprs, |expr| {
        name(expr, false);
        ControlFlow::<()>::Continue(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{parse, statement::Body};

    fn check(sql: &str, changed: bool) {
        let Body::Query(query) = parse(sql).unwrap().remove(0).body else { panic!("not a query") };
        let mut named = query.clone();
        name_ambiguous_casts(&mut named);
        assert_eq!(named.to_string().contains("cast("), changed, "{sql}: {named}");
    }

    #[test]
    fn casts_are_aliased_only_where_names_collide() {
        check("SELECT max(ts::date), max(t.ts) FROM t", true);
        check("SELECT ts::date AS d, ts FROM t GROUP BY d, ts", true);
        check("SELECT 1 WHERE EXISTS (SELECT sum(a::int), sum(a::float8) FROM t)", true);
        check("SELECT 1 UNION SELECT count(a) + count(a::text) FROM t", true);
        check("SELECT sum(a::int) OVER (ORDER BY b), sum(a) OVER (ORDER BY b) FROM t", true);
        check("SELECT sum('1'::int % a), sum('1'::bigint % a) FROM t", true);
        check("SELECT sum('1'::int % a), max('1'::bigint % a) FROM t", false);
        check("SELECT sum(a::int) FROM t GROUP BY k ORDER BY sum((t.a))", true);
        check("SELECT max(ts::date), max(t.ts::date) FROM t", false);
        check("SELECT ts::date, ts FROM t", false);
        check("SELECT ts::date, count(*) FROM t GROUP BY ts::date", false);
        check("SELECT max(ts::date), min(ts) FROM t", false);
    }
}
