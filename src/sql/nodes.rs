//! Constructors for sqlparser's AST nodes: no name or literal is parsed again.

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, ObjectName, Query, Select, SelectFlavor, SelectItem, SetExpr, TableAlias, TableFactor,
    TableWithJoins, Value, WildcardAdditionalOptions, helpers::attached_token::AttachedToken,
};

/// `SELECT items FROM relation`
pub fn select(projection: Vec<SelectItem>, relation: Option<TableFactor>) -> Select {
    Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection,
        exclude: None,
        into: None,
        from: relation.into_iter().map(|relation| TableWithJoins { relation, joins: Vec::new() }).collect(),
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    }
}

/// A query with only a body.
pub fn query(body: SetExpr) -> Query {
    Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

/// The query of a SELECT.
pub fn query_of(select: Select) -> Query {
    query(SetExpr::Select(Box::new(select)))
}

/// `*`
pub fn wildcard() -> SelectItem {
    SelectItem::Wildcard(WildcardAdditionalOptions::default())
}

/// A column under an alias that needs no quotes.
pub fn named(expr: Expr, alias: &str) -> SelectItem {
    SelectItem::ExprWithAlias { expr, alias: Ident::new(alias) }
}

/// A quoted identifier with exactly this text.
pub fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// A subquery in FROM.
pub fn derived(query: Query, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::Derived { lateral: false, subquery: Box::new(query), alias, sample: None }
}

pub fn alias_of(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: Vec::new(), at: None }
}

/// A relation in FROM.
pub fn table(name: ObjectName) -> TableFactor {
    TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

pub fn null() -> Expr {
    Expr::Value(Value::Null.with_empty_span())
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::{dialect::PostgreSqlDialect, parser::Parser};

    use super::*;

    #[test]
    fn select_of_names_that_need_quotes_is_what_its_text_says() {
        let (name, column) = ("my \"own\" table; --", "select");
        let inner = query_of(select(vec![wildcard()], Some(table(ObjectName::from(vec![quoted("S"), quoted(name)])))));
        let around = derived(inner, Some(alias_of(quoted("a b"))));
        let made = query_of(select(vec![SelectItem::UnnamedExpr(Expr::Identifier(quoted(column)))], Some(around)));
        let text = r#"SELECT "select" FROM (SELECT * FROM "S"."my ""own"" table; --") AS "a b""#;
        assert_eq!(made.to_string(), text);
        let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).unwrap().parse_query().unwrap();
        assert_eq!(*parsed, made);
    }
}
