//! What is left of an object that is no more: its task, its name and its files.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle as Runtime;

use super::{live_catalog::LiveCatalog, objects::Object, unrecovered_log::UnrecoveredLog};
use crate::{
    catalog::ObjectKind,
    connectors,
    error::Result,
    query::{Checkpoints, Handle, Outbox},
    relations::Store,
    storage::Storage,
};

/// How long `DROP` waits for tasks to end: usually enough for a busy query's memory to be free afterwards.
const CLEAR_MAX: Duration = Duration::from_secs(1);

/// Ends the tasks of objects and removes their files.
#[derive(Debug, Clone)]
pub struct ObjectCleanup {
    catalog: Arc<LiveCatalog>,
    storage: Arc<dyn Storage>,
    runtime: Runtime,
}

impl ObjectCleanup {
    pub fn new(catalog: Arc<LiveCatalog>, storage: Arc<dyn Storage>, runtime: Runtime) -> Self {
        ObjectCleanup { catalog, storage, runtime }
    }

    /// Ends the tasks of dropped objects and removes their files, readers before their inputs. An epoch is cancelled at
    /// its next await point. Continues in the background after `CLEAR_MAX`.
    pub async fn clear_away(&self, gone: Vec<Arc<Object>>) {
        gone.iter().filter_map(|object| object.handle()).for_each(Handle::cancel);
        let cleanup = self.clone();
        let cleared = self.runtime.spawn(async move {
            for object in gone {
                cleanup.stop_object(&object).await;
                cleanup.delete_files_after_failure(&object);
            }
        });
        // It continues after the timeout.
        let _ = tokio::time::timeout(CLEAR_MAX, cleared).await;
    }

    /// Ends an object's task and removes its name, unless that is another object's by now.
    async fn stop_object(&self, object: &Object) {
        self.catalog.remove(object);
        if let Some(handle) = object.handle() {
            handle.end().await;
        }
        if let Some(shared) = object.shared() {
            shared.set_dropped();
        }
        self.leave_inputs(object.id);
    }

    /// Unregisters a reader from its inputs, so that they can release rows.
    fn leave_inputs(&self, reader: u64) {
        for input in self.catalog.objects().in_order().iter().filter(|input| input.readers.has(reader)) {
            let left = input.readers.leave(reader);
            if let (Some(shared), None) = (input.shared(), left) {
                shared.lock().unfollow();
            }
        }
    }

    /// Removes an object that was built but never entered.
    pub async fn unmake(&self, id: u64, kind: ObjectKind, object: Option<Arc<Object>>) {
        match object {
            Some(object) => self.stop_object(&object).await,
            None => self.leave_inputs(id),
        }
        if let Err(error) = self.delete_files(id, kind) {
            tracing::warn!(id, %error, "files of an object that was never made are left");
        }
    }

    /// The same in the background.
    pub fn spawn_unmake(&self, id: u64, kind: ObjectKind, object: Option<Arc<Object>>) {
        let cleanup = self.clone();
        self.runtime.spawn(async move { cleanup.unmake(id, kind, object).await });
    }

    /// Removes the files of a dropped object; on failure they are removed at the next start.
    fn delete_files_after_failure(&self, object: &Object) {
        if let Err(error) = self.delete_files(object.id, object.kind) {
            tracing::warn!(object = object.name, %error, "files of a dropped object are left");
        }
    }

    /// Removes all files of an object.
    pub fn delete_files(&self, id: u64, kind: ObjectKind) -> Result<()> {
        let storage = &self.storage;
        if kind == ObjectKind::Source {
            connectors::remove(id, storage.as_ref())?;
        }
        UnrecoveredLog::remove(storage.as_ref(), id)?;
        Outbox::new(storage.clone(), id).remove()?;
        Checkpoints::new(storage.clone(), id).remove()?;
        Store::new(storage.clone(), id).remove()
    }
}
