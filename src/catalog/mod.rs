//! What exists, as plain durable data: no live handles, no I/O.

use std::fmt;

use arrow::datatypes::{DataType, SchemaRef};
use serde::{Deserialize, Serialize};

/// The kinds of things that a name can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// An outside, growing input. Nothing is stored.
    Source,
    /// Rows that clients insert, update and delete.
    Table,
    /// A named query with an event time.
    Stream,
    /// A standing query whose answer is kept.
    MaterializedView,
    /// A named query, run anew whenever it is read.
    View,
    /// A standing query whose changes go to an outside system.
    Sink,
    /// A table of the server itself.
    System,
}

impl ObjectKind {
    /// The word that SQL has for it, in lowercase.
    pub fn word(self) -> &'static str {
        match self {
            ObjectKind::Source => "source",
            ObjectKind::Table => "table",
            ObjectKind::Stream => "stream",
            ObjectKind::MaterializedView => "materialized view",
            ObjectKind::View => "view",
            ObjectKind::Sink => "sink",
            ObjectKind::System => "system table",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One named relation as clients see it in `pg_catalog`, `information_schema` and `SHOW`.
#[derive(Debug, Clone)]
pub struct RelationDef {
    /// Never used twice, stable across restarts: `pg_class.oid` is made of it.
    pub id: u64,
    pub schema: String,
    pub name: String,
    pub kind: ObjectKind,
    pub columns: SchemaRef,
    /// Indexes into `columns`; empty where there is no key.
    pub primary_key: Vec<usize>,
    /// The statement that made it.
    pub definition: String,
}

/// One function as clients see it in `pg_catalog` and `SHOW`.
#[derive(Debug, Clone)]
pub struct Routine {
    /// Never used twice, stable across restarts: `pg_proc.oid` is made of it.
    pub id: u64,
    pub name: String,
    pub aggregate: bool,
    pub strict: bool,
    pub arguments: Vec<(Option<String>, DataType)>,
    pub returns: DataType,
    /// The statement that made it.
    pub definition: String,
}

/// One thing that exists, as the log keeps it. Its statement is parsed again at each start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectDef {
    pub id: u64,
    pub name: String,
    pub kind: ObjectKind,
    /// The statement that made it.
    pub definition: String,
    /// Its columns, fixed when it was made: inferred ones included. Arrow IPC schema, as bytes.
    pub schema: Vec<u8>,
    /// The ids of the objects that it reads.
    pub depends: Vec<u64>,
    /// Whether it was paused by `ALTER … PAUSE`, or has done all that its trigger asks for.
    #[serde(default)]
    pub paused: bool,
}

/// A value that options refer to by name. Its value is not printed, not even by `Debug`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// Kept as it is.
    Value(String),
    /// The name of a variable, looked up whenever it is used.
    Environment(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Value(_) => f.write_str("***"),
            Secret::Environment(name) => write!(f, "${{{name}}}"),
        }
    }
}

/// A function or an aggregate that a statement made. It is parsed again at each start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionDef {
    /// Of one that is replaced another: a function only uses what has a lower id.
    pub id: u64,
    pub definition: String,
}

/// A durable change of what exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatalogChange {
    /// Drops some objects and makes others, at once: `CREATE OR REPLACE` is one change.
    Replace {
        drop: Vec<u64>,
        create: Vec<ObjectDef>,
    },
    Paused {
        id: u64,
        paused: bool,
    },
    Renamed {
        id: u64,
        name: String,
        definition: String,
    },
    /// Makes a secret, gives it another value, or drops it.
    Secret {
        name: String,
        secret: Option<Secret>,
    },
    /// Makes a function, puts another one in its place, or drops it.
    Function {
        name: String,
        function: Option<FunctionDef>,
    },
}

/// Everything that exists, by id: an object only reads what has a lower id, so this order builds it up.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Catalog {
    pub objects: std::collections::BTreeMap<u64, ObjectDef>,
    /// Ids are never used twice: a dropped object's files cannot be taken for another's.
    pub last_id: u64,
    #[serde(default)]
    pub secrets: std::collections::BTreeMap<String, Secret>,
    #[serde(default)]
    pub functions: std::collections::BTreeMap<String, FunctionDef>,
}

impl Catalog {
    pub fn apply(&mut self, change: &CatalogChange) {
        match change {
            CatalogChange::Replace { drop, create } => {
                drop.iter().for_each(|id| {
                    self.objects.remove(id);
                });
                for object in create {
                    self.last_id = self.last_id.max(object.id);
                    self.objects.insert(object.id, object.clone());
                }
            }
            CatalogChange::Secret { name, secret: Some(secret) } => {
                self.secrets.insert(name.clone(), secret.clone());
            }
            CatalogChange::Secret { name, secret: None } => {
                self.secrets.remove(name);
            }
            CatalogChange::Function { name, function: Some(function) } => {
                self.last_id = self.last_id.max(function.id);
                self.functions.insert(name.clone(), function.clone());
            }
            CatalogChange::Function { name, function: None } => {
                self.functions.remove(name);
            }
            CatalogChange::Paused { id, paused } => {
                if let Some(object) = self.objects.get_mut(id) {
                    object.paused = *paused;
                }
            }
            CatalogChange::Renamed { id, name, definition } => {
                if let Some(object) = self.objects.get_mut(id) {
                    object.name.clone_from(name);
                    object.definition.clone_from(definition);
                }
            }
        }
    }

    pub fn find(&self, name: &str) -> Option<&ObjectDef> {
        self.objects.values().find(|o| o.name == name)
    }

    /// The objects that read object `id`, directly or through others, in the order of creation.
    pub fn dependents(&self, id: u64) -> Vec<&ObjectDef> {
        let mut reached = std::collections::BTreeSet::from([id]);
        let mut found = Vec::new();
        for object in self.objects.values() {
            if object.depends.iter().any(|d| reached.contains(d)) {
                reached.insert(object.id);
                found.push(object);
            }
        }
        found
    }
}
