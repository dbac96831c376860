//! The engine itself: what all of its statements share. What it does stands in the other files of its room.

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
    /// The files of the data directory. What `env` calls its storage.
    pub(super) manifest: Arc<Manifest>,
    pub(super) runtime: Runtime,
    pub(super) planner: Arc<Planner>,
    pub(super) aside: Arc<AsideLimit>,
    pub(super) barrier: SnapshotBarrier,
    pub(super) live: Mutex<LiveObjects>,
    /// It looks at what could be made, over a copy of what exists: nothing runs, and nothing outside is taken hold of.
    pub(super) rehearsal: bool,
    /// Whoever changes what exists. Nobody waits for the outside, or for an epoch, who holds it.
    pub(super) ddl: tokio::sync::Mutex<()>,
    /// The names that statements are at work on.
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
