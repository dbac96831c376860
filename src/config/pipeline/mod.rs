//! A pipeline: sources, tables, streams, views and sinks in one YAML file, as an alternative to SQL.
//!
//! [`lower`] writes the statements that a client would send; [`definitions`] parses them with the one parser. So a
//! pipeline can express nothing that SQL cannot, and every error points to the line of the YAML that caused it.

mod definition;
mod lower;
mod order;
mod raw;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use definition::{Definition, normalised};
pub use lower::{Lowered, lower};
pub use raw::RawPipeline;

use self::order::in_order;
use super::{
    Config, Environment, Layer, RawConfig,
    yaml::{Document, PathPart, PathStep},
};
use crate::{
    catalog::ObjectKind,
    error::{Error, ErrorKind, Result},
    options::nearest,
    sql::{
        self,
        statement::{Body, IfExists},
    },
};

/// A pipeline file, lowered and parsed.
#[derive(Debug)]
pub struct Pipeline {
    pub lowered: Vec<Lowered>,
    /// Ordered so that each follows its inputs.
    pub definitions: Vec<Definition>,
}

impl Pipeline {
    /// Reads the file's statements. SQL files that it names are found relative to its own folder.
    pub fn load(document: &Document, environment: &Environment) -> Result<(RawPipeline, Pipeline)> {
        let raw = document.parse::<RawPipeline>()?.unwrap_or_default();
        let folder = Path::new(&document.file).parent().unwrap_or(Path::new(""));
        let lowered = lower(&raw, document, folder, environment)?;
        let definitions = in_order(definitions(&lowered)?);
        Ok((raw, Pipeline { lowered, definitions }))
    }

    /// An error of the engine about `definition`, with its `file:line:column`.
    pub fn blame(&self, definition: &Definition, error: Error) -> Error {
        self.lowered[definition.lowered].blame(error, definition.statement.start.position)
    }
}

/// Overrides settings by the pipeline's `server:`.
pub fn apply_server(
    config: &mut Config,
    raw: &RawPipeline,
    document: &Document,
    environment: &Environment,
) -> Result<()> {
    let below = vec![PathStep::Key("server".to_string())];
    match &raw.server {
        Some(server) => config.apply(server, &Layer { document, environment, below }),
        None => Ok(()),
    }
}

/// The keys of a pipeline file.
const KEYS: [&str; 7] = ["server", "sources", "tables", "streams", "views", "sinks", "sql"];

/// Whether a YAML file is a pipeline rather than a server's configuration. Invalid YAML is an error with its position;
/// if no key decides, the nearest known key does.
pub fn is_pipeline(document: &Document) -> Result<bool> {
    document.check()?;
    let Some(serde_yaml::Value::Mapping(map)) = document.parse()? else { return Ok(false) };
    let keys: Vec<&str> = map.keys().filter_map(serde_yaml::Value::as_str).collect();
    if keys.iter().any(|key| KEYS.contains(key)) {
        return Ok(true);
    }
    let server = RawConfig::keys();
    let Some(unknown) = keys.iter().find(|key| !server.iter().any(|known| known == *key)) else { return Ok(false) };
    let known: Vec<String> = KEYS.map(str::to_string).into_iter().chain(server.clone()).collect();
    match nearest(unknown, &known) {
        Some(near) => Ok(KEYS.contains(&near)),
        None if keys.iter().any(|key| server.iter().any(|known| known == key)) => Ok(false),
        None => {
            let path = [PathStep::Key(unknown.to_string())];
            let error = document.error(document.place(&path, PathPart::Key), format!("unknown key \"{unknown}\""));
            let (pipeline, server) = (KEYS.join(", "), server.join(", "));
            Err(error.hint(format!("A pipeline has {pipeline}; a server's configuration has {server}.")))
        }
    }
}

/// Parses the lowered SQL. Statements other than definitions are refused: they would run each time the file is applied.
pub fn definitions(lowered: &[Lowered]) -> Result<Vec<Definition>> {
    let mut all: Vec<Definition> = Vec::new();
    for (index, text) in lowered.iter().enumerate() {
        for statement in sql::parse(&text.sql).map_err(|e| text.blame(e, 1))? {
            let start = statement.start.position;
            let (kind, name) = declared(&statement.body).map_err(|e| text.blame(e, start))?;
            if let Some(first) = all.iter().find(|d| d.name == name) {
                let message = format!("{kind} \"{name}\" is declared twice, first as a {}", first.kind);
                return Err(text.blame(Error::new(ErrorKind::Config, message), start));
            }
            all.push(Definition { kind, name, statement, lowered: index });
        }
    }
    Ok(all)
}

/// The kind and name that a statement defines.
fn declared(body: &Body) -> Result<(ObjectKind, String)> {
    let (kind, name, exists) = match body {
        Body::CreateSource(s) => (ObjectKind::Source, &s.name, s.exists),
        Body::CreateTable(t) => (ObjectKind::Table, &t.name, t.exists),
        Body::CreateView(v) => (v.kind, &v.name, v.exists),
        _ => {
            let message = "a pipeline declares sources, tables, streams, views and sinks; other statements would run \
                           again each time it is applied";
            return Err(Error::new(ErrorKind::Config, message).hint("Send them with: tidemark sql -f FILE"));
        }
    };
    if exists == IfExists::Skip {
        let message = format!("IF NOT EXISTS of {kind} \"{}\" has no meaning in a pipeline", name.name);
        let hint = "Leave it out: what is there already and has not changed is left alone.";
        return Err(Error::new(ErrorKind::Config, message).hint(hint));
    }
    Ok((kind, name.name.clone()))
}
