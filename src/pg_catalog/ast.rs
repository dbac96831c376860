//! Helpers for sqlparser's syntax trees: constructors and name lookups.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, SetExpr, Value, Values,
};

use crate::sql::nodes::query;

/// A placeholder query, for `mem::replace`.
pub(super) fn empty_query() -> Query {
    query(SetExpr::Values(Values { explicit_row: false, value_keyword: false, rows: Vec::new() }))
}

pub(super) fn last(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(ObjectNamePart::as_ident).map(|ident| ident.value.to_lowercase())
}

pub(super) fn number(value: i32) -> Expr {
    Expr::value(Value::Number(value.to_string(), false))
}

/// `expr::data_type`
pub(super) fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::DoubleColon, expr: Box::new(expr), data_type, array: false, format: None }
}

pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

pub(super) fn arguments(args: Vec<Expr>) -> FunctionArgumentList {
    arguments_of(args.into_iter().map(FunctionArgExpr::Expr))
}

fn arguments_of(args: impl IntoIterator<Item = FunctionArgExpr>) -> FunctionArgumentList {
    let args = args.into_iter().map(FunctionArg::Unnamed).collect();
    FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }
}

pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    call_of(name, arguments(args))
}

/// `count(*)`
pub(super) fn count() -> Expr {
    call_of("count", arguments_of([FunctionArgExpr::Wildcard]))
}

fn call_of(name: &str, args: FunctionArgumentList) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(args),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
