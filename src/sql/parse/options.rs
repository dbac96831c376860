//! `WITH (key = value, …)`, and the notations of other databases for options.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::{TokenCursor, string};
use crate::{
    error::{Error, ErrorKind, Result},
    options::Options,
};

/// How many options one statement may have.
const OPTIONS_MAX: usize = 1000;

/// `(key = value, …)`, into `options`. The `=` may be left out, as in `OPTIONS ('key' 'value')`.
pub(super) fn options(c: &mut TokenCursor, options: &mut Options) -> Result<()> {
    c.expect_token(&Token::LParen)?;
    if c.eat_token(&Token::RParen) {
        return Ok(());
    }
    c.list(|c| {
        let position = c.here();
        let key = key(c)?;
        c.eat_token(&Token::Eq);
        let value = value(c)?;
        insert(options, &key, value).map_err(|e| e.at(position))
    })?;
    c.expect_token(&Token::RParen)
}

fn insert(options: &mut Options, key: &str, value: String) -> Result<()> {
    if options.0.len() >= OPTIONS_MAX {
        return Err(Error::new(ErrorKind::LimitExceeded, format!("more than {OPTIONS_MAX} options")));
    }
    match options.insert(key, value) {
        None => Ok(()),
        Some(_) => Err(Error::new(ErrorKind::Syntax, format!("option \"{key}\" specified more than once"))),
    }
}

/// `connector`, `'connector'`, `"connector"`, `fields.id.kind`.
fn key(c: &mut TokenCursor) -> Result<String> {
    if let Some(key) = string(c.peek(0)) {
        c.skip(1);
        return Ok(key);
    }
    let mut key = String::new();
    loop {
        match c.peek(0) {
            Token::Word(w) => key.push_str(&w.value),
            _ => return Err(c.unexpected("the name of an option")),
        }
        c.skip(1);
        if !c.eat_token(&Token::Period) {
            return Ok(key);
        }
        key.push('.');
    }
}

/// A string, a number, or a word, as text. `SECRET name` refers to a secret's value.
fn value(c: &mut TokenCursor) -> Result<String> {
    if let Some(text) = string(c.peek(0)) {
        c.skip(1);
        return Ok(text);
    }
    if c.is("INTERVAL") && string(c.peek(1)).is_some() {
        c.skip(1);
        return value(c);
    }
    if c.is("SECRET") && c.word(1).is_some() {
        c.skip(1);
        return Ok(Options::secret(&c.ident("the name of a secret")?.0));
    }
    let sign = if c.eat_token(&Token::Minus) { "-" } else { "" };
    match c.peek(0).clone() {
        Token::Number(number, _) => {
            c.skip(1);
            Ok(format!("{sign}{number}"))
        }
        Token::Word(_) if sign.is_empty() => key(c),
        _ => Err(c.unexpected("a value")),
    }
}

/// `FORMAT PLAIN | UPSERT | DEBEZIUM ENCODE JSON [(options)]`, `FORMAT JSON`: the option `format`.
pub(super) fn format(c: &mut TokenCursor, all: &mut Options) -> Result<()> {
    let position = c.here();
    c.expect("FORMAT")?;
    let (mut format, _) = c.ident("a format")?;
    if c.eat("ENCODE") {
        let (encoding, _) = c.ident("an encoding")?;
        format = match (format.as_str(), encoding.as_str()) {
            ("plain", _) => encoding,
            ("upsert" | "debezium", "json") => format!("{format}_json"),
            _ => {
                let what = format!("FORMAT {} ENCODE {}", format.to_uppercase(), encoding.to_uppercase());
                return Err(Error::unsupported(what)
                    .hint("FORMAT PLAIN takes records that stand for themselves; UPSERT and DEBEZIUM are of JSON.")
                    .at(position));
            }
        };
    }
    if matches!(format.as_str(), "plain" | "upsert" | "debezium" | "native") {
        return Err(c.unexpected("ENCODE"));
    }
    insert(all, "format", format).map_err(|e| e.at(position))?;
    if *c.peek(0) == Token::LParen { options(c, all) } else { Ok(()) }
}

/// The keywords after `INCLUDE`; some are reserved, and cannot be names elsewhere.
const INCLUDED: [&str; 7] = ["KEY", "HEADERS", "HEADER", "PARTITION", "OFFSET", "TIMESTAMP", "TOPIC"];

/// `INCLUDE key [TEXT] [AS name], header 'name' …`, repeatable: stored as the option `include`, with the same text.
pub(super) fn include(c: &mut TokenCursor, all: &mut Options) -> Result<()> {
    c.expect("INCLUDE")?;
    let items = c.list(|c| {
        let word = c.word(0).filter(|word| INCLUDED.contains(&word.as_str()));
        let Some(word) = word else { return Err(c.unexpected("key, header, partition, offset, timestamp or topic")) };
        c.skip(1);
        let mut item = word.to_lowercase();
        if let Some(header) = string(c.peek(0)) {
            c.skip(1);
            item.push_str(&format!(" '{}'", header.replace('\'', "''")));
        }
        let kinds = ["TEXT", "VARCHAR", "STRING", "BYTEA", "BYTES"];
        if let Some(kind) = c.word(0).filter(|word| kinds.contains(&word.as_str())) {
            c.skip(1);
            item.push_str(&format!(" {kind}"));
        }
        if c.eat("AS") {
            let (name, _) = c.ident("the name of a column")?;
            item.push_str(&format!(" AS \"{}\"", name.replace('"', "\"\"")));
        }
        Ok(item)
    })?;
    let before = all.0.remove("include").into_iter();
    all.insert("include", before.chain(items).collect::<Vec<_>>().join(", "));
    Ok(())
}

/// The clauses after the columns of `CREATE EXTERNAL TABLE`: `STORED AS CSV`, `LOCATION '…'`, `OPTIONS (…)`, `WITH
/// HEADER ROW`. Returns whether one of them was consumed.
pub(super) fn external(c: &mut TokenCursor, all: &mut Options) -> Result<bool> {
    let position = c.here();
    if c.eat("STORED AS") {
        let (format, _) = c.ident("a format")?;
        insert(all, "format", format).map_err(|e| e.at(position))?;
    } else if c.eat("LOCATION") {
        let path = c.string("a path in quotes")?;
        insert(all, "path", path).map_err(|e| e.at(position))?;
    } else if c.eat("WITH HEADER ROW") {
        insert(all, "header", "true".to_string()).map_err(|e| e.at(position))?;
    } else if c.eat("OPTIONS") {
        let mut given = Options::default();
        options(c, &mut given)?;
        for (key, value) in given.0 {
            let key = match key.strip_prefix("format.").unwrap_or(&key) {
                "has_header" => "header",
                key => key,
            };
            insert(all, key, value).map_err(|e| e.at(position))?;
        }
    } else {
        return Ok(false);
    }
    Ok(true)
}
