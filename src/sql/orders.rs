//! Names in an ORDER BY expression refer to input columns, as in PostgreSQL; a bare name refers to an output column, if
//! there is one. DataFusion takes all names for output columns, or for ambiguous.
//!
//! ```text
//! SELECT -a AS a FROM t ORDER BY a + 1   ─▶   SELECT a FROM (SELECT -a AS a, a + 1 AS __by0 FROM t) AS __shown ORDER BY __by0
//! ```
//!
//! In a subquery of an expression every computed sort key becomes such a column: DataFusion adds missing sort columns
//! in no fixed order, so that two subqueries of equal text would differ (in DISTINCT ON and its ORDER BY, in
//! `string_agg(DISTINCT x ORDER BY x)`).

use std::{collections::HashSet, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Ident, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, TableWithJoins, Value,
    VisitMut, VisitorMut, visit_expressions,
};

use super::{
    names::fold,
    naming,
    nodes::{self, alias_of, derived, query_of},
};

/// Resolves the ORDER BY names of all queries of a statement to input columns.
pub(super) fn by_input(node: &mut impl VisitMut) {
    let _ = node.visit(&mut Orders);
}

struct Orders;

impl VisitorMut for Orders {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let _ = resolve_order_by(query);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let query = match expr {
            Expr::Subquery(query) => query,
            Expr::InSubquery { subquery, .. } | Expr::Exists { subquery, .. } => subquery,
            _ => return ControlFlow::Continue(()),
        };
        let is_computed = |by: &Expr| !matches!(by, Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_));
        let _ = as_columns(query, is_computed);
        ControlFlow::Continue(())
    }
}

/// `None` if nothing needs to change, or if the column names are unknown.
fn resolve_order_by(query: &mut Query) -> Option<()> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    // DISTINCT ON compares its expressions with those of ORDER BY as text.
    if matches!(select.distinct, Some(Distinct::On(_))) {
        return None;
    }
    let hiding = hiding(&select.projection);
    as_columns(query, |by| is_hidden(by, &hiding))
}

/// Turns the sort keys for which `is_hidden` holds into columns. With DISTINCT all sort keys are output columns.
fn as_columns(query: &mut Query, is_hidden: impl Fn(&Expr) -> bool) -> Option<()> {
    let OrderByKind::Expressions(order) = &mut query.order_by.as_mut()?.kind else { return None };
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let is_shown = |by: &OrderByExpr, item: &SelectItem| expr_of(item) == Some(&by.expr);
    let mut hidden = false;
    for by in order.iter_mut().filter(|by| is_hidden(&by.expr)) {
        match select.projection.iter().position(|item| is_shown(by, item)) {
            Some(place) => by.expr = Expr::value(Value::Number((place + 1).to_string(), false)),
            None => hidden = true,
        }
    }
    if !hidden || select.distinct.is_some() {
        return None;
    }
    let (shown, names) = shown(select)?;
    // The outer query can only see output columns.
    let is_seen = |by: &Expr| match by {
        Expr::Identifier(name) => names.contains(&fold(name)),
        by => matches!(by, Expr::Value(_)),
    };
    for (n, by) in order.iter_mut().filter(|by| !is_seen(&by.expr)).enumerate() {
        let alias = Ident::new(format!("__by{n}"));
        let expr = std::mem::replace(&mut by.expr, Expr::Identifier(alias.clone()));
        select.projection.push(SelectItem::ExprWithAlias { expr, alias });
    }
    let inner = std::mem::replace(select.as_mut(), nodes::select(shown, None));
    let relation = derived(query_of(inner), Some(alias_of(Ident::new("__shown"))));
    select.from = vec![TableWithJoins { relation, joins: Vec::new() }];
    Some(())
}

fn expr_of(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// The names of output columns that may differ from the input column of the same name.
fn hiding(items: &[SelectItem]) -> HashSet<String> {
    let name = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(fold(alias)),
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => None,
        SelectItem::UnnamedExpr(expr) => naming::figured(expr),
        _ => None,
    };
    items.iter().filter_map(name).collect()
}

/// Whether a sort key uses a hidden name within an expression.
fn is_hidden(expr: &Expr, hiding: &HashSet<String>) -> bool {
    if matches!(expr, Expr::Identifier(_)) {
        return false;
    }
    let mut hidden = false;
    let _ = visit_expressions(expr, |part| {
        let name = match part {
            Expr::Identifier(name) => Some(name),
            Expr::CompoundIdentifier(parts) => parts.last(),
            _ => None,
        };
        hidden |= name.is_some_and(|name| hiding.contains(&fold(name)));
        ControlFlow::<()>::Continue(())
    });
    hidden
}

/// The items of a SELECT over another one with the same output, and their names; the columns of the inner one get
/// aliases. `None` if they are unknown, or if there are duplicates.
fn shown(select: &mut Select) -> Option<(Vec<SelectItem>, HashSet<String>)> {
    let mut names = HashSet::new();
    let mut shown = Vec::new();
    let mut named = select.projection.clone();
    for (n, item) in named.iter_mut().enumerate() {
        let name = match &*item {
            SelectItem::ExprWithAlias { alias, .. } => alias.clone(),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => name.clone(),
            SelectItem::UnnamedExpr(expr) => {
                let name = naming::figured(expr).unwrap_or_else(|| "?column?".to_string());
                Ident::with_quote('"', name)
            }
            _ => return None,
        };
        if !names.insert(fold(&name)) {
            return None;
        }
        shown.push(match &*item {
            SelectItem::UnnamedExpr(expr) if !matches!(expr, Expr::Identifier(_)) => {
                let own = Ident::new(format!("__shown{n}"));
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: own.clone() };
                SelectItem::ExprWithAlias { expr: Expr::Identifier(own), alias: name }
            }
            _ => SelectItem::UnnamedExpr(Expr::Identifier(name)),
        });
    }
    select.projection = named;
    Some((shown, names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{parse, statement::Body};

    fn check(sql: &str, expected: &str) {
        let Body::Query(mut query) = parse(sql).unwrap().remove(0).body else { panic!("not a query") };
        by_input(&mut query);
        assert_eq!(query.to_string(), expected);
    }

    #[test]
    fn order_by_expression_names_refer_to_the_input() {
        check(
            "SELECT -a AS a FROM t ORDER BY a + 1 DESC, t.a, a, b, t.c, 1 LIMIT 2",
            "SELECT a FROM (SELECT -a AS a, a + 1 AS __by0, t.a AS __by1, b AS __by2, t.c AS __by3 FROM t) AS __shown \
             ORDER BY __by0 DESC, __by1, a, __by2, __by3, 1 LIMIT 2",
        );
        check(
            "SELECT 1 WHERE 2 IN (SELECT a::bigint FROM t ORDER BY t.a)",
            "SELECT 1 WHERE 2 IN (SELECT __shown0 AS \"a\" FROM (SELECT a::BIGINT AS __shown0, t.a AS __by0 FROM t) \
             AS __shown ORDER BY __by0)",
        );
        check("SELECT max(a) AS a FROM t ORDER BY max(a)", "SELECT max(a) AS a FROM t ORDER BY 1");
    }

    #[test]
    fn order_by_in_expression_subqueries_uses_only_columns() {
        let subquery = "(SELECT a FROM t ORDER BY b + c, a LIMIT 1)";
        let ordered = "(SELECT a FROM (SELECT a, b + c AS __by0 FROM t) AS __shown ORDER BY __by0, a LIMIT 1)";
        for around in [
            "SELECT DISTINCT ON (*) e FROM u ORDER BY *, e",
            "SELECT string_agg(DISTINCT *, ',' ORDER BY *) FROM u",
            "SELECT DISTINCT ON (e IN *) e FROM u ORDER BY e IN *, e",
            "SELECT DISTINCT ON (e = ANY*) e FROM u ORDER BY e = ANY*, e",
            "SELECT DISTINCT ON (EXISTS *) e FROM u ORDER BY EXISTS *, e",
        ] {
            check(&around.replace('*', subquery), &around.replace('*', ordered));
        }
    }

    #[test]
    fn order_by_without_ambiguity_is_unchanged() {
        let same = |sql: &str| check(sql, sql);
        same("SELECT a, b FROM t ORDER BY a + 1, t.b");
        same("SELECT a AS c FROM t ORDER BY c, b + 1, 1");
        same("SELECT DISTINCT ON (t.a) a AS a FROM t ORDER BY t.a + 1");
        same("SELECT *, b AS a FROM t ORDER BY t.a");
    }
}
