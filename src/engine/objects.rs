//! What exists, alive: the catalog's objects with their sources, rows and runners.

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
        batching: Option<BatchingPolicy>,
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
        /// See [`crate::sql::table::InputTable::reproducible`].
        reproducible: bool,
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

    /// That a sink has no rows to read.
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
    let mut error = Error::new(ErrorKind::UndefinedTable, format!("relation \"{full}\" does not exist"));
    if name.position > 0 {
        error = error.at(name.position);
    }
    match crate::options::nearest(&name.name, &known) {
        Some(near) => error.hint(format!("Perhaps you meant \"{near}\".")),
        None => error,
    }
}
