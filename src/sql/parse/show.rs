//! `SHOW`, `DESCRIBE` and `EXPLAIN`.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::{cursor::TokenCursor, objects, session};
use crate::{
    catalog::ObjectKind,
    error::{Error, Result},
    sql::statement::{Body, Show, Statement},
};

pub(super) fn show(c: &mut TokenCursor) -> Result<Body> {
    const OBJECTS: [(&str, ObjectKind); 6] = [
        ("SOURCES", ObjectKind::Source),
        ("STREAMS", ObjectKind::Stream),
        ("TABLES", ObjectKind::Table),
        ("MATERIALIZED VIEWS", ObjectKind::MaterializedView),
        ("VIEWS", ObjectKind::View),
        ("SINKS", ObjectKind::Sink),
    ];
    c.expect("SHOW")?;
    if let Some((_, kind)) = OBJECTS.into_iter().find(|(words, _)| c.eat(words)) {
        return Ok(Body::Show(Show::Objects(kind)));
    }
    let show = if c.eat("SECRETS") {
        Show::Secrets
    } else if c.is("FUNCTIONS") && *c.peek(1) == Token::EOF {
        c.skip(1);
        Show::Functions
    } else if c.eat("CREATE") {
        let kind = objects::kind(c);
        Show::Create(kind, c.name()?)
    } else if c.eat("COLUMNS FROM") || c.eat("COLUMNS IN") {
        Show::Columns(c.name()?)
    } else if c.eat("ALL") {
        Show::AllSettings
    } else if ["JOBS", "QUERIES", "CONNECTIONS"].iter().any(|w| c.is(w)) && *c.peek(1) == Token::EOF {
        let what = format!("SHOW {}", c.word(0).unwrap_or_default());
        return Err(c.unsupported(what).hint("SELECT * FROM tidemark.queries tells of all that runs."));
    } else {
        Show::Setting(session::setting(c)?)
    };
    Ok(Body::Show(show))
}

pub(super) fn describe(c: &mut TokenCursor) -> Result<Body> {
    c.skip(1);
    objects::kind(c);
    Ok(Body::Show(Show::Columns(c.name()?)))
}

/// `EXPLAIN [ANALYZE] [VERBOSE] statement`, `EXPLAIN (ANALYZE, VERBOSE, …) statement`, `EXPLAIN MATERIALIZED VIEW v`,
/// `EXPLAIN SINK s`; `rest` reads the statement.
pub(super) fn explain(c: &mut TokenCursor, rest: fn(&mut TokenCursor) -> Result<Statement>) -> Result<Body> {
    c.expect("EXPLAIN")?;
    let (mut analyze, mut verbose) = (false, false);
    if *c.peek(0) == Token::LParen && !matches!(c.word(1).as_deref(), Some("SELECT" | "WITH" | "VALUES") | None) {
        c.skip(1);
        c.list(|c| option(c, &mut analyze, &mut verbose))?;
        c.expect_token(&Token::RParen)?;
    } else {
        analyze = c.eat("ANALYZE") || c.eat("ANALYSE");
        verbose = c.eat("VERBOSE");
    }
    if matches!(c.word(0).as_deref(), Some("MATERIALIZED" | "STREAM" | "VIEW" | "SOURCE" | "SINK"))
        && objects::kind(c).is_some()
    {
        return Ok(Body::ExplainRelation(c.name()?));
    }
    match c.word(0).as_deref() {
        None | Some("SELECT" | "WITH" | "VALUES" | "INSERT" | "UPDATE" | "DELETE" | "CREATE" | "EXECUTE") => {}
        Some(_) => return Err(c.unexpected("a query")),
    }
    let statement = Box::new(rest(c)?);
    Ok(Body::Explain { analyze, verbose, statement })
}

fn option(c: &mut TokenCursor, analyze: &mut bool, verbose: &mut bool) -> Result<()> {
    let position = c.here();
    let Some(name) = c.word(0).map(|w| w.to_lowercase()) else { return Err(c.unexpected("an option of EXPLAIN")) };
    c.skip(1);
    let value = match c.peek(0) {
        Token::Comma | Token::RParen => None,
        _ => Some(c.next().to_string().trim_matches('\'').to_lowercase()),
    };
    let on = !matches!(value.as_deref(), Some("false" | "off" | "0"));
    match (name.as_str(), value.as_deref()) {
        ("analyze", _) => *analyze = on,
        ("verbose", _) => *verbose = on,
        ("costs" | "buffers" | "timing" | "summary" | "settings" | "wal" | "generic_plan" | "memory", _) => {}
        ("format", Some("text")) => {}
        ("format", _) => return Err(Error::unsupported("EXPLAIN in a format other than text").at(position)),
        _ => {
            let message = format!("unrecognized EXPLAIN option \"{name}\"");
            return Err(Error::new(crate::error::ErrorKind::Syntax, message).at(position));
        }
    }
    Ok(())
}
