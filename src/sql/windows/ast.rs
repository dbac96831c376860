//! Constructors and accessors of syntax trees for windows.

use datafusion::sql::sqlparser::{
    ast::{
        Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
        Query, SelectItem, Spanned, TableFactor,
    },
    tokenizer::Location,
};

use crate::{
    error::Error,
    sql::{names::fold, nodes},
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

/// The qualifier of the relation's columns.
pub(super) fn name_of(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(alias.name.clone())
        }
        TableFactor::Table { name, .. } => name.0.last().and_then(|part| part.as_ident()).cloned(),
        _ => None,
    }
}

/// Adds the position of a syntax node to an error, if the node has one.
pub(super) fn placed(error: Error, about: &impl Spanned, locate: &dyn Fn(Location) -> usize) -> Error {
    let start = about.span().start;
    if start.line > 0 { error.at(locate(start)) } else { error }
}

/// A column under a quoted alias.
pub(super) fn quoted(expr: Expr, alias: &str) -> SelectItem {
    SelectItem::ExprWithAlias { expr, alias: nodes::quoted(alias) }
}

/// `SELECT *, items FROM relation`
pub(super) fn select_all(items: Vec<SelectItem>, relation: TableFactor) -> Query {
    let items = std::iter::once(nodes::wildcard()).chain(items).collect();
    nodes::query_of(nodes::select(items, Some(relation)))
}
