//! `JOIN … USING (k)` and `NATURAL JOIN` as in Postgres: `k` is one merged column, with the value of the side that has
//! a row. DataFusion takes the left side's, which is NULL for unmatched rows of a RIGHT or FULL join.
//!
//! ```text
//! SELECT * FROM a FULL JOIN b USING (k)   ─▶   SELECT coalesce(a.k, b.k) AS k, a.x, b.y FROM a FULL JOIN b ON a.k = b.k
//! ```
//!
//! It is a rewrite of the syntax tree: only there `k` and `a.k` can be told apart.

use std::{
    collections::{HashMap, HashSet},
    mem::take,
    ops::ControlFlow,
};

use datafusion::{
    execution::SessionState,
    sql::sqlparser::ast::{
        self, BinaryOperator, Expr, Ident, JoinConstraint, JoinOperator, OrderByKind, Query, Select, SelectItem,
        SetExpr, TableAlias, TableFactor, TableWithJoins, VisitMut, VisitorMut, visit_expressions,
    },
};

use super::{names::fold, nodes, quantified::calls, using_columns::columns_of};
use crate::error::Result;

/// Rewrites USING and NATURAL in all queries of a statement where DataFusion's result would differ.
pub(super) async fn without_using(state: &SessionState, node: &mut impl VisitMut) -> Result<()> {
    let _ = node.visit(&mut Aliased);
    let mut known = RelationColumns::default();
    loop {
        let mut search = Search { known: &known, scopes: Vec::new(), wanted: Vec::new() };
        let _ = node.visit(&mut search);
        if search.wanted.is_empty() {
            return Ok(());
        }
        for wanted in search.wanted {
            let columns = columns_of(state, &wanted).await;
            known.0.insert(wanted.to_string(), columns);
        }
    }
}

/// `(a JOIN b USING (k)) AS j` is `(SELECT * FROM a JOIN b USING (k)) AS j`: only the name `j` is visible.
struct Aliased;

impl VisitorMut for Aliased {
    type Break = ();

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin { table_with_joins, alias: alias @ Some(_) } = factor {
            let subquery = Box::new(all_of(table_with_joins.as_ref().clone(), None));
            *factor = TableFactor::Derived { lateral: false, subquery, alias: alias.take(), sample: None };
        }
        ControlFlow::Continue(())
    }
}

/// The column names of relations, keyed by the query that returns them; `None` if it cannot be planned alone.
#[derive(Default)]
struct RelationColumns(HashMap<String, Option<Vec<String>>>);

/// Rewrites each SELECT whose relations are known, innermost first, and collects unknown relations.
struct Search<'a> {
    known: &'a RelationColumns,
    scopes: Vec<FromScope>,
    wanted: Vec<Query>,
}

/// A query being visited: its common table expressions, and how many of them are visible. The visitor enters their
/// queries in order and before the query's own body.
struct FromScope {
    tables: Vec<ast::Cte>,
    recursive: bool,
    seen: usize,
}

impl FromScope {
    fn of(query: &Query) -> FromScope {
        let tables = query.with.as_ref().map_or_else(Vec::new, |with| with.cte_tables.clone());
        let recursive = query.with.as_ref().is_some_and(|with| with.recursive);
        let seen = if recursive { tables.len() } else { 0 };
        FromScope { tables, recursive, seen }
    }

    fn visible(&self) -> &[ast::Cte] {
        &self.tables[..self.seen]
    }

    /// Stores the next common table expression after its rewrite, and makes it visible.
    fn done(&mut self, query: &Query) {
        if !self.recursive && self.seen < self.tables.len() {
            *self.tables[self.seen].query = query.clone();
            self.seen += 1;
        }
    }
}

impl VisitorMut for Search<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.scopes.push(FromScope::of(query));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let order = query.order_by.as_mut().map(|order| &mut order.kind);
        match query.body.as_mut() {
            SetExpr::Select(select) => self.select(select, order),
            body => self.selects(body),
        }
        self.scopes.pop();
        if let Some(around) = self.scopes.last_mut() {
            around.done(query);
        }
        ControlFlow::Continue(())
    }
}

impl Search<'_> {
    fn selects(&mut self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => self.select(select, None),
            SetExpr::SetOperation { left, right, .. } => {
                self.selects(left);
                self.selects(right);
            }
            _ => {}
        }
    }

    fn select(&mut self, select: &mut Select, order: Option<&mut OrderByKind>) {
        if !is_concerned(select) {
            return;
        }
        let mut from = select.from.clone();
        let mut columns = VisibleColumns::default();
        for part in &mut from {
            match self.joined(part) {
                Some(of_part) => columns.append(of_part),
                None => return,
            }
        }
        let Some(within) = self.within(select, order.as_deref()) else { return };
        select.from = from;
        columns.replace_names(select, order, &within);
    }

    /// The names that the subqueries of a SELECT define themselves; `None` if that is not known yet.
    fn within(&mut self, select: &Select, order: Option<&OrderByKind>) -> Option<SubqueryNames> {
        let mut gather = Gather::default();
        let (mut select, mut order) = (select.clone(), order.cloned());
        select.from.clear();
        let _ = select.visit(&mut gather);
        let _ = order.visit(&mut gather);
        let before = self.wanted.len();
        let within = gather.0.into_iter().map(|query| (query.to_string(), self.own(&query))).collect();
        (self.wanted.len() == before).then_some(SubqueryNames(within))
    }

    /// `None` if unknown.
    fn own(&mut self, query: &Query) -> Option<Own> {
        let mut own = Own::default();
        match query.with {
            None => self.own_of(&query.body, &mut own).then_some(own),
            Some(_) => None,
        }
    }

    fn own_of(&mut self, body: &SetExpr, own: &mut Own) -> bool {
        match body {
            SetExpr::Select(select) => select.from.iter().all(|part| {
                let columns = self.joined(&mut part.clone());
                let _ = part.clone().visit(own);
                columns.map(|columns| own.names.extend(columns.0.into_iter().map(|column| column.name))).is_some()
            }),
            SetExpr::SetOperation { left, right, .. } => self.own_of(left, own) && self.own_of(right, own),
            SetExpr::Query(query) => query.with.is_none() && self.own_of(&query.body, own),
            _ => true,
        }
    }

    /// The columns of joins, whose USING is replaced by ON; `None` if they are unknown.
    fn joined(&mut self, part: &mut TableWithJoins) -> Option<VisibleColumns> {
        let mut left = self.factor(&mut part.relation);
        for join in &mut part.joins {
            let right = self.factor(&mut join.relation);
            let (Some(before), Some(right)) = (left.take(), right) else { continue };
            let (kind, constraint) = constraint(&mut join.join_operator)?;
            left = Some(before.join(right, kind, constraint)?);
        }
        left
    }

    fn factor(&mut self, factor: &mut TableFactor) -> Option<VisibleColumns> {
        if let TableFactor::NestedJoin { table_with_joins, alias: None } = factor {
            return self.joined(table_with_joins);
        }
        let alias = name_of(factor)?;
        let query = selecting(factor, &self.scopes);
        let Some(columns) = self.known.0.get(&query.to_string()) else {
            self.wanted.push(query);
            return None;
        };
        let column = |name: &String| Visible {
            name: name.clone(),
            expr: Expr::CompoundIdentifier(vec![alias.clone(), Ident::with_quote('"', name)]),
            merged: false,
        };
        Some(VisibleColumns(columns.as_ref()?.iter().map(column).collect()))
    }
}

/// Collects the subqueries of a SELECT, nested ones included.
#[derive(Default)]
struct Gather(Vec<Query>);

impl VisitorMut for Gather {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.0.push(query.clone());
        ControlFlow::Continue(())
    }
}

/// The names that a subquery defines: columns and relations.
#[derive(Default)]
struct Own {
    names: HashSet<String>,
    relations: HashSet<String>,
}

impl VisitorMut for Own {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.relations.extend(name_of(factor).map(|name| fold(&name)));
        ControlFlow::Continue(())
    }
}

/// The names that each subquery defines, keyed by its text; `None` if unknown.
struct SubqueryNames(HashMap<String, Option<Own>>);

impl SubqueryNames {
    /// Whether an expression has the same meaning within a subquery as outside.
    fn lets_through(&self, subquery: &str, name: &str, expr: &Expr) -> bool {
        let Some(Some(own)) = self.0.get(subquery) else { return false };
        let mut hidden = own.names.contains(name);
        let _ = visit_expressions(expr, |part| {
            if let Expr::CompoundIdentifier(parts) = part {
                hidden |= parts.first().is_some_and(|relation| own.relations.contains(&fold(relation)));
            }
            ControlFlow::<()>::Continue(())
        });
        !hidden
    }
}

/// The qualifier of a relation's columns.
fn name_of(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::NestedJoin { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. } => alias.as_ref().map(|alias| alias.name.clone()),
        TableFactor::Table { alias: Some(TableAlias { name, .. }), .. } => Some(name.clone()),
        TableFactor::Table { name, .. } => name.0.last()?.as_ident().cloned(),
        _ => None,
    }
}

/// Whether a SELECT needs the rewrite: it joins by column names. A `*` with EXCEPT and the like is left to DataFusion,
/// which supports the merged column of one inner or left join in some clauses.
fn is_concerned(select: &Select) -> bool {
    let plain = |item: &SelectItem| match item {
        SelectItem::Wildcard(options) => *options == ast::WildcardAdditionalOptions::default(),
        _ => true,
    };
    select.projection.iter().all(plain) && select.from.iter().any(joins_by_name)
}

fn joins_by_name(part: &TableWithJoins) -> bool {
    let nested = |factor: &TableFactor| match factor {
        TableFactor::NestedJoin { table_with_joins, alias: None } => joins_by_name(table_with_joins),
        _ => false,
    };
    let by_name = |join: &ast::Join| {
        constraint(&mut join.join_operator.clone()).is_some_and(|(_, constraint)| is_by_name(constraint))
    };
    nested(&part.relation) || part.joins.iter().any(|join| by_name(join) || nested(&join.relation))
}

fn is_by_name(constraint: &JoinConstraint) -> bool {
    matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural)
}

/// Which side's value is never a padded NULL.
#[derive(Clone, Copy, PartialEq)]
enum MergeKind {
    Left,
    Right,
    Full,
}

fn constraint(operator: &mut JoinOperator) -> Option<(MergeKind, &mut JoinConstraint)> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::CrossJoin(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint) => Some((MergeKind::Left, constraint)),
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => Some((MergeKind::Right, constraint)),
        JoinOperator::FullOuter(constraint) => Some((MergeKind::Full, constraint)),
        _ => None,
    }
}

/// A column visible in a SELECT: the meaning of a bare name, and an item of `*`.
#[derive(Clone)]
struct Visible {
    name: String,
    expr: Expr,
    /// Whether it is merged from several relations.
    merged: bool,
}

#[derive(Default)]
struct VisibleColumns(Vec<Visible>);

impl VisibleColumns {
    fn append(&mut self, other: VisibleColumns) {
        self.0.extend(other.0);
    }

    /// The column of a name, if it is unique.
    fn find(&self, name: &str) -> Option<&Visible> {
        let mut found = self.0.iter().filter(|column| column.name == name);
        found.next().filter(|_| found.next().is_none())
    }

    /// The columns of a join; its constraint becomes an ON condition.
    fn join(self, right: VisibleColumns, kind: MergeKind, constraint: &mut JoinConstraint) -> Option<VisibleColumns> {
        let names: Vec<String> = match constraint {
            JoinConstraint::Using(columns) => {
                columns.iter().map(|name| name.0.last()?.as_ident().map(fold)).collect::<Option<_>>()?
            }
            JoinConstraint::Natural => {
                let shared = |column: &&Visible| right.0.iter().any(|other| other.name == column.name);
                self.0.iter().filter(shared).map(|column| column.name.clone()).collect()
            }
            JoinConstraint::On(condition) => {
                let _ = condition.visit(&mut Replace::of(&self, &SubqueryNames(HashMap::new())));
                Vec::new()
            }
            JoinConstraint::None => Vec::new(),
        };
        let mut merged = Vec::new();
        let mut condition: Option<Expr> = None;
        for name in &names {
            let (l, r) = (self.find(name)?.expr.clone(), right.find(name)?.expr.clone());
            let equal = binary(l.clone(), BinaryOperator::Eq, r.clone());
            condition = Some(match condition {
                Some(before) => binary(before, BinaryOperator::And, equal),
                None => equal,
            });
            let expr = match kind {
                MergeKind::Left => l,
                MergeKind::Right => r,
                MergeKind::Full => calls("coalesce", vec![l, r]),
            };
            merged.push(Visible { name: name.clone(), expr, merged: true });
        }
        if is_by_name(constraint) {
            let none = Expr::value(ast::Value::Boolean(true));
            *constraint = JoinConstraint::On(condition.unwrap_or(none));
        }
        let rest = self.0.into_iter().chain(right.0).filter(|column| !names.contains(&column.name));
        merged.extend(rest);
        Some(VisibleColumns(merged))
    }

    /// Replaces the column names in the clauses of a SELECT.
    fn replace_names(self, select: &mut Select, order: Option<&mut OrderByKind>, within: &SubqueryNames) {
        let mut items = Vec::new();
        for item in take(&mut select.projection) {
            match item {
                SelectItem::Wildcard(_) => items.extend(self.0.iter().map(Visible::item)),
                SelectItem::UnnamedExpr(Expr::Identifier(ident)) => match self.merged(&ident) {
                    Some(column) => items.push(column.item()),
                    None => items.push(SelectItem::UnnamedExpr(Expr::Identifier(ident))),
                },
                other => items.push(other),
            }
        }
        select.projection = items;
        let shown = |ident: &Ident| {
            select.projection.iter().any(|item| match item {
                SelectItem::ExprWithAlias { alias, .. } => fold(alias) == fold(ident),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                    parts.last().is_some_and(|last| fold(last) == fold(ident))
                }
                _ => false,
            })
        };
        if let Some(OrderByKind::Expressions(exprs)) = order {
            for by in exprs {
                let is_output = matches!(&by.expr, Expr::Identifier(ident) if shown(ident));
                if !is_output {
                    let _ = by.expr.visit(&mut Replace::of(&self, within));
                }
            }
        }
        let from = take(&mut select.from);
        let _ = select.visit(&mut Replace::of(&self, within));
        select.from = from;
    }

    fn merged(&self, ident: &Ident) -> Option<&Visible> {
        self.find(&fold(ident)).filter(|column| column.merged)
    }
}

impl Visible {
    fn item(&self) -> SelectItem {
        match &self.expr {
            Expr::CompoundIdentifier(_) => SelectItem::UnnamedExpr(self.expr.clone()),
            expr => SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', &self.name) },
        }
    }
}

/// Replaces bare names by columns; in subqueries only where these do not define the name themselves.
struct Replace<'a> {
    columns: &'a VisibleColumns,
    within: &'a SubqueryNames,
    /// The texts of the enclosing subqueries, outermost first.
    open: Vec<String>,
}

impl<'a> Replace<'a> {
    fn of(columns: &'a VisibleColumns, within: &'a SubqueryNames) -> Self {
        Replace { columns, within, open: Vec::new() }
    }
}

impl VisitorMut for Replace<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.open.push(query.to_string());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.open.pop();
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(ident) = expr
            && let Some(column) = self.columns.merged(ident)
            && self.open.iter().all(|subquery| self.within.lets_through(subquery, &column.name, &column.expr))
        {
            *expr = column.expr.clone();
        }
        ControlFlow::Continue(())
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// `WITH … SELECT * FROM factor`, with the visible common table expressions.
fn selecting(factor: &TableFactor, scopes: &[FromScope]) -> Query {
    let mut tables: Vec<ast::Cte> = Vec::new();
    for cte in scopes.iter().flat_map(FromScope::visible) {
        // An inner definition hides outer ones of the same name.
        tables.retain(|other| fold(&other.alias.name) != fold(&cte.alias.name));
        tables.push(cte.clone());
    }
    let with = (!tables.is_empty()).then(|| ast::With {
        with_token: ast::helpers::attached_token::AttachedToken::empty(),
        recursive: scopes.iter().any(|scope| scope.recursive),
        cte_tables: tables,
    });
    all_of(TableWithJoins { relation: factor.clone(), joins: Vec::new() }, with)
}

/// `SELECT * FROM …`
pub(super) fn all_of(from: TableWithJoins, with: Option<ast::With>) -> Query {
    let select = Select { from: vec![from], ..nodes::select(vec![nodes::wildcard()], None) };
    Query { with, ..nodes::query_of(select) }
}
