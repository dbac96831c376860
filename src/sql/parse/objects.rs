//! `DROP` and `ALTER`.

use super::{cursor::TokenCursor, functions, other_objects::is_other_object};
use crate::{
    catalog::ObjectKind,
    error::{Error, Result},
    sql::names,
    sql::statement::{Alter, AlterAction, Body, Drop, DropSecrets},
};

/// Consumes the keywords of an object kind, if they come next.
pub(super) fn kind(c: &mut TokenCursor) -> Option<ObjectKind> {
    const WORDS: [(&str, ObjectKind); 7] = [
        ("SOURCE", ObjectKind::Source),
        ("EXTERNAL TABLE", ObjectKind::Source),
        ("TABLE", ObjectKind::Table),
        ("STREAM", ObjectKind::Stream),
        ("MATERIALIZED VIEW", ObjectKind::MaterializedView),
        ("VIEW", ObjectKind::View),
        ("SINK", ObjectKind::Sink),
    ];
    WORDS.into_iter().find(|(words, _)| c.eat(words)).map(|(_, kind)| kind)
}

/// `DROP INDEX`, `ALTER ROLE`, …: refused by name; an unknown kind is a syntax error.
fn other(c: &TokenCursor, verb: &str) -> Error {
    const MORE: &[&str] = &["AGGREGATE", "DEFAULT", "FUNCTION", "OWNED", "ROUTINE", "SCHEMA", "SECRET", "SYSTEM"];
    match c.word(0) {
        Some(word) if is_other_object(&word, MORE) => c.unsupported(format!("{verb} {word}")),
        _ => c.unexpected("SOURCE, STREAM, TABLE, VIEW, MATERIALIZED VIEW or SINK"),
    }
}

/// `DROP kind [IF EXISTS] name, … [CASCADE | RESTRICT]`
pub(super) fn drop(c: &mut TokenCursor) -> Result<Body> {
    c.expect("DROP")?;
    if c.eat("SECRET") {
        let if_exists = c.eat("IF EXISTS");
        let names = c.list(|c| Ok(c.ident("the name of a secret")?.0))?;
        c.eat("RESTRICT");
        return Ok(Body::DropSecrets(DropSecrets { names, if_exists }));
    }
    if c.is("FUNCTION") || c.is("AGGREGATE") {
        return functions::drop(c);
    }
    let Some(kind) = kind(c) else { return Err(other(c, "DROP")) };
    let if_exists = c.eat("IF EXISTS");
    let names = c.list(TokenCursor::name)?;
    let cascade = c.eat("CASCADE");
    if !cascade {
        c.eat("RESTRICT");
    }
    Ok(Body::Drop(Drop { kind, names, if_exists, cascade }))
}

/// The hint how to replace a definition without losing rows.
fn beside(kind: ObjectKind, name: &str) -> String {
    match kind {
        ObjectKind::Table => format!(
            "Make a second table as it is to be, and take the rows along: CREATE TABLE {new} (…); INSERT INTO {new} SELECT … \
             FROM {old}.",
            new = names::quote(&format!("{name}_2")),
            old = names::quote(name)
        ),
        _ => format!("Make a second {kind} as it is to be, under another name."),
    }
}

/// `ALTER kind name PAUSE | RESUME | RENAME TO name`
pub(super) fn alter(c: &mut TokenCursor) -> Result<Body> {
    c.expect("ALTER")?;
    let Some(kind) = kind(c) else { return Err(other(c, "ALTER")) };
    let object = kind.word().to_uppercase();
    if c.are("IF EXISTS") {
        return Err(c.unsupported(format!("ALTER {object} IF EXISTS")));
    }
    let name = c.name()?;
    let action = if c.eat("PAUSE") {
        AlterAction::Pause
    } else if c.eat("RESUME") {
        AlterAction::Resume
    } else if c.eat("RENAME TO") {
        AlterAction::RenameTo(c.ident("a name")?.0)
    } else if matches!(kind, ObjectKind::Source | ObjectKind::Sink) && c.eat("RESET OFFSETS") {
        AlterAction::ResetOffsets
    } else {
        let known = ["ADD", "ALTER", "DROP", "RENAME", "SET", "RESET", "OWNER", "SWAP", "APPLY", "ATTACH", "DETACH"];
        return Err(match c.word(0) {
            Some(word) if known.contains(&word.as_str()) => {
                c.unsupported(format!("ALTER {object} … {word}")).hint(beside(kind, &name.name))
            }
            _ => c.unexpected("PAUSE, RESUME or RENAME TO"),
        });
    };
    let standing = matches!(kind, ObjectKind::Stream | ObjectKind::MaterializedView | ObjectKind::Sink);
    if !standing && matches!(action, AlterAction::Pause | AlterAction::Resume) {
        let hint = "Only streams, materialized views and sinks run, so only they can be paused.";
        return Err(Error::unsupported(format!("PAUSE or RESUME of a {kind}")).hint(hint).at(name.position));
    }
    Ok(Body::Alter(Alter { kind, name, action }))
}
