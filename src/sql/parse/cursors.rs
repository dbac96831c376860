//! Prepared statements and cursors.

use std::time::Duration;

use datafusion::sql::sqlparser::tokenizer::Token;

use super::{columns, cursor::TokenCursor, options, query, subscribe};
use crate::{
    error::Result,
    options::Options,
    sql::statement::{Body, FetchCount, Statement},
};

/// `PREPARE name [(types)] AS statement`, which `rest` reads.
pub(super) fn prepare(c: &mut TokenCursor, rest: fn(&mut TokenCursor) -> Result<Statement>) -> Result<Body> {
    c.expect("PREPARE")?;
    if c.is("TRANSACTION") {
        return Err(c.unsupported("PREPARE TRANSACTION"));
    }
    let (name, _) = c.ident("a name")?;
    let mut types = vec![];
    if c.eat_token(&Token::LParen) {
        types = c.list(columns::data_type)?;
        c.expect_token(&Token::RParen)?;
    }
    c.expect("AS")?;
    match c.word(0).as_deref() {
        None | Some("SELECT" | "WITH" | "VALUES" | "INSERT" | "UPDATE" | "DELETE") => {}
        Some(_) => return Err(c.unexpected("a query, INSERT, UPDATE or DELETE")),
    }
    let statement = Box::new(rest(c)?);
    Ok(Body::Prepare { name, types, statement })
}

/// `EXECUTE name [(values)]`
pub(super) fn execute(c: &mut TokenCursor) -> Result<Body> {
    c.expect("EXECUTE")?;
    let (name, _) = c.ident("a name")?;
    let mut parameters = vec![];
    if c.eat_token(&Token::LParen) && !c.eat_token(&Token::RParen) {
        parameters = c.list(|c| query::expression(c, None))?;
        c.expect_token(&Token::RParen)?;
    }
    Ok(Body::Execute { name, parameters })
}

pub(super) fn deallocate(c: &mut TokenCursor) -> Result<Body> {
    c.expect("DEALLOCATE")?;
    c.eat("PREPARE");
    if c.eat("ALL") {
        return Ok(Body::Deallocate(None));
    }
    Ok(Body::Deallocate(Some(c.ident("a name")?.0)))
}

/// `DECLARE name [BINARY] [INSENSITIVE] [[NO] SCROLL] CURSOR [WITH | WITHOUT HOLD] FOR query | SUBSCRIBE …`
pub(super) fn declare(c: &mut TokenCursor) -> Result<Body> {
    c.expect("DECLARE")?;
    let (name, _) = c.ident("a name")?;
    let mut binary = false;
    while !c.is("CURSOR") {
        if c.eat("BINARY") {
            binary = true;
        } else if !(c.eat("INSENSITIVE") || c.eat("ASENSITIVE") || c.eat("NO SCROLL") || c.eat("SCROLL")) {
            return Err(match c.is("SUBSCRIPTION") {
                true => c.unsupported("SUBSCRIPTION CURSOR").hint("DECLARE c CURSOR FOR SUBSCRIBE TO v does the same."),
                false => c.unexpected("CURSOR"),
            });
        }
    }
    c.expect("CURSOR")?;
    let hold = c.eat("WITH HOLD");
    if !hold {
        c.eat("WITHOUT HOLD");
    }
    c.expect("FOR")?;
    Ok(Body::Declare { name, reads: subscribe::reads(c)?, hold, binary })
}

/// `FETCH` and `MOVE`, forward only: `FETCH n FROM c [WITH (timeout = '1s')]`.
pub(super) fn fetch(c: &mut TokenCursor) -> Result<Body> {
    let skip = c.is("MOVE");
    c.skip(1);
    let backward = ["PRIOR", "FIRST", "LAST", "ABSOLUTE", "RELATIVE", "BACKWARD"];
    if let Some(word) = backward.iter().find(|w| c.is(w) && *c.peek(1) != Token::EOF) {
        return Err(c.unsupported(format!("FETCH {word}")).hint("A cursor goes forward: FETCH [FORWARD] n FROM c."));
    }
    let named = *c.peek(1) == Token::EOF;
    let forward = !named && c.eat("FORWARD");
    let count = if c.is("ALL") && *c.peek(1) != Token::EOF {
        c.skip(1);
        FetchCount::All
    } else if !forward && !named && c.eat("NEXT") {
        FetchCount::Rows(1)
    } else if *c.peek(0) == Token::Minus {
        return Err(c.unsupported("FETCH of a negative number of rows").hint("A cursor goes forward."));
    } else if let Token::Number(number, _) = c.peek(0).clone() {
        let position = c.here();
        let rows = number.parse().map_err(|_| c.unexpected("a number of rows").at(position))?;
        c.skip(1);
        FetchCount::Rows(rows)
    } else {
        FetchCount::Rows(1)
    };
    if !c.eat("FROM") {
        c.eat("IN");
    }
    let (name, _) = c.ident("the name of a cursor")?;
    let timeout = if c.eat("WITH") { timeout(c)? } else { None };
    Ok(Body::Fetch { name, count, skip, timeout })
}

/// `(timeout = '1s')`
fn timeout(c: &mut TokenCursor) -> Result<Option<Duration>> {
    let position = c.here();
    let mut given = Options::default();
    options::options(c, &mut given)?;
    let mut taker = given.taker("FETCH");
    let timeout = taker.duration("timeout").and_then(|timeout| taker.finish().map(|()| timeout));
    timeout.map_err(|e| e.at(position))
}

pub(super) fn close(c: &mut TokenCursor) -> Result<Body> {
    c.expect("CLOSE")?;
    if c.eat("ALL") {
        return Ok(Body::Close(None));
    }
    Ok(Body::Close(Some(c.ident("the name of a cursor")?.0)))
}
