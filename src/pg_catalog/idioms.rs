//! Idioms of catalog queries that only Postgres' own executor supports, each rewritten into what DataFusion can
//! plan.

use std::{collections::HashMap, ops::ControlFlow};

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Select, SelectItem,
    SetExpr, TableFactor, Value, VisitMut, VisitorMut,
};

use super::{
    ast::{binary, call, cast, count, empty_query, last, number},
    table_oids,
};
use crate::sql::nodes::{alias_of, derived, named, null, query_of, select};

/// Rewrites idioms of queries that read only the catalog.
pub(super) struct Idioms;

impl VisitorMut for Idioms {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        // A recursive lookup of the base type of a domain: there are no domains.
        if let Expr::Subquery(query) = expr
            && query.with.as_ref().is_some_and(|with| with.recursive)
        {
            *expr = null();
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let tables = aliases(select);
        let _ = select.visit(&mut TableOids(tables));
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                let _ = expr.visit(&mut Existence);
            }
        }
        ControlFlow::Continue(())
    }
}

/// Table functions without rows here, and their columns.
const CALLS: &[(&str, &[(&str, DataType)])] = &[
    (
        "pg_partition_tree",
        &[("relid", INTEGER), ("parentrelid", INTEGER), ("isleaf", DataType::Boolean), ("level", INTEGER)],
    ),
    ("pg_partition_ancestors", &[("relid", INTEGER)]),
    ("ts_token_type", &[("tokid", INTEGER), ("alias", DataType::Text), ("description", DataType::Text)]),
];

const INTEGER: DataType = DataType::Integer(None);

/// A call of one of [`CALLS`] as a subquery without rows.
pub(super) fn without_rows(factor: &mut TableFactor) {
    let TableFactor::Table { name, args: Some(_), alias, .. } = factor else { return };
    let name = last(name);
    let Some((_, columns)) = CALLS.iter().find(|(call, _)| Some(*call) == name.as_deref()) else { return };
    let called = alias.as_ref().map_or_else(|| Ident::new(name.unwrap_or_default()), |alias| alias.name.clone());
    let columns = columns.iter().map(|(name, data_type)| named(cast(null(), data_type.clone()), name)).collect();
    let empty = Select { selection: Some(Expr::value(Value::Boolean(false))), ..select(columns, None) };
    *factor = derived(query_of(empty), Some(alias_of(called)));
}

/// The oids of a SELECT's tables by alias.
fn aliases(select: &Select) -> HashMap<String, i32> {
    let factors =
        select.from.iter().flat_map(|t| std::iter::once(&t.relation).chain(t.joins.iter().map(|j| &j.relation)));
    let named = factors.filter_map(|factor| {
        let TableFactor::Table { name, alias, args: None, .. } = factor else { return None };
        let table = last(name)?;
        let called = alias.as_ref().map_or_else(|| table.clone(), |alias| alias.name.value.to_lowercase());
        Some((called, table_oids::oid_of(&table)?))
    });
    named.collect()
}

/// Replaces `t.tableoid`, the oid of the row's table, by a constant.
struct TableOids(HashMap<String, i32>);

impl VisitorMut for TableOids {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [.., table, column] = parts.as_slice()
            && column.value.eq_ignore_ascii_case("tableoid")
            && let Some(oid) = self.0.get(&table.value.to_lowercase())
        {
            *expr = Expr::Value(Value::Number(oid.to_string(), false).into());
        }
        ControlFlow::Continue(())
    }
}

/// Replaces `EXISTS (…)` by `(SELECT count(*) > 0 …)`.
struct Existence;

impl VisitorMut for Existence {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Exists { subquery, negated } = expr else { return ControlFlow::Continue(()) };
        let SetExpr::Select(select) = subquery.body.as_mut() else { return ControlFlow::Continue(()) };
        let sign = if *negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
        let any = binary(count(), sign, number(0));
        select.projection = vec![SelectItem::UnnamedExpr(any)];
        subquery.order_by = None;
        *expr = Expr::Subquery(std::mem::replace(subquery, Box::new(empty_query())));
        ControlFlow::Continue(())
    }
}

/// Rewrites `LIKE pattern ESCAPE '/'` to use the backslash, the only escape character of DataFusion.
pub(super) fn escaped(pattern: &mut Expr, escape: &mut Option<Value>) {
    let Some(Value::SingleQuotedString(character)) = escape.as_ref() else { return };
    let mut characters = character.chars();
    let (Some(own), None) = (characters.next(), characters.next()) else { return };
    if own == '\\' {
        return;
    }
    *escape = None;
    let text = |text: String| Expr::Value(Value::SingleQuotedString(text).into());
    let mut whole = std::mem::replace(pattern, null());
    // A doubled escape character is replaced by this while the others are converted.
    const ASIDE: &str = "\u{1}";
    for (from, to) in [
        ("\\".to_string(), "\\\\".to_string()),
        (format!("{own}{own}"), ASIDE.to_string()),
        (own.to_string(), "\\".to_string()),
        (ASIDE.to_string(), own.to_string()),
    ] {
        whole = call("replace", vec![whole, text(from), text(to)]);
    }
    *pattern = whole;
}

/// `generate_subscripts(array, 1)` together with `unnest(array)`: the positions of its items, in step.
pub(super) fn subscripts(expr: &mut Expr) {
    let Expr::Function(function) = expr else { return };
    let FunctionArguments::List(list) = &function.args else { return };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(array)), ..] = list.args.as_slice() else { return };
    // The vectors of numbers that indexes have are counted from 0.
    let of_index = matches!(array, Expr::CompoundIdentifier(parts)
        if parts.last().is_some_and(|c| ["indkey", "indclass", "indoption"].contains(&c.value.as_str())));
    let (first, behind) = if of_index { (0, 0) } else { (1, 1) };
    let length = call("coalesce", vec![call("array_length", vec![array.clone()]), number(0)]);
    let end = binary(cast(length, DataType::BigInt(None)), BinaryOperator::Plus, number(behind));
    *expr = call("unnest", vec![call("range", vec![number(first), end])]);
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::{dialect::PostgreSqlDialect, parser::Parser};

    use super::*;

    #[test]
    fn calls_without_rows_keep_a_name_that_needs_quotes() {
        let sql = r#"SELECT * FROM ts_token_type('x') AS "a ""b""""#;
        let mut query = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).unwrap().parse_query().unwrap();
        let SetExpr::Select(select) = query.body.as_mut() else { panic!("no SELECT") };
        without_rows(&mut select.from[0].relation);
        let expected = "SELECT * FROM (SELECT NULL::INTEGER AS tokid, NULL::TEXT AS alias, NULL::TEXT AS description WHERE \
                        false) AS \"a \"\"b\"\"\"";
        assert_eq!(query.to_string(), expected);
    }

    #[test]
    fn subscripts_of_an_array_are_a_range_beside_it() {
        for (sql, expected) in [
            (
                r#"generate_subscripts("a ""b""", 1)"#,
                r#"unnest(range(1, coalesce(array_length("a ""b"""), 0)::BIGINT + 1))"#,
            ),
            ("generate_subscripts(i.indkey, 1)", "unnest(range(0, coalesce(array_length(i.indkey), 0)::BIGINT + 0))"),
        ] {
            let mut expr = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).unwrap().parse_expr().unwrap();
            subscripts(&mut expr);
            assert_eq!(expr.to_string(), expected);
        }
    }
}
