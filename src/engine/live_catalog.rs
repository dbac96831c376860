//! The catalog of the running server: what exists, with its tasks and rows, and the locks of whoever changes it.
//!
//! There are two locks: a statement reserves the names it works on for as long as it takes ([`LiveCatalog::reserve`]); the
//! catalog is changed under the DDL lock ([`LiveCatalog::lock`]), which is never held while waiting for a connector or an
//! epoch. What is logged and entered is so through [`DdlLock`] alone.

use std::sync::{Arc, Mutex};

use super::{
    names::{Names, Reserved},
    objects::{Object, Objects},
    snapshot::StatementSnapshot,
};
use crate::{
    catalog::{Catalog, CatalogChange, FunctionDef, ObjectDef, ObjectKind, Secret},
    checkpoint::LogRecord,
    error::Result,
    query::QueryEnv,
    relations::{Relation, SharedRelation, SnapshotBarrier},
    sql::functions::Functions,
    sync::locked,
};

/// The live objects and functions, and the catalog as the log has it.
#[derive(Debug)]
pub struct LiveCatalog {
    env: QueryEnv,
    /// Of all relations, so that a statement sees all of them at one moment.
    barrier: SnapshotBarrier,
    live: Mutex<Live>,
    ddl: tokio::sync::Mutex<()>,
    names: Names,
}

#[derive(Debug)]
struct Live {
    /// What the log says.
    definitions: Catalog,
    /// Also those that are tried together and are not logged yet.
    objects: Objects,
    functions: Functions,
}

/// The DDL lock, while it is held: whoever has it may change the catalog.
#[derive(Debug)]
pub struct DdlLock<'a> {
    catalog: &'a LiveCatalog,
    _held: tokio::sync::MutexGuard<'a, ()>,
}

impl LiveCatalog {
    /// The catalog with these definitions, of which no object is live yet.
    pub fn new(env: QueryEnv, definitions: Catalog) -> Self {
        let live = Live { definitions, objects: Objects::default(), functions: Functions::default() };
        LiveCatalog {
            env,
            barrier: SnapshotBarrier::default(),
            live: Mutex::new(live),
            ddl: tokio::sync::Mutex::new(()),
            names: Names::default(),
        }
    }

    /// Reserves names; waits while another statement has one of them.
    pub async fn reserve(&self, names: impl IntoIterator<Item = &str>) -> Reserved {
        self.names.reserve(names).await
    }

    /// Takes the DDL lock.
    pub async fn lock(&self) -> DdlLock<'_> {
        DdlLock { catalog: self, _held: self.ddl.lock().await }
    }

    pub fn objects(&self) -> Objects {
        locked(&self.live).objects.clone()
    }

    pub fn object(&self, id: u64) -> Option<Arc<Object>> {
        self.objects().by_id(id)
    }

    pub fn functions(&self) -> Functions {
        locked(&self.live).functions.clone()
    }

    /// The catalog as the log has it.
    pub fn definitions(&self) -> Catalog {
        locked(&self.live).definitions.clone()
    }

    pub fn function(&self, name: &str) -> Option<FunctionDef> {
        locked(&self.live).definitions.functions.get(name).cloned()
    }

    pub fn secret(&self, name: &str) -> Option<Secret> {
        locked(&self.live).definitions.secrets.get(name).cloned()
    }

    pub fn secret_names(&self) -> Vec<String> {
        locked(&self.live).definitions.secrets.keys().cloned().collect()
    }

    /// What a statement sees that begins now.
    pub fn snapshot(&self) -> StatementSnapshot {
        let (objects, functions) = {
            let live = locked(&self.live);
            (live.objects.clone(), live.functions.clone())
        };
        let (dead_letters, late_rows) = (self.env.dead_letters.clone(), self.env.late_rows.clone());
        let (metrics, hidden) = (self.env.metrics.clone(), self.env.hidden.clone());
        StatementSnapshot::new(objects, functions, (dead_letters, late_rows), metrics, hidden, &self.barrier)
    }

    /// The relation of an object, whose snapshots are taken with those of all others.
    pub fn shared_relation(&self, id: u64, name: &str, relation: Relation) -> Arc<SharedRelation> {
        SharedRelation::new(id, name, relation, self.barrier.clone())
    }

    /// The relations that are still recovering.
    pub fn recovering(&self) -> Vec<Arc<SharedRelation>> {
        let objects = self.objects().in_order();
        let all = objects.iter().filter_map(|object| object.shared());
        all.filter(|shared| shared.is_recovering()).cloned().collect()
    }

    /// The id of a new object or function: greater than any before.
    pub fn next_id(&self) -> u64 {
        let mut live = locked(&self.live);
        live.definitions.last_id += 1;
        live.definitions.last_id
    }

    /// Makes new ids greater than `id`.
    pub fn skip_ids(&self, id: u64) {
        let mut live = locked(&self.live);
        live.definitions.last_id = live.definitions.last_id.max(id);
    }

    /// The catalog entry of an object; keeps whether it is paused.
    pub fn entry(&self, object: &Object) -> Result<ObjectDef> {
        let paused = locked(&self.live).definitions.objects.get(&object.id).is_some_and(|known| known.paused);
        object.entry(paused)
    }

    /// Makes an object live that the log has: at a start.
    pub fn restore(&self, object: Arc<Object>) {
        let mut live = locked(&self.live);
        live.objects = live.objects.with(object);
    }

    /// The same of the functions.
    pub fn restore_functions(&self, functions: Functions) {
        locked(&self.live).functions = functions;
    }

    /// Removes an object that is not in the log, unless its name is another object's by now.
    pub fn remove(&self, object: &Object) {
        let mut live = locked(&self.live);
        live.objects = live.objects.without(object);
    }
}

impl DdlLock<'_> {
    /// Logs a change of the catalog.
    pub async fn log_change(&self, change: CatalogChange) -> Result<()> {
        let LiveCatalog { env, live, .. } = self.catalog;
        let record = LogRecord::Catalog(change.clone()).encode(&[])?;
        env.log.append(vec![record]).await?;
        gone_sources(&locked(live).definitions, &change).for_each(|name| env.dead_letters.forget(name));
        locked(live).definitions.apply(&change);
        Ok(())
    }

    /// Gives an object its name, in the place of one that has it: once it is logged, or to try what needs it.
    pub fn add(&self, object: Arc<Object>) {
        self.catalog.restore(object);
    }

    /// Replaces the functions, once their change is logged.
    pub fn set_functions(&self, functions: Functions) {
        self.catalog.restore_functions(functions);
    }
}

/// The sources that a change drops.
pub fn gone_sources<'a>(catalog: &'a Catalog, change: &'a CatalogChange) -> impl Iterator<Item = &'a str> {
    let dropped: &[u64] = match change {
        CatalogChange::Replace { drop, .. } => drop,
        _ => &[],
    };
    let objects = dropped.iter().filter_map(|id| catalog.objects.get(id));
    objects.filter(|object| object.kind == ObjectKind::Source).map(|object| object.name.as_str())
}
