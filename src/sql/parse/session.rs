//! Settings and transactions: `SET`, `RESET`, `BEGIN` and similar.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::{TokenCursor, string};
use crate::{
    error::Result,
    sql::statement::{Body, DiscardWhat},
};

pub(super) fn set(c: &mut TokenCursor) -> Result<Body> {
    c.expect("SET")?;
    if c.eat("TRANSACTION") {
        return characteristics(c, "transaction", true);
    }
    if c.eat("SESSION CHARACTERISTICS AS TRANSACTION") {
        return characteristics(c, "default_transaction", false);
    }
    if c.eat("CONSTRAINTS") {
        while !c.at_end() {
            c.skip(1);
        }
        return Ok(Body::NoOp("SET CONSTRAINTS".to_string()));
    }
    let local = c.eat("LOCAL");
    let authorization = c.are("SESSION AUTHORIZATION");
    if !local && !authorization {
        c.eat("SESSION");
    }
    let bare = ["TIME ZONE", "ROLE", "SESSION AUTHORIZATION", "NAMES"].iter().any(|w| c.are(w));
    let name = setting(c)?;
    if !bare && !c.eat_token(&Token::Eq) && !c.eat("TO") {
        return Err(c.unexpected("TO"));
    }
    let value = setting_value(c)?;
    Ok(Body::Set { name, value, local })
}

/// The name of a setting in lowercase; some names have several words.
pub(super) fn setting(c: &mut TokenCursor) -> Result<String> {
    const WORDS: [(&str, &str); 5] = [
        ("TIME ZONE", "timezone"),
        ("TRANSACTION ISOLATION LEVEL", "transaction_isolation"),
        ("SESSION AUTHORIZATION", "session_authorization"),
        ("ROLE", "role"),
        ("NAMES", "client_encoding"),
    ];
    if let Some((_, name)) = WORDS.into_iter().find(|(words, _)| c.eat(words)) {
        return Ok(name.to_string());
    }
    let mut name = String::new();
    loop {
        match c.peek(0) {
            Token::Word(w) => name.push_str(&w.value.to_lowercase()),
            _ => return Err(c.unexpected("the name of a setting")),
        }
        c.skip(1);
        if !c.eat_token(&Token::Period) {
            return Ok(name);
        }
        name.push('.');
    }
}

/// `DEFAULT` is `None`; a list is its items joined by `, `; a string is its contents.
fn setting_value(c: &mut TokenCursor) -> Result<Option<String>> {
    if c.eat("DEFAULT") || c.eat("LOCAL") {
        return Ok(None);
    }
    if c.eat("INTERVAL") {
        let value = c.string("an interval in quotes")?;
        c.eat("HOUR TO MINUTE");
        return Ok(Some(value));
    }
    let items = c.list(|c| {
        if let Some(text) = string(c.peek(0)) {
            c.skip(1);
            return Ok(text);
        }
        let sign = if c.eat_token(&Token::Minus) { "-" } else { "" };
        c.eat_token(&Token::Plus);
        match c.peek(0).clone() {
            Token::Number(number, _) => {
                c.skip(1);
                Ok(format!("{sign}{number}"))
            }
            token @ Token::Word(_) if sign.is_empty() => {
                c.skip(1);
                Ok(token.to_string())
            }
            _ => Err(c.unexpected("a value")),
        }
    })?;
    Ok(Some(items.join(", ")))
}

/// The modes of `SET TRANSACTION`. Only READ ONLY and READ WRITE have an effect, so only that is kept.
fn characteristics(c: &mut TokenCursor, prefix: &str, local: bool) -> Result<Body> {
    let modes = modes(c)?;
    Ok(match (modes.read_only, modes.isolation) {
        (Some(only), _) => {
            let value = if only { "on" } else { "off" };
            Body::Set { name: format!("{prefix}_read_only"), value: Some(value.to_string()), local }
        }
        (None, Some(level)) => Body::Set { name: format!("{prefix}_isolation"), value: Some(level.to_string()), local },
        (None, None) if modes.any => Body::NoOp("SET".to_string()),
        (None, None) => return Err(c.unexpected("a transaction mode")),
    })
}

#[derive(Default)]
struct Modes {
    any: bool,
    read_only: Option<bool>,
    isolation: Option<&'static str>,
}

/// `ISOLATION LEVEL …`, `READ ONLY`, `DEFERRABLE`, with or without commas.
fn modes(c: &mut TokenCursor) -> Result<Modes> {
    const LEVELS: [(&str, &str); 4] = [
        ("SERIALIZABLE", "serializable"),
        ("REPEATABLE READ", "repeatable read"),
        ("READ COMMITTED", "read committed"),
        ("READ UNCOMMITTED", "read uncommitted"),
    ];
    let mut modes = Modes::default();
    loop {
        if c.eat("ISOLATION LEVEL") {
            match LEVELS.into_iter().find(|(words, _)| c.eat(words)) {
                Some((_, level)) => modes.isolation = Some(level),
                None => return Err(c.unexpected("an isolation level")),
            }
        } else if c.eat("READ ONLY") {
            modes.read_only = Some(true);
        } else if c.eat("READ WRITE") {
            modes.read_only = Some(false);
        } else if !(c.eat("DEFERRABLE") || c.eat("NOT DEFERRABLE")) {
            return Ok(modes);
        }
        modes.any = true;
        if c.eat_token(&Token::Comma) && c.at_end() {
            return Err(c.unexpected("a transaction mode"));
        }
    }
}

pub(super) fn reset(c: &mut TokenCursor) -> Result<Body> {
    c.expect("RESET")?;
    if c.eat("ALL") {
        return Ok(Body::Reset(None));
    }
    Ok(Body::Reset(Some(setting(c)?)))
}

pub(super) fn discard(c: &mut TokenCursor) -> Result<Body> {
    const WORDS: [(&str, DiscardWhat); 5] = [
        ("ALL", DiscardWhat::All),
        ("PLANS", DiscardWhat::Plans),
        ("SEQUENCES", DiscardWhat::Sequences),
        ("TEMP", DiscardWhat::Temp),
        ("TEMPORARY", DiscardWhat::Temp),
    ];
    c.expect("DISCARD")?;
    match WORDS.into_iter().find(|(word, _)| c.eat(word)) {
        Some((_, what)) => Ok(Body::Discard(what)),
        None => Err(c.unexpected("ALL, PLANS, SEQUENCES or TEMP")),
    }
}

pub(super) fn transaction(c: &mut TokenCursor) -> Result<Body> {
    let word = c.word(0).unwrap_or_default();
    c.skip(1);
    if word == "START" {
        c.expect("TRANSACTION")?;
    } else if c.eat("PREPARED") {
        return Err(c.unsupported(format!("{word} PREPARED")));
    } else if !c.eat("WORK") {
        c.eat("TRANSACTION");
    }
    match word.as_str() {
        "BEGIN" | "START" => Ok(Body::Begin { read_only: modes(c)?.read_only }),
        "COMMIT" | "END" => chain(c).map(|()| Body::Commit),
        _ if c.eat("TO") => {
            c.eat("SAVEPOINT");
            c.ident("the name of a savepoint")?;
            Ok(Body::NoOp("ROLLBACK".to_string()))
        }
        _ => chain(c).map(|()| Body::Rollback),
    }
}

fn chain(c: &mut TokenCursor) -> Result<()> {
    if c.are("AND CHAIN") {
        return Err(c.unsupported("AND CHAIN"));
    }
    c.eat("AND NO CHAIN");
    Ok(())
}

/// Statements accepted without effect: there are no locks, no vacuum and no notifications.
pub(super) fn no_op(c: &mut TokenCursor) -> Result<Body> {
    let word = c.word(0).unwrap_or_default();
    c.skip(1);
    let tag = match word.as_str() {
        "SAVEPOINT" | "LISTEN" => {
            c.ident("a name")?;
            word
        }
        "RELEASE" => {
            c.eat("SAVEPOINT");
            c.ident("the name of a savepoint")?;
            word
        }
        "UNLISTEN" => {
            if !c.eat_token(&Token::Mul) {
                c.ident("a name")?;
            }
            word
        }
        "LOCK" => {
            skip_all(c);
            "LOCK TABLE".to_string()
        }
        _ => {
            skip_all(c);
            word
        }
    };
    Ok(Body::NoOp(tag))
}

fn skip_all(c: &mut TokenCursor) {
    while !c.at_end() {
        c.skip(1);
    }
}
