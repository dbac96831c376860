//! Sinks: their EXPLAIN, and their globally unique identity.

#[cfg(test)]
mod tests;

use super::{objects::Object, sink_plan::SinkPlan, snapshot::StatementSnapshot};
use crate::{
    connectors::Delivery,
    error::{Error, ErrorKind, Result},
    query::Retention,
    sql::{plan::ContinuousPlan, statement::Body},
    storage::Storage,
};

/// The file with a random number per data directory: two servers that write to one outside system are told apart by it.
pub(super) const IDENTITY: &str = "identity";

impl SinkPlan {
    /// The lines of EXPLAIN: how rows are written, and the delivery guarantee for each input.
    pub fn explain(&self, name: &str, standing: &ContinuousPlan, snapshot: &StatementSnapshot) -> Result<Vec<String>> {
        let connector = self.options.connector();
        let names = |key: &Vec<usize>| {
            let names: Vec<&str> = key.iter().map(|column| self.answer.schema.field(*column).name().as_str()).collect();
            format!(", key ({})", names.join(", "))
        };
        let key = self.key.as_ref().map(names).unwrap_or_default();
        let mut lines = vec![format!("Writes to {connector}: type '{}'{key}", self.mode.word())];
        match self.keeps() {
            Retention::Nothing => {}
            Retention::ToWrite => lines.push("Keeps: all rows of the answer, to write them each time".to_string()),
            Retention::ToCheck => {
                lines.push("Keeps: all rows of the answer, to see that no two share the key".to_string())
            }
        }
        let delivery = self.sink(name, name)?.delivery();
        let mut inputs: Vec<&str> = standing.rewritten.inputs.iter().map(|input| input.table.name.as_str()).collect();
        inputs.sort_unstable();
        inputs.dedup();
        for input in inputs {
            let object = snapshot.objects.get(input);
            let from = object.map_or_else(|| format!("\"{input}\""), |object| origin(object));
            // A client that sends lines does not send them again.
            let is_heard =
                delivery == Delivery::ExactlyOnce && object.is_some_and(|o| connector_of(o) == Some("socket"));
            let what = if is_heard { " what was received" } else { "" };
            lines.push(format!("Guarantee: {from} to {connector}: {delivery}{what}"));
        }
        Ok(lines)
    }
}

/// The connector of a source; `None` for other objects.
fn connector_of(object: &Object) -> Option<&str> {
    match &object.statement.body {
        Body::CreateSource(create) => create.options.get("connector"),
        _ => None,
    }
}

/// An input's name, with its connector if it is a source.
fn origin(object: &Object) -> String {
    match connector_of(object) {
        Some(connector) => format!("{} ({connector})", object.label()),
        None => object.label(),
    }
}

/// The name of a sink that no other sink of any server has.
pub fn sink_identity(storage: &dyn Storage, id: u64) -> Result<String> {
    Ok(format!("tidemark-{}-{id}", directory_identity(storage)?))
}

fn directory_identity(storage: &dyn Storage) -> Result<String> {
    let read = || -> Result<Option<String>> {
        let Some(bytes) = storage.read(IDENTITY)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes).trim().to_string();
        match text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => Ok(Some(text)),
            false => Err(Error::new(ErrorKind::DataCorrupted, format!("file \"{IDENTITY}\" cannot be read"))
                .hint("Restore it from a copy: sinks know by it what they have written.")),
        }
    };
    if let Some(identity) = read()? {
        return Ok(identity);
    }
    #[expect(clippy::disallowed_methods, reason = "an identity is to be unlike any other")]
    let identity = format!("{:016x}", rand::random::<u64>());
    storage.create(IDENTITY, identity.as_bytes())?;
    Ok(identity)
}
