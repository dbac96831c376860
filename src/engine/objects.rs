//! The live objects: catalog entries with their sources, rows and runners.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::datatypes::SchemaRef;
use datafusion::sql::sqlparser::ast;

use super::{recipe::QueryRecipe, tables::WritableTable};
use crate::{
    catalog::{ObjectDef, ObjectKind},
    checkpoint::file,
    connectors::{BatchingPolicy, OnError, ReadLimit, Readers, Replayed},
    error::{Error, ErrorKind, Result},
    query::Handle,
    relations::SharedRelation,
    sql::{
        incremental::TimeBounds,
        statement::{Name, Statement},
        watermark::WatermarkSpec,
    },
};

/// One object of the catalog.
#[derive(Debug)]
pub struct Object {
    pub id: u64,
    pub name: String,
    pub kind: ObjectKind,
    /// The statement that made it, parsed; its `text` is the definition.
    pub statement: Statement,
    pub schema: SchemaRef,
    /// The ids of its direct inputs.
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
        batching: Option<BatchingPolicy>,
        fixed: bool,
        /// The key columns of an upsert source; empty if it is append-only.
        key: Arc<[String]>,
    },
    Table(Arc<WritableTable>),
    /// A materialized view, or a stream with state.
    ContinuousQuery {
        shared: Arc<SharedRelation>,
        handle: Arc<Handle>,
        /// The ids of the relations and sources its plan reads, resolved through computed streams and views.
        inputs: Vec<u64>,
        /// The event time bounds of its columns.
        times: Arc<TimeBounds>,
        /// See [`crate::sql::table::InputTable::reproducible`].
        reproducible: bool,
    },
    /// A sink: a standing query whose changes go to an outside system.
    Sink {
        handle: Arc<Handle>,
        inputs: Vec<u64>,
        /// For rebuilding it, also with other options.
        recipe: Arc<QueryRecipe>,
    },
    /// A view or stateless stream that is expanded in each reader's plan.
    Query {
        query: Arc<ast::Query>,
        columns: Vec<String>,
    },
    /// It could not be opened at the start; using it gives this error.
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

    /// The ids of what its standing query reads; empty if it has none.
    pub fn inputs(&self) -> &[u64] {
        match &self.what {
            ObjectState::ContinuousQuery { inputs, .. } | ObjectState::Sink { inputs, .. } => inputs,
            _ => &[],
        }
    }

    /// Kind and name for errors: `source "flights"`.
    pub fn label(&self) -> String {
        format!("{} \"{}\"", self.kind, self.name)
    }

    /// Its catalog entry.
    pub fn entry(&self, paused: bool) -> Result<ObjectDef> {
        Ok(ObjectDef {
            id: self.id,
            name: self.name.clone(),
            kind: self.kind,
            definition: self.statement.text.clone(),
            schema: file::ipc(&self.schema, &[])?,
            depends: self.depends.clone(),
            paused,
        })
    }

    /// The error that a sink cannot be read.
    pub fn unreadable(&self) -> Option<Error> {
        matches!(self.what, ObjectState::Sink { .. }).then(|| {
            Error::new(ErrorKind::WrongObjectType, format!("\"{}\" is a sink: its rows are outside", self.name))
                .hint("Read what it is made from; SHOW CREATE SINK tells.")
        })
    }
}

/// All objects by name, at one moment. Immutable: a change makes a new one.
#[derive(Debug, Clone, Default)]
pub struct Objects(pub Arc<BTreeMap<String, Arc<Object>>>);

impl Objects {
    pub fn get(&self, name: &str) -> Option<&Arc<Object>> {
        self.0.get(name)
    }

    /// In creation order: readers after their inputs.
    pub fn in_order(&self) -> Vec<Arc<Object>> {
        let mut all: Vec<_> = self.0.values().cloned().collect();
        all.sort_by_key(|object| object.id);
        all
    }

    pub fn by_id(&self, id: u64) -> Option<Arc<Object>> {
        self.0.values().find(|object| object.id == id).cloned()
    }

    /// These with `object` under its name.
    pub fn with(&self, object: Arc<Object>) -> Objects {
        let mut all = self.0.as_ref().clone();
        all.insert(object.name.clone(), object);
        Objects(Arc::new(all))
    }

    /// These less `object`, unless its name is another object's by now.
    pub fn without(&self, object: &Object) -> Objects {
        let mut all = self.0.as_ref().clone();
        if all.get(&object.name).is_some_and(|other| other.id == object.id) {
            all.remove(&object.name);
        }
        Objects(Arc::new(all))
    }

    /// The readers of an object, transitively.
    pub fn dependents(&self, object: &Object) -> Vec<Arc<Object>> {
        let mut reached = vec![object.id];
        let mut found = Vec::new();
        for other in self.in_order() {
            if other.depends.iter().any(|d| reached.contains(d)) {
                reached.push(other.id);
                found.push(other);
            }
        }
        found
    }

    /// An object and its inputs, transitively, in creation order.
    pub fn with_inputs(&self, object: &Object) -> Vec<Arc<Object>> {
        let mut ids: BTreeSet<u64> = [object.id].into();
        for other in self.in_order().iter().rev() {
            if ids.contains(&other.id) {
                ids.extend(&other.depends);
            }
        }
        self.in_order().into_iter().filter(|other| ids.contains(&other.id)).collect()
    }

    /// The object of a name in a statement; an error with the nearest name otherwise.
    pub fn find(&self, name: &Name) -> Result<&Arc<Object>> {
        let public = name.schema.as_deref().is_none_or(|schema| schema == "public");
        let found = if public { self.get(&name.name) } else { None };
        found.ok_or_else(|| undefined(name, self.0.keys()))
    }
}

/// The columns of an object from its catalog entry.
pub fn schema_from(bytes: &[u8]) -> Result<SchemaRef> {
    Ok(arrow::ipc::reader::StreamReader::try_new(bytes, None)?.schema())
}

/// `relation "x" does not exist`, with the nearest name that does.
pub fn undefined<'a>(name: &Name, known: impl Iterator<Item = &'a String>) -> Error {
    let known: Vec<String> = known.cloned().collect();
    let full = match &name.schema {
        Some(schema) => format!("{schema}.{}", name.name),
        None => name.name.clone(),
    };
    let mut error = Error::new(ErrorKind::UndefinedTable, format!("relation \"{full}\" does not exist"));
    if name.position > 0 {
        error = error.at(name.position);
    }
    match crate::options::nearest(&name.name, &known) {
        Some(near) => error.hint(format!("Perhaps you meant \"{near}\".")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;

    use super::*;
    use crate::sql::parse;

    fn object(id: u64, name: &str, depends: &[u64]) -> Arc<Object> {
        Arc::new(Object {
            id,
            name: name.to_string(),
            kind: ObjectKind::View,
            statement: parse("CREATE VIEW v AS SELECT 1").unwrap().remove(0),
            schema: Arc::new(Schema::empty()),
            depends: depends.to_vec(),
            watermark: None,
            readers: Arc::default(),
            what: ObjectState::Broken(Error::internal("it is of a test")),
        })
    }

    fn ids(objects: &[Arc<Object>]) -> Vec<u64> {
        objects.iter().map(|object| object.id).collect()
    }

    #[test]
    fn dependents_and_inputs_are_transitive_and_in_creation_order() {
        let all = [object(1, "d", &[]), object(2, "c", &[1]), object(3, "b", &[2]), object(4, "a", &[1, 3])];
        let objects = all.iter().chain([&object(5, "e", &[])]).fold(Objects::default(), |o, new| o.with(new.clone()));
        assert_eq!(ids(&objects.dependents(&all[1])), [3, 4]);
        assert_eq!(ids(&objects.dependents(&all[3])), [] as [u64; 0]);
        assert_eq!(ids(&objects.with_inputs(&all[2])), [1, 2, 3]);
    }

    #[test]
    fn removal_of_a_replaced_object_leaves_the_name_to_the_new_one() {
        let (old, new) = (object(1, "a", &[]), object(2, "a", &[]));
        let before = Objects::default().with(old.clone());
        let objects = before.with(new.clone());
        assert_eq!(objects.without(&old).get("a").map(|object| object.id), Some(2));
        assert!(objects.without(&new).get("a").is_none());
        assert_eq!(before.by_id(1).map(|object| object.id), Some(1), "an earlier state is unchanged");
    }
}
