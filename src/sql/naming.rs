//! Output column names of a query, as in Postgres: `count` for `count(*)`, `?column?` for `1 + 1`.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
};

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Ident, Query, Select, SelectItem, SetExpr, TableFactor, VisitMut, VisitorMut, visit_expressions,
};

use crate::error::{Error, ErrorKind, Result};

/// Postgres' name for an expression without an alias (its `FigureColname`); `None` for `?column?`.
pub(super) fn figured(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(super::names::fold(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(super::names::fold),
        Expr::Function(function) => {
            let name = function.name.0.last()?.as_ident().map(super::names::fold)?;
            // An operator has no name.
            name.chars().any(char::is_alphabetic).then_some(name)
        }
        Expr::Cast { expr, data_type, .. } => figured(expr).or_else(|| Some(type_name(data_type))),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figured(inner),
        Expr::Case { .. } => Some("case".to_string()),
        Expr::Extract { .. } => Some("extract".to_string()),
        Expr::Substring { .. } => Some("substring".to_string()),
        Expr::Trim { .. } => Some("btrim".to_string()),
        Expr::Position { .. } => Some("position".to_string()),
        Expr::Exists { .. } => Some("exists".to_string()),
        Expr::Subquery(query) => names(query)?.into_iter().next().filter(|name| name != UNNAMED),
        Expr::Array(_) => Some("array".to_string()),
        Expr::TypedString(typed) => Some(type_name(&typed.data_type)),
        Expr::Interval(_) => Some("interval".to_string()),
        _ => None,
    }
}

/// Postgres' internal name of a type.
fn type_name(of: &DataType) -> String {
    let written = of.to_string().to_lowercase();
    let bare = match written.split_once('(') {
        Some((before, after)) => format!("{before}{}", after.split_once(')').map_or("", |(_, after)| after)),
        None => written,
    };
    let name = match bare.trim_end_matches("[]").trim() {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "real" => "float4",
        "double precision" | "double" | "float" => "float8",
        "boolean" => "bool",
        "decimal" | "dec" => "numeric",
        "character varying" => "varchar",
        "character" | "char" => "bpchar",
        "timestamp with time zone" => "timestamptz",
        "timestamp without time zone" => "timestamp",
        "time without time zone" => "time",
        "time with time zone" => "timetz",
        other => other,
    };
    name.to_string()
}

fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// The output column names; `None` if a `*` makes their number unknown.
pub fn names(query: &Query) -> Option<Vec<String>> {
    first_select(&query.body)?.projection.iter().map(name_of).collect()
}

/// Fails if a cast has the same name as another column: its generated name would be unknown to clients.
pub fn check_casts(query: &Query) -> Result<()> {
    let (Some(names), Some(select)) = (names(query), first_select(&query.body)) else { return Ok(()) };
    for (n, item) in select.projection.iter().enumerate() {
        let cast = matches!(item, SelectItem::UnnamedExpr(Expr::Cast { .. }));
        if cast && names.iter().enumerate().any(|(other, name)| other != n && *name == names[n]) {
            let message = format!("column \"{}\" specified more than once", names[n]);
            return Err(Error::new(ErrorKind::DuplicateColumn, message).hint("Give one of them another name with AS."));
        }
    }
    Ok(())
}

/// The query with these names as aliases, except for duplicates.
pub fn named(query: &Query) -> Query {
    let mut query = query.clone();
    if let SetExpr::Select(select) = query.body.as_mut() {
        alias(select);
    }
    query
}

/// Names the columns of subqueries in FROM and WITH: `SELECT max FROM (SELECT max(a) FROM t) x`. Duplicate names cannot
/// be referenced; `*` returns both. The right arms of set operations do not determine names, so each of their columns
/// gets a unique one.
pub(super) fn name_subqueries(node: &mut impl VisitMut) {
    let _ = node.visit(&mut Subqueries);
}

struct Subqueries;

impl VisitorMut for Subqueries {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for table in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            rename_twins(table.query.body.as_mut());
        }
        rename_right_arms(query.body.as_mut());
        ControlFlow::Continue(())
    }

    /// The column name of a subquery in an expression is never visible.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Subquery(subquery) | Expr::InSubquery { subquery, .. } | Expr::Exists { subquery, .. } = expr {
            rename_arm_columns(subquery.body.as_mut());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Derived { subquery, .. } = factor {
            rename_twins(subquery.body.as_mut());
        }
        ControlFlow::Continue(())
    }
}

/// Names the columns of a subquery as Postgres does, and makes duplicate names unique, so that none can be referenced.
fn rename_twins(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            let mut times: HashMap<String, usize> = HashMap::new();
            let names: Vec<Option<String>> = select.projection.iter().map(name_of).collect();
            names.iter().flatten().for_each(|name| *times.entry(name.clone()).or_default() += 1);
            for (n, (item, name)) in select.projection.iter_mut().zip(names).enumerate() {
                let (Some(name), Some(expr)) = (name, expr_of(item)) else { continue };
                let twin = times.get(&name).is_some_and(|times| *times > 1);
                if twin || is_unnamed(item) {
                    let alias = if twin { format!("{name}{UNIQUE_SEPARATOR}{n}") } else { name };
                    *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', alias) };
                }
            }
        }
        SetExpr::SetOperation { left, .. } => rename_twins(left),
        SetExpr::Query(query) => rename_twins(query.body.as_mut()),
        _ => {}
    }
}

/// The output name of a SELECT item; `None` for a `*`.
fn name_of(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expr) => Some(figured(expr).unwrap_or_else(|| UNNAMED.to_string())),
        SelectItem::ExprWithAlias { alias, .. } => Some(super::names::fold(alias)),
        _ => None,
    }
}

fn expr_of(item: &SelectItem) -> Option<Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.clone()),
        _ => None,
    }
}

/// Whether DataFusion generates the name of an item.
fn is_unnamed(item: &SelectItem) -> bool {
    !matches!(item, SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)))
        && matches!(item, SelectItem::UnnamedExpr(_))
}

fn rename_right_arms(body: &mut SetExpr) {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            rename_right_arms(left);
            rename_arm_columns(right);
        }
        SetExpr::Query(query) => rename_right_arms(query.body.as_mut()),
        _ => {}
    }
}

/// DataFusion gives an unnamed column of an arm the first arm's name, which another column of this arm may have.
fn rename_arm_columns(arm: &mut SetExpr) {
    match arm {
        SetExpr::Select(select) => {
            for (n, item) in select.projection.iter_mut().enumerate().filter(|(_, item)| is_unnamed(item)) {
                let (Some(name), Some(expr)) = (name_of(item), expr_of(item)) else { continue };
                let alias = Ident::with_quote('"', format!("{name}{UNIQUE_SEPARATOR}{n}"));
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
            rename_duplicate_columns(&mut select.projection);
        }
        SetExpr::SetOperation { left, right, .. } => {
            rename_arm_columns(left);
            rename_arm_columns(right);
        }
        SetExpr::Query(query) => rename_arm_columns(query.body.as_mut()),
        _ => {}
    }
}

/// The query with duplicate column names made unique for DataFusion; [`original_name`] restores the names.
pub fn with_unique_names(query: &Query) -> Query {
    let mut query = query.clone();
    rename_duplicates(query.body.as_mut());
    query
}

fn rename_duplicates(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => rename_duplicate_columns(&mut select.projection),
        SetExpr::SetOperation { left, right, .. } => {
            rename_duplicates(left);
            rename_duplicates(right);
        }
        SetExpr::Query(query) => rename_duplicates(query.body.as_mut()),
        _ => {}
    }
}

fn rename_duplicate_columns(items: &mut [SelectItem]) {
    let wild = items.iter().any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    let mut seen: HashSet<String> = HashSet::new();
    for (n, item) in items.iter_mut().enumerate() {
        // Whether a `*` contains it too is known only to the planner.
        let bare = wild && matches!(item, SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)));
        let (Some(expr), Some(name)) = (expr_of(item), name_of(item)) else { continue };
        if !seen.insert(name.clone()) || bare {
            let alias = Ident::with_quote('"', format!("{name}{UNIQUE_SEPARATOR}{n}"));
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
}

/// Postgres' name of an unnamed column.
const UNNAMED: &str = "?column?";

/// Separates a column's name from its unique suffix; clients cannot write it in a name.
const UNIQUE_SEPARATOR: char = '\u{1}';

/// The original name of a column that [`with_unique_names`] may have renamed.
pub fn original_name(name: &str) -> &str {
    name.split(UNIQUE_SEPARATOR).next().unwrap_or(name)
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
        let name = figured(expr).unwrap_or_else(|| UNNAMED.to_string());
        // DataFusion's name of a subquery changes during planning.
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
    fn unnamed_columns_are_named_as_in_postgres() {
        check("SELECT 1", &["?column?"]);
        check(
            "SELECT count(*), sum(a) AS s, T.b, a::text, (a), a + 1 FROM t",
            &["count", "s", "b", "a", "a", "?column?"],
        );
        check(
            "SELECT '5'::int, 1::double precision, '1'::varchar(3), 1::numeric(4, 2), TIMESTAMP '2024-01-01', a::int",
            &["int4", "float8", "varchar", "numeric", "timestamp", "a"],
        );
        check("SELECT (SELECT max(a) FROM t), (SELECT 1), (SELECT a AS b)", &["max", "?column?", "b"]);
        check("SELECT CASE WHEN a THEN 1 END, now() UNION SELECT 1, 2", &["case", "now"]);
    }
}
