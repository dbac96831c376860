//! Statement snapshots: the catalog and consistent rows of all relations.

use std::{collections::BTreeMap, sync::Arc};

use super::objects::{Object, ObjectState, Objects};
use crate::{
    connectors::ReadLimit,
    dead_letters::{DeadLetterQueue, LateRowLog},
    metrics::Registry,
    options::SecretRedactor,
    relations::{SharedRelation, Snapshot, SnapshotBarrier, at_one_moment},
    sql::{
        functions::Functions,
        table::{InputTable, TableInput},
    },
};

/// What a statement sees: the catalog, and a consistent snapshot of every relation.
#[derive(Debug)]
pub struct StatementSnapshot {
    pub objects: Objects,
    pub dead_letters: Arc<DeadLetterQueue>,
    pub late_rows: Arc<LateRowLog>,
    pub metrics: Arc<Registry>,
    /// Secrets, which are redacted from every text of the server.
    pub hidden: Arc<SecretRedactor>,
    pub(super) functions: Functions,
    snapshots: BTreeMap<u64, Arc<Snapshot>>,
}

impl StatementSnapshot {
    /// Takes consistent snapshots of all relations.
    pub fn new(
        objects: Objects,
        functions: Functions,
        (dead_letters, late_rows): (Arc<DeadLetterQueue>, Arc<LateRowLog>),
        metrics: Arc<Registry>,
        hidden: Arc<SecretRedactor>,
        barrier: &SnapshotBarrier,
    ) -> Self {
        let snapshots = at_one_moment(barrier, objects.0.values().filter_map(|object| object.shared()));
        StatementSnapshot { objects, dead_letters, late_rows, metrics, hidden, functions, snapshots }
    }

    pub(super) fn input(&self, object: &Object) -> Option<InputTable> {
        let (input, limit, fixed, snapshot) = match &object.what {
            ObjectState::Source { source, on_error, limit, fixed, .. } => {
                (TableInput::Source(source.clone(), *on_error), *limit, *fixed, None)
            }
            ObjectState::Table(table) => self.relation(object, &table.shared),
            ObjectState::ContinuousQuery { shared, .. } => self.relation(object, shared),
            ObjectState::Query { .. } | ObjectState::Sink { .. } | ObjectState::Broken(_) => return None,
        };
        let (id, name, readers) = (object.id, object.name.clone(), object.readers.clone());
        let (mut defaults, mut upsert_key, mut batching, mut times, mut reproducible) =
            (Arc::default(), Arc::default(), None, Arc::default(), true);
        match &object.what {
            ObjectState::Table(table) => defaults = table.defaults.clone(),
            ObjectState::Source { key, batching: waits, .. } => (upsert_key, batching) = (key.clone(), *waits),
            ObjectState::ContinuousQuery { times: known, reproducible: exact, .. } => {
                (times, reproducible) = (known.clone(), *exact);
            }
            _ => {}
        }
        Some(InputTable {
            id,
            name,
            input,
            fixed,
            snapshot,
            limit,
            batching,
            readers,
            defaults,
            upsert_key,
            times,
            reproducible,
        })
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
