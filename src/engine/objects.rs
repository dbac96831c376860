//! The live objects: catalog entries with their sources, rows and runners.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::sql::sqlparser::ast;

use super::{recipe::QueryRecipe, tables::WritableTable};
use crate::{
    catalog::ObjectKind,
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

    /// The object of a name in a statement; an error with the nearest name otherwise.
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
    let mut error = Error::new(ErrorKind::UndefinedTable, format!("relation \"{full}\" does not exist"));
    if name.position > 0 {
        error = error.at(name.position);
    }
    match crate::options::nearest(&name.name, &known) {
        Some(near) => error.hint(format!("Perhaps you meant \"{near}\".")),
        None => error,
    }
}
