//! The names of a query's columns, as Postgres gives them: `count` for `count(*)`, `?column?` for `1 + 1`.

use std::{collections::HashSet, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, SetExpr, visit_expressions};

use crate::error::{Error, Kind, Result};

/// The name that Postgres gives to an expression without an alias (its `FigureColname`); `None` for `?column?`.
pub(super) fn figured(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(super::names::fold(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(super::names::fold),
        Expr::Function(function) => Some(function.name.0.last()?.as_ident().map(super::names::fold)?),
        Expr::Cast { expr, data_type, .. } => {
            figured(expr).or_else(|| Some(data_type.to_string().to_lowercase().split('(').next()?.to_string()))
        }
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figured(inner),
        Expr::Case { .. } => Some("case".to_string()),
        Expr::Extract { .. } => Some("extract".to_string()),
        Expr::Substring { .. } => Some("substring".to_string()),
        Expr::Trim { .. } => Some("btrim".to_string()),
        Expr::Position { .. } => Some("position".to_string()),
        Expr::Exists { .. } => Some("exists".to_string()),
        Expr::Array(_) => Some("array".to_string()),
        Expr::TypedString(typed) => Some(typed.data_type.to_string().to_lowercase()),
        Expr::Interval(_) => Some("interval".to_string()),
        _ => None,
    }
}

fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// The name of every column, where the query lists them: `None` where a `*` hides how many there are.
pub fn names(query: &Query) -> Option<Vec<String>> {
    let item = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => Some(figured(expr).unwrap_or_else(|| "?column?".to_string())),
        SelectItem::ExprWithAlias { alias, .. } => Some(super::names::fold(alias)),
        _ => None,
    };
    first_select(&query.body)?.projection.iter().map(item).collect()
}

/// Fails where a column that is a cast has the name of another one: its own would be one that no client knows.
pub fn check_casts(query: &Query) -> Result<()> {
    let (Some(names), Some(select)) = (names(query), first_select(&query.body)) else { return Ok(()) };
    for (n, item) in select.projection.iter().enumerate() {
        let cast = matches!(item, SelectItem::UnnamedExpr(Expr::Cast { .. }));
        if cast && names.iter().enumerate().any(|(other, name)| other != n && *name == names[n]) {
            let message = format!("column \"{}\" specified more than once", names[n]);
            return Err(Error::new(Kind::DuplicateColumn, message).hint("Give one of them another name with AS."));
        }
    }
    Ok(())
}

/// The query with these names as aliases, wherever a name would not stand twice.
pub fn named(query: &Query) -> Query {
    let mut query = query.clone();
    if let SetExpr::Select(select) = query.body.as_mut() {
        alias(select);
    }
    set_right_arms_apart(query.body.as_mut());
    query
}

/// The right arms of set operations give no names, so that one of theirs may stand twice.
fn set_right_arms_apart(body: &mut SetExpr) {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            set_right_arms_apart(left);
            set_apart(right);
        }
        SetExpr::Query(query) => set_right_arms_apart(query.body.as_mut()),
        _ => {}
    }
}

/// The query with columns that DataFusion would take for one told apart; [`together`] undoes it to their names.
pub fn apart(query: &Query) -> Query {
    let mut query = query.clone();
    set_apart(query.body.as_mut());
    query
}

fn set_apart(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => set_columns_apart(&mut select.projection),
        SetExpr::SetOperation { left, right, .. } => {
            set_apart(left);
            set_apart(right);
        }
        SetExpr::Query(query) => set_apart(query.body.as_mut()),
        _ => {}
    }
}

fn set_columns_apart(items: &mut [SelectItem]) {
    let wild = items.iter().any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    let mut seen: HashSet<String> = HashSet::new();
    for (n, item) in items.iter_mut().enumerate() {
        // Whether a `*` has it too, only the planner knows.
        let bare = wild && matches!(item, SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)));
        let (expr, name) = match &*item {
            SelectItem::UnnamedExpr(expr) => (expr.clone(), figured(expr).unwrap_or_else(|| "?column?".to_string())),
            SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), super::names::fold(alias)),
            _ => continue,
        };
        if !seen.insert(name.clone()) || bare {
            let alias = Ident::with_quote('"', format!("{name}{APART}{n}"));
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
}

/// Between a column's name and what tells it from another of that name: in no name that a client could write.
const APART: char = '\u{1}';

/// The name of a column that [`apart`] may have changed.
pub fn together(name: &str) -> &str {
    name.split(APART).next().unwrap_or(name)
}

fn alias(select: &mut Select) {
    let mut seen: HashSet<String> = HashSet::new();
    for item in &select.projection {
        match item {
            SelectItem::ExprWithAlias { alias, .. } => seen.insert(super::names::fold(alias)),
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) => seen.insert(super::names::fold(ident)),
            _ => false,
        };
    }
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
            continue;
        }
        let name = figured(expr).unwrap_or_else(|| "?column?".to_string());
        // What DataFusion calls a subquery changes while it is planned.
        let name = if seen.contains(&name) && has_subquery(expr) { expr.to_string() } else { name };
        if seen.insert(name.clone()) {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name) };
        }
    }
}

fn has_subquery(expr: &Expr) -> bool {
    let mut found = false;
    let _ = visit_expressions(expr, |part| {
        found |= matches!(part, Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. });
        ControlFlow::<()>::Continue(())
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{parse, statement::Body};

    fn check(sql: &str, expected: &[&str]) {
        let Body::Query(query) = parse(sql).unwrap().remove(0).body else { panic!("not a query") };
        assert_eq!(names(&query).unwrap(), expected, "{sql}");
    }

    #[test]
    fn as_postgres() {
        check("SELECT 1", &["?column?"]);
        check(
            "SELECT count(*), sum(a) AS s, T.b, a::text, (a), a + 1 FROM t",
            &["count", "s", "b", "a", "a", "?column?"],
        );
        check("SELECT CASE WHEN a THEN 1 END, now() UNION SELECT 1, 2", &["case", "now"]);
    }
}
