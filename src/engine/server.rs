//! The state of the engine, shared by all statements; its methods are in the other files of this room.

use std::{
    fmt,
    sync::{Arc, Mutex, Weak},
};

use tokio::runtime::Handle as Runtime;

use super::{names::Names, objects::Objects, options::EngineOptions};
use crate::{
    catalog::Catalog,
    checkpoint::Manifest,
    exec::AsideLimit,
    query::QueryEnv,
    relations::SnapshotBarrier,
    sql::{functions::Functions, plan::Planner},
};

/// A running server without its sockets.
pub struct Engine {
    pub(super) this: Weak<Engine>,
    pub(super) options: EngineOptions,
    pub(super) env: QueryEnv,
    /// The manifest over the data directory; also the storage in `env`.
    pub(super) manifest: Arc<Manifest>,
    pub(super) runtime: Runtime,
    pub(super) planner: Arc<Planner>,
    pub(super) aside: Arc<AsideLimit>,
    pub(super) barrier: SnapshotBarrier,
    pub(super) live: Mutex<LiveObjects>,
    /// Whether it only tries definitions over a copy of the catalog: nothing runs, and no connector is opened.
    pub(super) rehearsal: bool,
    /// The DDL lock: held to change the catalog, never while waiting for a connector or an epoch.
    pub(super) ddl: tokio::sync::Mutex<()>,
    /// The names that statements have reserved.
    pub(super) names: Names,
}

#[derive(Debug, Default)]
pub(super) struct LiveObjects {
    pub(super) catalog: Catalog,
    pub(super) objects: Objects,
    pub(super) functions: Functions,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.options).finish_non_exhaustive()
    }
}
