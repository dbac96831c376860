//! `SUBSCRIBE`.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::{
    cursor::{TokenCursor, string},
    query,
};
use crate::{
    error::{Error, ErrorKind, Result},
    sql::statement::{Reads, Subscribe},
};

const OF_A_QUERY: &str = "CREATE MATERIALIZED VIEW … AS the query, and SUBSCRIBE to that.";

/// A query or a subscription, as a cursor and COPY accept it.
pub(super) fn reads(c: &mut TokenCursor) -> Result<Reads> {
    match c.is("SUBSCRIBE") {
        true => subscribe(c).map(Reads::Subscription),
        false => query::query(c).map(Reads::Query),
    }
}

/// `SUBSCRIBE [TO] name [WITH (snapshot = …, progress = …)] [AS OF EPOCH n]`
pub(super) fn subscribe(c: &mut TokenCursor) -> Result<Subscribe> {
    c.expect("SUBSCRIBE")?;
    c.eat("TO");
    if *c.peek(0) == Token::LParen || c.is("SELECT") || c.is("VALUES") {
        return Err(c.unsupported("SUBSCRIBE to a query").hint(OF_A_QUERY));
    }
    let relation = c.name()?;
    let (mut snapshot, mut after) = (None, None);
    loop {
        if c.is("WITH") && snapshot.is_none() {
            snapshot = Some(options(c)?);
        } else if c.is("AS") && after.is_none() {
            after = Some(epoch(c)?);
        } else if let Some(word) = ["ENVELOPE", "UP TO", "WITHIN"].iter().find(|word| c.are(word)) {
            return Err(c.unsupported(format!("SUBSCRIBE … {word}")));
        } else {
            break;
        }
    }
    match (snapshot.flatten(), after) {
        (Some((true, at)), Some(_)) => {
            let message = "snapshot = true and AS OF EPOCH contradict each other";
            Err(Error::new(ErrorKind::InvalidParameterValue, message)
                .hint("AS OF EPOCH goes on after an epoch whose rows are known; leave one of them out.")
                .at(at))
        }
        (snapshot, after) => Ok(Subscribe { relation, snapshot: snapshot.is_none_or(|(given, _)| given), after }),
    }
}

/// `AS OF EPOCH n`
fn epoch(c: &mut TokenCursor) -> Result<u64> {
    c.expect("AS OF")?;
    if !c.eat("EPOCH") && !c.eat("BATCH") {
        return Err(c.unexpected("EPOCH"));
    }
    let Token::Number(number, _) = c.peek(0).clone() else { return Err(c.unexpected("the number of an epoch")) };
    let epoch = number.parse().map_err(|_| c.unexpected("the number of an epoch"))?;
    c.skip(1);
    Ok(epoch)
}

/// `WITH (snapshot = …, progress = false)`: the value of `snapshot` and its position.
fn options(c: &mut TokenCursor) -> Result<Option<(bool, usize)>> {
    let (mut snapshot, mut progress) = (None, None);
    c.expect("WITH")?;
    c.expect_token(&Token::LParen)?;
    c.list(|c| {
        let (name, position) = c.ident("snapshot or progress")?;
        let value = boolean(c)?;
        let before = match name.as_str() {
            "snapshot" => snapshot.replace((value, position)),
            "progress" => progress.replace((value, position)),
            _ => {
                let message = format!("option \"{name}\" not recognized");
                return Err(Error::new(ErrorKind::Syntax, message)
                    .hint("SUBSCRIBE has snapshot and progress.")
                    .at(position));
            }
        };
        match before {
            None => Ok(()),
            Some(_) => {
                Err(Error::new(ErrorKind::Syntax, format!("option \"{name}\" specified more than once")).at(position))
            }
        }
    })?;
    c.expect_token(&Token::RParen)?;
    match progress {
        Some((true, at)) => Err(Error::unsupported("SUBSCRIBE … WITH (progress = true)")
            .hint("An epoch is whole when there are rows of a later one.")
            .at(at)),
        _ => Ok(snapshot),
    }
}

/// The value of a boolean option; no value means true.
fn boolean(c: &mut TokenCursor) -> Result<bool> {
    if !c.eat_token(&Token::Eq) && matches!(c.peek(0), Token::Comma | Token::RParen) {
        return Ok(true);
    }
    let value = match c.peek(0) {
        Token::Number(number, _) => number.clone(),
        token => string(token).or_else(|| c.word(0)).ok_or_else(|| c.unexpected("true or false"))?,
    };
    let answer = match value.to_lowercase().as_str() {
        "true" | "on" | "1" => true,
        "false" | "off" | "0" => false,
        _ => return Err(c.unexpected("true or false")),
    };
    c.skip(1);
    Ok(answer)
}
