//! `DROP`: objects disappear at once, then their tasks end and files are removed.

use std::{sync::Arc, time::Duration};

use super::{
    Engine, Reply,
    ddl::{refused, same_kind},
    detached::to_its_end,
    objects::{Object, undefined},
    unrecovered_log::UnrecoveredLog,
};
use crate::{
    catalog::{CatalogChange, ObjectKind},
    connectors,
    error::{Error, ErrorKind, Result},
    query::{Checkpoints, Handle, Outbox},
    relations::Store,
    sql::statement::Drop,
};

/// How long `DROP` waits for tasks to end: usually enough for a busy query's memory to be free afterwards.
const CLEAR_MAX: Duration = Duration::from_secs(1);

impl Engine {
    /// `DROP …`
    pub(super) async fn drop(self: &Arc<Self>, drop: &Drop) -> Result<Reply> {
        // An object being created under the name is entered first, or not created.
        let reserved = self.names.reserve(drop.names.iter().map(|name| name.name.as_str())).await;
        let (engine, drop) = (self.clone(), drop.clone());
        to_its_end(async move {
            let gone = engine.drop_now(&drop).await?;
            std::mem::drop(reserved);
            engine.clear_away(gone).await;
            Ok(Reply::Done(format!("DROP {}", drop.kind.word().to_uppercase())))
        })
        .await
    }

    /// Removes objects from log and catalog. Returns them, readers before their inputs.
    async fn drop_now(self: &Arc<Self>, drop: &Drop) -> Result<Vec<Arc<Object>>> {
        let _one = self.ddl.lock().await;
        let mut gone: Vec<Arc<Object>> = Vec::new();
        for name in &drop.names {
            let object = match self.objects().find(name) {
                Ok(object) => object.clone(),
                Err(_) if drop.if_exists => continue,
                Err(_) => {
                    let mut error = undefined(name, self.objects().0.keys());
                    if drop.kind != ObjectKind::Table && drop.kind != ObjectKind::View {
                        let message = format!("{} \"{}\" does not exist", drop.kind, name.name);
                        error = Error::new(ErrorKind::UndefinedTable, message).at(name.position.max(1));
                    }
                    return Err(error);
                }
            };
            if !same_kind(object.kind, drop.kind) {
                let word = object.kind.word();
                return Err(Error::new(
                    ErrorKind::WrongObjectType,
                    format!("\"{}\" is not a {}", name.name, drop.kind),
                )
                .hint(format!("Use DROP {} to remove a {word}.", word.to_uppercase()))
                .at(name.position.max(1)));
            }
            gone.push(object);
        }
        for object in gone.clone() {
            let others: Vec<_> =
                self.dependents(&object).into_iter().filter(|d| !gone.iter().any(|g| g.id == d.id)).collect();
            if !others.is_empty() && !drop.cascade {
                return Err(refused(&object.label(), "drop", &others)
                    .hint("Use DROP … CASCADE to drop the dependent objects too."));
            }
            gone.extend(others);
        }
        // Readers before their inputs.
        gone.sort_by_key(|object| std::cmp::Reverse(object.id));
        gone.dedup_by_key(|object| object.id);
        if !gone.is_empty() {
            self.log_change(CatalogChange::Replace { drop: gone.iter().map(|o| o.id).collect(), create: vec![] })
                .await?;
        }
        for object in &gone {
            self.remove_object(object);
        }
        Ok(gone)
    }

    /// Ends the tasks of dropped objects and removes their files, readers before their inputs. An epoch is cancelled at
    /// its next await point. Continues in the background after `CLEAR_MAX`.
    pub(super) async fn clear_away(self: &Arc<Self>, gone: Vec<Arc<Object>>) {
        gone.iter().filter_map(|object| object.handle()).for_each(Handle::cancel);
        let engine = self.clone();
        let cleared = self.runtime.spawn(async move {
            for object in gone {
                engine.stop_object(&object).await;
                engine.delete_files_after_failure(&object);
            }
        });
        // It continues after the timeout.
        let _ = tokio::time::timeout(CLEAR_MAX, cleared).await;
    }

    /// Ends an object's task and removes its name, unless that is another object's by now.
    pub(super) async fn stop_object(&self, object: &Object) {
        self.remove_object(object);
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
        for input in self.objects().in_order().iter().filter(|input| input.readers.has(reader)) {
            let left = input.readers.leave(reader);
            if let (Some(shared), None) = (input.shared(), left) {
                shared.lock().unfollow();
            }
        }
    }

    /// Removes an object that was built but never entered.
    pub(super) async fn unmake(&self, id: u64, kind: ObjectKind, object: Option<Arc<Object>>) {
        match object {
            Some(object) => self.stop_object(&object).await,
            None => self.leave_inputs(id),
        }
        if let Err(error) = self.delete_files(id, kind) {
            tracing::warn!(id, %error, "files of an object that was never made are left");
        }
    }

    /// Removes the files of a dropped object; on failure they are removed at the next start.
    fn delete_files_after_failure(&self, object: &Object) {
        if let Err(error) = self.delete_files(object.id, object.kind) {
            tracing::warn!(object = object.name, %error, "files of a dropped object are left");
        }
    }

    pub(super) fn delete_files(&self, id: u64, kind: ObjectKind) -> Result<()> {
        let storage = &self.env.storage;
        if kind == ObjectKind::Source {
            connectors::remove(id, storage.as_ref())?;
        }
        UnrecoveredLog::remove(storage.as_ref(), id)?;
        Outbox::new(storage.clone(), id).remove()?;
        Checkpoints::new(storage.clone(), id).remove()?;
        Store::new(storage.clone(), id).remove()
    }
}
