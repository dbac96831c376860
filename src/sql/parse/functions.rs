//! `CREATE FUNCTION`, `CREATE AGGREGATE`, and their `DROP`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{self, SelectItem, SetExpr, Visit, Visitor},
    tokenizer::Token,
};

use super::{columns, cursor::TokenCursor, cursor::string, query};
use crate::{
    error::{Error, ErrorKind, Result},
    sql::{
        statement::{Argument, Body, CreateAggregate, CreateFunction, DropFunctions, Name, Statement},
        types,
    },
};

/// As many as Postgres allows.
const ARGUMENTS_MAX: usize = 100;

/// `CREATE FUNCTION`, read up to here; `parse` reads the text of its body.
pub(super) fn function(c: &mut TokenCursor, replace: bool, parse: fn(&str) -> Result<Vec<Statement>>) -> Result<Body> {
    let name = c.name()?;
    let arguments = arguments(c)?;
    let hint = "A function of rows is a view: CREATE VIEW.";
    if !c.eat("RETURNS") {
        return Err(c.unexpected("RETURNS"));
    }
    if c.is("TABLE") || c.is("SETOF") {
        let what = format!("RETURNS {}", c.word(0).unwrap_or_default());
        return Err(c.unsupported(what).hint(hint));
    }
    let returns = data_type(c)?;
    let (mut strict, mut body) = (false, None);
    while !c.at_end() {
        if let Some(is_strict) = nulls(c) {
            strict = is_strict;
        } else if !property(c)? {
            if body.is_some() {
                return Err(c.unexpected("the end of the statement"));
            }
            body = Some(self::body(c, &name, parse)?);
        }
    }
    let Some(body) = body else {
        let message = format!("function \"{}\" has no body", name.name);
        return Err(Error::new(ErrorKind::InvalidFunctionDefinition, message)
            .hint("Write AS 'SELECT expression', or RETURN expression.")
            .at(c.here()));
    };
    Ok(Body::CreateFunction(CreateFunction { name, replace, arguments, returns, strict, body: Box::new(body) }))
}

/// The NULL handling clause, if it comes next: whether the function is strict.
fn nulls(c: &mut TokenCursor) -> Option<bool> {
    if c.eat("STRICT") || c.eat("RETURNS NULL ON NULL INPUT") {
        return Some(true);
    }
    c.eat("CALLED ON NULL INPUT").then_some(false)
}

/// Consumes attributes without effect, such as volatility, which is derived from the body.
fn property(c: &mut TokenCursor) -> Result<bool> {
    if c.is("LANGUAGE") {
        let position = c.here();
        c.skip(1);
        let language = string(c.peek(0)).map(|text| text.to_uppercase()).or_else(|| c.word(0));
        let Some(language) = language else { return Err(c.unexpected("a language")) };
        if language != "SQL" {
            return Err(Error::unsupported(format!("LANGUAGE {}", language.to_lowercase()))
                .hint("Write LANGUAGE SQL, with one expression: AS 'SELECT a + b'.")
                .at(position));
        }
        c.skip(1);
        return Ok(true);
    }
    if c.eat("PARALLEL") {
        return match ["SAFE", "UNSAFE", "RESTRICTED"].into_iter().any(|word| c.eat(word)) {
            true => Ok(true),
            false => Err(c.unexpected("SAFE, RESTRICTED or UNSAFE")),
        };
    }
    if c.eat("COST") {
        c.next();
        return Ok(true);
    }
    for other in ["WINDOW", "ROWS", "SUPPORT", "TRANSFORM", "SECURITY", "EXTERNAL", "SET", "BEGIN"] {
        if c.is(other) {
            return Err(c.unsupported(format!("{other} of a function")).hint("Leave it out."));
        }
    }
    Ok(["IMMUTABLE", "STABLE", "VOLATILE", "LEAKPROOF", "NOT LEAKPROOF"].into_iter().any(|word| c.eat(word)))
}

fn body(c: &mut TokenCursor, name: &Name, parse: fn(&str) -> Result<Vec<Statement>>) -> Result<ast::Expr> {
    if c.eat("RETURN") {
        let position = c.here();
        let mut expr = c.expr(None)?;
        check_plain(&expr, name).and_then(|()| query::transform_queries(c, &mut expr)).map_err(|e| e.at(position))?;
        return Ok(expr);
    }
    c.expect("AS")?;
    let position = c.here();
    let opening = match c.peek(0) {
        Token::DollarQuotedString(text) => 2 + text.tag.as_ref().map_or(0, |tag| tag.chars().count()),
        _ => 1,
    };
    let text = c.string("the body in quotes")?;
    let inside = |error: Error| error.moved(position + opening - 1).at(position);
    let mut statements = parse(&text).map_err(inside)?;
    let expr = match (statements.pop().map(|statement| statement.body), statements.is_empty()) {
        (Some(Body::Query(query)), true) => only_expression(*query),
        _ => None,
    };
    let Some(expr) = expr else {
        return Err(Error::unsupported(format!("function \"{}\" with a body that is not one expression", name.name))
            .hint("Write AS 'SELECT expression', without FROM; a query under a name is a view.")
            .at(position));
    };
    check_plain(&expr, name).map_err(|e| e.at(position))?;
    Ok(expr)
}

/// The expression of `SELECT expression`, if the query has no other clause.
fn only_expression(query: ast::Query) -> Option<ast::Expr> {
    let text = query.to_string();
    let SetExpr::Select(mut select) = *query.body else { return None };
    let (item, true) = (select.projection.pop()?, select.projection.is_empty()) else { return None };
    if text != format!("SELECT {item}") {
        return None;
    }
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// Refuses subqueries in a body.
fn check_plain(expr: &ast::Expr, name: &Name) -> Result<()> {
    struct Queries;
    impl Visitor for Queries {
        type Break = ();
        fn pre_visit_query(&mut self, _: &ast::Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }
    match expr.visit(&mut Queries) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::unsupported(format!("a subquery in function \"{}\"", name.name))
            .hint("Give what it reads to the function as an argument.")),
    }
}

/// `(a type, type, …)`
fn arguments(c: &mut TokenCursor) -> Result<Vec<Argument>> {
    c.expect_token(&Token::LParen)?;
    let mut arguments: Vec<Argument> = Vec::new();
    if c.eat_token(&Token::RParen) {
        return Ok(arguments);
    }
    c.list(|c| {
        let position = c.here();
        let argument = argument(c)?;
        if argument.name.is_some() && arguments.iter().any(|other| other.name == argument.name) {
            let message = format!("parameter name \"{}\" used more than once", argument.name.unwrap_or_default());
            return Err(Error::new(ErrorKind::InvalidFunctionDefinition, message).at(position));
        }
        if arguments.len() >= ARGUMENTS_MAX {
            let message = format!("functions can have at most {ARGUMENTS_MAX} arguments");
            return Err(Error::new(ErrorKind::LimitExceeded, message).at(position));
        }
        arguments.push(argument);
        Ok(())
    })?;
    c.expect_token(&Token::RParen)?;
    Ok(arguments)
}

fn argument(c: &mut TokenCursor) -> Result<Argument> {
    for mode in ["OUT", "INOUT", "VARIADIC"] {
        if c.is(mode) && matches!(c.peek(1), Token::Word(_)) {
            return Err(c
                .unsupported(format!("{mode} argument"))
                .hint("A function has one value, of what it is given."));
        }
    }
    if c.is("IN") {
        c.skip(1);
    }
    let name = if is_type_alone(c) { None } else { Some(c.ident("an argument")?.0) };
    let data_type = data_type(c)?;
    if c.is("DEFAULT") || *c.peek(0) == Token::Eq {
        return Err(c.unsupported("DEFAULT of an argument").hint("Give it a value in each call."));
    }
    Ok(Argument { name, data_type })
}

/// Whether a type comes next, without an argument name before it.
fn is_type_alone(c: &TokenCursor) -> bool {
    const LONG: [(&str, &str); 10] = [
        ("DOUBLE", "PRECISION"),
        ("TIMESTAMP", "WITH"),
        ("TIMESTAMP", "WITHOUT"),
        ("TIME", "WITH"),
        ("TIME", "WITHOUT"),
        ("CHARACTER", "VARYING"),
        ("CHAR", "VARYING"),
        ("BIGINT", "UNSIGNED"),
        ("INTEGER", "UNSIGNED"),
        ("INT", "UNSIGNED"),
    ];
    let long = |(first, second): (&str, &str)| c.is(first) && c.word(1).as_deref() == Some(second);
    !matches!(c.peek(1), Token::Word(_)) || LONG.into_iter().any(long)
}

/// A type that a column can have.
fn data_type(c: &mut TokenCursor) -> Result<ast::DataType> {
    let position = c.here();
    let word = c.word(0).unwrap_or_default();
    if word.starts_with("ANY") || ["RECORD", "VOID", "TRIGGER", "INTERNAL", "CSTRING"].contains(&word.as_str()) {
        return Err(c
            .unsupported(format!("pseudo-type {}", word.to_lowercase()))
            .hint("Name the type; for others make a function each, under another name."));
    }
    let data_type = columns::data_type(c)?;
    types::column_type(&data_type).map_err(|e| e.at(position))?;
    Ok(data_type)
}

/// `CREATE AGGREGATE`, read up to here.
pub(super) fn aggregate(c: &mut TokenCursor, replace: bool) -> Result<Body> {
    let name = c.name()?;
    if *c.peek(0) == Token::LParen && *c.peek(1) == Token::Mul {
        return Err(c
            .unsupported("an aggregate without arguments")
            .hint("Give it an argument that it does not heed, and call it with 1."));
    }
    let position = c.here();
    let arguments = arguments(c)?;
    if arguments.is_empty() {
        return Err(Error::unsupported("an aggregate without arguments")
            .hint("Give it an argument that it does not heed, and call it with 1.")
            .at(position));
    }
    let (mut step, mut state, mut initial, mut finish, mut combine) = (None, None, None, None, None);
    c.expect_token(&Token::LParen)?;
    c.list(|c| {
        let position = c.here();
        let (option, _) = c.ident("an option of CREATE AGGREGATE")?;
        c.expect_token(&Token::Eq)?;
        let twice = match option.as_str() {
            "sfunc" => step.replace(c.name()?).is_some(),
            "stype" => state.replace(data_type(c)?).is_some(),
            "initcond" => initial.replace(condition(c)?).is_some(),
            "finalfunc" => finish.replace(c.name()?).is_some(),
            "combinefunc" => combine.replace(c.name()?).is_some(),
            "parallel" | "sspace" => {
                c.next();
                false
            }
            _ => {
                return Err(Error::unsupported(format!("{} of an aggregate", option.to_uppercase()))
                    .hint("It may have SFUNC, STYPE, INITCOND, FINALFUNC and COMBINEFUNC.")
                    .at(position));
            }
        };
        match twice {
            true => Err(Error::new(ErrorKind::Syntax, format!("{option} specified more than once")).at(position)),
            false => Ok(()),
        }
    })?;
    c.expect_token(&Token::RParen)?;
    let lacks = |what: &str| {
        let message = format!("aggregate {what} must be specified");
        Error::new(ErrorKind::InvalidFunctionDefinition, message)
            .hint("Write CREATE AGGREGATE name (type) (SFUNC = function, STYPE = type).")
            .at(name.position)
    };
    let step = step.ok_or_else(|| lacks("sfunc"))?;
    let state = state.ok_or_else(|| lacks("stype"))?;
    Ok(Body::CreateAggregate(CreateAggregate { name, replace, arguments, step, state, initial, finish, combine }))
}

/// The text of `INITCOND`: numbers need no quotes.
fn condition(c: &mut TokenCursor) -> Result<String> {
    let minus = c.eat_token(&Token::Minus);
    if let Token::Number(number, _) = c.peek(0) {
        let number = number.clone();
        c.skip(1);
        return Ok(if minus { format!("-{number}") } else { number });
    }
    c.string("a value in quotes")
}

/// `DROP FUNCTION [IF EXISTS] name [(types)], … [RESTRICT]`, and the same of `AGGREGATE`.
pub(super) fn drop(c: &mut TokenCursor) -> Result<Body> {
    let aggregates = c.is("AGGREGATE");
    c.skip(1);
    let if_exists = c.eat("IF EXISTS");
    let names = c.list(|c| {
        let name = c.name()?;
        let types = match c.peek(0) {
            Token::LParen => Some(arguments(c)?.into_iter().map(|argument| argument.data_type).collect()),
            _ => None,
        };
        Ok((name, types))
    })?;
    if c.is("CASCADE") {
        return Err(c.unsupported("CASCADE of functions").hint("They go once nothing uses them."));
    }
    c.eat("RESTRICT");
    Ok(Body::DropFunctions(DropFunctions { aggregates, names, if_exists }))
}
