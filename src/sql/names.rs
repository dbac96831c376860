//! Names in SQL: case folding, reserved words, and the relations and functions that a query refers to.

use std::{collections::HashSet, ops::ControlFlow};

use datafusion::sql::sqlparser::{
    ast::{Expr, Ident, ObjectName, Query, TableFactor, Visit, Visitor, visit_expressions},
    tokenizer::Location,
};

use super::statement::Name;

/// The words that Postgres reserves; as names they must be quoted. Sorted.
const RESERVED: [&str; 77] = [
    "ALL",
    "ANALYSE",
    "ANALYZE",
    "AND",
    "ANY",
    "ARRAY",
    "AS",
    "ASC",
    "ASYMMETRIC",
    "BOTH",
    "CASE",
    "CAST",
    "CHECK",
    "COLLATE",
    "COLUMN",
    "CONSTRAINT",
    "CREATE",
    "CURRENT_CATALOG",
    "CURRENT_DATE",
    "CURRENT_ROLE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "CURRENT_USER",
    "DEFAULT",
    "DEFERRABLE",
    "DESC",
    "DISTINCT",
    "DO",
    "ELSE",
    "END",
    "EXCEPT",
    "FALSE",
    "FETCH",
    "FOR",
    "FOREIGN",
    "FROM",
    "GRANT",
    "GROUP",
    "HAVING",
    "IN",
    "INITIALLY",
    "INTERSECT",
    "INTO",
    "LATERAL",
    "LEADING",
    "LIMIT",
    "LOCALTIME",
    "LOCALTIMESTAMP",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "ONLY",
    "OR",
    "ORDER",
    "PLACING",
    "PRIMARY",
    "REFERENCES",
    "RETURNING",
    "SELECT",
    "SESSION_USER",
    "SOME",
    "SYMMETRIC",
    "SYSTEM_USER",
    "TABLE",
    "THEN",
    "TO",
    "TRAILING",
    "TRUE",
    "UNION",
    "UNIQUE",
    "USER",
    "USING",
    "VARIADIC",
    "WHEN",
    "WHERE",
    "WITH",
];

/// Whether a word must be quoted as a name.
pub fn is_reserved(word: &str) -> bool {
    RESERVED.binary_search(&word.to_ascii_uppercase().as_str()).is_ok()
}

/// The hint for a reserved word used as a name.
pub fn reserved_hint(word: &str) -> String {
    format!("{word} is a reserved word: to use it as a name, write \"{word}\".")
}

/// The name of an identifier: lowercase unless quoted. Only ASCII is folded, as DataFusion does.
pub fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        None => ident.value.to_ascii_lowercase(),
        Some(_) => ident.value.clone(),
    }
}

/// `name` as an SQL identifier: quoted if folding would change it.
pub fn quote(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !is_reserved(name);
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The relations that a query refers to, each once, in order of appearance; without its common table expressions and
/// table functions. Positions are 0: see [`relations_at`].
pub fn relations(query: &Query) -> Vec<Name> {
    relations_at(query, &|_| 0)
}

/// As [`relations`], for any part of a statement, with the position of each name's first appearance by `locate`.
pub fn relations_at<V: Visit>(node: &V, locate: &dyn Fn(Location) -> usize) -> Vec<Name> {
    let mut finder = NameFinder { locate, scopes: vec![], seen: HashSet::new(), found: vec![] };
    let _ = node.visit(&mut finder);
    finder.found
}

/// The functions of schema `public`, or of no schema, that a part of a statement calls, each once.
pub fn calls<V: Visit>(node: &V) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let _ = visit_expressions(node, |expr| {
        if let Expr::Function(function) = expr
            && let Some(name) = public(&function.name)
            && !found.contains(&name)
        {
            found.push(name);
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

fn public(name: &ObjectName) -> Option<String> {
    let parts: Vec<&Ident> = name.0.iter().filter_map(|part| part.as_ident()).collect();
    match parts.as_slice() {
        [name] => Some(fold(name)),
        [schema, name] if fold(schema) == "public" => Some(fold(name)),
        _ => None,
    }
}

/// Visits a tree and tracks which common table expressions are visible.
struct NameFinder<'a> {
    locate: &'a dyn Fn(Location) -> usize,
    scopes: Vec<CteScope>,
    seen: HashSet<(Option<String>, String)>,
    found: Vec<Name>,
}

/// A query being visited: its common table expressions, and how many of them are visible. The visitor enters their
/// queries in order and before the query's own body, and each is visible from the next one on.
struct CteScope {
    names: Vec<String>,
    visible: usize,
}

impl Visitor for NameFinder<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let names = query.with.iter().flat_map(|w| &w.cte_tables).map(|cte| fold(&cte.alias.name)).collect::<Vec<_>>();
        let visible = if query.with.as_ref().is_some_and(|w| w.recursive) { names.len() } else { 0 };
        self.scopes.push(CteScope { names, visible });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.scopes.pop();
        if let Some(outer) = self.scopes.last_mut() {
            outer.visible = (outer.visible + 1).min(outer.names.len());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = factor {
            self.refer(name);
        }
        ControlFlow::Continue(())
    }
}

impl NameFinder<'_> {
    fn refer(&mut self, name: &ObjectName) {
        let parts: Vec<&Ident> = name.0.iter().filter_map(|p| p.as_ident()).collect();
        // A three-part name can only refer to this database.
        let (schema, last) = match parts.as_slice() {
            [name] => (None, *name),
            [.., schema, name] => (Some(fold(schema)), *name),
            [] => return,
        };
        let folded = fold(last);
        let visible = |scope: &CteScope| scope.names[..scope.visible].contains(&folded);
        if schema.is_none() && self.scopes.iter().any(visible) {
            return;
        }
        if self.seen.insert((schema.clone(), folded.clone())) {
            let position = parts.first().map_or(0, |first| (self.locate)(first.span.start));
            self.found.push(Name { schema, name: folded, position });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{parse, statement::Body};

    fn check(sql: &str, expected: &[&str]) {
        let statement = parse(sql).unwrap().remove(0);
        let Body::Query(query) = &statement.body else { panic!("{sql} is no query") };
        let found = relations_at(&**query, &|at| statement.position(at).unwrap());
        let described: Vec<String> = found
            .iter()
            .map(|n| match &n.schema {
                Some(schema) => format!("{schema}.{}@{}", n.name, n.position),
                None => format!("{}@{}", n.name, n.position),
            })
            .collect();
        assert_eq!(described, expected, "{sql}");
    }

    #[test]
    fn relations_of_a_query_are_found_with_positions() {
        check("SELECT 1", &[]);
        check("SELECT * FROM T, \"T\", public.t AS x, t", &["t@15", "T@18", "public.t@23"]);
        check("SELECT * FROM a JOIN b USING (k) LEFT JOIN (c CROSS JOIN d) ON true", &["a@15", "b@22", "c@45", "d@58"]);
        check(
            "SELECT (SELECT max(x) FROM a) WHERE EXISTS (TABLE b) AND 1 IN (SELECT 1 FROM c)",
            &["a@28", "b@51", "c@78"],
        );
        check("SELECT * FROM a UNION ALL SELECT * FROM b", &["a@15", "b@41"]);
        check("SELECT * FROM generate_series(1, 3) AS g", &[]);
        check("SELECT * FROM TUMBLE(t, ts, INTERVAL '1 s')", &["t@22"]);
    }

    #[test]
    fn relations_shadowed_by_a_visible_cte_are_not_found() {
        check("WITH t AS (SELECT * FROM s) SELECT * FROM t", &["s@26"]);
        check("WITH t AS (SELECT * FROM t) SELECT * FROM t", &["t@26"]);
        check("WITH RECURSIVE t AS (SELECT 1 UNION ALL SELECT * FROM t) SELECT * FROM t", &[]);
        check("WITH a AS (SELECT 1), b AS (SELECT * FROM a, c) SELECT * FROM b, (SELECT * FROM a) AS x", &["c@46"]);
        check("SELECT * FROM (WITH a AS (SELECT 1) SELECT * FROM a) AS x, a", &["a@60"]);
        check("WITH t AS (SELECT 1) SELECT * FROM public.t", &["public.t@36"]);
        check("WITH t AS (SELECT 1) SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u)", &["u@77"]);
    }

    #[test]
    fn quote_quotes_only_names_that_need_it() {
        assert!(RESERVED.is_sorted());
        assert_eq!(quote("dest"), "dest");
        assert_eq!(quote("Dest"), "\"Dest\"");
        assert_eq!(quote("end"), "\"end\"");
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote("1st"), "\"1st\"");
    }
}
