//! `ALTER`, and what all DDL shares: one change at a time, durable when acknowledged.
//!
//! There are two locks: a statement reserves the names it works on for as long as it takes; the catalog is changed
//! under the DDL lock, which is never held while waiting for a connector or an epoch.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tokio::sync::oneshot;

use super::{
    Engine, Reply,
    build::source_options,
    detached::to_its_end,
    objects::{Object, ObjectState},
    view_options::ViewOptions,
};
use crate::{
    catalog::{self, Catalog, CatalogChange, ObjectKind},
    checkpoint::{LogRecord, file},
    connectors::{self, Fence, OPEN_TIMEOUT, Source},
    error::{Error, ErrorKind, Result},
    query::Command,
    sql::statement::{Alter, AlterAction, Body, CreateView, Statement},
    sync::locked,
};

impl Engine {
    /// `ALTER … PAUSE | RESUME | RENAME TO`
    pub(super) async fn alter(self: &Arc<Self>, alter: &Alter) -> Result<Reply> {
        let reserved = self.names.reserve([alter.name.name.as_str()]).await;
        let object = self.objects().find(&alter.name)?.clone();
        if !same_kind(object.kind, alter.kind) {
            return Err(Error::new(ErrorKind::WrongObjectType, format!("\"{}\" is not a {}", object.name, alter.kind)));
        }
        let engine = self.clone();
        match (&alter.action, &object.what) {
            (AlterAction::Pause, _) => {
                to_its_end(async move {
                    let (done, wait) = oneshot::channel();
                    engine.note_paused(&object, true).await?;
                    tell(&object, Command::Pause(done)).await?;
                    drop(reserved);
                    // A runner that has ended does not answer.
                    let _ = wait.await;
                    Ok(())
                })
                .await?;
            }
            (AlterAction::Resume, _) => {
                to_its_end(async move {
                    engine.note_paused(&object, false).await?;
                    let _reserved = reserved;
                    tell(&object, Command::Resume).await
                })
                .await?;
            }
            (AlterAction::ResetOffsets, ObjectState::Source { source, .. }) => {
                let label = object.label();
                let reset = async { source.reset().await.map_err(|e| e.context(&label)) };
                self.within_open_timeout(&label, reset).await?;
            }
            (AlterAction::ResetOffsets, ObjectState::Sink { handle, .. }) => handle.tell(Command::GoOn).await,
            (AlterAction::ResetOffsets, _) => return Err(Error::internal("only sources and sinks have offsets")),
            (AlterAction::RenameTo(_), _) => {
                return Err(Error::unsupported(format!("ALTER {} … RENAME", alter.kind.word().to_uppercase()))
                    .hint("Create it under the other name, beside this one."));
            }
        }
        Ok(Reply::Done(format!("ALTER {}", alter.kind.word().to_uppercase())))
    }

    /// Logs that a query is paused, or not.
    async fn note_paused(&self, object: &Object, paused: bool) -> Result<()> {
        let _one = self.ddl.lock().await;
        if object.handle().is_none() {
            let message = format!("{} does not run by itself", object.label());
            return Err(Error::new(ErrorKind::WrongObjectType, message));
        }
        if self.object(object.id).is_none() {
            return Err(Error::new(ErrorKind::UndefinedTable, format!("{} is gone", object.label())));
        }
        self.log_change(CatalogChange::Paused { id: object.id, paused }).await
    }

    /// Fails if `work` on an outside system takes longer than `connectors.open_timeout`.
    pub(super) async fn within_open_timeout<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        connectors::within(self.options.open_timeout, OPEN_TIMEOUT, what, work).await
    }

    /// The catalog entry of an object; keeps whether it is paused.
    pub(super) fn entry(&self, object: &Object) -> Result<catalog::ObjectDef> {
        let paused = locked(&self.live).catalog.objects.get(&object.id).is_some_and(|known| known.paused);
        Ok(catalog::ObjectDef {
            id: object.id,
            name: object.name.clone(),
            kind: object.kind,
            definition: object.statement.text.clone(),
            schema: schema_bytes(&object.schema)?,
            depends: object.depends.clone(),
            paused,
        })
    }

    /// The readers of an object, transitively.
    pub(super) fn dependents(&self, object: &Object) -> Vec<Arc<Object>> {
        let mut reached = vec![object.id];
        let mut found = Vec::new();
        for other in self.objects().in_order() {
            if other.depends.iter().any(|d| reached.contains(d)) {
                reached.push(other.id);
                found.push(other);
            }
        }
        found
    }

    /// Logs a change of the catalog. Under the DDL lock.
    pub(super) async fn log_change(&self, change: CatalogChange) -> Result<()> {
        let record = LogRecord::Catalog(change.clone()).encode(&[])?;
        self.env.log.append(vec![record]).await?;
        gone_sources(&locked(&self.live).catalog, &change).for_each(|name| self.env.dead_letters.forget(name));
        self.apply_change(&change);
        Ok(())
    }

    /// Validates a statement without running it: what `tidemark check` does with each.
    pub fn check(statement: &Statement) -> Result<()> {
        match &statement.body {
            Body::CreateSource(create) => {
                let options = source_options(&create.options).1.revealed(|name| Ok(name.to_string()))?;
                connectors::check(&create.name.name, &options)?;
                super::build::columns(&create.columns, &create.key).map(|_| ())
            }
            Body::CreateTable(create) => super::build::columns(&create.columns, &create.primary_key).map(|_| ()),
            Body::CreateView(create) => {
                let options = create.options.revealed(|name| Ok(name.to_string()))?;
                ViewOptions::from_create(&CreateView { options, ..create.clone() }, &Fence::default()).map(|_| ())
            }
            _ => Ok(()),
        }
    }
}

/// The sources that a change drops.
pub(super) fn gone_sources<'a>(catalog: &'a Catalog, change: &'a CatalogChange) -> impl Iterator<Item = &'a str> {
    let dropped: &[u64] = match change {
        CatalogChange::Replace { drop, .. } => drop,
        _ => &[],
    };
    let objects = dropped.iter().filter_map(|id| catalog.objects.get(id));
    objects.filter(|object| object.kind == ObjectKind::Source).map(|object| object.name.as_str())
}

pub fn schema_bytes(schema: &SchemaRef) -> Result<Vec<u8>> {
    file::ipc(schema, &[])
}

pub fn schema_from(bytes: &[u8]) -> Result<SchemaRef> {
    Ok(arrow::ipc::reader::StreamReader::try_new(bytes, None)?.schema())
}

/// Sends a command to the runner of an object.
async fn tell(object: &Object, command: Command) -> Result<()> {
    let handle = object.handle().ok_or_else(|| Error::internal("it does not run by itself"))?;
    handle.tell(command).await;
    Ok(())
}

/// `DROP STREAM` and `DROP MATERIALIZED VIEW` are one statement with two names.
pub(super) fn same_kind(is: ObjectKind, said: ObjectKind) -> bool {
    let kept = |kind| matches!(kind, ObjectKind::Stream | ObjectKind::MaterializedView);
    is == said || (kept(is) && kept(said))
}

pub(super) fn refused(what: &str, verb: &str, dependents: &[Arc<Object>]) -> Error {
    let list: Vec<String> = dependents.iter().map(|d| format!("{} depends on {what}", d.label())).collect();
    Error::new(ErrorKind::DependentObjects, format!("cannot {verb} {what} because other objects depend on it"))
        .detail(list.join("\n"))
}
