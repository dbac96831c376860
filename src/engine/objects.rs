//! What exists, alive: the catalog's objects with their sources, rows and runners.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::sql::sqlparser::ast;

use super::{continuous::QueryRecipe, sinks, system, tables::WritableTable};
use crate::{
    catalog::ObjectKind,
    connectors::{BatchingPolicy, OnError, ReadLimit, Readers, Replayed},
    error::{Error, Result},
    options::SecretRedactor,
    query::{Handle, Letters},
    relations::{SharedRelation, Snapshot, SnapshotBarrier, at_one_moment},
    sql::{
        functions::Functions,
        incremental::TimeBounds,
        plan::{CatalogView, Resolved},
        statement::{Name, Statement},
        table::{InputTable, TableInput},
        watermark::WatermarkSpec,
    },
};

/// One thing that exists.
#[derive(Debug)]
pub struct Object {
    pub id: u64,
    pub name: String,
    pub kind: ObjectKind,
    /// The statement that made it, parsed; its `text` is the definition.
    pub statement: Statement,
    pub schema: SchemaRef,
    /// The ids of what it reads.
    pub depends: Vec<u64>,
    pub watermark: Option<WatermarkSpec>,
    pub readers: Arc<Readers>,
    pub what: ObjectState,
}

#[derive(Debug)]
pub enum ObjectState {
    Source {
        source: Arc<Replayed>,
        on_error: OnError,
        limit: ReadLimit,
        patience: Option<BatchingPolicy>,
        fixed: bool,
        /// The columns by which its rows are set and removed; none where rows only come.
        key: Arc<[String]>,
    },
    Table(Arc<WritableTable>),
    /// A view or stream that is kept.
    ContinuousQuery {
        shared: Arc<SharedRelation>,
        handle: Arc<Handle>,
        /// The ids of what its plan reads: behind streams and plain views, too.
        inputs: Vec<u64>,
        /// What is known of the times in its columns.
        times: Arc<TimeBounds>,
    },
    /// A sink: a standing query whose rows are outside.
    Sink {
        handle: Arc<Handle>,
        inputs: Vec<u64>,
        /// How it is made again, with other options too.
        recipe: Arc<QueryRecipe>,
    },
    /// A view or stream that is computed wherever it is read.
    Query {
        query: Arc<ast::Query>,
        columns: Vec<String>,
    },
    /// It could not be opened when the server started; what went wrong is told to whoever uses it.
    Broken(Error),
}

impl Object {
    pub fn shared(&self) -> Option<&Arc<SharedRelation>> {
        match &self.what {
            ObjectState::ContinuousQuery { shared, .. } => Some(shared),
            ObjectState::Table(table) => Some(&table.shared),
            _ => None,
        }
    }

    pub fn handle(&self) -> Option<&Handle> {
        match &self.what {
            ObjectState::ContinuousQuery { handle, .. } | ObjectState::Sink { handle, .. } => Some(handle.as_ref()),
            _ => None,
        }
    }

    /// The ids of what its plan reads, where it has one that stands.
    pub fn inputs(&self) -> &[u64] {
        match &self.what {
            ObjectState::ContinuousQuery { inputs, .. } | ObjectState::Sink { inputs, .. } => inputs,
            _ => &[],
        }
    }

    /// The name with its kind, as errors say it: `source "flights"`.
    pub fn label(&self) -> String {
        format!("{} \"{}\"", self.kind, self.name)
    }
}

/// All objects by name, at one moment. Immutable: a change makes a new one.
#[derive(Debug, Clone, Default)]
pub struct Objects(pub Arc<BTreeMap<String, Arc<Object>>>);

impl Objects {
    pub fn get(&self, name: &str) -> Option<&Arc<Object>> {
        self.0.get(name)
    }

    /// In the order of making: what reads comes after what it reads.
    pub fn in_order(&self) -> Vec<Arc<Object>> {
        let mut all: Vec<_> = self.0.values().cloned().collect();
        all.sort_by_key(|object| object.id);
        all
    }

    /// The object of a name in a statement, or an error that says what is missing.
    pub fn find(&self, name: &Name) -> Result<&Arc<Object>> {
        let public = name.schema.as_deref().is_none_or(|schema| schema == "public");
        let found = if public { self.get(&name.name) } else { None };
        found.ok_or_else(|| undefined(name, self.0.keys()))
    }
}

/// `relation "x" does not exist`, with the nearest name that does.
pub fn undefined<'a>(name: &Name, known: impl Iterator<Item = &'a String>) -> Error {
    let known: Vec<String> = known.cloned().collect();
    let full = match &name.schema {
        Some(schema) => format!("{schema}.{}", name.name),
        None => name.name.clone(),
    };
    let mut error = Error::new(crate::error::ErrorKind::UndefinedTable, format!("relation \"{full}\" does not exist"));
    if name.position > 0 {
        error = error.at(name.position);
    }
    match crate::options::nearest(&name.name, &known) {
        Some(near) => error.hint(format!("Perhaps you meant \"{near}\".")),
        None => error,
    }
}

/// What a statement sees: everything that exists, and the rows of every relation, of one moment.
#[derive(Debug)]
pub struct StatementSnapshot {
    pub objects: Objects,
    pub letters: Arc<Letters>,
    /// What no text of the server shows.
    pub hidden: Arc<SecretRedactor>,
    functions: Functions,
    snapshots: BTreeMap<u64, Arc<Snapshot>>,
}

impl StatementSnapshot {
    /// The rows of all relations, taken at one moment.
    pub fn new(
        objects: Objects,
        functions: Functions,
        letters: Arc<Letters>,
        hidden: Arc<SecretRedactor>,
        moment: &SnapshotBarrier,
    ) -> Self {
        let snapshots = at_one_moment(moment, objects.0.values().filter_map(|object| object.shared()));
        StatementSnapshot { objects, letters, hidden, functions, snapshots }
    }

    fn input(&self, object: &Object) -> Option<InputTable> {
        let (input, limit, fixed, snapshot) = match &object.what {
            ObjectState::Source { source, on_error, limit, fixed, .. } => {
                (TableInput::Source(source.clone(), *on_error), *limit, *fixed, None)
            }
            ObjectState::Table(table) => self.relation(object, &table.shared),
            ObjectState::ContinuousQuery { shared, .. } => self.relation(object, shared),
            ObjectState::Query { .. } | ObjectState::Sink { .. } | ObjectState::Broken(_) => return None,
        };
        let (id, name, readers) = (object.id, object.name.clone(), object.readers.clone());
        let (mut defaults, mut upsert_key, mut patience, mut times) =
            (Arc::default(), Arc::default(), None, Arc::default());
        match &object.what {
            ObjectState::Table(table) => defaults = table.defaults.clone(),
            ObjectState::Source { key, patience: waits, .. } => (upsert_key, patience) = (key.clone(), *waits),
            ObjectState::ContinuousQuery { times: known, .. } => times = known.clone(),
            _ => {}
        }
        Some(InputTable { id, name, input, fixed, snapshot, limit, patience, readers, defaults, upsert_key, times })
    }

    fn relation(
        &self,
        object: &Object,
        shared: &Arc<SharedRelation>,
    ) -> (TableInput, ReadLimit, bool, Option<Arc<Snapshot>>) {
        let snapshot = self.snapshots.get(&object.id).cloned();
        (TableInput::Relation(shared.clone()), ReadLimit::default(), false, snapshot)
    }
}

impl CatalogView for StatementSnapshot {
    fn public(&self, name: &str) -> Result<Option<Resolved>> {
        let Some(object) = self.objects.get(name) else { return Ok(None) };
        if let Some(error) = sinks::unreadable(object) {
            return Err(error);
        }
        Ok(Some(match &object.what {
            ObjectState::Broken(error) => return Err(error.clone().context(object.label())),
            ObjectState::Query { query, columns } => Resolved::Query {
                query: query.clone(),
                columns: columns.clone(),
                watermark: object.watermark.clone(),
                what: object.label(),
            },
            _ => match self.input(object) {
                Some(table) => Resolved::Input(table, object.watermark.clone()),
                None => return Ok(None),
            },
        }))
    }

    fn public_names(&self) -> Vec<String> {
        self.objects.0.keys().cloned().collect()
    }

    fn system(&self, name: &str) -> Result<Option<Resolved>> {
        Ok(system::table(self, name)?.map(Resolved::Table))
    }

    fn system_names(&self) -> Vec<String> {
        system::NAMES.iter().map(|name| (*name).to_string()).collect()
    }

    fn functions(&self) -> Functions {
        self.functions.clone()
    }
}
