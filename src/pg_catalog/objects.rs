//! The existing objects, with their oids and Postgres' letters for their kinds.

use std::sync::Arc;

use super::{listing::Listing, table_oids};
use crate::{
    catalog::{ObjectKind, RelationDef},
    session::SessionInfo,
};

/// The first oid of users' objects in Postgres.
pub const FIRST_OID: i32 = 16384;
/// Oids of the server's own tables: above Postgres' own, below users'.
const SYSTEM_OID: i32 = 14000;
/// Oids of the indexes behind primary keys.
const INDEX_OID: i32 = 1 << 30;
/// The role that owns everything.
pub const OWNER_OID: i32 = 10;
/// The one database.
pub const DATABASE_OID: i32 = 16383;
/// The foreign server of all sources, for `\des` and `\det`.
pub const SERVER_OID: i32 = 15001;
pub const WRAPPER_OID: i32 = 15000;

/// Schemas and their oids; the first two are Postgres' own and fixed.
pub const SCHEMAS: &[(&str, i32)] =
    &[("pg_catalog", 11), ("public", 2200), ("information_schema", 13183), ("tidemark", 15999)];

/// The catalog as one session sees it.
#[derive(Debug)]
pub struct SessionCatalog {
    pub listing: Arc<dyn Listing>,
    pub session_info: SessionInfo,
}

impl SessionCatalog {
    pub fn relations(&self) -> Vec<RelationDef> {
        self.listing.relations()
    }

    /// The oid of a relation by name: with a schema or without, quoted or not.
    pub fn find(&self, name: &str) -> Option<i32> {
        let (schema, name) = split(name);
        if let Some(relation) = self
            .relations()
            .iter()
            .find(|r| r.name == name && schema.as_ref().map_or(r.schema == "public", |schema| *schema == r.schema))
        {
            return Some(oid(relation));
        }
        let in_catalog = schema.is_none_or(|schema| schema == "pg_catalog");
        in_catalog.then(|| table_oids::oid_of(&name)).flatten()
    }

    /// The name of an oid as a client would have to write it.
    pub fn name(&self, wanted: i32) -> Option<String> {
        let relation = self.relations().into_iter().find(|r| oid(r) == wanted || index_oid(r) == Some(wanted));
        match relation {
            Some(r) if oid(&r) == wanted && r.schema == "public" => Some(quoted(&r.name)),
            Some(r) if oid(&r) == wanted => Some(format!("{}.{}", quoted(&r.schema), quoted(&r.name))),
            Some(r) => Some(quoted(&index_name(&r))),
            None => table_oids::name_of(wanted).map(str::to_string),
        }
    }
}

pub fn oid(relation: &RelationDef) -> i32 {
    match relation.kind {
        ObjectKind::System => SYSTEM_OID + (relation.id & 0x3ff) as i32,
        _ => FIRST_OID + (relation.id & 0x3fff_ffff) as i32,
    }
}

/// The oid of the index of its primary key.
pub fn index_oid(relation: &RelationDef) -> Option<i32> {
    (!relation.primary_key.is_empty()).then(|| INDEX_OID + (relation.id & 0x1fff_ffff) as i32)
}

pub fn index_name(relation: &RelationDef) -> String {
    format!("{}_pkey", relation.name)
}

pub fn schema_oid(name: &str) -> i32 {
    SCHEMAS.iter().find(|(schema, _)| *schema == name).map_or(2200, |(_, oid)| *oid)
}

/// `pg_class.relkind`. Postgres has no sources and sinks: the nearest is a foreign table, whose rows are stored
/// elsewhere. Nor has it streams: clients see them as materialized views, and [`word`] tells them apart in output for
/// people.
pub fn relkind(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Table | ObjectKind::System => "r",
        ObjectKind::Source | ObjectKind::Sink => "f",
        ObjectKind::MaterializedView | ObjectKind::Stream => "m",
        ObjectKind::View => "v",
    }
}

/// The name of a kind that Postgres does not have.
pub fn word(kind: ObjectKind) -> Option<&'static str> {
    match kind {
        ObjectKind::Source | ObjectKind::Stream | ObjectKind::Sink => Some(kind.word()),
        _ => None,
    }
}

/// The primary key as a constraint definition.
pub fn key_definition(relation: &RelationDef) -> String {
    let names: Vec<String> = relation
        .primary_key
        .iter()
        .filter_map(|i| relation.columns.fields().get(*i))
        .map(|f| quoted(f.name()))
        .collect();
    names.join(", ")
}

/// The name, quoted if necessary.
pub fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Splits `schema.name`, unquoted and folded to lowercase.
fn split(text: &str) -> (Option<String>, String) {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => part.extend(chars.next()),
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            c if quoted => part.push(c),
            c => part.extend(c.to_lowercase()),
        }
    }
    (parts.pop(), part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_and_quoted_as_in_postgres() {
        assert_eq!(split("Flights"), (None, "flights".into()));
        assert_eq!(split("public.\"My \"\"Table\""), (Some("public".into()), "My \"Table".into()));
        assert_eq!(quoted("my_table"), "my_table");
        assert_eq!(quoted("My \"Table"), "\"My \"\"Table\"");
    }
}
