//! Rewrites SQL of Postgres clients that DataFusion cannot plan into SQL that it can.
//!
//! Differences of spelling are rewritten in every query. The rest is rewritten only in queries that read just the
//! catalog, where the result of a subquery is known beforehand; the meaning of a user's own query is never changed.

use std::{
    ops::ControlFlow,
    sync::{Arc, LazyLock},
};

use datafusion::sql::sqlparser::ast::{
    self, DataType, Expr, FunctionArguments, Ident, JoinOperator, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SetExpr, Statement, TableFactor, Value, VisitMut, VisitorMut,
};
use datafusion_pg_catalog::sql::rules::{
    AliasDuplicatedProjectionRewrite, PrependUnqualifiedPgTableName, RemoveSubqueryFromProjection,
    ResolveUnqualifiedIdentifier, RewriteArrayAnyAllOperation, RewritePgCatalogOperator, SqlStatementRewriteRule,
    StripCollate,
};

use super::{
    ast::{arguments, call, empty_query, last},
    idioms::{Idioms, escaped, subscripts, without_rows},
    table_oids,
};
use crate::sql::nodes::null;

/// Catalog tables without rows: there are no triggers, partitions, policies, publications.
const EMPTY: &[&str] = &[
    "pg_attrdef",
    "pg_auth_members",
    "pg_enum",
    "pg_event_trigger",
    "pg_inherits",
    "pg_partitioned_table",
    "pg_policy",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_sequence",
    "pg_statistic_ext",
    "pg_statistic_ext_data",
    "pg_subscription",
    "pg_subscription_rel",
    "pg_trigger",
    "pg_user_mapping",
];

static SPELLING: LazyLock<Vec<Arc<dyn SqlStatementRewriteRule>>> = LazyLock::new(|| {
    vec![Arc::new(StripCollate), Arc::new(RewritePgCatalogOperator), Arc::new(PrependUnqualifiedPgTableName)]
});

/// Clients search for names in arrays of text.
static ARRAYS: LazyLock<Vec<Arc<dyn SqlStatementRewriteRule>>> =
    LazyLock::new(|| vec![Arc::new(RewriteArrayAnyAllOperation)]);

static CATALOG: LazyLock<Vec<Arc<dyn SqlStatementRewriteRule>>> = LazyLock::new(|| {
    vec![
        Arc::new(ResolveUnqualifiedIdentifier),
        Arc::new(AliasDuplicatedProjectionRewrite),
        Arc::new(RemoveSubqueryFromProjection),
    ]
});

/// Makes a query plannable. To be called on every query before it is planned and its columns are named.
pub fn rewrite(query: &mut Query) {
    apply(query, &SPELLING);
    let _ = query.visit(&mut Qualified);
    let mut found = RelationFinder::default();
    let _ = query.visit(&mut found);
    if found.catalog {
        apply(query, &ARRAYS);
    }
    let catalog = found.catalog && !found.other;
    if catalog {
        let _ = query.visit(&mut Idioms);
        let _ = query.visit(&mut CatalogRewriter);
    }
    let _ = query.visit(&mut NameSpelling);
    if catalog {
        apply(query, &CATALOG);
    }
}

/// Whether a query reads catalog tables, and no tables in other schemas.
pub(super) fn reads_catalog_only(query: &Query) -> bool {
    let (mut query, mut found) = (query.clone(), RelationFinder::default());
    let _ = query.visit(&mut Qualified);
    let _ = query.visit(&mut found);
    found.catalog && !found.other
}

fn apply(query: &mut Query, rules: &[Arc<dyn SqlStatementRewriteRule>]) {
    let whole = std::mem::replace(query, empty_query());
    let whole = rules.iter().fold(Statement::Query(Box::new(whole)), |statement, rule| rule.rewrite(statement));
    if let Statement::Query(whole) = whole {
        *query = *whole;
    }
}

/// Which kinds of tables a query reads.
#[derive(Default)]
struct RelationFinder {
    catalog: bool,
    other: bool,
}

impl VisitorMut for RelationFinder {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = factor {
            match schema(name).as_deref() {
                Some("pg_catalog" | "information_schema") => self.catalog = true,
                Some(_) => self.other = true,
                // A name without a schema may be that of a WITH, which is visited too.
                None => {}
            }
        }
        ControlFlow::Continue(())
    }
}

fn schema(name: &ObjectName) -> Option<String> {
    let at = name.0.len().checked_sub(2)?;
    name.0[at].as_ident().map(|ident| ident.value.to_lowercase())
}

/// Adds the schema to unqualified names of catalog tables, including those that the rule of the exports does not know.
struct Qualified;

impl VisitorMut for Qualified {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = factor
            && name.0.len() == 1
            && last(name).is_some_and(|name| name.starts_with("pg_") && table_oids::all().any(|known| known == name))
        {
            name.0.insert(0, ObjectNamePart::Identifier(Ident::new("pg_catalog")));
        }
        ControlFlow::Continue(())
    }
}

/// Rewrites of spelling, for every query.
struct NameSpelling;

impl VisitorMut for NameSpelling {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(_), .. } = factor {
            unqualify(name);
            without_rows(factor);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => {
                unqualify(&mut function.name);
                // `current_user` and the like have no parentheses; DataFusion needs an empty argument list.
                if matches!(function.args, FunctionArguments::None)
                    && last(&function.name).is_some_and(|name| WITHOUT_PARENTHESES.contains(&name.as_str()))
                {
                    function.args = FunctionArguments::List(arguments(Vec::new()));
                }
                if last(&function.name).as_deref() == Some("generate_subscripts") {
                    subscripts(expr);
                }
            }
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
                let mut escape = escape_char.take().map(|escape| escape.value);
                escaped(pattern, &mut escape);
                *escape_char = escape.map(Into::into);
            }
            Expr::Identifier(ident)
                if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("current_schema") =>
            {
                *expr = call("current_schema", Vec::new());
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// After the children, since casts are nested: `'t'::regclass::oid`.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Cast { expr: inner, data_type, .. } = expr else { return ControlFlow::Continue(()) };
        let inner_kind = match inner.as_ref() {
            Expr::Function(function) => last(&function.name).filter(|name| REG.contains(&name.as_str())),
            _ => None,
        };
        if let Some(kind) = alias_of(data_type).filter(|name| REG.contains(&name.as_str())) {
            let inner = std::mem::replace(inner.as_mut(), null());
            *expr = call(&kind, vec![inner]);
            return ControlFlow::Continue(());
        }
        // Functions are represented by name: only a literal name is looked up.
        if alias_of(data_type).is_some_and(|name| name == "regproc" || name == "regprocedure") {
            let inner = std::mem::replace(inner.as_mut(), null());
            let written = matches!(&inner, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)));
            *expr = if written { call("regproc", vec![inner]) } else { inner };
            return ControlFlow::Continue(());
        }
        if let Some(plain) = alias_of(data_type).and_then(|name| plain_type(&name)) {
            *data_type = plain;
        } else if let DataType::Array(ast::ArrayElemTypeDef::SquareBracket(item, _)) = data_type
            && let Some(plain) = alias_of(item).and_then(|name| plain_type(&name))
        {
            **item = plain;
        }
        // The text of an alias type's value is the name of the object.
        if let Some(kind) = inner_kind
            && matches!(data_type, DataType::Text | DataType::Varchar(_))
        {
            let inner = std::mem::replace(inner.as_mut(), null());
            *expr = call(&format!("{kind}_out"), vec![inner]);
        }
        ControlFlow::Continue(())
    }
}

const WITHOUT_PARENTHESES: &[&str] =
    &["current_user", "session_user", "current_role", "user", "current_catalog", "current_schema"];

/// The alias types with a function here that finds the oid of a name.
const REG: &[&str] = &["regclass", "regtype", "regnamespace", "regrole"];

/// The name of a type without its schema: `pg_catalog.regclass` is `regclass`.
fn alias_of(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Regclass => Some("regclass".into()),
        DataType::Custom(name, modifiers) if modifiers.is_empty() => {
            let known = schema(name).is_none_or(|schema| schema == "pg_catalog");
            known.then(|| last(name)).flatten()
        }
        _ => None,
    }
}

fn plain_type(name: &str) -> Option<DataType> {
    Some(match name {
        "oid" | "xid" | "cid" | "regoper" | "regoperator" | "regconfig" | "regdictionary" | "regcollation" | "int4" => {
            DataType::Integer(None)
        }
        "int2" => DataType::SmallInt(None),
        "int8" => DataType::BigInt(None),
        "float4" => DataType::Real,
        "float8" => DataType::DoublePrecision,
        "bool" => DataType::Boolean,
        "text" | "name" | "char" | "varchar" | "bpchar" | "cstring" | "information_schema.sql_identifier" => {
            DataType::Text
        }
        "bytea" => DataType::Bytea,
        _ => return None,
    })
}

/// Removes the schema from a function name.
fn unqualify(name: &mut ObjectName) {
    if name.0.len() == 2 && schema(name).as_deref() == Some("pg_catalog") {
        name.0.remove(0);
    }
}

/// Rewrites for queries that read only the catalog.
struct CatalogRewriter;

impl VisitorMut for CatalogRewriter {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Select(select) = query.body.as_ref()
            && is_empty(select)
        {
            query.order_by = None;
            query.limit_clause = None;
        }
        replace_with_empty(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && let FunctionArguments::Subquery(query) = &mut function.args
            && last(&function.name).as_deref() == Some("array")
        {
            *expr = collected(query);
        }
        ControlFlow::Continue(())
    }

    /// After the children, so that an expression wrapped around one is not visited again.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Subquery(query) = expr {
            force_scalar(query);
        }
        if let Expr::Case { operand: Some(operand), .. } = expr
            && let Expr::CompoundIdentifier(parts) = operand.as_ref()
            && let [table, column] = parts.as_slice()
            && column.value == "relkind"
        {
            let oid = Expr::CompoundIdentifier(vec![table.clone(), Ident::new("oid")]);
            let case = std::mem::replace(expr, null());
            *expr = call("coalesce", vec![call("relation_word", vec![oid]), case]);
        }
        ControlFlow::Continue(())
    }
}

/// Whether a SELECT has no rows, by an inner join with a table without rows.
fn is_empty(select: &Select) -> bool {
    let empty = |factor: &TableFactor| match factor {
        TableFactor::Table { name, args: None, .. } => last(name).is_some_and(|name| EMPTY.contains(&name.as_str())),
        _ => false,
    };
    let some = select.from.iter().any(|table| {
        let mut kept = true;
        let joined = table.joins.iter().any(|join| match &join.join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => empty(&join.relation),
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_) => {
                kept = false;
                false
            }
            _ => false,
        });
        kept && (joined || empty(&table.relation))
    });
    // An aggregate of no rows has one row.
    some && !select.projection.iter().any(aggregates)
}

fn aggregates(item: &SelectItem) -> bool {
    /// Finds aggregates, except in subqueries.
    #[derive(Default)]
    struct Finder {
        depth: usize,
        found: bool,
    }
    impl ast::Visitor for Finder {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(function) = expr
                && self.depth == 0
            {
                let name = last(&function.name).unwrap_or_default();
                self.found |=
                    matches!(name.as_str(), "count" | "sum" | "max" | "min" | "bool_or" | "bool_and" | "every")
                        || name.ends_with("_agg");
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder::default();
    let _ = ast::Visit::visit(item, &mut finder);
    finder.found
}

/// Replaces SELECTs without rows by ones that can be planned.
fn replace_with_empty(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) if is_empty(select) => {
            let mut names = std::collections::HashSet::new();
            let item = |(at, item): (usize, &SelectItem)| {
                let name = match item {
                    SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
                    SelectItem::UnnamedExpr(Expr::Identifier(ident)) => ident.value.clone(),
                    SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                        parts.last().map(|p| p.value.clone()).unwrap_or_default()
                    }
                    _ => format!("column{at}"),
                };
                let name = if names.insert(name.clone()) { name } else { format!("{name}_{at}") };
                SelectItem::ExprWithAlias { expr: null(), alias: Ident::with_quote('"', name) }
            };
            select.projection = select.projection.iter().enumerate().map(item).collect();
            select.from.clear();
            select.selection = Some(Expr::Value(Value::Boolean(false).into()));
            select.group_by = ast::GroupByExpr::Expressions(Vec::new(), Vec::new());
            select.having = None;
            select.distinct = None;
        }
        SetExpr::SetOperation { left, right, .. } => {
            replace_with_empty(left);
            replace_with_empty(right);
        }
        _ => {}
    }
}

/// `ARRAY(SELECT x …)` as `(SELECT array_agg(x) …)`; options of objects that have none as an empty array.
fn collected(query: &mut Query) -> Expr {
    let nothing = Expr::Array(ast::Array {
        elem: vec![Expr::Value(Value::SingleQuotedString(String::new()).into())],
        named: true,
    });
    let SetExpr::Select(select) = query.body.as_mut() else { return nothing };
    let calls = select.from.iter().any(|table| {
        matches!(
            &table.relation,
            TableFactor::Table { args: Some(_), .. } | TableFactor::Function { .. } | TableFactor::UNNEST { .. }
        )
    });
    let (1, Some(SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. })) =
        (select.projection.len(), select.projection.first())
    else {
        return nothing;
    };
    if calls || is_empty(select) {
        return nothing;
    }
    let all = call("array_agg", vec![item.clone()]);
    select.projection = vec![SelectItem::UnnamedExpr(all)];
    query.order_by = None;
    Expr::Subquery(Box::new(query.clone()))
}

/// Makes a scalar subquery return one row at most, as DataFusion requires: catalog queries join by oid, so that it has
/// no more.
fn force_scalar(query: &mut Query) {
    if query.limit_clause.is_some() || query.fetch.is_some() {
        return;
    }
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    if select.from.is_empty() || select.distinct.is_some() || select.projection.iter().any(aggregates) {
        return;
    }
    if let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
        select.projection.as_mut_slice()
    {
        let inner = std::mem::replace(item, null());
        *item = call("max", vec![inner]);
        query.order_by = None;
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::{dialect::PostgreSqlDialect, parser::Parser};

    use super::*;

    fn rewritten(sql: &str) -> String {
        let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).expect(sql);
        match statements.remove(0) {
            Statement::Query(mut query) => {
                rewrite(&mut query);
                query.to_string()
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn regclass_casts_become_lookup_functions() {
        assert_eq!(rewritten("SELECT 't'::regclass::oid"), "SELECT regclass('t')::INTEGER");
        assert_eq!(
            rewritten("SELECT c.oid::pg_catalog.regclass::pg_catalog.text FROM t AS c"),
            "SELECT regclass_out(regclass(c.oid)) FROM t AS c"
        );
    }

    #[test]
    fn user_query_without_catalog_tables_is_unchanged() {
        for sql in [
            "SELECT (SELECT max(b.x) FROM b WHERE b.id = a.id) FROM a",
            "SELECT CASE a.relkind WHEN 'x' THEN 1 END FROM a",
            "SELECT * FROM pg_mine",
            "SELECT other.f(x) FROM a",
        ] {
            assert_eq!(rewritten(sql), sql);
        }
        let both = "SELECT (SELECT c.relname FROM pg_catalog.pg_class AS c WHERE c.oid = a.id) FROM public.a";
        assert_eq!(rewritten(both), both);
    }

    #[test]
    fn query_of_an_empty_catalog_table_becomes_an_empty_query() {
        assert_eq!(
            rewritten(
                "SELECT t.tgname, array(SELECT x FROM y) FROM pg_trigger t WHERE t.tgrelid = 1 ORDER BY t.tgname"
            ),
            "SELECT NULL AS \"tgname\", NULL AS \"column1\" WHERE false"
        );
        assert_eq!(rewritten("SELECT count(*) FROM pg_trigger"), "SELECT count(*) FROM pg_catalog.pg_trigger");
        let kept = "SELECT c.relname FROM pg_catalog.pg_class AS c LEFT JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = c.oid";
        assert_eq!(rewritten(kept), kept);
    }

    #[test]
    fn relkind_case_is_rewritten_to_relation_word() {
        assert_eq!(
            rewritten("SELECT CASE c.relkind WHEN 'f' THEN 'foreign table' END FROM pg_class c"),
            "SELECT coalesce(relation_word(c.oid), CASE c.relkind WHEN 'f' THEN 'foreign table' END) FROM pg_catalog.pg_class c"
        );
    }
}
