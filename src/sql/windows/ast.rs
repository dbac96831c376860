//! Pieces of syntax trees that windows are made of, and what they read of one.

use datafusion::sql::sqlparser::{
    ast::{
        Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
        Query, SelectItem, SetExpr, Spanned, TableAlias, TableFactor, TableWithJoins,
    },
    dialect::PostgreSqlDialect,
    parser::Parser,
    tokenizer::{Location, Token},
};

use crate::{
    error::{Error, Result},
    sql::names::fold,
};

pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(Ident::new(name)),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// The name of a function that was called by one bare word, in lowercase.
pub(super) fn bare_name(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(fold),
        _ => None,
    }
}

/// What columns of the relation are qualified with.
pub(super) fn name_of(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(alias.name.clone())
        }
        TableFactor::Table { name, .. } => name.0.last().and_then(|part| part.as_ident()).cloned(),
        _ => None,
    }
}

/// Gives the error the place of what it is about, if that has one.
pub(super) fn placed(error: Error, about: &impl Spanned, locate: &dyn Fn(Location) -> usize) -> Error {
    let start = about.span().start;
    if start.line > 0 { error.at(locate(start)) } else { error }
}

/// A column of a name that needs quotes.
pub(super) fn quoted(expr: Expr, alias: &str) -> SelectItem {
    SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', alias) }
}

pub(super) fn named(expr: Expr, alias: &str) -> SelectItem {
    SelectItem::ExprWithAlias { expr, alias: Ident::new(alias) }
}

/// `SELECT *, items FROM relation`
pub(super) fn select(items: Vec<SelectItem>, relation: TableFactor) -> Result<Query> {
    let tokens = vec![Token::make_keyword("SELECT"), Token::Mul];
    let mut query = *Parser::new(&PostgreSqlDialect {})
        .with_tokens(tokens)
        .parse_query()
        .map_err(|e| Error::internal(format!("SELECT * does not parse: {e}")))?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection.extend(items);
        select.from = vec![TableWithJoins { relation, joins: vec![] }];
    }
    Ok(query)
}

pub(super) fn derived(query: Query, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::Derived { lateral: false, subquery: Box::new(query), alias, sample: None }
}

pub(super) fn alias_of(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: vec![], at: None }
}

pub(super) fn table(name: ObjectName) -> TableFactor {
    TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    }
}
